"""The figures of a peer, by the same code as those of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qad_dl.store import Store
from qad_dl.timeparse import parse_time
from training.quality.known import load_known
from training.quality.measure import score_figures
from training.quality.peers import load_peer, peer_series

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from training.quality.parts import Made


def measure_peer(_place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """Figures of the scores of a peer on [start, end); `made` has the world and then the peer."""
    world, peer = made.values()
    store = Store.open(world.place / "store")
    start, end = (parse_time(str(inputs[k]), k) for k in ("start", "end"))
    times, series = store.tick.range(start, end), peer_series(peer.place)
    known = load_known(world.place, series, times, np.ones((len(series), len(times)), np.bool_))
    return score_figures(load_peer(peer.place, series, times), known.truth)
