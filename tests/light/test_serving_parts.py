"""The tick's smaller parts: lock, deadline, metrics, clocks, what is kept between ticks."""

from __future__ import annotations

import compileall
import json
import os
import py_compile
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from qad_dl.downtimes import Downtime
from qad_dl.errors import StoreError
from qad_dl.results import Results
from serving.compiled import uncompiled
from serving.deadline import DeadlineError, deadline
from serving.follow import load_results, save_results
from serving.lock import Held, Holder, boot_id, locked, process_start, since_boot
from serving.metrics import Gauge, format_gauges, write_textfile
from serving.state import Clocks, Collected, Progress, State
from tests.light.made import at, history

CLOCKS = Clocks(1000.0, 10.0, "boot")


def test_a_lock_that_is_held_says_by_whom(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", "T1", 100) as first, locked(tmp_path / "lock", "T2", 100) as second:
        assert first == Held()
        assert isinstance(second, Holder)
        assert (second.pid, second.tick) == (os.getpid(), "T1")
        assert second.alive
    with locked(tmp_path / "lock", "T3", 100) as third:
        assert third == Held()


def test_a_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from serving.lock import locked
with locked(Path({str(tmp_path / "lock")!r}), "T", 100):
    print("held", flush=True)
    time.sleep(60)
"""
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with locked(tmp_path / "lock", "T2", 100) as held:
            assert isinstance(held, Holder)
        process.kill()
    with locked(tmp_path / "lock", "T2", 100) as held:
        assert held == Held()


def test_another_process_of_the_same_id_is_not_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, "T", 100):
        written = json.loads(path.read_bytes())
        path.write_text(json.dumps({**written, "since": written["since"] - 9000, "began": "1"}))
        with locked(path, "T2", 100) as held:  # would end this very process
            assert isinstance(held, Holder)
            assert not held.alive


def test_a_process_that_is_not_there_has_no_beginning() -> None:
    assert process_start(os.getpid()).isdigit()
    assert process_start(2**22 + 1) == ""
    assert len(boot_id()) > 30
    assert since_boot() > 0


def test_a_deadline_ends_what_waits() -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineError, match="longer than 0 s"), deadline(0.1):
        time.sleep(10)
    assert time.monotonic() - began < 5
    with deadline(0.2):
        pass
    time.sleep(0.3)  # rings no more


def interrupted(seconds: float) -> None:
    try:
        time.sleep(seconds)
    except DeadlineError as error:
        raise ImportError("what a library makes of it") from error
    raise ImportError("of its own")


def test_what_a_library_makes_of_the_alarm_is_the_deadline_all_the_same() -> None:
    with pytest.raises(DeadlineError), deadline(0.1):
        interrupted(10)
    with pytest.raises(ImportError, match="of its own"), deadline(10):
        interrupted(0)


def test_metrics_are_in_the_format_of_prometheus(tmp_path: Path) -> None:
    gauges = [Gauge.single("a_seconds", "What\nit is.", 1.5), Gauge.by("b", "By name.", "name", {'x"\\\n': 2.0})]
    text = format_gauges(gauges)
    assert text.splitlines() == [
        "# HELP a_seconds What\\nit is.",
        "# TYPE a_seconds gauge",
        "a_seconds 1.5",
        "# HELP b By name.",
        "# TYPE b gauge",
        'b{name="x\\"\\\\\\n"} 2.0',
    ]
    write_textfile(tmp_path / "new" / "qad.prom", gauges)
    assert (tmp_path / "new" / "qad.prom").read_text() == text
    assert (tmp_path / "new" / "qad.prom").stat().st_mode & 0o444 == 0o444


def test_clocks_tell_what_has_passed_from_what_was_set() -> None:
    assert Clocks(1600.0, 610.0, "boot").passed(CLOCKS) == 600
    assert Clocks(1600.0, 610.0, "boot").jumped(CLOCKS) == 0
    assert Clocks(5200.0, 610.0, "boot").jumped(CLOCKS) == 3600
    assert Clocks(5200.0, 610.0, "boot").passed(CLOCKS) == 600
    assert Clocks(1600.0, 5.0, "another").passed(CLOCKS) == 600  # after a boot there is only the wall clock
    assert Clocks(1600.0, 5.0, "another").jumped(CLOCKS) == 0


def test_what_was_fetched_is_kept_as_it_was(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    assert state.kept() is None
    assert state.progress() is None
    down = Downtime("Q", at(0), at(5), "OUTAGE")
    rows = history([(3, 'Q"\n\\', "running", 2.5, "online"), (3, "R", "failed", 1)])
    fetched = Collected(
        at(3), CLOCKS, "late", "said", rows, {"Q": {"cloud": "DE"}}, (down,), 12.0, ("a",), ("b",), {"c": "d"}
    )
    state.keep(fetched)
    kept = state.kept()
    assert kept is not None
    assert kept.rows.equals(rows)
    assert (kept.tick, kept.clocks, kept.queues, kept.downtimes) == (at(3), CLOCKS, {"Q": {"cloud": "DE"}}, (down,))
    assert (kept.taken, kept.refused, kept.troubles, kept.metadata_age_s) == (("a",), ("b",), {"c": "d"}, 12.0)
    state.drop()
    assert state.kept() is None


def test_progress_is_kept(tmp_path: Path) -> None:
    state = State(tmp_path)
    for progress in (Progress(at(3), None, CLOCKS, None), Progress(at(3), at(2), CLOCKS, CLOCKS)):
        state.set_progress(progress)
        assert state.progress() == progress


@pytest.mark.parametrize("name", ["progress.json", "snapshot.arrow"])
def test_a_damaged_file_of_the_state_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"half of it")
    state = State(tmp_path)
    with pytest.raises(StoreError, match="is damaged"):
        state.progress() if name == "progress.json" else state.kept()


@pytest.mark.parametrize("before", [False, True])
def test_results_are_kept_and_those_of_before_are_read(tmp_path: Path, before: bool) -> None:
    """Files of before scores were joined have no score of a series by itself: it was the score."""
    path, score = tmp_path / "results" / "bundle.npz", np.array([[1.0, np.nan, 4.0]])
    made = Results(
        entity=("panda_queue",),
        series=(("Q",),),
        times=np.arange(3).astype("datetime64[s]"),
        score=score,
        alone=score / 2,
        flagged=score > 3,
        reason=np.array([[0, 1, 0]], np.int8),
        known=np.ones((1, 3), np.bool_),
        expected=np.zeros((1, 3), np.bool_),
        state=np.zeros((1, 3), np.int16),
        direction=np.ones((1, 3), np.int8),
        kind=np.zeros((1, 3), np.int8),
        states=("running",),
        kinds=("site_down",),
        budget=0.01,
        threshold=3.0,
        levels=((0.1, 2.0),),
    )
    save_results(path, made)
    if before:
        with np.load(path) as file:
            kept = {name: file[name] for name in file.files if name != "alone"}
        np.savez(path, **kept)
    read = load_results(path)
    assert read is not None
    np.testing.assert_array_equal(read.score, made.score)
    np.testing.assert_array_equal(read.alone, made.score if before else made.alone)
    assert (read.series, read.levels, read.kinds) == (made.series, made.levels, made.kinds)


def test_troubles_wait_for_the_next_tick(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.leave({})
    assert state.left() == {}
    state.leave({"a": "1"})
    state.leave({"b": "2"})
    assert state.left() == {"a": "1", "b": "2"}
    state.told()
    assert state.left() == {}
    assert np.isclose(state.succeeded(None), 0)
    assert state.succeeded(12.0) == 12.0


def test_modules_that_each_start_compiles_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    module = tmp_path / "part" / "module.py"
    module.parent.mkdir()
    module.write_text("x = 1\n")
    assert list(uncompiled(tmp_path)) == []  # the next start keeps it compiled
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may everything
    assert list(uncompiled(tmp_path)) == [module]
    compileall.compile_dir(tmp_path, quiet=1)
    assert list(uncompiled(tmp_path)) == []
    module.write_text("x = 12\n")
    assert list(uncompiled(tmp_path)) == [module]
    cached = py_compile.compile(str(module), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    assert list(uncompiled(tmp_path)) == []
    Path(cached).write_bytes(b"half")
    assert list(uncompiled(tmp_path)) == [module]
    monkeypatch.undo()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert list(uncompiled(tmp_path)) == [module]
