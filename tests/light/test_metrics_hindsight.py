"""The hindsight reference by hand."""

from __future__ import annotations

import numpy as np
import pytest

from qad_dl.grid import Grid
from qad_dl.metrics.episodes import episode_begins
from qad_dl.metrics.hindsight import hindsight
from qad_dl.metrics.truth import Truth, Window, build_truth
from qad_dl.schema import Tick

TICK = Tick()
DAY = TICK.per_day
START = np.datetime64("2026-01-01", "s")
DAYS = 12


def make_grid(counts: np.ndarray) -> Grid:
    n, t, s = counts.shape
    return Grid(
        tick=TICK,
        times=TICK.range(START, START + t * TICK.delta),
        entity=("panda_queue",),
        series=tuple((f"Q{i}",) for i in range(n)),
        states=tuple(f"s{i}" for i in range(s)),
        counts=counts.astype(np.float32),
        arrived=~np.isnan(counts).all(axis=(0, 2)),
        frozen=np.zeros(t, np.bool_),
        quiet=np.zeros((n, t), np.int32),
        online=np.ones((n, t), np.bool_),
        known=np.ones((n, t), np.bool_),
    )


def window(first: int, last: int, *rows: int, kind: str = "site_down") -> Window:
    return Window(START + first * TICK.delta, START + last * TICK.delta, rows, kind, str(first))


def square(n: int = 1) -> np.ndarray:
    """x = ln(1 + count) flips between 1 and 2 every 36 ticks: a step of 1 is what healthy time has."""
    x = 1.0 + (np.arange(DAYS * DAY) // 36 % 2)
    return np.expm1(np.broadcast_to(x[None, :, None], (n, len(x), 1))).copy()


def truth_of(grid: Grid, *windows: Window, skip: int = 0) -> Truth:
    return build_truth(grid.times[skip:], TICK, len(grid.series), windows)


def test_an_incident_is_measured_in_its_own_healthy_steps() -> None:
    counts = square()
    # A fall of 3 in x for 36 ticks after 36 ticks at 2: three times the healthy step, which is the 99th percentile.
    at = 5 * DAY + 72
    counts[0, at : at + 36] = np.expm1(0)
    counts[0, at - 36 : at] = np.expm1(3)
    grid = make_grid(counts)
    truth = truth_of(grid, window(at, at + 36, 0))
    healthy_steps = hindsight(grid, truth, [5.0])[0]
    assert healthy_steps.seen == 1.0
    # Nothing healthy steps by more than 1 in units of its own percentile, so the highest threshold is about 1 ...
    strict = hindsight(grid, truth, [1e-9])[0]
    assert (strict.threshold, strict.seen) == (None, 0.0)
    # ... and an incident like healthy time is not seen where one episode is too many.
    tame = make_grid(square())
    assert hindsight(tame, truth_of(tame, window(at, at + 36, 0)), [1e-9])[0].seen == 0.0


def noisy(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(30, (n, DAYS * DAY, 2)).astype(float)


def test_a_clear_fall_is_seen_a_tame_one_is_not_and_kinds_are_told_apart() -> None:
    counts = noisy(3)
    counts[0, 700:730] = 0
    grid = make_grid(counts)
    truth = truth_of(grid, window(700, 730, 0), window(900, 930, 1, kind="rollout"))
    (at,) = hindsight(grid, truth, [0.1])
    assert at.seen == 0.5
    assert at.seen_by_kind == {"site_down": 1.0, "rollout": 0.0}
    assert at.threshold is not None
    assert 1 < at.threshold < 3


def test_one_of_the_hit_series_is_enough() -> None:
    counts = noisy(3)
    counts[2, 700:730, 1] = 0
    grid = make_grid(counts)
    assert hindsight(grid, truth_of(grid, window(700, 730, 0, 2)), [0.1])[0].seen == 1.0
    assert hindsight(grid, truth_of(grid, window(700, 730, 0, 1)), [0.1])[0].seen == 0.0


def test_the_step_is_against_the_36_ticks_before() -> None:
    counts = noisy(1)
    counts[0, 650:720] *= 2
    grid = make_grid(counts)
    # From tick 690 the 36 ticks before are as high as the incident itself.
    assert hindsight(grid, truth_of(grid, window(650, 690, 0)), [0.1])[0].seen == 1.0
    assert hindsight(grid, truth_of(grid, window(690, 720, 0)), [0.1])[0].seen == 0.0


def test_the_grid_may_begin_before_the_truth() -> None:
    counts = noisy(2)
    counts[0, 155:185] = 0
    grid = make_grid(counts)
    truth = truth_of(grid, window(155, 185, 0), skip=DAY)
    (at,) = hindsight(grid, truth, [0.1])
    assert at.seen == 1.0


def test_missing_ticks_are_in_no_mean() -> None:
    counts = noisy(1)
    counts[0, 700:730] = 0
    counts[0, 690:705] = np.nan
    grid = make_grid(counts)
    (at,) = hindsight(grid, truth_of(grid, window(700, 730, 0)), [0.1])
    assert at.seen == 1.0
    counts[0, 664:700] = np.nan
    grid = make_grid(counts)
    assert hindsight(grid, truth_of(grid, window(700, 730, 0)), [0.1])[0].seen == 0.0


def slow_step(x: np.ndarray, start: int, stop: int) -> np.ndarray:
    return np.abs(x[start:stop].mean(axis=0) - x[start - 36 : start].mean(axis=0))


def slow_hindsight(counts: np.ndarray, truth: Truth, budget: float) -> tuple[float, float]:
    """Threshold and share seen by the definition, window by window; no tick is missing."""
    scan = np.full(counts.shape[:2], np.nan)
    statistic = np.zeros(len(truth.windows))
    for i, x in enumerate(np.log1p(counts)):
        scale = {}
        for length in (6, 18, 36, 72, 144):
            starts = [a for a in range(36, len(x) - length + 1) if truth.healthy[i, a - 36 : a + length].all()]
            steps = np.array([slow_step(x, a, a + length) for a in starts])
            scale[length] = np.maximum(np.percentile(steps, 99, axis=0), 0.1)
            for a, step in zip(starts, steps, strict=True):
                scan[i, a] = np.nanmax([scan[i, a], (step / scale[length]).max()])
        for k, w in enumerate(truth.windows):
            if i in w.rows:
                first, last = (int((t - START) / TICK.delta) for t in (w.start, w.end))
                length = min((m for m in scale if m >= last - first), default=144)
                statistic[k] = max(statistic[k], (slow_step(x, first, last) / scale[length]).max())
    scanned = np.isfinite(scan)
    for threshold in np.unique(scan[scanned]):
        if (episode_begins(scan >= threshold, DAY) & scanned).sum() <= budget * scanned.sum() / DAY:
            return float(threshold), float((statistic >= threshold).mean())
    raise AssertionError("no threshold keeps the budget")


@pytest.mark.parametrize(("seed", "budget"), [(3, 0.3), (3, 0.6), (4, 0.6), (5, 0.3)])
def test_the_same_as_the_slow_reading(seed: int, budget: float) -> None:
    rng = np.random.default_rng(seed)
    level = np.exp(np.cumsum(0.05 * rng.normal(size=(2, 8 * DAY, 2)), axis=1))
    counts = np.float32(rng.poisson(30 * level))
    spans = [(300, 303, (0,)), (500, 515, (0, 1)), (560, 600, (1,)), (700, 860, (1,)), (330, 400, (1,))]
    for i, (first, last, hit) in enumerate(spans):
        counts[list(hit), first:last] *= (0.2, 0.7, 1.2, 0.6, 1.0)[i]
    grid = make_grid(counts)
    truth = truth_of(grid, *(window(first, last, *hit) for first, last, hit in spans))
    (at,) = hindsight(grid, truth, [budget])
    threshold, seen = slow_hindsight(counts.astype(np.float64), truth, budget)
    assert 0 < seen < 1
    assert (at.threshold, at.seen) == (pytest.approx(threshold), seen)


def test_undefined_without_incidents_or_healthy_time() -> None:
    grid = make_grid(noisy(1))
    assert hindsight(grid, truth_of(grid), [0.1])[0].seen is None
    assert hindsight(grid, truth_of(grid, window(0, DAYS * DAY, 0)), [0.1])[0].seen is None


@pytest.mark.parametrize("ticks", [3, 6, 60, 144, 400])
def test_incidents_of_every_length(ticks: int) -> None:
    counts = noisy(1)
    counts[0, 800 : 800 + ticks] = 0
    grid = make_grid(counts)
    assert hindsight(grid, truth_of(grid, window(800, 800 + ticks, 0)), [0.5])[0].seen == 1.0
