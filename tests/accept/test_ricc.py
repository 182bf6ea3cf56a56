"""Row 3: a real batch system. Its stops are found, an injected one is too, and nothing else is made of the rest."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.accept.conftest import Run

TRAIN = ("2010-05-20", "2010-07-20")
TEST = ("2010-07-20", "2010-08-20")
BUDGET = 0.01
STOPS = [  # of ../shared/data/README.md, those that reach into the test range with the 24 h after them
    ("2010-07-24T03:20", "2010-07-24T15:50"),
    ("2010-08-06T07:50", "2010-08-08T12:00"),
    ("2010-08-17T17:50", "2010-08-18T01:00"),
]
DRAINED_FROM = "2010-07-23T03:20"  # the stop of 07-24 comes after a day of draining
INJECTED = (np.datetime64("2010-08-10T12:00", "s"), np.datetime64("2010-08-10T18:00", "s"))
TICK = np.timedelta64(600, "s")


def seconds(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.timestamp("s", "UTC")).to_numpy().astype("datetime64[s]")


@pytest.fixture(scope="module")
def history(shared_data: Path) -> Path:
    return shared_data / "ricc" / "jobs.parquet"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ricc")


@pytest.fixture(scope="module")
def store(history: Path, place: Path, run: Run) -> Path:
    began = time.monotonic()
    run("qad", "import", place / "store", "--jobs", history)
    took = time.monotonic() - began
    assert took < 15, f"the import took {took:.1f} s"
    return place / "store"


@pytest.fixture(scope="module")
def bundle(store: Path, place: Path, run: Run) -> Path:
    start, end = TRAIN
    run(
        "python",
        "-m",
        "training.train",
        f"store={store}",
        f"bundle={place / 'bundle'}",
        f"data.start={start}",
        f"data.end={end}",
    )
    return place / "bundle"


@pytest.fixture(scope="module")
def scores(store: Path, bundle: Path, place: Path, run: Run) -> pa.Table:
    return backtest(run, store, bundle, place / "scores.parquet")


def backtest(run: Run, store: Path, bundle: Path, out: Path) -> pa.Table:
    run("qad", "backtest", store, "--bundle", bundle, "--start", TEST[0], "--end", TEST[1], "--out", out)
    return pq.read_table(out)


def flagged(scores: pa.Table, queue: str) -> np.ndarray:
    """Times at which the queue is flagged, ascending."""
    rows = scores.filter(pc.and_(pc.equal(scores["panda_queue"].cast(pa.string()), queue), scores["flagged"]))
    return np.sort(seconds(rows["time"]))


def test_the_stop_after_a_day_of_draining(scores: pa.Table) -> None:
    times = flagged(scores, "g44")
    inside = times[(times >= np.datetime64(STOPS[0][0])) & (times <= np.datetime64("2010-07-24T03:40"))]
    print("g44 flagged at", inside)
    assert inside.size


def test_an_injected_stop(history: Path, bundle: Path, place: Path, run: Run) -> None:
    rows = pq.read_table(history)
    times = seconds(rows["time"])
    stopped = (times >= INJECTED[0]) & (times < INJECTED[1])
    stopped &= np.isin(
        rows["job_status"].cast(pa.string()).to_numpy(zero_copy_only=False), ["running", "finished", "cancelled"]
    )
    counts = np.where(stopped, 0.0, rows["jobs"].cast(pa.float64()).to_numpy())
    pq.write_table(
        rows.set_column(rows.column_names.index("jobs"), "jobs", pa.array(counts)), place / "stopped.parquet"
    )
    run("qad", "import", place / "stopped", "--jobs", place / "stopped.parquet")
    scores = backtest(run, place / "stopped", bundle, place / "stopped-scores.parquet")
    groups = busy(rows)
    assert len(groups) == 9
    limit = np.datetime64("2010-08-10T12:20")
    hit = [g for g in groups if np.any((flagged(scores, g) >= INJECTED[0]) & (flagged(scores, g) <= limit))]
    print(f"{len(hit)} of {len(groups)} busy groups flagged by {limit}: {hit}")
    assert len(hit) >= 5


def busy(rows: pa.Table) -> list[str]:
    """Groups with five or more running throughout the six hours before the injected stop."""
    times = seconds(rows["time"])
    before = (times >= INJECTED[0] - np.timedelta64(6, "h")) & (times < INJECTED[0])
    running = rows.filter(
        pa.array(before & (rows["job_status"].cast(pa.string()).to_numpy(zero_copy_only=False) == "running"))
    )
    steady = running.filter(pc.greater_equal(running["jobs"], 5)).group_by("panda_queue").aggregate([("jobs", "count")])
    return sorted(str(r["panda_queue"]) for r in steady.to_pylist() if r["jobs_count"] == 36)


def test_false_episodes_outside_the_stops(scores: pa.Table) -> None:
    episodes, days = 0, 0.0
    day = np.timedelta64(24, "h")
    for queue in pc.unique(scores["panda_queue"].cast(pa.string())).to_pylist():
        rows = scores.filter(pc.equal(scores["panda_queue"].cast(pa.string()), queue)).sort_by("time")
        times, on = seconds(rows["time"]), rows["flagged"].to_numpy(zero_copy_only=False)
        healthy = np.ones(times.size, bool)
        for start, end in [(DRAINED_FROM, STOPS[0][1]), *STOPS]:
            healthy &= ~((times >= np.datetime64(start)) & (times < np.datetime64(end) + day))
        days += np.count_nonzero(healthy & rows["score"].is_valid().to_numpy()) / 144
        episodes += sum(bool(healthy[i]) for i in begins(on))
    rate = episodes / days
    print(f"{episodes} false episodes in {days:.0f} healthy queue-days: {rate:.4f}, budget {BUDGET}")
    assert rate <= 3 * BUDGET


def begins(on: np.ndarray) -> list[int]:
    """Ticks at which episodes begin: gaps of up to 3 ticks joined, cut every 24 h."""
    found: list[int] = []
    last = -10
    for i in np.flatnonzero(on):
        if i - last > 4 or i - found[-1] >= 144:
            found.append(int(i))
        last = i
    return found
