"""Solving the linear highway: a ridge autoregression per series, drawn towards the one of all series together.

With `G = X'X` and `C = X'Y` of a series, `W = (G + ridge I)^-1 (C + ridge W0)`, where `W0` solves the same equations
on the sums over all series: a series with little history is the pooled one, a series with much history its own.

Without pooling, `W0` is 0 for all but the unknown series. Where states go together so closely that a series' own
history leaves whole directions open, the pooled weights fill them with what other series do: errors in usual times are
the same, but what follows once something breaks the togetherness is then predicted wildly wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from qad_dl.nn.modules import SPREAD_FLOOR, Shape, lag_features
from qad_dl.progress import progress
from qad_dl.scoring import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from qad_dl.prepared import Rows, Windowed
    from qad_dl.preprocess import Preprocess

RIDGE = 30.0
"""The ridge of the peer (interfaces, section 8), here towards the pooled weights."""

SPREAD_PRIOR = 50.0
"""A series' residual variance counts against the pooled one as if that had been measured on this many ticks."""


def solve_highway(
    preprocess: Preprocess,
    prepared: Windowed,
    weight: Rows,
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
    every = np.arange(len(prepared.series))
    own = prepared.ids(np.full(len(every), -1), every)[:, 0]
    known = sorted((int(i), n) for n, i in enumerate(own) if i)
    ids, h, s = shape.vocabulary[0], len(shape.horizons), shape.states

    def sums(what: str) -> Iterator[tuple[int, _Sums]]:
        for i, n in progress(known, f"linear highway, {what}", len(known), "series"):
            yield i, _sums(*_design(preprocess, prepared, weight, n, span, shape))

    # Twice through the series: the sums of all of them, kept, would be more than a network for thousands of series.
    total = _Sums.zero(h, shape.features, s)
    for _, one in sums("all"):
        total.add(one)
    table, spread = np.zeros((ids, h, shape.features, s), np.float32), np.zeros((ids, h, s), np.float32)
    pooled_weights = total.solve(0.0)
    rest = total.rest(pooled_weights)
    centre = RIDGE * pooled_weights if pooled else 0.0
    table[0], spread[0] = pooled_weights, _spread(rest, total.count, rest / max(total.count, 1))
    for i, one in sums("each"):
        weights = one.solve(centre)
        table[i], spread[i] = weights, _spread(one.rest(weights), one.count, rest / max(total.count, 1))
    return table, spread


def highway_errors(
    preprocess: Preprocess,
    prepared: Windowed,
    series: NDArray[np.int64],
    span: tuple[int, int],
    shape: Shape,
    solved: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """What the highway alone is off by, as `scoring.errors`: [n, ticks of the span, H, S] float32, 0 where not counted.

    Args:
        preprocess: gives the ids of the series.
        prepared: the grid.
        series: [n] positions of the series.
        span: first and one past the last grid position.
        shape: horizons and lags.
        solved: of `solve_highway`.
    """
    (start, end), (table, spread) = span, solved
    window = preprocess.cut(prepared, series, np.full(len(series), start), end - start)
    values, ids = torch.from_numpy(window.values), window.static_cat[:, 0]
    expected = [lag_features(values, h, shape).numpy() @ table[ids, i] for i, h in enumerate(shape.horizons)]
    return errors(prepared.values[series, start:end], np.stack(expected, axis=2), spread[ids][:, None] + SPREAD_FLOOR)


@dataclass
class _Sums:
    """What the equations of some rows X [rows, features] per horizon and Y [rows, S] are made of.

    Attributes:
        gram: X'X, [H, features, features].
        cross: X'Y, [H, features, S].
        square: Y'Y, its diagonal, [S].
        count: rows.
    """

    gram: NDArray[np.float32]
    cross: NDArray[np.float32]
    square: NDArray[np.float64]
    count: float

    @classmethod
    def zero(cls, h: int, f: int, s: int) -> _Sums:
        """Of no rows."""
        return cls(np.zeros((h, f, f), np.float32), np.zeros((h, f, s), np.float32), np.zeros(s), 0.0)

    def add(self, other: _Sums) -> None:
        """Take in the rows of another."""
        self.gram += other.gram
        self.cross += other.cross
        self.square += other.square
        self.count += other.count

    def solve(self, centre: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """The weights [H, features, S], drawn by the ridge towards `centre` over `RIDGE`."""
        eye = np.eye(self.gram.shape[1], dtype=np.float64) * RIDGE
        weights: NDArray[np.float64] = np.linalg.solve(self.gram.astype(np.float64) + eye, self.cross + centre)
        return weights

    def rest(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Squares of what weights leave unexplained: ||Y - XW||^2 = Y'Y - 2 W'C + W'GW, [H, S]."""
        fitted = np.einsum("hfs,hfg,hgs->hs", weights, self.gram, weights, optimize=True)
        explained = np.einsum("hfs,hfs->hs", weights, self.cross)
        return np.asarray(np.maximum(self.square - 2 * explained + fitted, 0))


def _sums(x: list[NDArray[np.float32]], y: NDArray[np.float32]) -> _Sums:
    gram, cross = np.stack([f.T @ f for f in x]), np.stack([f.T @ y for f in x])
    return _Sums(gram, cross, (y**2).sum(axis=0).astype(np.float64), float(len(y)))


def _spread(rest: NDArray[np.float64], count: float, pooled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Residual standard deviations, [H, S], drawn towards those of all series together."""
    return np.asarray(np.sqrt((rest + SPREAD_PRIOR * pooled) / (count + SPREAD_PRIOR)))


def _design(
    preprocess: Preprocess,
    prepared: Windowed,
    weight: Rows,
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
