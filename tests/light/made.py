"""Small histories, made by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from qad_dl.history import normalise_jobs
from qad_dl.schema import Tick

if TYPE_CHECKING:
    from collections.abc import Iterable

TICK = Tick()
START = np.datetime64("2026-01-05T00:00:00", "s")


def at(position: int) -> np.datetime64:
    """The tick at a grid position."""
    return START + position * TICK.delta


def ticks(n: int, first: int = 0) -> np.ndarray:
    """n ticks from a grid position on."""
    return TICK.range(at(first), at(first + n))


def history(rows: Iterable[tuple]) -> pa.Table:
    """Rows of (position, queue, state, jobs[, site_state[, prod_source[, resource]]]) as the store gives them."""
    full = [(*row, *(None, "", "")[len(row) - 4 :]) for row in rows]
    columns = list(zip(*full, strict=True)) or [()] * 7
    place, queue, state, jobs, status, source, resource = columns
    table = pa.table(
        {
            "time": pa.array(np.array([at(p) for p in place], "datetime64[s]"), pa.timestamp("s", "UTC")),
            "panda_queue": pa.array(queue, pa.string()),
            "prod_source": pa.array(source, pa.string()),
            "resource": pa.array(resource, pa.string()),
            "job_status": pa.array(state, pa.string()),
            "jobs": pa.array(jobs, pa.float64()),
            "site_state": pa.array(status, pa.string()),
        }
    )
    return normalise_jobs(table, TICK, "history")
