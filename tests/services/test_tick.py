"""The tick by itself: what it keeps, tells and logs, and what becomes of it when it is disturbed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

import serving.tick
from qad_dl.backtest import run_backtest
from qad_dl.scorer import Scorer
from qad_dl.tuning.file import Tune, tune_path, write_tune
from serving.follow import MONITOR, load_results
from tests.light.made import TICK, at
from tests.services.collector import FIRST, Collector, make_collector

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def collector(tmp_path: Path) -> Collector:
    return make_collector(tmp_path / "collector")


def test_ticks_give_the_scores_of_a_backtest_and_tell_the_incident_once(collector: Collector) -> None:
    last = FIRST + 40  # seven hours; the network looks back one, and its evidence lasts for another
    for position in range(FIRST, last + 1):
        if position != FIRST + 3:  # one that is missing
            collector.drop(position)
        line = collector.run(position)
        assert line["exit"] == 0
        assert line["verdict"] == ("missing" if position == FIRST + 3 else "ok")
    kept = load_results(collector.folder / "state" / "results" / "bundle.npz")
    assert kept is not None
    made = run_backtest(collector.store, Scorer.load(collector.folder / "bundle"), at(FIRST), at(last + 1))
    np.testing.assert_array_equal(kept.times, made.times)
    np.testing.assert_allclose(kept.score, made.score, atol=1e-5)
    np.testing.assert_array_equal(kept.flagged, made.flagged)
    np.testing.assert_array_equal(kept.reason, made.reason)
    incidents = [(t["action"], t["value"]) for t in collector.told if t["bundle"] != MONITOR]
    assert incidents == [("opened", "Q1"), ("closed", "Q1")]
    first_flag = made.times[made.flagged[[k == ("Q1",) for k in made.series]][0]][0]
    opened = next(t for t in collector.told if t["value"] == "Q1")
    assert np.datetime64(opened["tick"].rstrip("Z")) <= first_flag + 2 * TICK.delta
    assert [(t["action"], t["value"]) for t in collector.told if t["bundle"] == MONITOR] == [
        ("opened", "missing"),
        ("closed", "missing"),
    ]
    assert not list((collector.folder / "in").glob("*.parquet"))


def test_a_tick_that_is_done_is_not_done_again(collector: Collector) -> None:
    collector.drop(FIRST)
    collector.run(FIRST)
    before = collector.store.versions(at(0), at(FIRST + 1))
    collector.drop(FIRST, seed=6)
    assert collector.run(FIRST)["verdict"] == "done"
    assert collector.store.versions(at(0), at(FIRST + 1)) == before


def test_a_dry_run_leaves_nothing(collector: Collector) -> None:
    collector.drop(FIRST)
    collector.run(FIRST)
    files = {path: path.stat().st_mtime_ns for path in collector.folder.rglob("*") if path.name != "lock"}
    collector.drop(FIRST + 1)
    files |= {path: path.stat().st_mtime_ns for path in (collector.folder / "in").glob("*.parquet")}
    line = collector.run(FIRST + 1, "--dry-run")
    assert line["queues"]["bundle"] == {"scored": 6}
    after = {path: path.stat().st_mtime_ns for path in collector.folder.rglob("*") if path.name != "lock"}
    assert {p for p in after if p.is_file()} == {p for p in files if p.is_file()}
    assert all(after[p] == files[p] for p in files if p.is_file())


def test_an_invalid_bundle_costs_no_counts_and_is_told(collector: Collector) -> None:
    (collector.folder / "bundle" / "model.onnx").write_bytes(b"no model")
    collector.drop(FIRST)
    line = collector.run(FIRST, code=4)
    assert line["rows"] > 0
    assert collector.store.read(at(FIRST), at(FIRST + 1)).num_rows == line["rows"]
    assert [t["value"] for t in collector.told] == ["bundle bundle"]
    assert "model.onnx" in collector.told[0]["text"]


def test_a_tuning_of_another_bundle_is_told_and_costs_no_alarm(collector: Collector) -> None:
    write_tune(tune_path(collector.folder / "bundle"), Tune("ffffffffffff"))
    collector.drop(FIRST)
    line = collector.run(FIRST, code=2)
    assert line["queues"] == {"bundle": {"scored": 6}}
    assert "bundle.tune.json: was made for bundle ffffffffffff" in line["troubles"]["tune bundle"]
    assert [t["value"] for t in collector.told] == ["tune bundle"]
    tune_path(collector.folder / "bundle").unlink()
    collector.drop(FIRST + 1)
    assert not collector.run(FIRST + 1)["troubles"]


def test_several_bundles_in_one_tick(collector: Collector) -> None:
    shutil.copytree(collector.folder / "bundle", collector.folder / "again")
    text = collector.config.read_text().replace('["bundle"]', '["bundle", "again", "nowhere"]')
    collector.config.write_text(text)
    for position in (FIRST, FIRST + 1):
        collector.drop(position)
        line = collector.run(position, code=4)
        assert line["queues"] == {"bundle": {"scored": 6}, "again": {"scored": 6}}
        assert list(line["troubles"]) == ["bundle nowhere"]
    one, other = (load_results(collector.folder / "state" / "results" / f"{n}.npz") for n in ("bundle", "again"))
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(one.score, other.score)


def test_the_first_day_with_no_history(tmp_path: Path) -> None:
    collector = make_collector(tmp_path / "collector")
    shutil.rmtree(collector.folder / "store")
    assert collector.run(FIRST)["queues"]["bundle"] == {}
    collector.drop(FIRST + 1)
    assert collector.run(FIRST + 1)["queues"]["bundle"] == {"too_short": 6}
    assert [(t["action"], t["value"]) for t in collector.told] == [("opened", "missing")]


def test_ticks_that_were_missed_are_told_as_missing_by_the_next(collector: Collector) -> None:
    collector.drop(FIRST)
    collector.run(FIRST)
    line = collector.run(FIRST + 4)  # three ticks were not started at all, and there is nothing for this one
    assert line["queues"]["bundle"] == {"missing_tick": 6}
    kept = load_results(collector.folder / "state" / "results" / "bundle.npz")
    assert kept is not None
    assert len(kept.times) == 5
    collector.drop(FIRST + 5)
    assert collector.run(FIRST + 5)["queues"]["bundle"] == {"scored": 6}


# --- two at once, hanging, killed by its deadline ---


def test_of_two_ticks_at_once_one_does_the_work(collector: Collector) -> None:
    collector.drop(FIRST)
    both = [collector.start(FIRST) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    worked = [text for text in said if '"verdict": "ok"' in text]
    assert len(worked) == 1
    (other,) = [text for text in said if text not in worked]
    assert "at work" in other or '"verdict": "done"' in other
    assert sum(collector.store.versions(at(FIRST), at(FIRST + 1)).values()) == 1


def wait_for_lock(collector: Collector, pid: int) -> dict:
    path = collector.folder / "state" / "lock"
    for _ in range(1000):
        try:
            holder = json.loads(path.read_bytes())
        except (OSError, ValueError):
            holder = {}
        if holder.get("pid") == pid:
            return holder
        time.sleep(0.01)
    raise AssertionError("the tick never took the lock")


def test_a_tick_that_hangs_for_20_minutes_is_taken_over(collector: Collector) -> None:
    collector.drop(FIRST)
    hanging = collector.start(FIRST)
    holder = wait_for_lock(collector, hanging.pid)
    os.kill(hanging.pid, signal.SIGSTOP)
    collector.drop(FIRST + 1)
    assert "at work" in collector.run(FIRST + 1)["said"]  # it may still come to an end by itself
    (collector.folder / "state" / "lock").write_text(json.dumps({**holder, "since": holder["since"] - 1200}))
    line = collector.run(FIRST + 2)
    assert hanging.wait(10) == -signal.SIGKILL
    hanging.communicate()
    assert "hung" in line["troubles"]
    assert collector.store.span()[1] == at(FIRST + 1)  # both ticks that had files
    kept = load_results(collector.folder / "state" / "results" / "bundle.npz")
    assert kept is not None
    assert {t["value"] for t in collector.told} == {"hung", "missing"}


def test_a_tick_ends_at_its_deadline_and_the_next_goes_on(collector: Collector) -> None:
    text = collector.config.read_text()
    collector.config.write_text(text + "[deadline]\nseconds = 0.02\n")
    collector.drop(FIRST)
    line = collector.run(FIRST, code=1)
    assert "deadline" in line["troubles"]
    collector.config.write_text(text)
    collector.drop(FIRST + 1)
    assert collector.run(FIRST + 1)["exit"] == 0
    assert collector.store.span()[1] == at(FIRST + 1)
    assert ("opened", "deadline") in [(t["action"], t["value"]) for t in collector.told]


# --- the clock ---


class Clock:
    """A wall clock that can be set, and one since the boot that cannot."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, position: int) -> None:
        self.wall = float(at(position).astype(np.int64)) + 30
        self.boot = 1000.0
        monkeypatch.setattr(serving.tick, "since_boot", lambda: self.boot)
        monkeypatch.setattr(serving.tick.time, "time", lambda: self.wall)

    def pass_ticks(self, n: int = 1) -> None:
        self.wall += 600 * n
        self.boot += 600 * n


@pytest.mark.parametrize("jump", [3600, -3600])
def test_a_clock_that_jumps_by_an_hour(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], jump: int
) -> None:
    clock = Clock(monkeypatch, FIRST)

    def run() -> dict:
        position = int((clock.wall - float(at(0).astype(np.int64))) // 600)
        collector.drop(position)
        assert serving.tick.start(collector.config, None, dry_run=False) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    assert run()["verdict"] == "ok"
    clock.pass_ticks()
    assert not run()["troubles"]
    clock.pass_ticks()
    clock.wall += jump
    line = run()
    assert "clock" in line["troubles"]
    seen = [line]
    for _ in range(8):
        clock.pass_ticks()
        seen.append(run())
    done = [line["tick"] for line in seen if line["verdict"] == "ok"]
    assert done == sorted(set(done))
    assert seen[-1]["verdict"] == "ok"
    assert not seen[-1]["troubles"]
    if jump > 0:
        assert all(line["verdict"] == "ok" for line in seen)
    else:
        assert [line["verdict"] for line in seen[:4]] == ["clock"] * 4
    told = [(t["action"], t["value"]) for t in collector.told if t["bundle"] == MONITOR and t["value"] == "clock"]
    assert told[0] == ("opened", "clock")
    assert told[1:] in ([], [("closed", "clock")])  # over half an hour after the last sign of it
