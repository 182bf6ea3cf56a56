"""Downsampling by QMonit's rules, and a store that keeps ticks, hours and days for as long as it is told."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from qad_dl.downsampling import DAYS, HOURS, downsample
from qad_dl.errors import StoreError
from qad_dl.rows import seconds_of
from qad_dl.schema import FLOW_STATES, Tick
from qad_dl.store import Store
from qad_dl.store.retention import Keep, archive, keep_up, remove_day
from tests.killing import kill_often
from tests.light.made import START, TICK, at, history

if TYPE_CHECKING:
    from pathlib import Path

STATES = ("running", "finished", "assigned", "failed")


def qmonit_rule(points: dict[tuple, float], now: int, length: int, n: int, flows=FLOW_STATES) -> dict[tuple, float]:
    """What QMonit writes at `now`: from the last n points of the past two lengths, per series and state."""
    made = {}
    for key in {key[1:] for key in points}:
        newest = sorted((p for p in points if p[1:] == key and now - 2 * length < p[0] <= now), reverse=True)[:n]
        if newest:
            values = [points[p] for p in newest]
            total = 0.0
            for value in values:
                total += value
            made[now // length * length, *key] = round(total if key[-1] in flows else total / len(values), 2)
    return made


def as_points(rows: pa.Table) -> dict[tuple, float]:
    names = ("panda_queue", "prod_source", "resource", "job_status")
    keys = zip(seconds_of(rows).tolist(), *(rows.column(name).to_pylist() for name in names), strict=True)
    return dict(zip(keys, rows.column("jobs").to_pylist(), strict=True))


def random_rows(n_ticks: int, seed: int = 1, first: int = 0) -> pa.Table:
    """Counts of three series with holes: ticks without a row of a state, ticks without any row."""
    rng = np.random.default_rng(seed)
    rows = [
        (tick, queue, state, float(rng.integers(0, 500)), "online", source, "SCORE")
        for tick in range(first, first + n_ticks)
        if tick % 50 not in range(30, 38) or tick % 3
        for queue, source in (("A", "managed"), ("A", "user"), ("B", "managed"))
        for state in STATES
        if rng.random() < 0.8
    ]
    return history(rows)


def test_hours_and_days_are_qmonits():
    rows = random_rows(3 * 144)
    stamps = HOURS.tick.range(START + 3600, at(3 * 144))
    hours = downsample(rows, stamps, HOURS, TICK)
    expected: dict[tuple, float] = {}
    for stamp in stamps.astype(np.int64).tolist():
        expected |= qmonit_rule(as_points(rows), stamp, 3600, 6)
    assert as_points(hours) == expected

    days = downsample(hours, DAYS.tick.range(START, at(3 * 144)), DAYS, HOURS.tick)
    wanted: dict[tuple, float] = {}
    for day in (0, 1, 2):
        wanted |= qmonit_rule(expected, int(at(144 * day).astype(np.int64)), 86400, 24)
    assert as_points(days) == wanted
    assert len(wanted) == 2 * 12


def test_a_missing_point_is_no_zero_and_a_late_hour_looks_back_two():
    rows = history([(0, "A", "running", 10), (0, "A", "finished", 3), (3, "A", "running", 20), (3, "A", "finished", 4)])
    hours = downsample(rows, HOURS.tick.range(START, START + 3 * 3600), HOURS, TICK)
    points = {
        (int(time - START.astype(np.int64)) // 3600, state): n for (time, _, _, _, state), n in as_points(hours).items()
    }
    assert points == {
        (0, "running"): 10,
        (1, "running"): 15,
        (2, "running"): 20,
        (0, "finished"): 3,
        (1, "finished"): 7,
        (2, "finished"): 4,
    }


def test_the_newest_status_is_kept():
    rows = history([(1, "A", "running", 1, "online"), (2, "A", "running", 1, "test"), (3, "A", "running", 1)])
    hours = downsample(rows, np.array([at(2), at(6)])[1:], HOURS, TICK)
    assert hours.column("site_state").to_pylist() == [None]
    assert downsample(rows.slice(0, 2), np.array([at(6)]), HOURS, TICK).column("site_state").to_pylist() == ["test"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def test_tick_by_tick_is_all_at_once(tmp_path: Path, store: Store):
    rows = random_rows(290)
    times = seconds_of(rows).view("datetime64[s]")
    for tick in TICK.range(START, at(290)):
        part = rows.filter(pa.array(times == tick))
        if part.num_rows:
            store.append(part)
        keep_up(store, tick, Keep())
    whole = Store.create(tmp_path / "whole")
    whole.put(rows)
    keep_up(whole, at(290 - 1), Keep())
    for level in (HOURS, DAYS):
        one, other = (archive(each, level).read(START, at(4 * 144)) for each in (store, whole))
        assert one.num_rows > 10
        assert one.equals(other)
    stamps = HOURS.tick.range(START, at(290))
    assert as_points(archive(store, HOURS).read(START, at(500))) == as_points(downsample(rows, stamps, HOURS, TICK))


def test_old_ticks_go_after_their_hours_are_made(store: Store):
    store.put(random_rows(5 * 144))
    before = as_points(downsample(store.read(START, at(5 * 144)), HOURS.tick.range(START, at(719)), HOURS, TICK))
    done = keep_up(store, at(5 * 144 - 1), Keep(ticks=2))
    assert done.done
    assert done.removed == 2
    assert [str(day) for day in store.days()] == ["2026-01-07", "2026-01-08", "2026-01-09"]
    assert store.span()[0] == at(288)
    assert as_points(archive(store, HOURS).read(START, at(5 * 144))) == before
    again = keep_up(store, at(5 * 144 - 1), Keep(ticks=2))
    assert (again.points, again.removed) == (0, 0)


def test_rows_imported_late_are_downsampled_before_they_go(store: Store):
    store.put(random_rows(144, first=5 * 144))
    keep_up(store, at(6 * 144 - 1), Keep())
    late = random_rows(2 * 144, seed=2)
    store.put(late)
    keep_up(store, at(6 * 144 - 1), Keep(ticks=1))
    assert store.span()[0] == at(5 * 144)
    made = as_points(archive(store, HOURS).read(START, at(2 * 144 + 12)))
    stamps = HOURS.tick.range(START, at(2 * 144 + 12))
    assert made == as_points(downsample(late, stamps, HOURS, TICK))


def test_each_level_has_its_own_time(store: Store):
    store.put(random_rows(8 * 144))
    keep_up(store, at(8 * 144 - 1), Keep(ticks=1, hours=3, days=5))
    hours, days = archive(store, HOURS), archive(store, DAYS)
    assert (len(store.days()), len(hours.days()), len(days.days())) == (2, 4, 6)
    assert {len(set(seconds_of(days.read(START, at(9 * 144))).tolist()))} == {6}


def test_a_clock_that_runs_ahead_removes_nothing(store: Store):
    store.put(random_rows(3 * 144))
    keep_up(store, at(144 * 4000), Keep(ticks=5, hours=5, days=5))
    assert len(store.days()) == 3


def test_no_time_is_no_harm(store: Store):
    store.put(random_rows(3 * 144))
    assert not keep_up(store, at(3 * 144 - 1), Keep(ticks=1), until=-math.inf).done
    assert len(store.days()) == 3
    assert archive(store, HOURS).span() is None


def test_ticks_that_make_no_hour(tmp_path: Path):
    with pytest.raises(StoreError, match="do not make up 1h"):
        archive(Store.create(tmp_path / "odd", Tick(45)), HOURS)


def test_a_day_that_is_not_there_cannot_be_removed_twice(store: Store):
    store.put(random_rows(10))
    for _ in range(2):
        remove_day(store, START.astype("datetime64[D]"))
    assert store.span() is None


PROGRAM = """
import sys
import numpy as np
from qad_dl.store import Store
from qad_dl.store.retention import Keep, keep_up
from tests.killing import kill_often
print("go", flush=True)
keep_up(Store.open(sys.argv[1]), np.datetime64(sys.argv[2], "s"), Keep(ticks=2, hours=4))
print("done", flush=True)
"""


def test_killed_at_any_moment_it_ends_as_if_not(tmp_path: Path):
    rows, now = random_rows(8 * 144), at(8 * 144 - 1)
    calm, shot = Store.create(tmp_path / "calm"), Store.create(tmp_path / "shot")
    for each in (calm, shot):
        each.put(rows)
    keep_up(calm, now, Keep(ticks=2, hours=4))
    assert kill_often(PROGRAM, [shot.path, now], np.random.default_rng(3), 0, 0.25)
    keep_up(shot, now, Keep(ticks=2, hours=4))
    for one, other in ((calm, shot), *((archive(calm, level), archive(shot, level)) for level in (HOURS, DAYS))):
        assert one.days() == other.days()
        assert one.read(START, at(9 * 144)).equals(other.read(START, at(9 * 144)))
