"""What a score sees at a budget of false alarms, and how often a decision really raises one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.metrics.episodes import count_episodes, episode_begins
from qad_dl.metrics.hindsight import share_by_kind
from qad_dl.metrics.truth import span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qad_dl.metrics.truth import Truth, Window

GRACE: Final = np.timedelta64(1, "h").astype("timedelta64[s]")
"""An episode that begins this soon after an incident still belongs to it: start <= time < end + 1 h."""


@dataclass(frozen=True)
class AtBudget:
    """What a score sees at one budget.

    Attributes:
        budget: false episodes per healthy queue-day.
        threshold: the lowest that keeps the budget; None where none does, or where there is no healthy time.
        false_episodes: at that threshold; None without healthy time.
        seen: share of the incidents seen; None without healthy time or incidents. 0 where no threshold keeps the
            budget: then nothing may be raised.
        seen_by_kind: the same per kind of incident that there is.
        median_delay_min: median over the incidents seen, minutes; None where none is.
    """

    budget: float
    threshold: float | None
    false_episodes: int | None
    seen: float | None
    seen_by_kind: dict[str, float]
    median_delay_min: float | None


def at_budgets(scores: NDArray[np.float64], truth: Truth, budgets: Sequence[float]) -> tuple[AtBudget, ...]:
    """What a score sees at each budget.

    Args:
        scores: [N, T] float64, higher is more anomalous; NaN where unscored: never an alarm, and in healthy time not
            part of the denominator.
        truth: what happened.
        budgets: false episodes per healthy queue-day, one threshold for all series.
    """
    healthy = truth.healthy & ~np.isnan(scores)
    days = truth.queue_days(healthy)
    counts = count_episodes(scores, healthy, truth.tick.per_day)
    result = []
    for budget in budgets:
        if not days:
            result.append(AtBudget(budget, None, None, None, {}, None))
            continue
        index = counts.lowest(budget * days)
        hot = np.zeros(scores.shape, np.bool_) if index is None else scores >= counts.threshold[index]
        delays = delays_min(hot, truth)
        seen = ~np.isnan(delays)
        result.append(
            AtBudget(
                budget=budget,
                threshold=None if index is None else float(counts.threshold[index]),
                false_episodes=0 if index is None else int(counts.episodes[index]),
                seen=float(seen.mean()) if seen.size else None,
                seen_by_kind=share_by_kind(seen, truth.windows),
                median_delay_min=float(np.median(delays[seen])) if seen.any() else None,
            )
        )
    return tuple(result)


def delays_min(hot: NDArray[np.bool_], truth: Truth) -> NDArray[np.float64]:
    """Minutes from the start of each incident to the first episode that sees it, [W]; NaN where none does.

    Args:
        hot: [N, T] bool, ticks at or above the threshold.
        truth: what happened. An episode that begins in a downtime, or in the 24 h after it, sees nothing.
    """
    begins = episode_begins(hot, truth.tick.per_day) & ~truth.left_out
    return np.array([_delay(begins, window, truth) for window in truth.windows], np.float64)


def false_episodes(hot: NDArray[np.bool_], where: NDArray[np.bool_], truth: Truth) -> int:
    """Episodes that begin in a mask [N, T]."""
    return int(np.count_nonzero(episode_begins(hot, truth.tick.per_day) & where))


def _delay(begins: NDArray[np.bool_], window: Window, truth: Truth) -> float:
    ticks = span(truth.times, window.start, window.end + GRACE)
    first = np.flatnonzero(begins[list(window.rows), ticks].any(axis=0))
    if not first.size:
        return float("nan")
    return float((truth.times[ticks.start + first[0]] - window.start) / np.timedelta64(60, "s"))
