"""The ridge autoregression: the linear peer of the deep models (interfaces, section 8).

Per series, on standardised x = ln(1 + count): x at a tick is predicted from x of all states at the 12 ticks before and
24 h before. The errors over their own spread are clipped at 8, averaged exponentially with their sign, reduced to the
root mean square over the states, and divided by the series' 99th percentile in training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.progress import progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qad_dl.grid import Grid

LAGS: Final = 12
PENALTY: Final = 30.0
CLIP: Final = 8.0
WEIGHT: Final = 0.3
"""Weight of the newest error in the exponential average."""
PERCENTILE: Final = 99.0

SPREAD_FLOOR: Final = 0.05
"""Smallest spread of the errors, in standard deviations of the state, so that a state that is predicted exactly in
training does not turn rounding into an alarm."""


def ridge_scores(grid: Grid, train: NDArray[np.bool_], counts: bool = True) -> NDArray[np.float64]:
    """Train on some ticks of a grid and score all of it; a score depends on nothing after its tick but the training.

    A tick that did not arrive is filled with the last one that did, where it is needed as a lag; it is neither trained
    on nor scored, and leaves the average of the errors as it was.

    Args:
        grid: the history, training time included.
        train: [T] bool, the ticks to train on. Those without 24 h of the series' history before them are not used.
        counts: the values are counts; otherwise x is the value as it is.

    Returns:
        [N, T] float64, 1 where the 99th percentile of training is reached. NaN where the tick did not arrive, where the
        series has begun less than 24 h ago, and all along where it has less than a day of ticks to train on.
    """
    n, t, s = grid.counts.shape
    if not s:
        return np.full((n, t), np.nan)
    errors = np.full((n, t, s), np.nan, np.float32)
    used = np.zeros((n, t), np.bool_)
    for i in progress(range(n), "ridge", unit="series"):
        values = grid.counts[i].astype(np.float64)
        errors[i], used[i] = _errors(np.log1p(values) if counts else values, train, grid.tick.per_day)
    level = _averaged(errors)
    scores = np.full((n, t), np.nan)
    for i in range(n):
        if used[i].any():
            top = float(np.percentile(level[i, used[i]], PERCENTILE))
            scores[i] = level[i] / (top if top > 0 else 1.0)
    return scores


def _errors(
    x: NDArray[np.float64], train: NDArray[np.bool_], day: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Errors of one series over their spread, clipped, [T, S] (NaN where unscored), and the ticks trained on, [T]."""
    t, s = x.shape
    seen = np.asarray(np.isfinite(x).all(axis=1), np.bool_)
    ready = seen & (np.arange(t) >= (int(np.argmax(seen)) + max(day, LAGS)))
    used = ready & train
    errors = np.full((t, s), np.nan)
    if np.count_nonzero(used) < day:
        return errors, np.zeros(t, np.bool_)
    values, constant = _standardised(x, seen, train)
    features = _features(values, day)
    weights = _solve(features[used], values[used])
    residual = values - features @ weights
    spread = np.where(constant, 1.0, np.maximum(residual[used].std(axis=0), SPREAD_FLOOR))
    errors[ready] = np.clip(residual[ready] / spread, -CLIP, CLIP)
    return errors, used


def _standardised(
    x: NDArray[np.float64], seen: NDArray[np.bool_], train: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Standardise by the ticks of training; fill what did not arrive with the last that did, else with the mean.

    Returns:
        Values [T, S], and the states that did not vary in training [S]: those keep the unit of x.
    """
    mean, deviation = x[seen & train].mean(axis=0), x[seen & train].std(axis=0)
    constant = deviation < 1e-6
    last = np.maximum.accumulate(np.where(seen, np.arange(len(x)), -1))
    values = (x[np.maximum(last, 0)] - mean) / np.where(constant, 1.0, deviation)
    values[last < 0] = 0.0
    return values, constant


def _features(values: NDArray[np.float64], day: int) -> NDArray[np.float64]:
    """All states at the 12 ticks before and 24 h before each tick, [T, 13 S]; 0, the mean, before the grid begins."""
    t, s = values.shape
    features = np.zeros((t, (LAGS + 1) * s))
    for column, lag in enumerate((*range(1, LAGS + 1), day)):
        features[lag:, column * s : (column + 1) * s] = values[: max(0, t - lag)]
    return features


def _solve(features: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """(X'X + penalty I)^-1 X'Y, [13 S, S]; no intercept, since both sides are standardised."""
    gram = features.T @ features
    gram[np.diag_indices_from(gram)] += PENALTY
    return np.linalg.solve(gram, features.T @ target).astype(np.float64, copy=False)


def _averaged(errors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Root mean square over states of the errors' exponential average, [N, T]; NaN where there is no error."""
    n, t, s = errors.shape
    state = np.zeros((n, s), np.float64)
    level = np.full((n, t), np.nan)
    for i in range(t):
        scored = np.isfinite(errors[:, i]).all(axis=1)
        state[scored] += WEIGHT * (errors[scored, i] - state[scored])
        level[scored, i] = np.sqrt((state[scored] ** 2).mean(axis=1))
    return level
