"""A small grid with everything that can go wrong in it, and a bundle trained on it, once for all tests of programs."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from qad_dl.bundle import read_bundle
from qad_dl.cli import main as qad
from qad_dl.schema import is_flow
from training.start import start
from training.train import main as train_main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from omegaconf import DictConfig

START, TRAINED, END = "2026-01-05", "2026-01-11", "2026-01-15"
GAP = (np.datetime64("2026-01-12T06:00", "s"), np.datetime64("2026-01-12T16:00", "s"))
MISSING = np.datetime64("2026-01-13T09:30", "s")
FROZEN = np.datetime64("2026-01-13T12:00", "s")
NEW_FROM = np.datetime64("2026-01-13T18:20", "s")
GONE_AFTER = np.datetime64("2026-01-05T04:00", "s")
TICK = np.timedelta64(600, "s")


@dataclass(frozen=True)
class World:
    """A simulated grid, imported.

    Attributes:
        path: folder with the files of the simulator.
        store: the store.
        jobs: the history file that was imported.
        queues: names of the simulated queues that have rows all the time; NEW and GONE come on top.
    """

    path: Path
    store: Path
    jobs: Path
    queues: tuple[str, ...]


class Train(Protocol):
    """Train in this process; give the exit code."""

    def __call__(self, *overrides: str) -> int: ...


def start_in_process(*overrides: str, main: Callable[[DictConfig], None] = train_main, name: str = "train") -> int:
    """`python -m training.NAME OVERRIDES`, without another process's four seconds for torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"training.{name}", *overrides])
        try:
            start(main, name, f"training.{name}")
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0


@contextmanager
def doubts_are_read() -> Iterator[None]:
    """Signatures that read doubts, for networks of a minute too: what is scored in use is scored in tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.freeze.DOUBT_LEARNED", 0.0)
        yield


def seconds(table: pa.Table) -> np.ndarray:
    """The column `time`, `datetime64[s]`."""
    return table["time"].cast(pa.timestamp("s", "UTC")).to_numpy().astype("datetime64[s]")


def renamed(table: pa.Table, queue: str, name: str, keep: Callable[[np.ndarray], np.ndarray]) -> pa.Table:
    """The rows of a queue at the times to keep, under another name."""
    rows = table.filter(pc.equal(table["panda_queue"], queue))
    rows = rows.filter(pa.array(keep(seconds(rows))))
    return rows.set_column(rows.column_names.index("panda_queue"), "panda_queue", pa.array([name] * rows.num_rows))


def with_troubles(table: pa.Table) -> pa.Table:
    """Holes, a frozen tick, a queue that comes and one that goes."""
    queue = str(table["panda_queue"][0])
    table = pa.concat_tables(
        [
            table,
            renamed(table, queue, "NEW", lambda t: t >= NEW_FROM),
            renamed(table, queue, "GONE", lambda t: t < GONE_AFTER),
        ]
    )
    time = seconds(table)
    stock = np.array([not is_flow(s) for s in table["job_status"].to_pylist()])
    lost = ((time >= GAP[0]) & (time < GAP[1])) | (time == MISSING) | ((time == FROZEN) & stock)
    copy = table.filter(pa.array((time == FROZEN - TICK) & stock))
    assert copy.num_rows, "the simulator missed the tick that is to be frozen: choose another"
    later = pa.array(np.full(copy.num_rows, FROZEN)).cast(table.schema.field("time").type)
    return pa.concat_tables([table.filter(pa.array(~lost)), copy.set_column(0, table.schema.field("time"), later)])


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Twelve queues, ten days."""
    path = tmp_path_factory.mktemp("world")
    assert qad(["simulate", str(path), "--queues", "12", "--days", "10", "--start", START]) == 0
    plain = pq.read_table(path / "jobs.parquet")
    names = [f.name for f in plain.schema if pa.types.is_dictionary(f.type)]
    for name in names:
        place = plain.column_names.index(name)
        plain = plain.set_column(place, name, plain[name].cast(pa.string()))
    jobs = path / "troubled.parquet"
    pq.write_table(with_troubles(plain), jobs)
    files = ["--jobs", str(jobs), "--cric", str(path / "cric.json"), "--downtimes", str(path / "downtimes.csv")]
    assert qad(["import", str(path / "store"), *files]) == 0
    queues = tuple(sorted(pc.unique(plain["panda_queue"]).to_pylist()))
    return World(path, path / "store", jobs, queues)


@pytest.fixture(scope="session")
def train(world: World) -> Train:
    """Train on the first six days of the world, on one thread, with the smoke trainer; doubts are read."""
    period = (f"store={world.store}", f"data.start={START}", f"data.end={TRAINED}", "trainer=smoke")

    def run(*overrides: str) -> int:
        with doubts_are_read():
            return start_in_process(*period, *overrides)

    return run


@pytest.fixture(scope="session")
def bundle(world: World, train: Train) -> Path:
    """The bundle most tests score with: temporal convolution, whose doubts are read although it has learned little."""
    path = world.path / "bundle"
    assert train(f"bundle={path}", "model=tcn") == 0
    assert read_bundle(path).calibration.evidence.doubts
    return path
