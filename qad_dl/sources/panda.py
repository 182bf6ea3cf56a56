"""Job counts from PanDA's statistics API (panda.md): one question a tick.

`site -> prod_source -> resource type -> state -> count`. A site is the `panda_resource` of a queue. An error of the
server's comes as HTTP 200 with `success: false`, and anything but JSON comes where something else was asked for.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from qad_dl.arrow import dictionary, from_numpy
from qad_dl.errors import SourceError
from qad_dl.rows import JOBS_SCHEMA, merge_rows
from qad_dl.schema import STATUSES, TICK_MINUTES, is_flow
from qad_dl.sources.http import shown, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qad_dl.sources.http import Client

PATH: Final = "/api/v1/statistics/job_stats_by_site_share_and_resource_type"
LONGEST_MINUTES: Final = 10080
"""The server takes no longer window."""

NORMAL_MINUTES: Final = (8, 12)
"""Minutes since the last fetch that are a tick, give or take what a timer does."""


@dataclass(frozen=True)
class Counts:
    """What the server counted.

    Attributes:
        cells: (panda_queue, prod_source, resource, job_status) and the jobs counted, in the order of the answer.
        window_minutes: over which the flow states were counted.
    """

    cells: tuple[tuple[str, str, str, str, float], ...]
    window_minutes: int

    def rows(self, tick: np.datetime64, statuses: Mapping[str, str] | None = None) -> pa.Table:
        """As a canonical table of `JOBS_SCHEMA`; flows of another window are scaled to a tick.

        Args:
            tick: the tick that the counts are of.
            statuses: CRIC's status by queue, for `site_state`.
        """
        scale = TICK_MINUTES / self.window_minutes
        jobs = np.array([c[4] * scale if is_flow(c[3]) else c[4] for c in self.cells], np.float64)
        columns = [_column([c[i] for c in self.cells]) for i in range(4)]
        known = statuses or {}
        said = [known.get(c[0]) for c in self.cells]
        table = pa.Table.from_arrays(
            [
                from_numpy(np.full(len(jobs), tick.astype(np.int64), np.int64), JOBS_SCHEMA.field("time").type),
                *columns,
                from_numpy(jobs, pa.float64()),
                _column([s if s is None or s in STATUSES else "offline" for s in said]),
            ],
            schema=JOBS_SCHEMA,
        )
        return merge_rows([table])


def window(passed_s: float | None) -> int:
    """Minutes to ask for: a tick, or the true time since the last good fetch where that was missed or is late."""
    minutes = TICK_MINUTES if passed_s is None else math.ceil(passed_s / 60)
    if minutes <= NORMAL_MINUTES[1]:
        return TICK_MINUTES
    return min(minutes, LONGEST_MINUTES)


def fetch_jobs(client: Client, url: str, window_minutes: int, token: str = "") -> Counts:
    """Ask for the counts of now.

    Args:
        client: with its deadline.
        url: of the server.
        window_minutes: over which flow states are counted.
        token: where the server wants one.

    Raises:
        SourceError: the server does not answer, or not with counts.
    """
    address = url.rstrip("/") + PATH
    headers = {"Accept": "application/json"}  # exactly: anything else gives a Python repr
    if token:
        headers["Authorization"] = f"Bearer {token}"
    answer = client.get(address, {"time_window": window_minutes}, headers)
    return Counts(tuple(_cells(_data(answer.body, shown(address)), shown(address))), window_minutes)


def _data(body: bytes, where: str) -> Any:
    try:
        document = json.loads(body)
    except ValueError as error:
        msg = f"{where}: answered something else than JSON: {text_of(body)!r}"
        raise SourceError(msg) from error
    if not isinstance(document, dict) or document.get("success") is not True:
        said = document.get("message") if isinstance(document, dict) else type(document).__name__
        msg = f"{where}: answered without success: {' '.join(str(said).split())[:160]!r}"
        raise SourceError(msg)
    data = document.get("data")
    if not isinstance(data, dict) or not data:
        msg = f"{where}: answered with success and without data"
        raise SourceError(msg)
    return data


def _cells(data: Any, where: str) -> list[tuple[str, str, str, str, float]]:
    cells = []
    for site, labels in data.items():
        for label, resources in _object(labels, where, site).items():
            for resource, states in _object(resources, where, site).items():
                for state, jobs in _object(states, where, site).items():
                    if isinstance(jobs, bool) or not isinstance(jobs, (int, float)) or not 0 <= jobs < math.inf:
                        msg = f"{where}: {site[:60]!r} has {str(jobs)[:20]!r} jobs {state[:30]!r}; no count is that"
                        raise SourceError(msg)
                    cells.append((site or "null", label, resource, state or "null", float(jobs)))
    return cells


def _object(value: Any, where: str, site: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        msg = f"{where}: {site[:60]!r} holds a {type(value).__name__} where counts should be"
        raise SourceError(msg)
    return value


def _column(values: list[Any]) -> Any:
    names = sorted({v for v in values if v is not None})
    place = {name: i for i, name in enumerate(names)}
    return dictionary(np.array([place.get(v, -1) for v in values], np.int32), names)
