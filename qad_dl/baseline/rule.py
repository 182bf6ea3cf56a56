"""QMonit's rule: the last hour against the last day, as its dashboard of suspicious sites shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qad_dl.grid import Grid

RULE_STATES: Final = ("assigned", "activated", "failed", "running")
"""The states whose moving averages QMonit keeps."""

SOFTENER: Final = 5.0
"""Jobs added to the mean of the day, so that a queue with hardly any jobs does not stand out."""


def rule_scores(grid: Grid) -> NDArray[np.float64]:
    """Max over assigned, activated, failed, running of |mean1h - mean24h| / (mean24h + 5).

    The means are over the ticks that arrived among the last 1 h and 24 h, the scored one included, as many as the grid
    has: give it the 24 h before the first tick of interest.

    Returns:
        [N, T] float64; NaN where the tick did not arrive or the series had not begun.
    """
    hour, day = max(1, grid.tick.per_day // 24), grid.tick.per_day
    observed = _observed(grid)
    score = np.zeros(observed.shape)
    for name in RULE_STATES:
        if name in grid.states:
            counts = grid.counts[:, :, grid.states.index(name)].astype(np.float64)
            short, long = _trailing_mean(counts, hour), _trailing_mean(counts, day)
            np.maximum(score, np.abs(short - long) / (long + SOFTENER), out=score)
    return np.where(observed, score, np.nan)


def _observed(grid: Grid) -> NDArray[np.bool_]:
    """Pairs with counts, [N, T]: a tick that arrived has a value in every state, else in none."""
    if not grid.states:
        return np.zeros((len(grid.series), len(grid.times)), np.bool_)
    return ~np.isnan(grid.counts[:, :, 0])


def _trailing_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean of the values among the last `width` ticks, this one included, [N, T]; 0 where there is none."""
    seen = ~np.isnan(values)
    total = _trailing_sum(np.where(seen, values, 0.0), width)
    return total / np.maximum(_trailing_sum(seen.astype(np.float64), width), 1.0)


def _trailing_sum(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    total = np.cumsum(values, axis=1)
    total[:, width:] = total[:, width:] - total[:, :-width]
    return total
