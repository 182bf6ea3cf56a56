"""What really happened in a world, and its history on the grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qad_dl.grid import ENTITY_DEFAULT, Grid, build_grid
from qad_dl.incidents_file import read_incidents
from qad_dl.metrics.hits import downtime_windows, incident_windows
from qad_dl.metrics.truth import Truth, build_truth
from qad_dl.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from qad_dl.incidents_file import Incident
    from qad_dl.schema import Times


@dataclass(frozen=True)
class Known:
    """What is known of a world at the ticks of some scores.

    Attributes:
        truth: incidents, healthy time, downtimes.
        incidents: by name.
    """

    truth: Truth
    incidents: Mapping[str, Incident]


def load_known(world: Path, series: tuple[tuple[str, ...], ...], times: Times, present: NDArray[np.bool_]) -> Known:
    """What happened to some series [N] at some ticks [T]; `present` [N, T] are the pairs that have a row."""
    store, listed = Store.open(world / "store"), read_incidents(world / "incidents.csv")
    metadata, end = store.metadata(), times[-1] + store.tick.delta
    queues = {key[0] for key in store.known_series(end)} | {name for dump in metadata.dumps for name in dump}
    hits = incident_windows(listed, ENTITY_DEFAULT, series, metadata, queues, (times[0], end))
    downs = downtime_windows(store.downtimes(), ENTITY_DEFAULT, series)
    truth = build_truth(times, store.tick, len(series), hits, downs, present)
    return Known(truth, {incident.incident: incident for incident in listed})


def load_grid(world: Path, until: np.datetime64 | None = None) -> Grid:
    """The whole history of a world on the grid, series in the order of their names."""
    store = Store.open(world / "store")
    span = store.span()
    if span is None:
        msg = f"{world}: the store is empty"
        raise RuntimeError(msg)
    end = span[1] + store.tick.delta if until is None else until
    times = store.tick.range(span[0], end)
    return build_grid(
        store.read(span[0], end), times, store.tick, store.metadata(), ENTITY_DEFAULT, None, store.downtimes()
    )
