"""The linear highway against the textbook."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.grid import NEVER, Grid
from qad_dl.metadata import Metadata
from qad_dl.nn.highway import RIDGE, SPREAD_PRIOR, solve_highway
from qad_dl.nn.modules import Shape
from qad_dl.preprocess_fit import fit_preprocess
from qad_dl.schema import Tick

if TYPE_CHECKING:
    from qad_dl.prepared import Prepared
    from qad_dl.preprocess import Preprocess

TICK = Tick()
T, STATES = 3000, ("activated", "running")
A = np.array([[0.9, 0.0], [0.3, 0.6]])  # running follows activated
NOISE = 0.05


def vector_autoregression(series: int = 3, seed: int = 0) -> tuple[Preprocess, Prepared]:
    """x_t = 3 + A (x_{t-1} - 3) + noise, as counts of some series."""
    rng = np.random.default_rng(seed)
    x = np.full((series, T, 2), 3.0)
    for t in range(1, T):
        x[:, t] = 3 + (x[:, t - 1] - 3) @ A.T + NOISE * rng.standard_normal((series, 2))
    keys = tuple((f"Q{i}",) for i in range(series))
    everywhere = np.ones((series, T), bool)
    grid = Grid(
        tick=TICK,
        times=TICK.range(np.datetime64("2026-01-05", "s"), np.datetime64("2026-01-05", "s") + T * TICK.delta),
        entity=("panda_queue",),
        series=keys,
        states=STATES,
        counts=np.expm1(x).astype(np.float32),
        arrived=np.ones(T, bool),
        frozen=np.zeros(T, bool),
        quiet=np.zeros((series, T), np.int32),
        online=everywhere,
        known=everywhere,
    )
    assert grid.quiet.max() < NEVER
    preprocess = fit_preprocess(grid, Metadata.empty(), everywhere)
    return preprocess, preprocess.prepare(grid, Metadata.empty(), in_training=True)


@pytest.fixture(scope="module")
def solved():
    preprocess, prepared = vector_autoregression()
    plan = preprocess.plan
    shape = Shape(2, 6, (4,), plan.context, plan.day, horizons=(1, 3), lags=2)
    weight = np.ones((3, T), bool)
    weight[1, 1000:1500] = False
    weight[2, 600:] = False
    span = (plan.context, T)
    table, spread = solve_highway(preprocess, prepared, weight, span, shape)
    return prepared, shape, weight, span, table, spread


def design(prepared: Prepared, shape: Shape, weight: np.ndarray, span: tuple[int, int], series: int, horizon: int):
    """Features and targets, row by row."""
    values = prepared.values[series]
    lags = [*range(horizon, horizon + shape.lags), shape.day]
    ticks = [t for t in range(*span) if weight[series, t]]
    x = np.array([np.concatenate([*(values[t - lag] for lag in lags), [1.0]]) for t in ticks], np.float64)
    return x, values[ticks].astype(np.float64)


def ridge(x: np.ndarray, y: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """argmin |xw - y|^2 + RIDGE |w - towards|^2, by numpy's least squares on stacked rows."""
    more = np.sqrt(RIDGE) * np.eye(x.shape[1])
    return np.linalg.lstsq(np.vstack([x, more]), np.vstack([y, more @ towards]), rcond=None)[0]


@pytest.mark.parametrize("h", [0, 1])
def test_it_is_the_ridge_solution_towards_the_pooled_one(solved, h: int) -> None:
    prepared, shape, weight, span, table, _ = solved
    parts = [design(prepared, shape, weight, span, n, shape.horizons[h]) for n in range(3)]
    x, y = (np.concatenate([p[i] for p in parts]) for i in (0, 1))
    pooled = ridge(x, y, np.zeros((shape.features, 2)))
    assert np.allclose(table[0, h], pooled, atol=2e-3)
    for n, (own, target) in enumerate(parts):
        assert np.allclose(table[n + 1, h], ridge(own, target, pooled), atol=2e-3)


def test_a_vector_autoregression_is_found_again(solved) -> None:
    prepared, _, _, _, table, _ = solved
    for n in range(2):
        scale = prepared.scale.scale[0, n]
        first_lag = table[n + 1, 0, :2] / scale[:, None] * scale[None, :]  # [from, to], in units of x
        assert np.allclose(first_lag, A.T, atol=0.12)
        assert abs(table[n + 1, 0, 2:4]).max() < 0.15


def test_the_spread_is_that_of_the_residuals(solved) -> None:
    prepared, shape, weight, span, table, spread = solved
    for h, horizon in enumerate(shape.horizons):
        for n in range(3):
            x, y = design(prepared, shape, weight, span, n, horizon)
            rest = ((y - x @ table[n + 1, h]) ** 2).sum(axis=0)
            wanted = np.sqrt((rest + SPREAD_PRIOR * spread[0, h].astype(float) ** 2) / (len(y) + SPREAD_PRIOR))
            assert np.allclose(spread[n + 1, h], wanted, rtol=0.05)
    assert (spread[:, 1] > spread[:, 0]).all(), "further ahead is less sure"


def test_a_series_without_ticks_is_the_pooled_one() -> None:
    preprocess, prepared = vector_autoregression(seed=4)
    plan = preprocess.plan
    shape = Shape(2, 6, (4,), plan.context, plan.day, (1,), 2)
    weight = np.ones((3, T), bool)
    weight[1] = False
    table, spread = solve_highway(preprocess, prepared, weight, (plan.context, T), shape)
    assert np.allclose(table[2], table[0], atol=1e-6)
    assert np.allclose(spread[2], spread[0], rtol=0.05)


def test_without_pooling_each_series_stands_alone_and_the_unknown_one_is_still_pooled(solved) -> None:
    prepared, shape, weight, span, table, _ = solved
    preprocess, _ = vector_autoregression()
    alone, _ = solve_highway(preprocess, prepared, weight, span, shape, pooled=False)
    assert np.array_equal(alone[0], table[0])
    x, y = design(prepared, shape, weight, span, 2, shape.horizons[0])
    assert np.allclose(alone[3, 0], ridge(x, y, np.zeros((shape.features, 2))), atol=2e-3)
