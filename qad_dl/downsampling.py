"""QMonit's downsampling: ten-minute points to hours, hours to days; stock states are averaged, flow states summed.

The point of the hour H is made of the last six ten-minute points of (H - 2 h, H], that of midnight M of the last 24
points of hours of (M - 2 d, M], each rounded to two digits. A series that has fewer points is averaged over those it
has: a point that is missing is not a zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa

from qad_dl.arrow import codes_of, from_numpy, one_chunk, to_numpy
from qad_dl.rows import JOBS_SCHEMA, SERIES, concat_rows, empty_rows, merge_rows, seconds_of
from qad_dl.schema import Tick, is_flow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qad_dl.schema import Times

DIGITS: Final = 2
"""QMonit keeps two digits behind the point."""

REACH: Final = 2
"""A point looks this many of its own lengths back for the finer points it is made of."""


class Level(NamedTuple):
    """A length to which counts are downsampled.

    Attributes:
        name: as QMonit's retention policy.
        tick: its length.
    """

    name: str
    tick: Tick

    def points(self, finer: Tick) -> int:
        """How many of the finer points make one."""
        return self.tick.minutes // finer.minutes

    @property
    def reach(self) -> np.timedelta64:
        """How far back a point looks."""
        return REACH * self.tick.delta


HOURS: Final = Level("1h", Tick(60))
DAYS: Final = Level("1d", Tick(1440))
LEVELS: Final = (HOURS, DAYS)


def downsample(rows: pa.Table, stamps: Times, level: Level, finer: Tick) -> pa.Table:
    """The points of `stamps`, from finer rows.

    Args:
        rows: a table of `JOBS_SCHEMA` with at least the rows of (stamp - `level.reach`, stamp] of each stamp.
        stamps: times of the points, on the ticks of `level`.
        level: what to make.
        finer: distance of the rows.

    Returns:
        A canonical table of `JOBS_SCHEMA`; `site_state` is that of the newest row of each point.
    """
    rows = merge_rows([rows])
    return merge_rows([_point(rows, stamp, level, finer) for stamp in stamps])


def last_points(rows: pa.Table, n: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """The last n rows of each series and state of a canonical table.

    Returns:
        Index of the newest row of each [G]; the counts, newest first [G, n], 0 beyond; how many there are [G].
    """
    first = _group_starts(rows)
    newest = np.append(first[1:], rows.num_rows)[: len(first)] - 1
    index = newest[:, None] - np.arange(n)
    there = index >= first[:, None]
    jobs = to_numpy(one_chunk(rows.column("jobs")))
    return newest, np.where(there, jobs[np.maximum(index, 0)] if len(first) else 0.0, 0.0), there.sum(axis=1)


def mean_of(values: NDArray[np.float64], counts: NDArray[np.int64]) -> list[float]:
    """Means of [G, n] values of which the first `counts` of each row are there, rounded as QMonit rounds."""
    means = (added(values) / counts).tolist()
    return [round(mean, DIGITS) for mean in means]


def added(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over the second axis, one after the other as QMonit adds them: the last digit may decide how it rounds."""
    total = np.zeros(len(values))
    for column in values.T:
        total += column
    return total


def flow_rows(rows: pa.Table) -> NDArray[np.bool_]:
    """Which rows count events over a tick, bool [rows]."""
    column = one_chunk(rows.column("job_status"))
    flows = np.array([is_flow(name) for name in column.dictionary.to_pylist()], bool)
    return np.asarray(flows[codes_of(column)])


def take(rows: pa.Table, index: NDArray[np.int64]) -> pa.Table:
    """Rows by their index."""
    return rows.take(from_numpy(index, pa.int64()))


def _point(rows: pa.Table, stamp: np.datetime64, level: Level, finer: Tick) -> pa.Table:
    """The points of one stamp."""
    times = seconds_of(rows).view("datetime64[s]")
    near = rows.filter(from_numpy((times > stamp - level.reach) & (times <= stamp), pa.bool_()))
    if near.num_rows == 0:
        return empty_rows()
    near = concat_rows([near])
    newest, values, counts = last_points(near, level.points(finer))
    kept = take(near, newest)
    sums = [round(total, DIGITS) for total in added(values).tolist()]
    jobs = np.where(flow_rows(kept), sums, mean_of(values, counts))
    seconds = np.full(len(jobs), stamp.astype("datetime64[s]").astype(np.int64))
    return _with(kept, seconds, jobs)


def _with(rows: pa.Table, seconds: NDArray[np.int64], jobs: NDArray[np.float64]) -> pa.Table:
    """The same rows with other times and counts."""
    time, count = JOBS_SCHEMA.field("time"), JOBS_SCHEMA.field("jobs")
    rows = rows.set_column(JOBS_SCHEMA.get_field_index("time"), time, from_numpy(seconds, time.type))
    return rows.set_column(JOBS_SCHEMA.get_field_index("jobs"), count, from_numpy(jobs, count.type))


def _group_starts(rows: pa.Table) -> NDArray[np.int64]:
    """Index of the first row of each series and state of a canonical table, [G]."""
    changed = np.zeros(rows.num_rows, bool)
    changed[:1] = True
    for name in _KEY:
        codes = codes_of(one_chunk(rows.column(name)))
        changed[1:] |= codes[1:] != codes[:-1]
    return np.flatnonzero(changed)


_KEY: Final[Sequence[str]] = (*SERIES, "job_status")
