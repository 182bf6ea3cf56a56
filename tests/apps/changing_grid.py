"""A simulated grid that changes in mid-course: new queues, a state with another name, counts doubled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qad_dl.cli import main as qad
from qad_dl.simulator import WorldParams, simulate

if TYPE_CHECKING:
    from pathlib import Path

NEW_SHARE = 0.3
OLD_STATE, NEW_STATE = "transferring", "staging_out"
FACTOR = 2.0
START = np.datetime64("2026-01-05T00:00:00", "s")
DAY = np.timedelta64(86400, "s")


@dataclass(frozen=True)
class Course:
    """A grid and its change.

    Attributes:
        queues: that are simulated; 30 % of those before the change come new with it.
        change: day of the change.
        days: length in all.
        seed: of the world.
    """

    queues: int = 30
    change: int = 10
    days: int = 22
    seed: int = 5

    @property
    def change_at(self) -> np.datetime64:
        """Its first tick."""
        return START + self.change * DAY

    @property
    def end(self) -> np.datetime64:
        """One past the last tick."""
        return START + self.days * DAY


@dataclass(frozen=True)
class Grid:
    """A store of such a course.

    Attributes:
        course: what was asked for.
        store: the store.
        new: queues that came with the change.
        old: all others.
    """

    course: Course
    store: Path
    new: tuple[str, ...]
    old: tuple[str, ...]


def make_grid(folder: Path, course: Course, *, changes: bool = True) -> Grid:
    """Simulate, change and import; without `changes` as it was simulated."""
    simulate(WorldParams(queues=course.queues, days=course.days, seed=course.seed, start=START), folder)
    jobs = pq.read_table(folder / "jobs.parquet")
    queues = sorted(pc.unique(jobs["panda_queue"]).to_pylist())
    count = round(len(queues) * NEW_SHARE / (1 + NEW_SHARE))
    rng = np.random.default_rng(course.seed)
    new = tuple(sorted(rng.choice(queues, count, replace=False).tolist())) if changes else ()
    if changes:
        pq.write_table(changed(jobs, course.change_at, new), folder / "jobs.parquet")
    files = ["--jobs", str(folder / "jobs.parquet"), "--cric", str(folder / "cric.json")]
    store = folder / "store"
    assert qad(["import", str(store), *files, "--downtimes", str(folder / "downtimes.csv")]) == 0
    return Grid(course, store, new, tuple(q for q in queues if q not in new))


def changed(jobs: pa.Table, at: np.datetime64, new: tuple[str, ...]) -> pa.Table:
    """The history as it would be had the grid changed at a tick."""
    after = pc.greater_equal(
        jobs["time"].cast(pa.timestamp("s", "UTC")), pa.scalar(at.item(), pa.timestamp("s", "UTC"))
    )
    names = jobs["job_status"].cast(pa.string())
    renamed = pc.if_else(pc.and_(after, pc.equal(names, OLD_STATE)), NEW_STATE, names)
    counts = jobs["jobs"].cast(pa.float64())
    doubled = pc.if_else(after, pc.multiply(counts, FACTOR), counts)
    come = pc.is_in(jobs["panda_queue"].cast(pa.string()), pa.array(new, pa.string()))
    for name, column in (("job_status", renamed), ("jobs", doubled)):
        jobs = jobs.set_column(jobs.column_names.index(name), name, column)
    return jobs.filter(pc.or_(after, pc.invert(come)))
