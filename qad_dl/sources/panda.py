"""Job counts from PanDA's statistics API (panda.md): one question a tick.

`site -> prod_source -> resource type -> state -> count`. A site is the `panda_resource` of a queue. An error of the
server's comes as HTTP 200 with `success: false`, and anything but JSON comes where something else was asked for. What
is not there is 0; names that nobody knows, `null` among them, are names like any other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from qad_dl.arrow import dictionary, from_numpy
from qad_dl.rows import JOBS_SCHEMA, merge_rows
from qad_dl.schema import TICK_MINUTES, is_flow
from qad_dl.sources.http import TryAgainError, read_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qad_dl.sources.http import Answer, Client

PATH: Final = "/api/v1/statistics/job_stats_by_site_share_and_resource_type"
LONGEST_MINUTES: Final = 10080
"""The server takes no longer window."""

USUAL_MINUTES: Final = 12
"""Minutes since the last fetch up to which they are a tick, give or take what a timer does."""

NO_NAME: Final = "null"
"""How JSON spells a name that the server does not have; '' would be refused as one."""


@dataclass(frozen=True)
class Counts:
    """What the server counted.

    Attributes:
        cells: (panda_queue, prod_source, resource, job_status) and the jobs counted, in the order of the answer.
        window_minutes: over which the flow states were counted.
    """

    cells: tuple[tuple[str, str, str, str, float], ...]
    window_minutes: int

    def rows(self, tick: np.datetime64) -> pa.Table:
        """As a canonical table of `JOBS_SCHEMA`, without `site_state`; flows of another window are scaled to a tick.

        Args:
            tick: the tick that the counts are of, `datetime64[s]`.
        """
        scale = TICK_MINUTES / self.window_minutes
        jobs = np.array([c[4] * scale if is_flow(c[3]) else c[4] for c in self.cells], np.float64)
        seconds = np.full(len(jobs), tick.astype("datetime64[s]").astype(np.int64), np.int64)
        table = pa.Table.from_arrays(
            [
                from_numpy(seconds, JOBS_SCHEMA.field("time").type),
                *(_column([str(cell[i]) for cell in self.cells]) for i in range(4)),
                from_numpy(jobs, pa.float64()),
                dictionary(np.full(len(jobs), -1, np.int32), []),
            ],
            schema=JOBS_SCHEMA,
        )
        return merge_rows([table])


def window(passed_s: float | None) -> int:
    """Minutes to ask for: a tick, or the true time since the last good fetch where that was missed or is late."""
    minutes = TICK_MINUTES if passed_s is None else math.ceil(passed_s / 60)
    return TICK_MINUTES if minutes <= USUAL_MINUTES else min(minutes, LONGEST_MINUTES)


def fetch_jobs(client: Client, url: str, window_minutes: int, token: str = "") -> Counts:
    """Ask for the counts of now.

    Args:
        client: with its deadline.
        url: of the server.
        window_minutes: over which flow states are counted, 1 to `LONGEST_MINUTES`.
        token: where the server wants one.

    Raises:
        SourceError: the server does not answer, or not with counts; one line.
    """
    headers = {"Accept": "application/json"}  # exactly: anything else gives a Python repr
    if token:
        headers["Authorization"] = f"Bearer {token}"
    parameters = {"time_window": window_minutes}
    cells = client.get(url.rstrip("/") + PATH, _read, parameters, headers)
    return Counts(cells, window_minutes)


def _read(answer: Answer) -> tuple[tuple[str, str, str, str, float], ...]:
    document = read_json(answer)
    if not isinstance(document, dict) or document.get("success") is not True:
        said = document.get("message") if isinstance(document, dict) else type(document).__name__
        msg = f"answered without success: {' '.join(str(said).split())[:160]!r}"
        raise TryAgainError(msg)
    cells = tuple(_cells(document.get("data")))
    if not cells:
        raise TryAgainError("answered with success and without any count")
    return cells


def _cells(data: Any) -> Iterator[tuple[str, str, str, str, float]]:
    for site, labels in _items(data, "data"):
        for label, resources in _items(labels, site):
            for resource, states in _items(resources, site):
                for state, jobs in _items(states, site):
                    if isinstance(jobs, bool) or not isinstance(jobs, (int, float)) or not 0 <= jobs < math.inf:
                        msg = f"says that {site[:60]!r} has {str(jobs)[:20]!r} jobs {state[:30]!r}, which is no count"
                        raise TryAgainError(msg)
                    yield site or NO_NAME, label, resource, state or NO_NAME, float(jobs)


def _items(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        msg = f"has a {type(value).__name__} at {where[:60]!r}, where counts should be"
        raise TryAgainError(msg)
    yield from value.items()


def _column(values: list[str]) -> Any:
    names = sorted(set(values))
    place = {name: i for i, name in enumerate(names)}
    return dictionary(np.array([place[name] for name in values], np.int32), names)
