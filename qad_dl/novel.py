"""What a bundle was not trained on and meets all the same: series are scored as their group is, states are ignored."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.backtest import read_history
from qad_dl.grid import build_grid
from qad_dl.incidents_file import QUEUE_FIELD
from qad_dl.vocab import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from qad_dl.bundle import Bundle
    from qad_dl.grid import Grid
    from qad_dl.histories import History
    from qad_dl.preprocess import Preprocess
    from qad_dl.results import Results

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

    @cached_property
    def series(self) -> tuple[str, ...]:
        """The series by name."""
        return tuple("/".join(key) for key in self.keys)

    @property
    def states(self) -> tuple[str, ...]:
        """The states."""
        return tuple(self.having)


def novel(bundle: Bundle, results: Results, store: History) -> Novel:
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
    return novel_in(preprocess, results, grid.states, [grid])


def novel_in(preprocess: Preprocess, results: Results, states: Sequence[str], grids: Iterable[Grid]) -> Novel:
    """What is new to a bundle's preprocessing, of the history that its results are of.

    Args:
        preprocess: what the bundle knows.
        results: its results.
        states: of the history.
        grids: its series, some at a time, in grids that end with the results, built with its entity and selection: a
            day of them is looked at, where there is a state that is not known.
    """
    known = preprocess.vocabularies[0]
    scored = (results.reason == 0).any(axis=1)
    met = [key for key, there in zip(results.series, scored, strict=True) if there]
    keys = tuple(sorted(key for key in met if known.encode("\x1f".join(key)) == UNKNOWN))
    shown, new = set(results.series), [state for state in states if state not in preprocess.states]
    names: dict[str, set[str]] = {state: set() for state in new}
    for grid in grids if new else ():
        recent = grid.counts[:, grid.times >= grid.times[-1] - RECENT]
        for state in set(new) & set(grid.states):
            rows = np.flatnonzero((recent[:, :, grid.states.index(state)] > 0).any(axis=1)).tolist()
            names[state] |= {series_called(grid.entity, grid.series[i]) for i in rows if grid.series[i] in shown}
    return Novel(keys, {state: tuple(sorted(found)) for state, found in names.items() if found})


def series_called(entity: Sequence[str], key: tuple[str, ...]) -> str:
    """What people call a series: by its queue where it has one."""
    return key[entity.index(QUEUE_FIELD)] if QUEUE_FIELD in entity else "/".join(key)
