"""Seen, delay, budget, realised: by hand and by trying every threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qad_dl.metrics.budget import at_budgets, delays_min, false_episodes
from qad_dl.metrics.episodes import episode_begins
from qad_dl.metrics.figures import figures
from qad_dl.metrics.truth import Truth, Window, build_truth
from qad_dl.metrics.vus import vus_pr
from qad_dl.schema import Tick

TICK = Tick()
TIMES = TICK.range(np.datetime64("2026-01-01", "s"), np.datetime64("2026-01-11", "s"))
T = len(TIMES)


def window(first: int, last: int, *rows: int, kind: str = "site_down") -> Window:
    """An incident over the ticks first <= tick < last."""
    return Window(TIMES[first], TIMES[0] + last * TICK.delta, rows, kind, str(first))


def hot(*pairs: tuple[int, int], n: int = 2) -> np.ndarray:
    mask = np.zeros((n, T), np.bool_)
    for row, tick in pairs:
        mask[row, tick] = True
    return mask


def delays(mask: np.ndarray, *windows: Window, downtimes: tuple[Window, ...] = ()) -> list[float | None]:
    truth = build_truth(TIMES, TICK, len(mask), windows, downtimes)
    return [None if np.isnan(d) else d for d in delays_min(mask, truth)]


def test_an_episode_inside_an_incident_sees_it() -> None:
    assert delays(hot((0, 205), (1, 203)), window(200, 220, 0)) == [50]
    assert delays(hot((0, 205), (1, 203)), window(200, 220, 0, 1)) == [30]
    assert delays(hot((1, 203)), window(200, 220, 0)) == [None]


def test_an_hour_after_the_incident_still_counts_and_more_does_not() -> None:
    assert delays(hot((0, 225)), window(200, 220, 0)) == [250]
    assert delays(hot((0, 226)), window(200, 220, 0)) == [None]


def test_an_episode_that_began_before_the_incident_does_not_see_it() -> None:
    mask = hot()
    mask[0, 190:220] = True
    assert delays(mask, window(200, 220, 0)) == [None]
    mask[0, 195:200] = False
    assert delays(mask, window(200, 220, 0)) == [0]


def test_the_delay_counts_from_the_start_and_not_from_the_next_tick() -> None:
    incident = Window(TIMES[200] - np.timedelta64(300, "s"), TIMES[220], (0,), "other", "x")
    assert delays(hot((0, 201)), incident) == [15]


def test_an_episode_that_begins_in_a_downtime_sees_nothing() -> None:
    assert delays(hot((0, 205)), window(200, 220, 0), downtimes=(window(203, 204, 0),)) == [None]
    assert delays(hot((0, 202)), window(200, 220, 0), downtimes=(window(203, 204, 0),)) == [20]


def test_false_episodes_begin_in_healthy_time() -> None:
    truth = build_truth(TIMES, TICK, 2, [window(200, 220, 0)])
    mask = hot((0, 100), (0, 205), (0, 220 + 143), (0, 220 + 144), (1, 205))
    # (0, 364) is joined to (0, 363), which is not healthy yet.
    assert false_episodes(mask, truth.healthy, truth) == 2
    mask[0, 363] = False
    assert false_episodes(mask, truth.healthy, truth) == 3


def test_the_threshold_is_the_lowest_that_keeps_the_budget() -> None:
    scores = np.zeros((1, T))
    scores[0, [10, 30, 50, 70]] = [4, 3, 2, 1]
    truth = build_truth(TIMES, TICK, 1, [window(1000, 1010, 0)])
    scores[0, 1005] = 2.5
    days = truth.queue_days(truth.healthy)
    at = at_budgets(scores, truth, [2 / days, 3 / days, 0.5 / days])
    assert [(a.threshold, a.false_episodes, a.seen, a.median_delay_min) for a in at] == [
        (2.5, 2, 1.0, 50.0),
        (2.0, 3, 1.0, 50.0),
        (None, 0, 0.0, None),  # the highest score of all is a false episode already: nothing may be raised
    ]


def test_seen_by_kind_and_the_median_over_the_incidents_seen() -> None:
    windows = [window(200, 220, 0), window(600, 620, 0), window(1000, 1010, 1, kind="rollout")]
    truth = build_truth(TIMES, TICK, 2, windows)
    scores = np.zeros((2, T))
    scores[0, 202] = scores[0, 610] = 5
    (at,) = at_budgets(scores, truth, [0.1])
    assert at.seen == pytest.approx(2 / 3)
    assert at.seen_by_kind == {"site_down": 1.0, "rollout": 0.0}
    assert at.median_delay_min == 60


def test_without_a_score_an_incident_tick_is_no_alarm_and_a_healthy_one_no_time() -> None:
    truth = build_truth(TIMES, TICK, 2, [window(200, 220, 0)])
    scores = np.ones((2, T))
    scores[1] = np.nan
    scores[0, 200:230] = np.nan
    result = figures(scores, truth)
    assert result.queue_days == pytest.approx((T - 164) / 144)
    assert result.unscored == pytest.approx((T + 20) / (2 * T - 144))
    assert result.auc_pr == pytest.approx(20 / (20 + T - 164))
    assert result.budgets[0].seen == 0.0


def test_the_volume_leaves_out_downtimes_and_healthy_ticks_without_a_score() -> None:
    rng = np.random.default_rng(0)
    truth = build_truth(TIMES, TICK, 1, [window(200, 220, 0)], [window(600, 620, 0)])
    scores = rng.random((1, T))
    scores[0, 205:215] += 0.5
    loud = scores.copy()
    loud[0, 600:700] = 50
    assert figures(loud, truth).vus_pr == figures(scores, truth).vus_pr
    unscored = np.where(scores < 0.01, np.nan, scores)
    kept = ~truth.left_out[0] & (truth.incident[0] | (scores[0] >= 0.01))
    zero = np.nan_to_num(unscored[0])
    volume = figures(unscored, truth).vus_pr
    assert volume == vus_pr(truth.incident[0], zero, kept)
    assert volume != figures(scores, truth).vus_pr


def test_the_volume_is_the_mean_over_the_series_with_an_incident() -> None:
    scores = np.random.default_rng(1).random((3, T))
    truth = build_truth(TIMES, TICK, 3, [window(200, 220, 0), window(400, 500, 2)])
    singles = [vus_pr(truth.incident[i], scores[i]) for i in (0, 2)]
    assert None not in singles
    assert figures(scores, truth).vus_pr == pytest.approx(np.mean([s for s in singles if s is not None]))


def test_undefined_figures_are_none() -> None:
    quiet = figures(np.ones((2, T)), build_truth(TIMES, TICK, 2, []))
    assert (quiet.auc_pr, quiet.vus_pr, quiet.incidents) == (None, None, 0)
    assert quiet.budgets[0].seen is None
    assert quiet.budgets[0].false_episodes is not None
    ill = figures(np.ones((1, T)), build_truth(TIMES, TICK, 1, [window(0, T, 0)]))
    assert (ill.queue_days, ill.auc_pr, ill.vus_pr) == (0, None, None)
    assert [(a.threshold, a.false_episodes, a.seen) for a in ill.budgets] == [(None, None, None)] * 3
    nothing = figures(np.full((1, T), np.nan), build_truth(TIMES, TICK, 1, [window(5, 20, 0)]))
    assert (nothing.unscored, nothing.auc_pr) == (1.0, None)


def brute(scores: np.ndarray, truth: Truth, budget: float) -> tuple[float | None, int, float]:
    """Try every score as the threshold, from the lowest on."""
    healthy = truth.healthy & ~np.isnan(scores)
    allowed = budget * healthy.sum() / TICK.per_day
    for x in np.unique(scores[scores > 0]):
        begins = episode_begins(scores >= x, TICK.per_day)
        if (begins & healthy).sum() <= allowed + 1e-9:
            inside = [(w.start <= TIMES) & (w.end + np.timedelta64(1, "h") > TIMES) for w in truth.windows]
            seen = [begins[w.rows[0]][i].any() for w, i in zip(truth.windows, inside, strict=True)]
            return float(x), int((begins & healthy).sum()), float(np.mean(seen))
    return None, 0, 0.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.1, 0.5, 0.9]))
def test_at_budget_is_what_trying_every_threshold_gives(seed: int, budget: float) -> None:
    rng = np.random.default_rng(seed)
    smooth = np.cumsum(rng.normal(size=(3, T)), axis=1)
    scores = np.round(np.abs(smooth), 0 if seed % 2 else 1)
    scores[rng.random(scores.shape) < 0.05] = np.nan
    windows = [window(int(a), int(a) + 15, int(rng.integers(0, 3))) for a in rng.integers(0, T - 20, 4)]
    truth = build_truth(TIMES, TICK, 3, windows)
    (at,) = at_budgets(scores, truth, [budget])
    assert (at.threshold, at.false_episodes, at.seen) == brute(scores, truth, budget)
