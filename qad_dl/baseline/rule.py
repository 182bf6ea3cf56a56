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
    if not grid.states:
        return np.full(grid.counts.shape[:2], np.nan)
    # A tick that arrived has a value in every state, else in none.
    return rule_of_counts(rule_counts(grid), ~np.isnan(grid.counts[:, :, 0]), grid.tick.per_day)


def rule_counts(grid: Grid) -> NDArray[np.float32]:
    """Counts of `RULE_STATES`, [N, T, 4]: 0 of a state that the grid does not have, NaN as in the grid."""
    counts = np.zeros((*grid.counts.shape[:2], len(RULE_STATES)), np.float32)
    for i, name in enumerate(RULE_STATES):
        if name in grid.states:
            counts[:, :, i] = grid.counts[:, :, grid.states.index(name)]
    return counts


def rule_of_counts(counts: NDArray[np.float32], observed: NDArray[np.bool_], per_day: int) -> NDArray[np.float64]:
    """As `rule_scores`, from the counts of `RULE_STATES` alone.

    Args:
        counts: [N, T, 4], looked at where observed.
        observed: [N, T] the tick arrived, and the series had begun.
        per_day: ticks in a day.
    """
    score = np.zeros(observed.shape)
    for i in range(len(RULE_STATES)):
        values = np.where(observed, counts[:, :, i], np.nan).astype(np.float64)
        short, long = _trailing_mean(values, max(1, per_day // 24)), _trailing_mean(values, per_day)
        np.maximum(score, np.abs(short - long) / (long + SOFTENER), out=score)
    return np.where(observed, score, np.nan)


def _trailing_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean of the values among the last `width` ticks, this one included, [N, T]; 0 where there is none."""
    seen = ~np.isnan(values)
    total = _trailing_sum(np.where(seen, values, 0.0), width)
    return total / np.maximum(_trailing_sum(seen.astype(np.float64), width), 1.0)


def _trailing_sum(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    total = np.cumsum(values, axis=1)
    total[:, width:] = total[:, width:] - total[:, :-width]
    return total
