"""All figures of one score against what happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.metrics.budget import AtBudget, at_budgets
from qad_dl.metrics.precision_recall import average_precision
from qad_dl.metrics.vus import vus_pr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qad_dl.metrics.truth import Truth

BUDGETS: Final = (0.1, 0.01, 0.001)
"""False alarm episodes per healthy queue-day at which detectors are compared."""


@dataclass(frozen=True)
class Figures:
    """How good one score is.

    Attributes:
        queue_days: healthy time with a score, in days of series.
        unscored: share of the (series, tick) pairs of the main figures without a score; None where there is no pair.
        incidents: number of incidents that could be seen.
        auc_pr: average precision over all pairs of incidents and healthy time; None without either.
        vus_pr: mean over the series with an incident; None without any.
        budgets: what is seen at each budget.
    """

    queue_days: float
    unscored: float | None
    incidents: int
    auc_pr: float | None
    vus_pr: float | None
    budgets: tuple[AtBudget, ...]


def figures(scores: NDArray[np.float64], truth: Truth, budgets: Sequence[float] = BUDGETS) -> Figures:
    """All figures of one score.

    Args:
        scores: [N, T] float64, higher is more anomalous, NaN where unscored.
        truth: what happened, on the same grid.
        budgets: false episodes per healthy queue-day.
    """
    scored = ~np.isnan(scores)
    main = truth.incident | truth.healthy
    pairs = truth.incident | (truth.healthy & scored)
    return Figures(
        queue_days=truth.queue_days(truth.healthy & scored),
        unscored=float(np.mean(~scored[main])) if main.any() else None,
        incidents=len(truth.windows),
        auc_pr=average_precision(truth.incident[pairs], np.where(scored, scores, 0.0)[pairs]),
        vus_pr=mean_vus_pr(scores, truth),
        budgets=at_budgets(scores, truth, budgets),
    )


def mean_vus_pr(scores: NDArray[np.float64], truth: Truth) -> float | None:
    """Mean VUS-PR over the series with an incident; None where there is none.

    Each series is taken over the whole range, the 24 h after its incidents included, since the buffers lie there; only
    downtimes with the 24 h after them, and ticks without a score outside incidents, are dropped. An incident tick
    without a score counts as 0.
    """
    scored = ~np.isnan(scores)
    filled = np.where(scored, scores, 0.0)
    keep = ~truth.left_out & (truth.incident | scored)
    rows = np.flatnonzero(truth.incident.any(axis=1))
    volumes = [vus_pr(truth.incident[i], filled[i], keep[i]) for i in rows]
    defined = [v for v in volumes if v is not None]
    return float(np.mean(defined)) if defined else None
