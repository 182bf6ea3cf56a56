"""The hindsight reference: how much of the incidents could be seen by one who knows when they were.

x = ln(1 + count); D(series, state) = |mean of x over the window - mean over the 36 ticks before|, over the series' own
99th percentile of the same statistic on healthy windows of the next length in 1, 3, 6, 12, 24 h. The statistic of an
incident is the maximum of D over states and hit series. The threshold: those healthy windows are slid tick by tick, the
statistic at a tick is the maximum over the lengths of the windows that begin there, and its episodes are held to the
budget like those of any score (interfaces, section 8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.metrics.episodes import count_episodes
from qad_dl.metrics.truth import span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qad_dl.grid import Grid
    from qad_dl.metrics.truth import Truth, Window

LENGTHS_H: Final = (1, 3, 6, 12, 24)
BEFORE_TICKS: Final = 36
PERCENTILE: Final = 99.0

FLOOR: Final = 0.1
"""Smallest percentile divided by, in units of ln(1 + count): a state that never moves in healthy time is not seen for
a move of less than a tenth."""


@dataclass(frozen=True)
class Hindsight:
    """What hindsight sees at one budget.

    Attributes:
        budget: false episodes per healthy queue-day.
        threshold: of the statistic; None where no threshold keeps the budget.
        seen: share of the incidents at or above it; None where there is no incident or no healthy window.
        seen_by_kind: the same per kind.
    """

    budget: float
    threshold: float | None
    seen: float | None
    seen_by_kind: dict[str, float]


def hindsight(grid: Grid, truth: Truth, budgets: Sequence[float]) -> list[Hindsight]:
    """Share of the incidents that hindsight sees at each budget.

    Args:
        grid: counts of the same series, in the order of the truth, over at least its ticks; the 36 ticks before the
            first incident should be there.
        truth: incidents and healthy time; what is outside its range counts as not healthy.
        budgets: false episodes per healthy queue-day.
    """
    offset = int((truth.times[0] - grid.times[0]) // grid.tick.delta)
    healthy = np.zeros(grid.counts.shape[:2], np.bool_)
    healthy[:, offset : offset + len(truth.times)] = truth.healthy
    lengths = [max(1, h * grid.tick.per_day // 24) for h in LENGTHS_H]
    scan = np.full(healthy.shape, np.nan)
    found = np.full((len(truth.windows), len(grid.series)), np.nan)
    hit_by = [[k for k, w in enumerate(truth.windows) if i in w.rows] for i in range(len(grid.series))]
    for i in range(len(grid.series)):
        means = _Means(grid.counts[i])
        scan[i], scales = _healthy_scan(means, healthy[i], lengths)
        for k in hit_by[i]:
            found[k, i] = _of_incident(means, truth.windows[k], grid, lengths, scales)
    counts = count_episodes(scan, np.isfinite(scan), grid.tick.per_day)
    days = truth.queue_days(np.isfinite(scan))
    statistic = np.max(np.where(np.isnan(found), 0.0, found), axis=1, initial=0.0)
    return [_at(b, counts.lowest(b * days), counts.threshold, days, statistic, truth.windows) for b in budgets]


class _Means:
    """Means of x = ln(1 + count) of one series over any stretch of ticks, from running sums."""

    def __init__(self, counts: NDArray[np.float32]) -> None:
        s = counts.shape[1]
        x = np.log1p(counts.astype(np.float64))
        seen = np.isfinite(x).all(axis=1) & (s > 0)
        self.total = np.concatenate((np.zeros((1, s)), np.cumsum(np.where(seen[:, None], x, 0.0), axis=0)))
        self.seen = np.concatenate(([0], np.cumsum(seen)))

    def step(self, start: NDArray[np.int64], stop: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """|mean over [start, stop) - mean over the 36 ticks before|, [K, S], and where half of either arrived, [K]."""
        before = np.maximum(start - BEFORE_TICKS, 0)
        inside, earlier = self.seen[stop] - self.seen[start], self.seen[start] - self.seen[before]
        mean = (self.total[stop] - self.total[start]) / np.maximum(inside, 1)[:, None]
        mean_before = (self.total[start] - self.total[before]) / np.maximum(earlier, 1)[:, None]
        enough = (2 * inside >= stop - start) & (2 * earlier >= BEFORE_TICKS)
        return np.abs(mean - mean_before), enough


def _healthy_scan(
    means: _Means, healthy: NDArray[np.bool_], lengths: Sequence[int]
) -> tuple[NDArray[np.float64], list[NDArray[np.float64] | None]]:
    """The statistic of the healthy windows that begin at each tick, [T] (NaN where none), and its scale per length."""
    scan = np.full(len(healthy), np.nan)
    well = np.concatenate(([0], np.cumsum(healthy)))
    scales: list[NDArray[np.float64] | None] = []
    for length in lengths:
        start = np.arange(BEFORE_TICKS, len(healthy) - length + 1)
        start = start[well[start + length] - well[start - BEFORE_TICKS] == length + BEFORE_TICKS]
        steps, enough = means.step(start, start + length)
        if not enough.any() or not steps.shape[1]:
            scales.append(None)
            continue
        scale = np.maximum(np.percentile(steps[enough], PERCENTILE, axis=0), FLOOR)
        scales.append(scale)
        scan[start[enough]] = np.fmax(scan[start[enough]], (steps[enough] / scale).max(axis=1))
    return scan, scales


def _of_incident(
    means: _Means, window: Window, grid: Grid, lengths: Sequence[int], scales: Sequence[NDArray[np.float64] | None]
) -> float:
    """Largest D over the states of one hit series; NaN where it cannot be told for want of ticks."""
    ticks = span(grid.times, window.start, window.end)
    duration = (window.end - window.start) / grid.tick.delta
    place = min(int(np.searchsorted(lengths, duration)), len(lengths) - 1)
    steps, enough = means.step(np.array([ticks.start]), np.array([ticks.stop]))
    scale = scales[place]
    if scale is None or not enough[0]:
        return float("nan")
    return float((steps[0] / scale).max())


def _at(
    budget: float,
    index: int | None,
    thresholds: NDArray[np.float64],
    days: float,
    statistic: NDArray[np.float64],
    windows: Sequence[Window],
) -> Hindsight:
    if not windows or not days:
        return Hindsight(budget=budget, threshold=None, seen=None, seen_by_kind={})
    threshold = None if index is None else float(thresholds[index])
    seen = np.zeros(len(windows), np.bool_) if threshold is None else statistic >= threshold
    return Hindsight(
        budget=budget, threshold=threshold, seen=float(seen.mean()), seen_by_kind=share_by_kind(seen, windows)
    )


def share_by_kind(seen: NDArray[np.bool_], windows: Sequence[Window]) -> dict[str, float]:
    """Share of the incidents of each kind that are seen; kinds in alphabetical order."""
    kinds = np.array([w.kind for w in windows])
    return {str(kind): float(seen[kinds == kind].mean()) for kind in np.unique(kinds)}
