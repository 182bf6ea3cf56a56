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
    volumes = volumes_of(scores, truth, incident_rows(truth))
    return figures_of(scores, truth, area_of(scores, truth), volumes, at_budgets(scores, truth, budgets))


def figures_of(
    scores: NDArray[np.float64],
    truth: Truth,
    area: float | None,
    volumes: Sequence[float | None],
    budgets: tuple[AtBudget, ...],
) -> Figures:
    """As `figures`, from what takes long: `area_of`, `volumes_of` all rows with an incident, and `at_budgets`."""
    scored = ~np.isnan(scores)
    main = truth.incident | truth.healthy
    return Figures(
        queue_days=truth.queue_days(truth.healthy & scored),
        unscored=float(np.mean(~scored[main])) if main.any() else None,
        incidents=len(truth.windows),
        auc_pr=area,
        vus_pr=_mean(volumes),
        budgets=budgets,
    )


def area_of(scores: NDArray[np.float64], truth: Truth) -> float | None:
    """Average precision over all pairs of incidents and healthy time; None without either."""
    scored = ~np.isnan(scores)
    pairs = truth.incident | (truth.healthy & scored)
    return average_precision(truth.incident[pairs], np.where(scored, scores, 0.0)[pairs])


def incident_rows(truth: Truth) -> NDArray[np.int64]:
    """The series with an incident, ascending."""
    return np.flatnonzero(truth.incident.any(axis=1))


def volumes_of(scores: NDArray[np.float64], truth: Truth, rows: NDArray[np.int64]) -> list[float | None]:
    """VUS-PR of some series; None where it is not defined.

    Each series is taken over the whole range, the 24 h after its incidents included, since the buffers lie there; only
    downtimes with the 24 h after them, and ticks without a score outside incidents, are dropped. An incident tick
    without a score counts as 0.
    """
    chosen, incident = scores[rows], truth.incident[rows]
    scored = ~np.isnan(chosen)
    filled = np.where(scored, chosen, 0.0)
    keep = ~truth.left_out[rows] & (incident | scored)
    return [vus_pr(*series) for series in zip(incident, filled, keep, strict=True)]


def _mean(volumes: Sequence[float | None]) -> float | None:
    """The mean of those that are defined; None where none is."""
    defined = [v for v in volumes if v is not None]
    return float(np.mean(defined)) if defined else None
