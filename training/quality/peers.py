"""The scores of the peers on a world, each learning from the same days as the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from threadpoolctl import threadpool_limits

from training.peers import PEERS, peer_scores
from training.quality.known import load_grid
from training.quality.sources import source_digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from training.quality.parts import Made

FILE: Final = "peer.npz"

MODULES: Final = {"rule": "qad_dl.baseline.rule", "ridge": "qad_dl.baseline.ridge"}
"""Where peers are that are part of the library."""


def make_peer(place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """Scores of one peer: `inputs` has its name and the end of the training, `made` the world."""
    (world,) = made.values()
    grid = load_grid(world.place)
    train = np.asarray(grid.times < np.datetime64(inputs["trained"]), np.bool_)
    with threadpool_limits(limits=1):  # matrices of one series are so small that threads wait for each other: 10 times
        score = peer_scores(inputs["peer"], grid, train)
    series = np.array([key[0] for key in grid.series])
    np.savez_compressed(place / FILE, score=score.astype(np.float32), times=grid.times, series=series)
    return {"scored": int(np.isfinite(score).sum())}


def peer_digest(name: str) -> str:
    """Hash of the code of one peer, of what all share, and of the grid: a new peer makes none of the others again."""
    module = MODULES.get(name) or PEERS[name].__module__
    return source_digest([module, "training.peers.protocol", "training.quality.known"])


def peer_series(place: Path) -> tuple[tuple[str, ...], ...]:
    """Keys of the series that a peer has scored, [N]."""
    with np.load(place / FILE) as file:
        return tuple((str(name),) for name in file["series"])


def load_peer(place: Path, series: tuple[tuple[str, ...], ...], times: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """Scores of a peer for some series and ticks, [N, T]; NaN where it has none."""
    with np.load(place / FILE) as file:
        score, names, all_times = file["score"].astype(np.float64), file["series"].tolist(), file["times"]
    row = {name: i for i, name in enumerate(names)}
    first = int(np.searchsorted(all_times, times[0]))
    out = np.full((len(series), len(times)), np.nan)
    for n, key in enumerate(series):
        if key[0] in row:
            out[n] = score[row[key[0]], first : first + len(times)]
    return out
