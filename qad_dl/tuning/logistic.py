"""Logistic regression with ridge, some of its coefficients by group: partial pooling.

    logit P(y = 1) = x . w + u_g,      w_j ~ N(0, 1 / ridge_j),      u_g ~ N(0, spread^2)

The most likely w and u are found by Newton's method. How much groups differ, `spread`, is chosen by the marginal
likelihood in Laplace's approximation (MacKay 1992): of groups with few cases, or that do not differ, u stays near 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

STEPS: Final = 100
CLOSE: Final = 1e-9
"""Newton's method ends where no step gains more than this in log-likelihood."""

SHORTEST: Final = 1e-6
"""Of a Newton step that overshoots, at least this part is tried."""


@dataclass(frozen=True)
class Fit:
    """What was fitted.

    Attributes:
        weights: [P] of the columns of x.
        groups: [G] of the groups; 0 where they are told to be alike.
        spread: how much groups differ, in units of log odds.
        evidence: log of the marginal likelihood.
    """

    weights: NDArray[np.float64]
    groups: NDArray[np.float64]
    spread: float
    evidence: float


def fit(x: NDArray[np.float64], y: NDArray[np.bool_], ridge: NDArray[np.float64]) -> Fit:
    """Fit without groups.

    Args:
        x: [n, P].
        y: [n].
        ridge: [P] > 0.
    """
    return _fit(x, y, ridge, np.zeros(len(y), np.int64), 1, 0.0)


def fit_groups(
    x: NDArray[np.float64],
    y: NDArray[np.bool_],
    ridge: NDArray[np.float64],
    group: NDArray[np.int64],
    groups: int,
    spreads: Sequence[float],
) -> Fit:
    """Fit with groups, at the spread with the highest evidence.

    Args:
        x: [n, P].
        y: [n].
        ridge: [P] > 0.
        group: [n] in [0, groups).
        groups: how many there are.
        spreads: those that are tried, in log odds; 0 for groups that are alike. Of equals the first.
    """
    return max((_fit(x, y, ridge, group, groups, spread) for spread in spreads), key=lambda made: made.evidence)


def probability(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + e^-logit), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logit)))


def _fit(
    x: NDArray[np.float64],
    y: NDArray[np.bool_],
    ridge: NDArray[np.float64],
    group: NDArray[np.int64],
    groups: int,
    spread: float,
) -> Fit:
    tight = spread**-2 if spread > 0 else np.inf
    w, u = np.zeros(x.shape[1]), np.zeros(groups)
    value = _value(x, y, ridge, group, tight, w, u)
    for _ in range(STEPS):
        step_w, step_u, _ = _newton(x, y, ridge, group, tight, w, u)
        part, better = 1.0, value
        while part >= SHORTEST:
            better = _value(x, y, ridge, group, tight, w + part * step_w, u + part * step_u)
            if better >= value:
                break
            part /= 2
        gained, value = better - value, max(better, value)
        if gained < 0:
            break
        w, u = w + part * step_w, u + part * step_u
        if gained < CLOSE:
            break
    _, _, log_det = _newton(x, y, ridge, group, tight, w, u)
    prior = 0.5 * np.log(ridge).sum() + (0.5 * groups * np.log(tight) if spread > 0 else 0.0)
    return Fit(w, u, spread, float(value + prior - 0.5 * log_det))


def _value(
    x: NDArray[np.float64],
    y: NDArray[np.bool_],
    ridge: NDArray[np.float64],
    group: NDArray[np.int64],
    tight: float,
    w: NDArray[np.float64],
    u: NDArray[np.float64],
) -> float:
    """Log-likelihood less the penalty."""
    logit = x @ w + u[group]
    likelihood = -np.logaddexp(0, np.where(y, -logit, logit)).sum()
    return float(likelihood - 0.5 * (ridge * w**2).sum() - (0.5 * tight * (u**2).sum() if np.isfinite(tight) else 0.0))


def _newton(
    x: NDArray[np.float64],
    y: NDArray[np.bool_],
    ridge: NDArray[np.float64],
    group: NDArray[np.int64],
    tight: float,
    w: NDArray[np.float64],
    u: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Step in w and u, and the log determinant of the Hessian.

    The block of the groups is diagonal: what is solved is as large as x is wide, however many groups there are.
    """
    p = probability(x @ w + u[group])
    slope, curve = y - p, p * (1 - p)
    gradient, hessian = x.T @ slope - ridge * w, (x * curve[:, None]).T @ x + np.diag(ridge)
    if not np.isfinite(tight):
        step = np.asarray(np.linalg.solve(hessian, gradient), np.float64)
        return step, np.zeros_like(u), float(np.linalg.slogdet(hessian)[1])
    n = len(u)
    diagonal = np.bincount(group, curve, n) + tight
    cross = np.stack([np.bincount(group, curve * column, n) for column in x.T])  # [P, G]
    g_u = np.bincount(group, slope, n) - tight * u
    schur = hessian - (cross / diagonal) @ cross.T
    step_w = np.asarray(np.linalg.solve(schur, gradient - (cross / diagonal) @ g_u), np.float64)
    step_u = (g_u - cross.T @ step_w) / diagonal
    return step_w, step_u, float(np.linalg.slogdet(schur)[1] + np.log(diagonal).sum())
