"""Episodes by hand, against a slow reading of the definition, and their number at every threshold by brute force."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qad_dl.metrics import episodes
from qad_dl.metrics.episodes import count_episodes, episode_begins

if TYPE_CHECKING:
    import pytest

DAY = 144


def hot(*ticks: int, length: int = 400) -> np.ndarray:
    row = np.zeros((1, length), np.bool_)
    row[0, list(ticks)] = True
    return row


def begins(row: np.ndarray, cut: int = DAY) -> list[int]:
    return np.flatnonzero(episode_begins(row, cut)[0]).tolist()


def slow_begins(row: np.ndarray, cut: int) -> list[int]:
    """The definition, tick by tick."""
    found: list[int] = []
    last = None
    for tick in np.flatnonzero(row):
        joined = last is not None and tick - last - 1 <= 3
        if not joined or tick - found[-1] >= cut:
            found.append(int(tick))
        last = tick
    return found


def test_a_gap_of_three_ticks_is_joined_and_one_of_four_is_not() -> None:
    assert begins(hot(10, 14)) == [10]
    assert begins(hot(10, 15)) == [10, 15]


def test_nothing_hot_is_no_episode() -> None:
    assert begins(hot()) == []
    assert episode_begins(np.zeros((3, 0), np.bool_), DAY).shape == (3, 0)


def test_a_long_run_is_cut_24_h_after_each_start() -> None:
    row = np.ones((1, 300), np.bool_)
    assert begins(row) == [0, 144, 288]


def test_the_episode_after_a_cut_starts_at_a_hot_tick() -> None:
    row = np.ones((1, 300), np.bool_)
    row[0, 143:146] = False
    assert begins(row) == [0, 146, 290]


def test_series_do_not_join_each_other() -> None:
    rows = np.zeros((2, 5), np.bool_)
    rows[0, 4] = rows[1, 0] = True
    assert episode_begins(rows, DAY).tolist() == rows.tolist()


@settings(deadline=None)
@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 3), st.integers(1, 60))), st.integers(5, 20))
def test_episodes_are_those_of_the_slow_reading(rows: np.ndarray, cut: int) -> None:
    found = episode_begins(rows, cut)
    assert [np.flatnonzero(row).tolist() for row in found] == [slow_begins(row, cut) for row in rows]


SCORES = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 3), st.integers(1, 40)),
    elements=st.one_of(st.sampled_from([0.0, 1.0, 2.0, 3.0, np.nan]), st.floats(0, 10)),
)


@settings(max_examples=300, deadline=None)
@given(SCORES, st.integers(0, 2**32 - 1), st.integers(5, 15))
def test_the_counts_are_those_of_every_threshold_tried(scores: np.ndarray, seed: int, cut: int) -> None:
    where = np.random.default_rng(seed).random(scores.shape) < 0.7
    counts = count_episodes(scores, where, cut)
    thresholds = np.unique(scores[scores > 0])[::-1]
    assert counts.threshold.tolist() == thresholds.tolist()
    tried = [sum(where[i, b] for i, row in enumerate(scores) for b in slow_begins(row >= x, cut)) for x in thresholds]
    assert counts.episodes.tolist() == tried


def test_the_counts_do_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(0).random((7, 50)).round(1)
    where = np.ones(scores.shape, np.bool_)
    whole = count_episodes(scores, where, 10)
    monkeypatch.setattr(episodes, "BLOCK", 1)
    single = count_episodes(scores, where, 10)
    assert whole.threshold.tolist() == single.threshold.tolist()
    assert whole.episodes.tolist() == single.episodes.tolist()


def test_the_lowest_threshold_is_found_although_the_count_is_not_monotone() -> None:
    # 5: one episode; 4: two; 3: three; 2: the gaps close, one again.
    scores = np.array([[5.0, 0, 0, 2, 0, 0, 4.0, 0, 0, 2, 0, 0, 3.0]])
    counts = count_episodes(scores, np.ones(scores.shape, np.bool_), DAY)
    assert dict(zip(counts.threshold.tolist(), counts.episodes.tolist(), strict=True)) == {5: 1, 4: 2, 3: 3, 2: 1}
    assert counts.threshold[counts.lowest(1)] == 2
    assert counts.threshold[counts.lowest(2.9)] == 2
    assert counts.lowest(0.5) is None


def test_a_product_that_rounds_below_a_whole_number_still_allows_it() -> None:
    counts = count_episodes(np.array([[1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0]]), np.ones((1, 11), np.bool_), DAY)
    assert 0.1 * 3 * 10 - 1e-12 < 3
    assert counts.lowest(0.1 * 3 * 10 - 1e-12) == 0
