"""What a bundle was not trained on and meets all the same: series are scored as their group is, states are ignored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.backtest import read_history
from qad_dl.grid import build_grid
from qad_dl.incidents_file import QUEUE_FIELD
from qad_dl.vocab import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qad_dl.bundle import Bundle
    from qad_dl.grid import Grid
    from qad_dl.preprocess import Preprocess
    from qad_dl.results import Results
    from qad_dl.store import Store

RECENT: Final = np.timedelta64(1, "D")


@dataclass(frozen=True)
class Novel:
    """What is new to a bundle.

    Attributes:
        keys: of the series that have a score and are not known, sorted.
        having: state that is not known -> the series that had jobs in it in the day before, by what people call them,
            sorted; the states in the order of a table.
    """

    keys: tuple[tuple[str, ...], ...] = ()
    having: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def series(self) -> tuple[str, ...]:
        """The series by name."""
        return tuple("/".join(key) for key in self.keys)

    @property
    def states(self) -> tuple[str, ...]:
        """The states."""
        return tuple(self.having)


def novel(bundle: Bundle, results: Results, store: Store) -> Novel:
    """What is new to a bundle at the last tick of its results.

    Args:
        bundle: the bundle.
        results: its results.
        store: the history that they are of.
    """
    start, end, preprocess = results.times[-1] - RECENT, results.times[-1] + store.tick.delta, bundle.preprocess
    rows, known = read_history(store, start, end)
    grid = build_grid(
        rows,
        store.tick.range(start, end),
        store.tick,
        store.metadata(),
        preprocess.entity,
        preprocess.select,
        store.downtimes(),
        known,
    )
    return novel_in(preprocess, results, grid)


def novel_in(preprocess: Preprocess, results: Results, grid: Grid) -> Novel:
    """What is new to a bundle's preprocessing, of the same history as a grid that ends with the results.

    Args:
        preprocess: what the bundle knows.
        results: its results.
        grid: built with its entity and selection; a day of it is looked at.
    """
    known = preprocess.vocabularies[0]
    scored = (results.reason == 0).any(axis=1)
    met = [key for key, there in zip(results.series, scored, strict=True) if there]
    keys = tuple(sorted(key for key in met if known.encode("\x1f".join(key)) == UNKNOWN))
    shown = set(results.series)
    recent = grid.counts[:, grid.times >= grid.times[-1] - RECENT]
    having: dict[str, tuple[str, ...]] = {}
    for s, state in enumerate(grid.states):
        if state not in preprocess.states:
            rows = np.flatnonzero((recent[:, :, s] > 0).any(axis=1))
            names = {series_called(grid.entity, grid.series[i]) for i in rows.tolist() if grid.series[i] in shown}
            having |= {state: tuple(sorted(names))} if names else {}
    return Novel(keys, having)


def series_called(entity: Sequence[str], key: tuple[str, ...]) -> str:
    """What people call a series: by its queue where it has one."""
    return key[entity.index(QUEUE_FIELD)] if QUEUE_FIELD in entity else "/".join(key)
