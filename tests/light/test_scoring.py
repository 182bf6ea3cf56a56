"""Errors to evidence to a statistic."""

from __future__ import annotations

import json

import numpy as np
import pytest

from qad_dl.scoring import (
    ERROR_CLIP,
    Channel,
    Evidence,
    accumulate,
    allow_expected,
    bad_news,
    doubts_of,
    errors,
    statistic,
    unexplained_stop,
)

STATES = ("activated", "running", "finished", "failed")
HOW = Evidence((Channel(0, 0.3), Channel(1, 0.05), Channel(1, 1.0)), ticks=20)


def noise(n: int = 2, t: int = 90, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, t, 2, len(STATES))).astype(np.float32)


def test_evidence_is_a_finite_sum_with_falling_weights() -> None:
    z = noise()
    got = accumulate(z, HOW)
    for p, channel in enumerate(HOW.channels):
        for t in range(HOW.ticks, z.shape[1]):
            w = channel.weight * (1 - channel.weight) ** np.arange(HOW.ticks)
            newest_first = z[:, t - HOW.ticks + 1 : t + 1, channel.horizon][:, ::-1]
            assert np.allclose(got[:, t, p], np.einsum("k,nks->ns", w, newest_first), atol=1e-5)


@pytest.mark.parametrize("start", [1, 7, 30, 60])
def test_evidence_does_not_depend_on_the_tick_it_began_at(start: int) -> None:
    z = noise()
    whole, part = accumulate(z, HOW)[:, start:], accumulate(z[:, start:], HOW)
    assert np.array_equal(whole[:, HOW.ticks :], part[:, HOW.ticks :])


def test_older_errors_have_no_influence_at_all() -> None:
    z = noise()
    wild = z.copy()
    wild[:, :10] = ERROR_CLIP
    after = 10 + HOW.ticks
    assert np.allclose(accumulate(z, HOW)[:, after:], accumulate(wild, HOW)[:, after:], atol=1e-6)
    assert not np.allclose(accumulate(z, HOW)[:, 12], accumulate(wild, HOW)[:, 12], atol=1e-2)


def test_evidence_json() -> None:
    doubtful = Evidence((*HOW.channels, Channel(2, 1.0, doubt=True)), HOW.ticks, doubts=((0, 1),))
    for how in (HOW, doubtful):
        assert Evidence.from_json(json.loads(json.dumps(how.to_json()))) == how
    assert Evidence.from_json({"channels": [[0, 0.3], [1, 1.0]], "ticks": 20}).doubts == ()  # as it was written before


def test_doubts_are_ln_of_how_much_wider_the_spread_is() -> None:
    spread = np.array([[[[1.0, 2.0], [4.0, 4.0], [2.0, 1.0], [4.0, 1e6]]]], np.float32)  # [1, 1, 4, 2]
    doubts = doubts_of(spread, [(0, 2), (1, 3)])
    assert np.allclose(doubts[0, 0], [[np.log(2), -np.log(2)], [0, ERROR_CLIP]], atol=1e-6)
    assert doubts.dtype == np.float32


def test_errors_are_in_units_of_spread_clipped_and_zero_where_nothing_was_counted() -> None:
    values = np.array([[[1.0, 50.0], [np.nan, -50.0]]], np.float32)
    reconstruction = np.zeros((1, 2, 1, 2), np.float32)
    z = errors(values, reconstruction, np.full((1, 2, 1, 2), 0.5, np.float32))
    assert z[0, :, 0].tolist() == [[2.0, ERROR_CLIP], [0.0, -ERROR_CLIP]]


def test_an_expected_fall_is_dropped_and_a_burst_of_failures_is_kept() -> None:
    evidence = np.empty((1, 2, 1, 4), np.float32)
    evidence[0, :, 0] = [-3, -3, 4, 2]
    kept = allow_expected(evidence, np.array([[False, True]]), STATES)
    assert kept[0, 0, 0].tolist() == [-3, -3, 4, 2]
    assert kept[0, 1, 0].tolist() == [0, 0, 0, 2]


def test_fewer_failures_than_usual_count_for_nothing_when_a_fall_is_expected() -> None:
    evidence = np.full((1, 1, 1, 4), -2.0, np.float32)
    assert not allow_expected(evidence, np.array([[True]]), STATES).any()


def test_good_news_and_what_others_end_are_no_evidence() -> None:
    states = ("activated", "running", "failed", "cancelled")
    evidence = np.array([[3, 3, 3, 3], [-3, -3, -3, -3]], np.float32).reshape(1, 2, 1, 4)
    assert bad_news(evidence, states)[0, :, 0].tolist() == [[3, 0, 3, 0], [-3, -3, 0, 0]]


def test_the_statistic_is_a_root_mean_square_over_states() -> None:
    evidence = np.array([3.0, -4.0, 0.0, 0.0], np.float32).reshape(1, 1, 1, 4)
    assert np.isclose(statistic(evidence)[0, 0, 0], 2.5)


def stops(*counts: tuple[float, float, float]) -> list[float]:
    """Of one series with (activated, running, finished) per tick."""
    x = np.log1p(np.array(counts, np.float32))[None]
    return unexplained_stop(x, ("activated", "running", "finished"))[0].tolist()


def test_a_fall_of_running_that_finished_explains_is_no_stop() -> None:
    assert stops((0, 48, 0), (0, 0, 48)) == pytest.approx([0, 0], abs=1e-6)
    assert stops((0, 48, 0), (0, 0, 0)) == pytest.approx([0, np.log(49)], rel=1e-5)
    assert stops((0, 48, 0), (0, 10, 14)) == pytest.approx([0, np.log(49 / 25)], rel=1e-5)


def test_few_jobs_cannot_stop_and_a_gap_hides_it() -> None:
    assert stops((0, 4, 0), (0, 0, 0)) == [0, 0]
    assert stops((0, 5, 0), (0, 0, 0)) == pytest.approx([0, np.log(6)], rel=1e-5)
    assert stops((0, 48, 0), (np.nan, np.nan, np.nan), (0, 0, 0)) == [0, 0, 0]


def test_without_running_or_finished_nothing_stops() -> None:
    assert not unexplained_stop(np.zeros((2, 5, 1), np.float32), ("running",)).any()
