"""The ridge autoregression: it learns what is linear, it sees a step, and it never looks ahead."""

from __future__ import annotations

import numpy as np
import pytest

from qad_dl.baseline.ridge import _errors, _features, _solve, ridge_scores
from qad_dl.grid import Grid
from qad_dl.schema import Tick

TICK = Tick()
DAY = TICK.per_day


def make_grid(counts: np.ndarray) -> Grid:
    n, t, s = counts.shape
    start = np.datetime64("2026-01-01", "s")
    return Grid(
        tick=TICK,
        times=TICK.range(start, start + t * TICK.delta),
        entity=("panda_queue",),
        series=tuple((f"Q{i}",) for i in range(n)),
        states=tuple(f"s{i}" for i in range(s)),
        counts=counts.astype(np.float32),
        arrived=~np.isnan(counts).all(axis=(0, 2)) if s else np.ones(t, np.bool_),
        frozen=np.zeros(t, np.bool_),
        quiet=np.zeros((n, t), np.int32),
        online=np.ones((n, t), np.bool_),
        known=np.ones((n, t), np.bool_),
    )


def process(seed: int, days: int, n: int = 1, s: int = 2) -> np.ndarray:
    """ln(1 + count) as an autoregression of order 2 around 4, each state with its own."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, days * DAY, s))
    for t in range(2, x.shape[1]):
        x[:, t] = 0.6 * x[:, t - 1] + 0.3 * x[:, t - 2] + 0.05 * rng.normal(size=(n, s))
    return np.expm1(4 + x)


def first_days(counts: np.ndarray, days: int) -> np.ndarray:
    return np.arange(counts.shape[1]) < days * DAY


def test_it_finds_the_weights_of_a_linear_process() -> None:
    x = np.log1p(process(0, 30)[0])
    values = (x - x.mean(axis=0)) / x.std(axis=0)
    weights = _solve(_features(values, DAY)[DAY:], values[DAY:])
    for state in range(2):
        assert weights[state, state] == pytest.approx(0.6, abs=0.05)
        assert weights[2 + state, state] == pytest.approx(0.3, abs=0.05)
    weights[[0, 1, 2, 3], [0, 1, 0, 1]] = 0
    assert np.abs(weights).max() < 0.06


def test_the_penalty_is_30() -> None:
    # One feature with sum of squares 30 and target equal to it: the weight is 30 / (30 + 30).
    feature = np.full((30, 1), 1.0)
    assert _solve(feature, feature)[0, 0] == pytest.approx(0.5)


def test_lags_are_the_12_ticks_before_and_the_same_tick_a_day_ago() -> None:
    values = np.arange(200.0)[:, None]
    assert _features(values, DAY)[150].tolist() == [*range(149, 137, -1), 150 - DAY]
    assert _features(values, DAY)[100, -1] == 0


def test_a_healthy_series_is_at_one_in_one_tick_of_a_hundred() -> None:
    counts = process(1, 40, n=3)
    scores = ridge_scores(make_grid(counts), first_days(counts, 20))
    assert np.mean(scores[:, DAY : 20 * DAY] > 1) == pytest.approx(0.01, abs=0.002)
    assert np.mean(scores[:, 20 * DAY :] > 1) == pytest.approx(0.01, abs=0.01)


def test_a_step_of_one_state_scores_high_at_once_and_only_where_it_is() -> None:
    counts = process(2, 12, n=2)
    at = 11 * DAY
    counts[0, at:, 1] *= 0.5
    scores = ridge_scores(make_grid(counts), first_days(counts, 10))
    assert scores[0, at] > 1.5
    assert scores[0, at + 3] > scores[0, at]
    assert scores[0, at - 12 : at].max() < 1.5
    assert scores[1, at - 12 : at + 12].max() < 1.5


def test_the_errors_are_clipped_at_8_spreads() -> None:
    counts = process(3, 10)
    counts[0, 9 * DAY] = 1e6
    errors, _ = _errors(np.log1p(counts[0]), first_days(counts, 8), DAY)
    assert errors[9 * DAY].tolist() == [8, 8]
    assert np.nanstd(errors[: 8 * DAY]) == pytest.approx(1, abs=0.01)


def test_the_average_keeps_the_sign() -> None:
    counts = process(4, 10, n=2, s=1)
    at = 9 * DAY
    counts[0, at : at + 6 : 2] *= 1.3
    counts[0, at + 1 : at + 7 : 2] /= 1.3
    counts[1, at : at + 6] *= np.cumprod(np.full(6, 1.3))[:, None]
    scores = ridge_scores(make_grid(counts), first_days(counts, 8))
    assert scores[1, at + 5] > 2 * scores[0, at + 5]


def test_the_future_does_not_change_the_past() -> None:
    counts = process(5, 10, n=2)
    other = counts.copy()
    other[:, 9 * DAY :] *= 7
    train = first_days(counts, 8)
    one, two = ridge_scores(make_grid(counts), train), ridge_scores(make_grid(other), train)
    np.testing.assert_array_equal(one[:, : 9 * DAY], two[:, : 9 * DAY])
    assert not np.array_equal(one[:, 9 * DAY :], two[:, 9 * DAY :])
    np.testing.assert_allclose(one[:, : 9 * DAY], ridge_scores(make_grid(counts[:, : 9 * DAY]), train[: 9 * DAY]))


def test_other_series_do_not_change_a_score() -> None:
    counts = process(6, 6, n=3)
    train = first_days(counts, 5)
    whole = ridge_scores(make_grid(counts), train)
    np.testing.assert_allclose(whole[1:2], ridge_scores(make_grid(counts[1:2]), train))


def test_missing_ticks_are_unscored_and_filled_where_they_are_lags() -> None:
    counts = process(7, 10)
    missing = counts.copy()
    missing[:, 9 * DAY + 5] = np.nan
    filled = counts.copy()
    filled[:, 9 * DAY + 5] = counts[:, 9 * DAY + 4]
    train = first_days(counts, 8)
    gap, held = _errors(missing[0].astype(np.float32), train, DAY), _errors(filled[0].astype(np.float32), train, DAY)
    assert np.isnan(gap[0][9 * DAY + 5]).all()
    np.testing.assert_array_equal(np.delete(gap[0], 9 * DAY + 5, 0), np.delete(held[0], 9 * DAY + 5, 0))
    scores = ridge_scores(make_grid(missing), train)
    assert np.isnan(scores[0]).nonzero()[0].tolist() == [*range(DAY), 9 * DAY + 5]


def test_a_series_begins_with_a_day_without_score_and_needs_a_day_to_train_on() -> None:
    counts = process(8, 6, n=3)
    counts[1, : 2 * DAY] = np.nan
    counts[2, : 4 * DAY] = np.nan
    scores = ridge_scores(make_grid(counts), first_days(counts, 5))
    assert np.flatnonzero(~np.isnan(scores[1]))[0] == 3 * DAY
    assert np.isnan(scores[2]).all()


def test_a_state_that_never_moved_in_training_is_seen_when_it_does() -> None:
    counts = process(9, 8)
    counts = np.concatenate((counts, np.zeros_like(counts[..., :1])), axis=2)
    quiet = ridge_scores(make_grid(counts), first_days(counts, 6))
    assert np.isfinite(quiet[:, DAY:]).all()
    counts[0, 7 * DAY :, 2] = 500
    assert ridge_scores(make_grid(counts), first_days(counts, 6))[0, 7 * DAY + 3] > 2


def test_a_grid_without_states_is_unscored() -> None:
    assert np.isnan(ridge_scores(make_grid(np.zeros((2, 400, 0))), np.ones(400, np.bool_))).all()


def test_values_that_are_no_counts_are_taken_as_they_are() -> None:
    counts = process(6, 10)
    train = first_days(counts, 8)
    as_counts = ridge_scores(make_grid(counts), train)
    np.testing.assert_allclose(ridge_scores(make_grid(np.log1p(counts) - 9), train, counts=False), as_counts, rtol=1e-3)
