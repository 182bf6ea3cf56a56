"""Counts on one scale."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qad_dl.scaling import (
    CLIP,
    SCALE_FLOOR,
    SCALE_SHARE,
    Quantity,
    Scale,
    fit_scale,
    to_jobs,
    to_log,
    to_values,
    to_x,
)


@given(arrays(np.float32, (3, 4), elements=st.floats(0, 1e5, width=32)))
def test_there_and_back(counts: np.ndarray) -> None:
    assert np.allclose(to_jobs(to_log(counts)), counts, rtol=1e-4, atol=1e-3)


def test_nan_stays_nan_and_jobs_are_never_negative() -> None:
    assert np.isnan(to_log(np.array([np.nan], np.float32)))
    assert to_jobs(np.array([-3.0], np.float32)) == 0


def test_location_is_the_median_of_the_ticks_in_use() -> None:
    x = np.array([[[1.0], [2.0], [3.0], [4.0], [100.0], [np.nan]]], np.float32)
    use = np.array([[True, True, True, True, True, False]])
    assert fit_scale(x, use).loc[0, 0] == 3.0


@pytest.mark.parametrize("seed", range(3))
def test_quartiles_like_numpys_lower_or_upper(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(3, 2, (5, 401, 2)).astype(np.float32)
    use = rng.random((5, 401)) < 0.8
    got = fit_scale(x, use)
    for n in range(5):
        own = x[n, use[n]]
        assert np.allclose(got.loc[n], np.quantile(own, 0.5, axis=0, method="inverted_cdf"))
        spread = np.diff(np.quantile(own, [0.25, 0.75], axis=0, method="inverted_cdf"), axis=0)[0] / 1.349
        assert np.allclose(got.scale[n], np.maximum(spread, own.std(axis=0) / 2), rtol=1e-4)


def test_an_outlier_does_not_move_the_location() -> None:
    x = np.full((1, 99, 1), 2.0, np.float32)
    x[0, 50] = 11
    got = fit_scale(x, np.ones((1, 99), bool))
    assert got.loc[0, 0] == 2.0
    assert got.scale[0, 0] < 1.0


def test_a_state_that_never_moved_has_the_floor_and_one_without_ticks_has_nothing() -> None:
    x = np.full((2, 9, 1), 2.0, np.float32)
    got = fit_scale(x, np.array([[True] * 9, [False] * 9]))
    assert got.scale[0, 0] == np.float32(SCALE_FLOOR)
    assert np.isnan(got.scale[1, 0])
    assert np.isnan(got.loc[1, 0])


def test_a_state_that_is_mostly_zero_gets_its_scale_from_its_bursts() -> None:
    x = np.zeros((1, 100, 1), np.float32)
    x[0, :10] = 5
    assert np.isclose(fit_scale(x, np.ones((1, 100), bool)).scale[0, 0], x[0].std() / 2)


def test_apply_standardises_clips_and_keeps_nan() -> None:
    scale = Scale(np.array([[1.0, 0.0]], np.float32), np.array([[2.0, 0.2]], np.float32))
    x = np.array([[[5.0, np.nan], [1.0, 9.0], [-99.0, -9.0]]], np.float32)
    assert np.array_equal(scale.apply(x)[0], [[2, np.nan], [0, CLIP], [-CLIP, -CLIP]], equal_nan=True)


def test_a_measurement_is_not_judged_finer_than_a_share_of_what_it_does_elsewhere() -> None:
    x = np.zeros((3, 100, 2), np.float32)
    x[1, :, 0] = np.tile([-10, 10], 50)
    x[2, :, 0] = np.tile([-30, 30], 50)
    got = fit_scale(x, np.ones((3, 100), bool), Quantity.MEASUREMENTS)
    assert got.scale[0, 0] == pytest.approx(SCALE_SHARE * np.median(got.scale[1:, 0]))
    assert got.scale[1, 0] == pytest.approx(20 / 1.349)
    assert (got.scale[:, 1] == 1).all(), "it never moved anywhere: the unit that it came in"


def test_measurements_are_their_own_x() -> None:
    values = np.array([-3.0, 0.0, np.nan], np.float32)
    for there_or_back in (to_x, to_values):
        np.testing.assert_array_equal(there_or_back(values, Quantity.MEASUREMENTS), values)
    np.testing.assert_array_equal(to_x(values[1:], Quantity.COUNTS), to_log(values[1:]))
