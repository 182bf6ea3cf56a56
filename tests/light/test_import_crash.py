"""kill -9 at random moments of a real `qad import`: whole days only, and the next import mends everything.

QAD_KILLS is the number of kills; `make accept` sets it to 100.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qad_dl.atomic import TEMPORARY
from qad_dl.cli import main
from qad_dl.history import read_jobs
from qad_dl.rows import merge_rows, split_days
from qad_dl.schema import Tick
from qad_dl.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pytest

KILLS = int(os.environ.get("QAD_KILLS", "8"))
DAYS = 50
FIRST = np.datetime64("2020-01-01", "D")
EVER = np.datetime64("1970-01-01", "s"), np.datetime64("2200-01-01", "s")


def history(path: Path, value: int) -> Path:
    """Days of 4 ticks and 3 queues in which every count is `value`."""
    ticks = (FIRST + np.arange(DAYS)).astype("datetime64[s]")[:, None] + np.arange(4) * np.timedelta64(600, "s")
    times = np.repeat(ticks.ravel(), 3)
    names = np.tile(["A", "B", "C"], ticks.size)
    columns = {
        "time": times,
        "panda_queue": names,
        "job_status": ["running"] * len(names),
        "jobs": [value] * len(names),
    }
    pq.write_table(pa.table(columns), path)
    return path


def arguments(store: Path, jobs: Path) -> list[str]:
    given = jobs.parent
    return [
        "import",
        str(store),
        "--jobs",
        str(jobs),
        "--cric",
        str(given / "cric.json"),
        "--downtimes",
        str(given / "d.csv"),
    ]


def files(store: Path) -> dict[str, bytes]:
    """Every file by name and content, but for the temporary ones that a kill leaves behind."""
    there = (path for path in store.rglob("*") if path.is_file() and not path.name.startswith(TEMPORARY))
    return {str(path.relative_to(store)): path.read_bytes() for path in there}


def days_of(table: pa.Table) -> dict[str, pa.Table]:
    return {str(day): merge_rows([part]) for day, part in split_days(table)}


class Case:
    """One import to be killed: into nothing, or over an older history."""

    def __init__(self, folder: Path, before: Path | None, jobs: Path) -> None:
        self.folder = folder
        self.jobs = jobs
        self.version = 1 if before is None else 2
        self.old = days_of(read_jobs(before, Tick())) if before else {}
        self.new = days_of(read_jobs(jobs, Tick()))
        self.start = folder / "start"
        if before:
            assert main(arguments(self.start, before)) == 0
        never = folder / "never-killed"
        if before:
            shutil.copytree(self.start, never)
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "qad_dl.cli", *arguments(never, jobs)], check=True, stdout=subprocess.DEVNULL
        )
        self.seconds = time.monotonic() - began
        self.wanted = files(never)

    def fresh(self, name: str) -> Path:
        store = self.folder / name
        if self.start.exists():
            shutil.copytree(self.start, store)
        return store

    def entry(self, store: Path, day: int) -> Path:
        return store / "jobs" / str(FIRST + day) / f"{self.version:08d}.parquet"


def kill(case: Case, store: Path, rng: np.random.Generator) -> bool:
    """Start the import and kill it: three times in four while it stores, else at any moment; False if it was done."""
    command = [sys.executable, "-m", "qad_dl.cli", *arguments(store, case.jobs)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if rng.random() < 0.75:
        target = case.entry(store, int(rng.integers(DAYS)))
        while not target.exists() and process.poll() is None:
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.005))
    else:
        time.sleep(rng.uniform(0, case.seconds))
    process.send_signal(signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert err == b""
    return process.returncode == -signal.SIGKILL


def check_whole_days(store: Path, old: Mapping[str, pa.Table], new: Mapping[str, pa.Table]) -> int:
    """Every day is wholly old or wholly new; returns how many are new."""
    opened = Store.find(store)
    found = days_of(opened.read(*EVER)) if opened else {}
    assert old.keys() <= found.keys()
    for day, rows in found.items():
        assert rows.equals(new[day]) or rows.equals(old.get(day)), day
    if opened:
        opened.span()
        opened.known_series(EVER[1])
        opened.downtimes()
        opened.metadata()
    return sum(rows.equals(new[day]) for day, rows in found.items())


def test_killed_imports_leave_whole_days_and_are_mended_by_the_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cric.json").write_text('{"A": {"cloud": "DE"}}')
    (tmp_path / "d.csv").write_text("panda_queue,start,end,status\nA,2020-01-01,2020-01-02,OUTAGE\n")
    one, two = history(tmp_path / "one.parquet", 1), history(tmp_path / "two.parquet", 2)
    for name in ("nothing", "older"):
        (tmp_path / name).mkdir()
    cases = [Case(tmp_path / "nothing", None, one), Case(tmp_path / "older", one, two)]
    rng = np.random.default_rng(int.from_bytes(b"kill"))
    killed = halfway = 0
    for i in range(KILLS):
        case = cases[i % 2]
        store = case.fresh(f"killed-{i}")
        killed += kill(case, store, rng)
        halfway += 0 < check_whole_days(store, case.old, case.new) < DAYS
        assert main(arguments(store, case.jobs)) == 0
        assert files(store) == case.wanted
        shutil.rmtree(store)
    with capsys.disabled():
        # Printed past pytest's capture: how many kills really hit is part of what the acceptance row shows.
        print(f" {killed} of {KILLS} killed, {halfway} of them between two days ", end="")  # noqa: T201
    assert killed >= KILLS / 2
    assert halfway >= KILLS / 4
