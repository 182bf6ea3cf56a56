"""Score a range, or the newest tick, of a store: one code for both, so that they cannot differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qad_dl.errors import ConfigError, InputError
from qad_dl.grid import Grid, build_grid, series_before
from qad_dl.timeparse import format_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from qad_dl.histories import History
    from qad_dl.metadata import Metadata
    from qad_dl.preprocess import Preprocess
    from qad_dl.results import Results
    from qad_dl.schema import Times
    from qad_dl.scorer import Scorer


def run_backtest(
    store: History,
    scorer: Scorer,
    start: np.datetime64,
    end: np.datetime64,
    budget: float | None = None,
    details: bool = False,
    queues: Sequence[str] = (),
) -> Results:
    """Score every tick of [start, end) as the collector would have at that tick.

    Args:
        store: history and metadata.
        scorer: a loaded bundle.
        start: first tick; ceiled to the grid.
        end: one past the last.
        budget: false alarm episodes per series and day.
        details: also give the per-state arrays.
        queues: give only these (see `chosen_series`); the scores are the same.

    Raises:
        InputError: the store has no tick in the range.
        ConfigError: the range is empty, or a queue is not known.
    """
    times = check_range(store, start, end)
    metadata = store.metadata()
    grid = read_grid(store, scorer.bundle.preprocess, times[0], end, metadata)
    first = len(grid.times) - len(times)
    return scorer.score_grid(grid, metadata, first, budget, details, chosen_series(grid, queues))


def score_tick(
    store: History,
    scorer: Scorer,
    at: np.datetime64 | None = None,
    budget: float | None = None,
    details: bool = False,
    queues: Sequence[str] = (),
) -> Results:
    """Score one tick, the newest of the store unless `at` says otherwise (floored)."""
    tick = newest_tick(store) if at is None else store.tick.floor(at)
    return run_backtest(store, scorer, tick, tick + store.tick.delta, budget, details, queues)


def newest_tick(store: History) -> np.datetime64:
    """The newest tick of the store.

    Raises:
        InputError: the store has none.
    """
    span = store.span()
    if span is None:
        msg = f"{store.name}: has no job history; bring some in first, with `qad import STORE --jobs FILE`"
        raise InputError(msg)
    return span[1]


def read_grid(
    store: History, preprocess: Preprocess, start: np.datetime64, end: np.datetime64, metadata: Metadata
) -> Grid:
    """The grid that a bundle needs to score [start, end): from one lookback before `start`."""
    before = start - preprocess.plan.lookback * store.tick.delta
    rows, known = read_history(store, before, end)
    times = store.tick.range(before, end)
    return build_grid(rows, times, store.tick, metadata, preprocess.entity, preprocess.select, store.downtimes(), known)


def read_history(
    store: History, start: np.datetime64, end: np.datetime64
) -> tuple[Iterator[pa.Table], set[tuple[str, str, str]]]:
    """The rows of [start, end) in pieces, with those of the day in which it begins, and the series seen before it.

    The series are all that had a row before `start` once the pieces have been read.
    """
    # The store knows the series of whole days only; those of the day in which the range begins are in its rows.
    day = start.astype("datetime64[D]").astype("datetime64[s]")
    known = store.known_series(start)

    def pieces() -> Iterator[pa.Table]:
        for rows in store.pieces(day, end):
            known.update(series_before(rows, start))
            yield rows
            del rows  # or it was held while the next is read

    return pieces(), known


def chosen_series(grid: Grid | Results, queues: Sequence[str]) -> NDArray[np.int64]:
    """Positions of the series that are asked for, all where none is named.

    A name is a queue where queues are part of the entity, else a value of the entity's first field.

    Raises:
        ConfigError: a name that is no series of the grid.
    """
    if not queues:
        return np.arange(len(grid.series))
    field = series_field(grid.entity)
    names = [key[grid.entity.index(field)] for key in grid.series]
    for queue in queues:
        if queue not in names:
            msg = f"--queue {queue!r}: no such {field} in the history up to this time; its names are case-sensitive"
            raise ConfigError(msg)
    return np.flatnonzero([name in set(queues) for name in names])


def series_field(entity: Sequence[str]) -> str:
    """The field of a series' key that `--queue` names a value of."""
    return "panda_queue" if "panda_queue" in entity else entity[0]


def check_range(store: History, start: np.datetime64, end: np.datetime64) -> Times:
    """The ticks of [start, end), of which the store's history holds some; raises as `run_backtest`."""
    times = store.tick.range(start, end)
    if not times.size:
        msg = f"the range {format_time(start)} to {format_time(end)} holds no tick: give --start before --end"
        raise ConfigError(msg)
    first, last = times[0], times[-1]
    newest = newest_tick(store)
    oldest = (store.span() or (newest, newest))[0]
    if last < oldest or first > newest:
        msg = (
            f"{store.name}: no history between {format_time(first)} and {format_time(last)}; the store holds "
            f"{format_time(oldest)} to {format_time(newest)}: choose a time in it"
        )
        raise InputError(msg)
    return times
