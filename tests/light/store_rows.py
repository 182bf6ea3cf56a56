"""Rows for the tests of the embedded store, and what a store holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from qad_dl.atomic import TEMPORARY
from qad_dl.history import normalise_jobs
from qad_dl.rows import merge_rows, seconds_of
from qad_dl.schema import Tick

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qad_dl.schema import Times
    from qad_dl.store import Store

EVER = np.datetime64("1970-01-01", "s"), np.datetime64("2200-01-01", "s")


def t(text: str) -> np.datetime64:
    return np.datetime64(text, "s")


def table(rows: Iterable[tuple[str, str, float]], state: str = "running", source: str = "") -> pa.Table:
    """Rows of (time, queue, jobs)."""
    times, queues, jobs = zip(*rows, strict=True)
    columns = {
        "time": pa.array(np.array(times, "datetime64[s]")),
        "panda_queue": queues,
        "job_status": [state] * len(queues),
        "jobs": jobs,
        "prod_source": [source] * len(queues),
    }
    return normalise_jobs(pa.table(columns), Tick(), "test")


def block(ticks: Times, queues: int, value: float) -> pa.Table:
    """`queues` rows of one value in each of `ticks`."""
    names = [f"Q{i:03d}" for i in range(queues)]
    return table((str(tick), name, value) for tick in ticks for name in names)


def content(store: Store) -> pa.Table:
    return merge_rows([store.read(*EVER)])


def values(store: Store) -> dict[tuple[str, str], float]:
    """(time, queue) -> jobs."""
    rows = store.read(*EVER)
    times = seconds_of(rows).view("datetime64[s]").astype("datetime64[m]")
    names = rows.column("panda_queue").to_pylist()
    return {(str(w), q): j for w, q, j in zip(times, names, rows.column("jobs").to_pylist(), strict=True)}


def files(store: Store) -> dict[str, bytes]:
    """Every file of a store but for those that are still being written."""
    there = (path for path in store.path.rglob("*") if path.is_file() and not path.name.startswith(TEMPORARY))
    return {str(path.relative_to(store.path)): path.read_bytes() for path in there}
