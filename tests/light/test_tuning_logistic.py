"""Ridge logistic regression with groups, and the chances that proposals are held against."""

from __future__ import annotations

import numpy as np
import pytest

from qad_dl.proposal.chance import area, at_least, at_most, better_order
from qad_dl.tuning.logistic import fit, fit_groups, probability

RIDGE = np.array([0.01, 0.25])


def drawn(seed: int, n: int, groups: int, spread: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, y, group, and what the groups really add."""
    rng = np.random.default_rng(seed)
    group, u = rng.integers(groups, size=n), spread * rng.standard_normal(groups)
    x = np.column_stack([np.ones(n), rng.standard_normal(n)])
    return x, rng.random(n) < probability(x @ [0.3, 1.2] + u[group]), group, u


def test_it_is_at_the_top_of_the_penalised_likelihood() -> None:
    x, y, group, _ = drawn(1, 400, 5, 1.0)
    made = fit_groups(x, y, RIDGE, group, 5, [1.0])
    p = probability(x @ made.weights + made.groups[group])
    np.testing.assert_allclose(x.T @ (y - p), RIDGE * made.weights, atol=1e-4)
    np.testing.assert_allclose(np.bincount(group, y - p, 5), made.groups, atol=1e-4)


def test_it_finds_what_is_there() -> None:
    x, y, group, u = drawn(2, 20000, 8, 1.0)
    made = fit_groups(x, y, RIDGE, group, 8, [0.0, 0.5, 1.0, 2.0])
    assert made.spread > 0
    np.testing.assert_allclose(made.weights[1], 1.2, atol=0.1)
    np.testing.assert_allclose(made.groups - made.groups.mean(), u - u.mean(), atol=0.25)


def test_groups_that_are_alike_are_told_to_be() -> None:
    alike = [fit_groups(*_first(drawn(seed, 300, 20, 0.0)), 20, [0.0, 0.5, 1.0, 2.0]).spread for seed in range(10)]
    assert max(alike) <= 0.5
    assert alike.count(0.0) >= 6


def _first(made: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    x, y, group, _ = made
    return x, y, RIDGE, group


def test_a_handful_in_one_group_does_not_swing_it() -> None:
    group = np.repeat([0, 1, 2], [100, 100, 3])
    y = np.concatenate([np.arange(200) % 2 == 0, np.zeros(3, bool)])
    made = fit_groups(np.ones((203, 1)), y, RIDGE[:1], group, 3, [0.5])
    assert -0.7 < made.groups[2] < 0  # three of three would be minus infinity by themselves
    many = np.concatenate([y[:200], np.zeros(60, bool)])
    more = fit_groups(np.ones((260, 1)), many, RIDGE[:1], np.repeat([0, 1, 2], [100, 100, 60]), 3, [0.5])
    assert more.groups[2] < 2 * made.groups[2]


def test_data_that_can_be_told_apart_stay_finite() -> None:
    x = np.column_stack([np.ones(40), np.linspace(-1, 1, 40)])
    made = fit(x, x[:, 1] > 0, RIDGE)
    assert np.isfinite([*made.weights, made.evidence]).all()
    assert made.weights[1] > 3


def test_chances_by_hand() -> None:
    # 6 things, 3 of them problems; 3 are drawn: none of them a problem in 1 of 20 ways.
    assert at_most(0, 3, 3, 6) == pytest.approx(1 / 20)
    assert at_most(1, 3, 3, 6) == pytest.approx(10 / 20)
    assert at_least(3, 3, 3, 6) == pytest.approx(1 / 20)
    assert at_least(0, 3, 3, 6) == 1.0


def test_an_order_wins_only_where_it_is_better() -> None:
    rng = np.random.default_rng(3)
    problem = np.arange(60) % 2 == 0
    noise = rng.standard_normal((2, 60))
    assert area(problem.astype(float), problem) == 1.0
    assert better_order(problem + 0.5 * noise[0], noise[1], problem) < 0.01
    assert better_order(noise[1], problem + 0.5 * noise[0], problem) > 0.99
    assert better_order(noise[0], noise[0], problem) == 1.0
    wins = [better_order(*rng.standard_normal((2, 60)), problem) <= 0.05 for _ in range(200)]
    assert 0 < np.mean(wins) <= 0.1
