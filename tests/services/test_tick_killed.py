"""Ticks that are killed at random moments leave what ticks leave that are not."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serving.follow import MONITOR, load_results
from tests.light.made import at
from tests.services.collector import DAYS, FIRST, Collector, make_collector

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.influxd import Influxd

TICKS = int(os.environ.get("QAD_KILLED_TICKS", "18"))
"""Ticks of a run; the acceptance row does a day of them."""

SEED = int(os.environ.get("QAD_KILLED_SEED", "1"))


def run_ticks(collector: Collector, rng: np.random.Generator | None) -> int:
    """Do the ticks; with `rng` every third is killed. How many really were."""
    killed, takes = 0, 1.0
    for i, position in enumerate(range(FIRST, FIRST + TICKS)):
        collector.drop(position)
        if rng is not None and i % 3 == 1:
            killed += kill_one(collector, position, float(rng.uniform(0, takes)))
            if rng.random() < 0.5:  # systemd starts it again at once; else the next timer finds what it left
                collector.run(position)
        else:
            began = time.monotonic()
            collector.run(position)
            takes = time.monotonic() - began  # the next one is killed before it would be done
    return killed


def kill_one(collector: Collector, position: int, after_s: float) -> bool:
    process = collector.start(position)
    try:
        process.communicate(timeout=after_s)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    return process.returncode == -signal.SIGKILL


def points(influxd: Influxd, database: str, measurement: str, policy: str) -> Any:
    influx = influxd.database(database)
    found = influx.query(f'SELECT * FROM "{policy}"."{measurement}" GROUP BY *')
    return sorted((sorted(s.tags.items()), s.columns, s.values) for s in found)


@pytest.mark.program("influxd")
def test_kills_change_nothing(tmp_path: Path, influxd: Influxd) -> None:
    ends = {}
    for name in ("calm", "killed"):
        # The days of the history are months ago for the server's clock: only a policy that keeps for ever keeps them.
        influx = influxd.database(f"ticks_{name}")
        influx.query(f'CREATE DATABASE "{influx.database}"')
        influx.query(f'CREATE RETENTION POLICY "10m" ON "{influx.database}" DURATION INF REPLICATION 1 DEFAULT')
        sink = f'url = "{influxd.url}"\ndatabase = "{influx.database}"'
        collector = make_collector(tmp_path / name, {"sink.influxdb": sink})
        killed = run_ticks(collector, np.random.default_rng(SEED) if name == "killed" else None)
        assert killed >= TICKS // 6 or name == "calm"
        ends[name] = collector
    calm, torn = ends["calm"], ends["killed"]
    end = at(FIRST + TICKS)
    assert torn.store.read(at(0), end).equals(calm.store.read(at(0), end))
    assert torn.book.incidents["bundle"] == calm.book.incidents["bundle"]
    results = [load_results(c.folder / "state" / "results" / "bundle.npz") for c in (calm, torn)]
    assert results[0] is not None
    assert results[1] is not None
    np.testing.assert_allclose(results[1].score, results[0].score, atol=1e-5)
    np.testing.assert_array_equal(results[1].flagged, results[0].flagged)
    told = [[(t["key"], t["queues"]) for t in c.told if t["bundle"] != MONITOR] for c in (calm, torn)]
    assert sorted(told[1]) == sorted(told[0])
    assert len(told[0]) > 0
    for measurement, policy in (("jobs", "10m"), ("queue_anomaly", "10m"), ("jobs", "1h")):
        mine, theirs = (points(influxd, f"ticks_{name}", measurement, policy) for name in ("killed", "calm"))
        assert len(theirs) > 0, measurement
        assert_same_points(mine, theirs, measurement)
    assert DAYS == 2


def assert_same_points(mine: Any, theirs: Any, what: str) -> None:
    """The same series and times, numbers but for the last digits."""
    assert [(tags, columns) for tags, columns, _ in mine] == [(tags, columns) for tags, columns, _ in theirs], what
    for (tags, columns, one), (_, _, other) in zip(mine, theirs, strict=True):
        assert [row[0] for row in one] == [row[0] for row in other], (what, tags)
        for a, b in zip(one, other, strict=True):
            for column, x, y in zip(columns, a, b, strict=True):
                assert x == y or x == pytest.approx(y, abs=1e-4), (what, tags, column)
