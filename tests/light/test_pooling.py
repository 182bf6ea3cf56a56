"""A series' own value, drawn towards that of all series as far as it cannot be relied on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qad_dl.pooling import PARTS, PRIOR_DAYS, Measured, measured, parts_of, pooled_table, power_mean, table_of

DAY = 144
POWER = 6
SERIES = 40
IDS = np.arange(1, SERIES + 1)


def made(apart: float, restless: float, days: int = 6, seed: int = 0) -> Measured:
    """ln v of each series: `apart` between series, and `restless` between the parts of one."""
    rng = np.random.default_rng(seed)
    parts = np.exp(rng.normal(0, apart, (1, SERIES, 1)) + rng.normal(0, restless, (PARTS, SERIES, 1)))
    whole = np.exp(np.log(parts).mean(axis=0))
    return Measured(whole, parts, np.full((PARTS, SERIES), days * DAY // PARTS))


def table(of: Measured, **more: Any) -> np.ndarray:
    return np.log(pooled_table(of, IDS, SERIES + 1, DAY, **more)[:, 0])


def test_what_differs_and_stays_is_a_series_own() -> None:
    of = made(apart=1.0, restless=0.01)
    assert np.allclose(table(of)[1:], np.log(of.whole[:, 0]), atol=0.01)


def test_what_differs_by_chance_is_that_of_all() -> None:
    of = made(apart=0.0, restless=0.5, seed=3)
    rows = table(of)
    assert rows[0] == pytest.approx(np.median(np.log(of.whole)), abs=1e-6)
    assert np.abs(rows[1:] - rows[0]).max() < 0.3 * np.abs(np.log(of.whole) - rows[0]).max()


def test_between_them_it_comes_closer_to_what_a_series_will_be_than_either() -> None:
    rng = np.random.default_rng(1)
    own = rng.normal(0, 0.3, (1, SERIES, 1))
    seen = own + rng.normal(0, 0.5, (PARTS, SERIES, 1))
    of = Measured(np.exp(seen.mean(axis=0)), np.exp(seen), np.full((PARTS, SERIES), 2 * DAY))
    rows, truth = table(of), own[0, :, 0]
    pooled = np.square(rows[1:] - truth).mean()
    assert pooled < 0.9 * np.square(seen.mean(axis=0)[:, 0] - truth).mean()
    assert pooled < 0.9 * np.square(rows[0] - truth).mean()


def test_a_series_with_fewer_ticks_is_drawn_further() -> None:
    of = made(apart=0.5, restless=0.5)
    few = of._replace(counted=of.counted.copy(), whole=of.whole.copy())
    few.counted[:, 0] //= 4
    few.whole[0] = np.e**3
    many = of._replace(whole=few.whole)
    assert table(few)[0] < table(few)[1] < table(many)[1] < 3


def test_without_a_tick_it_is_that_of_all_and_no_value_is_below_the_least_share() -> None:
    of = made(apart=1.0, restless=0.1)
    none = of._replace(whole=of.whole.copy(), counted=of.counted.copy())
    none.whole[4], none.counted[:, 4] = np.nan, 0
    rows = table(none, least=0.5)
    assert rows[5] == pytest.approx(rows[0])
    assert rows.min() == pytest.approx(rows[0] + np.log(0.5), abs=1e-5)


def test_of_few_series_the_value_of_all_counts_as_a_day() -> None:
    of = made(apart=1.0, restless=1.0)
    two = Measured(of.whole[:2], of.parts[:, :2], of.counted[:, :2])
    count = two.counted.sum(axis=0).astype(float)
    expected = table_of(two.whole, count, IDS[:2], 3, PRIOR_DAYS * DAY, DAY)
    assert np.array_equal(pooled_table(two, IDS[:2], 3, DAY), expected)


def test_series_that_are_all_the_same_and_never_move_are_no_riddle() -> None:
    still = Measured(np.zeros((5, 2)), np.zeros((PARTS, 5, 2)), np.full((PARTS, 5), DAY))
    rows = pooled_table(still, IDS[:5], 6, DAY)
    assert np.isfinite(rows).all()
    assert (rows > 0).all()


def test_the_norm_is_that_of_the_ticks_in_use_and_tells_tails() -> None:
    rng = np.random.default_rng(2)
    evidence = rng.normal(size=(3, 900, 1, 2)).astype(np.float32)
    evidence[..., 1] = rng.standard_t(3, evidence.shape[:-1]).clip(-8, 8)
    evidence[..., 1] *= np.sqrt((evidence[..., 0] ** 2).mean() / (evidence[..., 1] ** 2).mean())
    use = rng.random((3, 900)) < 0.7
    use[2] = False
    of = power_mean(evidence, use, parts_of(np.arange(900)), POWER)
    expected = (np.abs(evidence[0][use[0]]) ** POWER).mean(axis=0) ** (1 / POWER)
    assert np.allclose(of.whole[0], expected, rtol=1e-5)
    assert np.allclose(
        of.parts[1, 0], (np.abs(evidence[0, 300:600][use[0, 300:600]]) ** POWER).mean(axis=0) ** (1 / POWER)
    )
    assert np.array_equal(of.counted.sum(axis=0), use.sum(axis=1))
    assert np.isnan(of.whole[2]).all()
    assert (of.whole[:2, 0, 1] > 1.2 * of.whole[:2, 0, 0]).all()


def test_any_value_is_measured_part_by_part_and_pieces_are_joined() -> None:
    values = np.arange(24, dtype=float).reshape(2, 12)
    use = np.ones((2, 12), bool)

    def most(mine: np.ndarray) -> np.ndarray:
        return np.where(mine, values, -1).max(axis=1)

    of = measured(most, use, parts_of(np.arange(12)))
    assert of.whole.tolist() == [11, 23]
    assert of.parts.tolist() == [[3, 15], [7, 19], [11, 23]]
    both = Measured.joined([of, of])
    assert both.whole.shape == (4,)
    assert both.parts.shape == (3, 4)
    assert both.counted.tolist() == [[4] * 4] * 3
