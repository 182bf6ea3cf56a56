"""Windows at fixed places, and the guard before every network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qad_dl.schema import Tick
from qad_dl.windows import WindowPlan, carry_forward

CELLS = st.floats(-5, 5, width=32) | st.sampled_from([np.float32(np.nan), np.float32(np.inf)])


@pytest.mark.parametrize("minutes", [5, 10, 15, 30, 60])
def test_a_score_looks_no_further_back_than_it_says(minutes: int) -> None:
    plan = WindowPlan.for_tick(Tick(minutes))
    for tick in range(10_000, 10_000 + plan.stride):
        oldest = plan.first_output(tick - plan.evidence)  # the window of the oldest error that a score uses
        assert tick - (oldest - plan.memory) <= plan.lookback
        assert tick - (oldest - plan.context) <= plan.lookback
    assert plan.lookback * minutes == 7 * 24 * 60
    assert plan.context >= plan.day  # the same hour yesterday is inside
    assert plan.length == plan.context + plan.stride


def test_the_window_of_a_tick_is_fixed_to_the_clock() -> None:
    plan = WindowPlan.for_tick(Tick())
    for tick in range(1000, 1100):
        first = plan.first_output(tick)
        assert first % plan.stride == 0
        assert first <= tick < first + plan.stride


@given(
    arrays(np.float32, (2, 6, 2), elements=CELLS),
    arrays(np.bool_, (2, 6, 2)),
)
def test_what_was_not_observed_is_carried_from_the_last_that_was(values: np.ndarray, observed: np.ndarray) -> None:
    filled, mask = carry_forward(values, observed)
    assert np.isfinite(filled).all()
    assert filled.dtype == mask.dtype == np.float32
    for b, t, s in np.ndindex(values.shape):
        seen = [u for u in range(t + 1) if observed[b, u, s] and np.isfinite(values[b, u, s])]
        assert filled[b, t, s] == (values[b, seen[-1], s] if seen else 0)
        assert mask[b, t, s] == (seen[-1:] == [t])


def test_nan_is_never_observed_even_where_the_mask_says_so() -> None:
    values = np.array([[[1.0], [np.nan], [np.inf]]], np.float32)
    filled, mask = carry_forward(values, np.ones((1, 3, 1), bool))
    assert filled[0, :, 0].tolist() == [1, 1, 1]
    assert mask[0, :, 0].tolist() == [1, 0, 0]
