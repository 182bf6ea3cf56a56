"""The same hours of last week: hourly means of what was counted seven days before, to be drawn beside the range."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.backtest import read_history
from qad_dl.grid import build_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qad_dl.grid import Grid
    from qad_dl.histories import History
    from qad_dl.preprocess import Preprocess
    from qad_dl.results import Results

WEEK: Final = np.timedelta64(7, "D")
HOUR: Final = np.timedelta64(1, "h")


def week_before(store: History, preprocess: Preprocess, results: Results) -> NDArray[np.float32]:
    """Mean jobs in each hour of the range of `results`, one week earlier.

    Args:
        store: the history that was scored.
        preprocess: of the bundle that scored it: its entity and selection.
        results: what is shown.

    Returns:
        [N, H, S] float32 for the series and states of `results` and the hours from its first tick on; NaN where no
        tick of the hour arrived, where the store does not reach back so far, or where the series was not there yet.
    """
    start, end = results.times[0] - WEEK, results.times[-1] + store.tick.delta - WEEK
    rows, known = read_history(store, start, end)
    times = store.tick.range(start, end)
    grid = build_grid(
        rows, times, store.tick, store.metadata(), preprocess.entity, preprocess.select, store.downtimes(), known
    )
    return hourly(like(grid, results), max(1, int(HOUR / store.tick.delta)))


def like(grid: Grid, results: Results) -> NDArray[np.float32]:
    """Counts of a grid in the order of the series and states of `results`, [N, T, S]; NaN where the grid has none."""
    counts = np.full((len(results.series), len(grid.times), len(results.states)), np.nan, np.float32)
    rows = [(i, grid.series.index(key)) for i, key in enumerate(results.series) if key in set(grid.series)]
    states = [(s, grid.states.index(name)) for s, name in enumerate(results.states) if name in set(grid.states)]
    if rows and states:
        to, here = (list(pair) for pair in zip(*rows, strict=True))
        to_state, here_state = (list(pair) for pair in zip(*states, strict=True))
        counts[np.ix_(to, range(len(grid.times)), to_state)] = grid.counts[
            np.ix_(here, range(len(grid.times)), here_state)
        ]
        absent = [s for s, name in enumerate(results.states) if name not in set(grid.states)]
        # A state that nobody had is 0 wherever anything was counted.
        counts[:, :, absent] = np.where(np.isfinite(counts[:, :, to_state[:1]]), 0.0, np.nan)
    return counts


def hourly(counts: NDArray[np.float32], ticks: int) -> NDArray[np.float32]:
    """Means over `ticks` neighbours, [N, T, S] to [N, ceil(T / ticks), S]; NaN where none of them is known."""
    n, t, s = counts.shape
    padded = np.concatenate([counts, np.full((n, -t % ticks, s), np.nan, np.float32)], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing is NaN, as it should be
        means: NDArray[np.float32] = np.nanmean(padded.reshape(n, -1, ticks, s), axis=2)
    return means
