"""QMonit's rule by hand."""

from __future__ import annotations

import numpy as np
import pytest

from qad_dl.baseline.rule import rule_scores
from qad_dl.grid import Grid
from qad_dl.schema import Tick


def make_grid(counts: np.ndarray, states: tuple[str, ...], tick: Tick | None = None) -> Grid:
    tick = tick or Tick()
    n, t = counts.shape[:2]
    start = np.datetime64("2026-01-01", "s")
    return Grid(
        tick=tick,
        times=tick.range(start, start + t * tick.delta),
        entity=("panda_queue",),
        series=tuple((f"Q{i}",) for i in range(n)),
        states=states,
        counts=counts.astype(np.float32),
        arrived=~np.isnan(counts).all(axis=(0, 2)),
        frozen=np.zeros(t, np.bool_),
        quiet=np.zeros((n, t), np.int32),
        online=np.ones((n, t), np.bool_),
        known=np.ones((n, t), np.bool_),
    )


def test_the_last_hour_against_the_last_day() -> None:
    counts = np.full((1, 200, 1), 10.0)
    counts[0, 197:] = 70
    score = rule_scores(make_grid(counts, ("running",)))
    assert score[0, 196] == 0
    # 1 h: 3 ticks of 10 and 3 of 70; 24 h: 141 and 3.
    hour, day = 40.0, (141 * 10 + 3 * 70) / 144
    assert score[0, 199] == pytest.approx((hour - day) / (day + 5))


def test_the_largest_of_the_four_states_counts_and_no_other_state() -> None:
    counts = np.full((1, 200, 3), 10.0)
    counts[0, 194:, 0] = 0
    counts[0, 194:, 1] = 1000
    counts[0, 194:, 2] = 20
    score = rule_scores(make_grid(counts, ("activated", "holding", "failed")))
    fall, rise = 10 * 138 / 144, (10 * 138 + 20 * 6) / 144
    assert score[0, -1] == pytest.approx(max(fall / (fall + 5), (20 - rise) / (rise + 5)))


@pytest.mark.parametrize("state", ["assigned", "activated", "failed", "running", "holding"])
def test_each_of_the_four_states_counts_by_itself(state: str) -> None:
    counts = np.full((1, 200, 1), 10.0)
    counts[0, 194:] = 20
    day = (10 * 138 + 20 * 6) / 144
    expected = 0.0 if state == "holding" else (20 - day) / (day + 5)
    assert rule_scores(make_grid(counts, (state,)))[0, -1] == pytest.approx(expected)


def test_a_missing_tick_has_no_score_and_is_in_no_mean() -> None:
    counts = np.full((1, 200, 1), 10.0)
    counts[0, 190:196] = np.nan
    counts[0, 196] = 50
    score = rule_scores(make_grid(counts, ("running",)))
    assert np.isnan(score[0, 190:196]).all()
    day = (137 * 10 + 50) / 138
    assert score[0, 196] == pytest.approx((50 - day) / (day + 5))


def test_a_series_that_has_not_begun_has_no_score() -> None:
    counts = np.full((2, 50, 1), 4.0)
    counts[1, :20] = np.nan
    score = rule_scores(make_grid(counts, ("running",)))
    assert np.isnan(score[1]).tolist() == [True] * 20 + [False] * 30


def test_the_future_does_not_matter() -> None:
    counts = np.random.default_rng(0).poisson(20, (3, 300, 4)).astype(float)
    states = ("assigned", "activated", "running", "failed")
    whole = rule_scores(make_grid(counts, states))
    assert whole[:, :250].tolist() == rule_scores(make_grid(counts[:, :250], states)).tolist()


def test_the_means_are_hours_and_not_ticks() -> None:
    counts = np.full((1, 60, 1), 10.0)
    counts[0, -2:] = 70
    score = rule_scores(make_grid(counts, ("running",), Tick(30)))
    day = (46 * 10 + 2 * 70) / 48
    assert score[0, -1] == pytest.approx((70 - day) / (day + 5))


def test_a_grid_without_states_is_unscored() -> None:
    assert np.isnan(rule_scores(make_grid(np.zeros((2, 5, 0)), ()))).all()
