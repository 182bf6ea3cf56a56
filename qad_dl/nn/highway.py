"""Solving the linear highway: a ridge autoregression per series, drawn towards the one of all series together.

With `G = X'X` and `C = X'Y` of a series, `W = (G + ridge I)^-1 (C + ridge W0)`, where `W0` solves the same equations
on the sums over all series: a series with little history is the pooled one, a series with much history its own.

Without pooling, `W0` is 0 for all but the unknown series. Where states go together so closely that a series' own
history leaves whole directions open, the pooled weights fill them with what other series do: errors in usual times are
the same, but what follows once something breaks the togetherness is then predicted wildly wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from qad_dl.nn.modules import Shape, lag_features
from qad_dl.progress import progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qad_dl.preprocess import Prepared, Preprocess

RIDGE = 30.0
"""The ridge of the peer (interfaces, section 8), here towards the pooled weights."""

SPREAD_PRIOR = 50.0
"""A series' residual variance counts against the pooled one as if that had been measured on this many ticks."""


def solve_highway(
    preprocess: Preprocess,
    prepared: Prepared,
    weight: NDArray[np.bool_],
    span: tuple[int, int],
    shape: Shape,
    pooled: bool = True,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights and residual spreads of every known series; row 0 is the pooled one.

    Args:
        preprocess: gives the ids of the series.
        prepared: the grid.
        weight: [N, T] ticks to fit on.
        span: first and one past the last grid position to fit on.
        shape: horizons and lags.
        pooled: whether the weights of a series are drawn towards the pooled ones; else towards 0.

    Returns:
        table [ids, H, features, S] and spread [ids, H, S], float32.
    """
    h, f, s = len(shape.horizons), shape.features, shape.states
    ids = shape.vocabulary[0]
    gram, cross = np.zeros((ids, h, f, f), np.float32), np.zeros((ids, h, f, s), np.float32)
    square, count = np.zeros((ids, s)), np.zeros(ids)
    known = [(n, int(i)) for n, i in enumerate(prepared.static_cat[-1, :, 0]) if i]
    for n, i in progress(known, "linear highway", len(known), "series"):
        x, y = _design(preprocess, prepared, weight, n, span, shape)
        for k in range(h):
            gram[i, k], cross[i, k] = x[k].T @ x[k], x[k].T @ y
        square[i], count[i] = (y**2).sum(axis=0), len(y)
    gram[0], cross[0], square[0], count[0] = gram[1:].sum(0), cross[1:].sum(0), square[1:].sum(0), count[1:].sum()
    eye = np.eye(f, dtype=np.float64) * RIDGE
    table = np.zeros((ids, h, f, s))
    table[0] = np.linalg.solve(gram[0].astype(np.float64) + eye, cross[0])
    centre = RIDGE * table[0] if pooled else 0.0
    for i in range(1, ids):
        table[i] = np.linalg.solve(gram[i].astype(np.float64) + eye, cross[i] + centre)
    return table.astype(np.float32), _spread(table, gram, cross, square, count)


def _design(
    preprocess: Preprocess,
    prepared: Prepared,
    weight: NDArray[np.bool_],
    series: int,
    span: tuple[int, int],
    shape: Shape,
) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
    """Features per horizon [rows, features] and targets [rows, S] of one series."""
    start, end = span
    window = preprocess.cut(prepared, np.array([series]), np.array([start]), end - start)
    values = torch.from_numpy(window.values)
    target = prepared.values[series, start:end]
    rows = weight[series, start:end] & np.isfinite(target).all(axis=1)
    return [lag_features(values, h, shape)[0].numpy()[rows] for h in shape.horizons], target[rows]


def _spread(
    table: NDArray[np.float64],
    gram: NDArray[np.float32],
    cross: NDArray[np.float32],
    square: NDArray[np.float64],
    count: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Residual standard deviations from the sums alone: ||Y - XW||^2 = Y'Y - 2 W'C + W'GW."""
    fitted = np.einsum("ihfs,ihfg,ihgs->ihs", table, gram, table, optimize=True)
    rest = np.maximum(square[:, None] - 2 * np.einsum("ihfs,ihfs->ihs", table, cross) + fitted, 0)
    pooled = rest[0] / max(count[0], 1)
    variance = (rest + SPREAD_PRIOR * pooled) / (count[:, None, None] + SPREAD_PRIOR)
    out: NDArray[np.float32] = np.sqrt(variance).astype(np.float32)
    return out
