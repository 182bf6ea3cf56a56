"""QMonit's InfluxDB as a source: its points as rows of our history, its tags as metadata.

A query groups by all tags, so that each set of tags comes once and not with every point. When a tag of a queue changes
a second series begins, and where both have a point at one tick the series that ends later, or else begins later, holds
the newer one. History is read in pieces of some hours, and a piece that takes the server too long in halves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from qad_dl.arrow import from_numpy
from qad_dl.columns import UNSET
from qad_dl.errors import InfluxDownError
from qad_dl.influx.client import Series, identifier
from qad_dl.influx.qmonit import JOBS, KEYS, NS, TICK_POLICY, read_metadata
from qad_dl.rows import JOBS_SCHEMA, dictionary_column, empty_rows, merge_rows, seconds_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.influx.client import Influx
    from qad_dl.schema import Tick
    from qad_dl.store import Store

PIECE_TICKS: Final = 36
"""Ticks asked for at once: six hours of ten minutes, of 11,200 series 400,000 points. They end at 6, 12, 18 and 24 h
UTC, so that whoever reads the same time takes the tags for metadata from the same moments on."""

OVERLAP_TICKS: Final = 3
"""Ticks read again by the next read: a point may be written after we looked."""


@dataclass(frozen=True)
class Piece:
    """What was read of [start, end).

    Attributes:
        start, end: ticks, `datetime64[s]`.
        rows: canonical table of `JOBS_SCHEMA`; times are floored to ticks.
        queues: queue -> record, from the newest tags of each queue with a point.
        ignored: points that are no counts: without a queue or state, or negative.
    """

    start: np.datetime64
    end: np.datetime64
    rows: pa.Table
    queues: Mapping[str, Mapping[str, str]]
    ignored: int


def read_history(
    influx: Influx, start: np.datetime64, end: np.datetime64, tick: Tick, policy: str = TICK_POLICY
) -> Iterator[Piece]:
    """Read [start, end) in pieces, oldest first; a piece is complete when it comes.

    Args:
        influx: the database.
        start: first time, `datetime64[s]`; floored to the tick.
        end: the time before which it ends.
        tick: distance of the policy's points.
        policy: retention policy to read from.

    Raises:
        InfluxError: the server refuses; `InfluxDownError` if it does not answer, even asked for a single tick.
    """
    low, step = tick.floor(start), PIECE_TICKS
    while low < end:
        number = int(tick.index(np.array([low]))[0]) // step + 1
        high = min(tick.time(np.array([number * step]))[0], tick.ceil(end))
        try:
            piece = read_piece(influx, low, high, tick, policy)
        except InfluxDownError as error:
            if not error.slow or step == 1:
                raise
            step = max(step // 2, 1)
            continue
        yield piece
        low = high


def read_piece(
    influx: Influx, start: np.datetime64, end: np.datetime64, tick: Tick, policy: str = TICK_POLICY
) -> Piece:
    """Read the ticks of [start, end) with one query; raises as `read_history`."""
    low, high = (int(time.astype("datetime64[s]").astype(np.int64)) * NS for time in (start, end))
    source = f"{identifier(policy)}.{identifier(JOBS)}"
    asked = f"SELECT jobs FROM {source} WHERE time >= {low} AND time < {high} GROUP BY *"  # noqa: S608  numbers
    found = [series for series in influx.stream(asked) if series.values]
    found.sort(key=lambda series: (series.values[-1][0], series.values[0][0]))
    usable = [series for series in found if all(series.tags.get(name) for name in ("panda_queue", "job_status"))]
    rows, negative = _rows(usable, tick)
    lost = sum(len(series.values) for series in found) - sum(len(series.values) for series in usable)
    queues = {series.tags["panda_queue"]: read_metadata(series.tags) for series in usable}  # the newest last
    return Piece(start, end, rows, queues, negative + lost)


def next_start(newest: np.datetime64 | None, now: np.datetime64, tick: Tick, history: np.timedelta64) -> np.datetime64:
    """Where reading goes on: some ticks before the newest one that is here, but never further back than `history`.

    Args:
        newest: newest tick in the store; None if it is empty.
        now: the tick that is being done.
        tick: its length.
        history: how far back a cold start reads.
    """
    earliest = tick.floor(now - history)
    return earliest if newest is None else max(earliest, newest - (OVERLAP_TICKS - 1) * tick.delta)


def take_in(store: Store, piece: Piece, *, metadata: bool) -> int:
    """Store what a piece brings; doing it again changes nothing.

    Args:
        store: with ticks of the piece's length.
        piece: what was read.
        metadata: whether the tags count as metadata from the beginning of the piece on; queues without a point keep
            what was known of them.

    Returns:
        Rows added.
    """
    rows = new_rows(store, piece)
    if metadata and piece.queues:
        known = store.metadata().at(piece.start)
        if any(known.get(queue) != record for queue, record in piece.queues.items()):
            store.add_metadata({**known, **piece.queues}, piece.start)
    if rows.num_rows:
        store.append(rows)
    return rows.num_rows


def new_rows(store: Store, piece: Piece) -> pa.Table:
    """The rows of the ticks of a piece that would change the store: what is worth appending."""
    known = store.read(piece.start, piece.end)
    if not known.num_rows or not piece.rows.num_rows:
        return piece.rows
    known = merge_rows([known])
    merged = merge_rows([known, piece.rows])
    changed = [time for time in np.unique(seconds_of(piece.rows)) if not _at(merged, time).equals(_at(known, time))]
    return piece.rows.filter(from_numpy(np.isin(seconds_of(piece.rows), changed), pa.bool_()))


def span(influx: Influx, tick: Tick, policy: str = TICK_POLICY) -> tuple[np.datetime64, np.datetime64] | None:
    """The first and the newest tick of a policy; None if it has no points, or if there is no such policy."""
    if not any(
        policy == row[0] for row in _rows_of(influx, f"SHOW RETENTION POLICIES ON {identifier(influx.database)}")
    ):
        return None
    source = f"{identifier(policy)}.{identifier(JOBS)}"
    ends = []
    for order in ("ASC", "DESC"):
        found = _rows_of(influx, f"SELECT jobs FROM {source} ORDER BY time {order} LIMIT 1")  # noqa: S608  quoted names
        if not found:
            return None
        ends.append(tick.floor(np.datetime64(int(found[0][0]) // NS, "s")))
    return ends[0], ends[1]


def _rows_of(influx: Influx, statement: str) -> list[tuple[Any, ...]]:
    """The rows of all series of an answer."""
    return [row for series in influx.query(statement) for row in series.values]


def _rows(found: Sequence[Series], tick: Tick) -> tuple[pa.Table, int]:
    """Rows of series, of which later ones count where two have a point at one tick; and how many were negative."""
    if not found:
        return empty_rows(), 0
    lengths = np.array([len(series.values) for series in found])
    times = np.array([row[0] for series in found for row in series.values], np.int64)
    jobs = np.array([np.nan if row[1] is None else row[1] for series in found for row in series.values], np.float64)
    kept = jobs >= 0
    seconds = tick.time(tick.index((times // NS).astype("datetime64[s]"))).astype(np.int64)
    columns = {name: _column([series.tags.get(name, "") for series in found], lengths) for name in KEYS}
    states = [series.tags.get("site_state", "") for series in found]
    columns["site_state"] = _column([None if state.strip() in UNSET else state for state in states], lengths)
    columns["time"] = from_numpy(seconds, JOBS_SCHEMA.field("time").type)
    columns["jobs"] = from_numpy(np.where(kept, jobs, 0.0), pa.float64())
    table = pa.Table.from_arrays([columns[name] for name in JOBS_SCHEMA.names], schema=JOBS_SCHEMA)
    return merge_rows([table.filter(from_numpy(kept, pa.bool_()))]), int(np.sum(jobs < 0))


def _column(values: Sequence[str | None], lengths: NDArray[Any]) -> Any:
    """A dictionary column in which each value holds for as many rows as its series has points."""
    names = list(dict.fromkeys(values))
    place = {name: i for i, name in enumerate(names)}
    codes = np.repeat(np.array([place[value] for value in values], np.int32), lengths)
    return dictionary_column(codes, names)


def _at(rows: pa.Table, second: np.int64) -> pa.Table:
    """The rows of one tick, canonical."""
    return merge_rows([rows.filter(from_numpy(seconds_of(rows) == second, pa.bool_()))])
