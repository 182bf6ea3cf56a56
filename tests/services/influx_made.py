"""Histories near the present, since InfluxDB's policies and QMonit's queries count back from now."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from qad_dl.history import normalise_jobs
from qad_dl.metadata import Metadata
from qad_dl.schema import Tick

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qad_dl.influx.client import Influx

TICK = Tick()

METADATA = Metadata.single(
    {
        "CERN-PROD": {
            "atlas_site": "CERN-PROD", "cloud": "CERN", "country": "Switzerland", "status": "online", "tier": "T0",
            "type": "production", "resource_type": "GRID", "harvester": "CERN_central_A", "corepower": "10.5",
            "corecount": "8", "frontier": "frontier.cern.ch", "federation": "CH-CERN",
            "federation_HS06_pledge": "1500",
        },
        "DESY-HH_MCORE": {"atlas_site": "DESY-HH", "cloud": "DE", "country": "Germany", "status": "test"},
    }
)  # fmt: skip


@functools.cache
def last_tick() -> np.datetime64:
    """The newest tick that was over when the tests began."""
    return TICK.floor(np.datetime64(int(time.time()), "s"))


def rows_of(rows: Iterable[tuple]) -> pa.Table:
    """Rows of (time, queue, source, resource, state, jobs[, site_state])."""
    full = [(*row, None)[:7] for row in rows]
    names = ("time", "panda_queue", "prod_source", "resource", "job_status", "jobs", "site_state")
    columns = dict(zip(names, zip(*full, strict=True), strict=True))
    return normalise_jobs(
        pa.table(
            {
                "time": pa.array(np.array(columns.pop("time"), "datetime64[s]"), pa.timestamp("s", "UTC")),
                "jobs": pa.array(columns.pop("jobs"), pa.float64()),
                **{name: pa.array(values, pa.string()) for name, values in columns.items()},
            }
        ),
        TICK,
        "rows",
    )


def made_rows(
    n: int,
    end: np.datetime64 | None = None,
    queues: Iterable[str] = METADATA.dumps[0],
    seed: int = 1,
    states: Iterable[str] = ("assigned", "activated", "running", "finished", "failed"),
) -> pa.Table:
    """Random counts of the last n ticks, with states that are absent now and then."""
    rng = np.random.default_rng(seed)
    newest = last_tick() if end is None else end
    return rows_of(
        (newest - back * TICK.delta, queue, source, resource, state, float(rng.integers(0, 900)))
        for back in range(n)
        for queue in queues
        for source, resource in (("managed", "MCORE"), ("user", "SCORE"))
        for state in states
        if rng.random() < 0.9
    )


def everything(influx: Influx) -> dict[tuple, Any]:
    """All points of all policies and measurements: (policy, measurement, tags, time) -> fields."""
    found: dict[tuple, Any] = {}
    for policy in ("10m", "1h", "1d"):
        for measurement in ("jobs", "jobs_average", "queue_anomaly"):
            for series in influx.stream(f'SELECT * FROM "{policy}"."{measurement}" GROUP BY *'):
                for row in series.values:
                    fields = {k: v for k, v in zip(series.columns[1:], row[1:], strict=True) if v is not None}
                    found[policy, measurement, tuple(sorted(series.tags.items())), row[0]] = fields
    return found
