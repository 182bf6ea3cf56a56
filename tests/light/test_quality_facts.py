"""What is true of incidents: size, stops, what hindsight sees of each."""

from __future__ import annotations

import numpy as np
import pytest

from qad_dl.grid import Grid
from qad_dl.metrics.hindsight import hindsight
from qad_dl.metrics.truth import Window, build_truth
from qad_dl.schema import Tick
from training.quality.facts import CURVE, hindsight_by_incident, size, stops

TICK = Tick()
DAY = TICK.per_day
START = np.datetime64("2026-01-05", "s")
STATES = ("activated", "running", "finished")


def grid(counts: np.ndarray) -> Grid:
    n, t, _ = counts.shape
    return Grid(
        tick=TICK,
        times=TICK.range(START, START + t * TICK.delta),
        entity=("panda_queue",),
        series=tuple((f"Q{i}",) for i in range(n)),
        states=STATES,
        counts=counts.astype(np.float32),
        arrived=np.ones(t, np.bool_),
        frozen=np.zeros(t, np.bool_),
        quiet=np.zeros((n, t), np.int32),
        online=np.ones((n, t), np.bool_),
        known=np.ones((n, t), np.bool_),
    )


def window(first: int, last: int, *rows: int, kind: str = "site_down") -> Window:
    return Window(START + first * TICK.delta, START + last * TICK.delta, rows, kind, f"i{first}")


@pytest.fixture
def counts() -> np.ndarray:
    """Two queues of 30 and 300 jobs that finish 2 and 20 in a tick."""
    return np.broadcast_to(np.array([[10, 20, 2], [100, 200, 20]])[:, None], (2, 3 * DAY, 3)).astype(float).copy()


def test_size_is_that_of_the_largest_queue_hit(counts: np.ndarray) -> None:
    counts[1, 200:] = 0  # after it began
    counts[1, 150] = np.nan
    assert size(grid(counts), window(200, 220, 0, 1)) == pytest.approx(300)
    assert size(grid(counts), window(200, 220, 0)) == pytest.approx(30)
    assert size(grid(counts), window(0, 20, 0)) == 0, "nothing is known before the first tick"


@pytest.mark.parametrize(("share", "stopped"), [(0.05, True), (0.5, False)])
def test_a_queue_that_finishes_nothing_in_the_first_hour_is_stopped(
    counts: np.ndarray, share: float, stopped: bool
) -> None:
    counts[1, 200:206, 2] *= share
    assert stops(grid(counts), window(200, 220, 0, 1)) is stopped


def test_what_hardly_finishes_anything_cannot_stop(counts: np.ndarray) -> None:
    counts[0, :, 2] = 0.1
    counts[0, 200:, 2] = 0
    assert not stops(grid(counts), window(200, 220, 0))


def test_a_stop_an_hour_later_is_none(counts: np.ndarray) -> None:
    counts[1, 206:220, 2] = 0
    assert not stops(grid(counts), window(200, 220, 1))


def test_hindsight_of_each_incident_sums_to_that_of_all() -> None:
    rng = np.random.default_rng(1)
    counts = rng.poisson(50, (3, 12 * DAY, 3)).astype(float)
    windows = [window(5 * DAY, 5 * DAY + 36, 0), window(7 * DAY, 7 * DAY + 36, 1), window(8 * DAY, 8 * DAY + 6, 2)]
    counts[0, 5 * DAY : 5 * DAY + 36] = 0
    counts[1, 7 * DAY : 7 * DAY + 36, 1] = 90
    made = grid(counts)
    truth = build_truth(made.times, TICK, 3, windows)
    by = hindsight_by_incident(made, truth)
    assert set(by) == set(CURVE)
    for whole in hindsight(made, truth, CURVE):
        assert np.mean(list(by[whole.budget].values())) == pytest.approx(whole.seen)
    assert by[0.1]["i720"] == 1.0
    assert by[0.1]["i1152"] == 0.0
