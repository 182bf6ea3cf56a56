"""Long rows to a regular UTC grid, with what was observed kept apart from what was zero.

A tick that arrived has a value for every state of every series: 0 where it has no row. A tick without any row did not
arrive, and a series is not there before its first row: both are NaN, never 0 (interfaces, section 1).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qad_dl.arrow import codes_of, from_numpy, one_chunk, to_numpy, valid_mask
from qad_dl.errors import ConfigError
from qad_dl.rows import series_of
from qad_dl.schema import RETIRED_AFTER_DAYS, STATUS_CARRIED_DAYS, Tick, Times, is_flow, state_order

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.downtimes import Downtime
    from qad_dl.metadata import Metadata, Record

ROW_FIELDS: Final = ("panda_queue", "prod_source", "resource")
"""Columns of the long table that may be part of an entity; every other entity field is looked up in the metadata."""

NEVER: Final = np.iinfo(np.int32).max
"""`Grid.quiet` of a series that has had no row in the grid so far."""

ENTITY_DEFAULT: Final = ("panda_queue",)


@dataclass(frozen=True)
class Grid:
    """Counts of N series in S states over T ticks.

    Attributes:
        tick: length of a tick.
        times: every tick of the range, arrived or not, [T] `datetime64[s]`.
        entity: the fields that make up a series' key.
        series: keys, sorted, [N].
        states: job states, [S].
        counts: [N, T, S] float32 jobs; NaN where the tick did not arrive or before the series' first row.
        arrived: [T] whether the tick has any row at all.
        frozen: [T] whether every stock count of every queue of the source equals the last arrived tick's.
        quiet: [N, T] int32 ticks since the series' last row, 0 where it has one, `NEVER` where it had none.
        online: [N, T] whether work is sent to the series: its status is online and no downtime is declared.
        known: [N, T] whether the series is known at the tick: it has had a row, or the metadata list it.
    """

    tick: Tick
    times: Times
    entity: tuple[str, ...]
    series: tuple[tuple[str, ...], ...]
    states: tuple[str, ...]
    counts: NDArray[np.float32]
    arrived: NDArray[np.bool_]
    frozen: NDArray[np.bool_]
    quiet: NDArray[np.int32]
    online: NDArray[np.bool_]
    known: NDArray[np.bool_]


def build_grid(
    rows: pa.Table,
    times: Times,
    tick: Tick,
    metadata: Metadata,
    entity: Sequence[str] = ENTITY_DEFAULT,
    select: Mapping[str, str] | None = None,
    downtimes: Collection[Downtime] = (),
    known: Collection[tuple[str, str, str]] = (),
    carried: Mapping[str, tuple[np.datetime64, bool]] | None = None,
) -> Grid:
    """Put long rows on the grid `times`.

    Args:
        rows: merged rows (`history.JOBS_SCHEMA`); those outside `times` are left out.
        times: every tick of a range, [T].
        tick: length of a tick.
        metadata: what held when; entity fields, `select` and the status are looked up in it.
        entity: fields of a series' key: columns of the table or metadata fields. Rows with one key are summed.
        select: only queues (or rows) with these values, for example `{"cloud": "DE"}`.
        downtimes: declared downtimes.
        known: (panda_queue, prod_source, resource) that had rows before `times`.
        carried: per queue, the tick before `times` whose row said its status last, and whether that was online.

    Raises:
        ConfigError: an entity or selection field that neither the table nor any metadata record has.
    """
    segments = metadata.segments(times[0], times[-1] + tick.delta)
    _check_fields((*entity, *(select or {})), segments)
    rows = _inside(rows, times)
    at = ((times_of(rows) - times[0]) // tick.delta).astype(np.int64)
    triples, triple_of_row = _triples(rows, known, segments, entity)
    series, member = _membership(triples, segments, tuple(entity), dict(select or {}))
    starts = np.array([max(0, -int((times[0] - s) // tick.delta)) for s, _, _ in segments], np.int64)
    spans = [(int(a), int(b)) for a, b in zip(starts, [*starts[1:], len(times)], strict=True)]
    series_of_row = member[np.searchsorted(starts, at, side="right") - 1, triple_of_row]
    states, state_of_row = _states(rows)
    arrived = np.bincount(at, minlength=len(times)) > 0
    quiet = _quiet(series_of_row, at, (len(series), len(times)))
    queues, queue_of_triple = _index([t[0] for t in triples])
    up = _queue_online(rows, at, queues, segments, spans, tick, _ages(carried or {}, times[0], tick)) & ~_declared(
        queues, downtimes, times
    )
    queues_listed = [() if _is_finer(entity) else held for _, _, held in segments]
    listed = _listed(triples, set(known), queues_listed, spans, len(times))
    begun = listed | _after_first_row(triple_of_row, at, listed.shape)
    return Grid(
        tick=tick,
        times=times,
        entity=tuple(entity),
        series=series,
        states=states,
        counts=_counts(rows, series_of_row, at, state_of_row, quiet, arrived, len(states)),
        arrived=arrived,
        frozen=_frozen(rows, at, arrived, RETIRED_AFTER_DAYS * tick.per_day),
        quiet=quiet,
        online=_any_member(member, spans, up[queue_of_triple] & begun, len(series))
        | ~_any_member(member, spans, begun, len(series)),
        known=_any_member(member, spans, listed, len(series)) | (quiet != NEVER),
    )


def series_before(rows: pa.Table, time: np.datetime64) -> set[tuple[str, str, str]]:
    """The (panda_queue, prod_source, resource) of the rows before `time`."""
    return series_of(rows.filter(from_numpy(times_of(rows) < time, pa.bool_())))


_Segments: TypeAlias = "list[tuple[np.datetime64, np.datetime64, Mapping[str, Record]]]"
_Spans: TypeAlias = "list[tuple[int, int]]"
_Triple: TypeAlias = tuple[str, str, str]


def times_of(rows: pa.Table) -> Times:
    """The column `time` as `datetime64[s]`, [rows]."""
    seconds = pc.cast(rows.column("time"), pa.timestamp("s", "UTC"))
    return to_numpy(one_chunk(seconds)).astype("datetime64[s]")


def _inside(rows: pa.Table, times: Times) -> pa.Table:
    """The rows whose tick is on the grid."""
    at = times_of(rows)
    inside = (at >= times[0]) & (at <= times[-1])
    return rows if inside.all() else rows.filter(from_numpy(inside, pa.bool_()))


def _check_fields(fields: Sequence[str], segments: _Segments) -> None:
    """Refuse a field that no record has: a misspelt field would silently sum the whole grid into one series."""
    asked = [f for f in fields if f not in ROW_FIELDS]
    if not asked:
        return
    seen = {field for _, _, queues in segments for record in queues.values() for field in record}
    for field in asked:
        if field not in seen:
            some = ", ".join(sorted(seen)[:12]) or "none, since there are no metadata"
            msg = f"entity or selection field {field!r} is no column of the history and in no metadata; known: {some}"
            raise ConfigError(msg)


def _codes(column: pa.ChunkedArray[Any]) -> tuple[list[str], NDArray[np.int64]]:
    """Distinct values of a string column and, per row, the index of its value, -1 where it is null."""
    array = one_chunk(column)
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    codes = codes_of(array).astype(np.int64)
    names = array.dictionary.to_pylist()
    used = np.zeros(len(names) + 1, np.bool_)
    used[codes] = True  # -1 marks the spare last element
    if used[:-1].all():
        return [str(v) for v in names], codes
    place = np.append(np.where(used[:-1], np.cumsum(used[:-1]) - 1, -1), -1)
    return [str(v) for v, use in zip(names, used, strict=False) if use], place[codes]


def _jobs(rows: pa.Table) -> NDArray[np.float64]:
    """The column `jobs`, [rows]."""
    return to_numpy(one_chunk(rows.column("jobs"))).astype(np.float64, copy=False)


def _index(values: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    names = sorted(set(values))
    place = {name: i for i, name in enumerate(names)}
    return names, np.array([place[v] for v in values], np.int64)


def _triples(
    rows: pa.Table, known: Collection[_Triple], segments: _Segments, entity: Sequence[str]
) -> tuple[list[_Triple], NDArray[np.int64]]:
    """The distinct (panda_queue, prod_source, resource) of rows, of `known` and of the metadata; and each row's."""
    names, codes = zip(*(_codes(rows.column(f)) for f in ROW_FIELDS), strict=True)
    flat = (codes[0] * max(1, len(names[1])) + codes[1]) * max(1, len(names[2])) + codes[2]
    distinct, first, of_row = np.unique(flat, return_index=True, return_inverse=True)
    del distinct
    triples = [(names[0][codes[0][i]], names[1][codes[1][i]], names[2][codes[2][i]]) for i in first]
    more = set(known)
    if not _is_finer(entity):
        # Those with rows too: before its first row a queue is known because it is listed, whatever comes later.
        more |= {(q, "", "") for _, _, queues in segments for q in queues}
    return triples + sorted(more - set(triples)), of_row.reshape(-1)


def _is_finer(entity: Sequence[str]) -> bool:
    """Whether a queue is several series, of which the metadata know nothing."""
    return bool({"prod_source", "resource"} & set(entity))


def _membership(
    triples: Sequence[_Triple], segments: _Segments, entity: tuple[str, ...], select: Mapping[str, str]
) -> tuple[tuple[tuple[str, ...], ...], NDArray[np.int64]]:
    """The series, sorted, and per segment and triple the series it belongs to (-1: not selected), [D, R]."""
    keys = [[_key(t, queues.get(t[0], {}), entity, select) for t in triples] for _, _, queues in segments]
    series = tuple(sorted({k for row in keys for k in row if k is not None}))
    place: dict[tuple[str, ...] | None, int] = {k: i for i, k in enumerate(series)}
    place[None] = -1
    return series, np.array([[place[k] for k in row] for row in keys], np.int64).reshape(len(segments), len(triples))


def _key(triple: _Triple, record: Record, entity: tuple[str, ...], select: Mapping[str, str]) -> tuple[str, ...] | None:
    own = dict(zip(ROW_FIELDS, triple, strict=True))
    value = {**record, **own}
    if any(value.get(field, "") != wanted for field, wanted in select.items()):
        return None
    return tuple(value.get(field, "") for field in entity)


def _states(rows: pa.Table) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    names, codes = _codes(rows.column("job_status"))
    states = state_order(frozenset(names))
    place = {name: i for i, name in enumerate(states)}
    return states, np.array([place[n] for n in names], np.int64)[codes] if names else codes


def _quiet(series_of_row: NDArray[np.int64], at: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.int32]:
    last = np.full(shape, -1, np.int64)
    mine = series_of_row >= 0
    last[series_of_row[mine], at[mine]] = at[mine]
    last = np.maximum.accumulate(last, axis=1)
    return np.where(last < 0, NEVER, np.arange(shape[1]) - last).astype(np.int32)


def _counts(
    rows: pa.Table,
    series_of_row: NDArray[np.int64],
    at: NDArray[np.int64],
    state_of_row: NDArray[np.int64],
    quiet: NDArray[np.int32],
    arrived: NDArray[np.bool_],
    n_states: int,
) -> NDArray[np.float32]:
    n, t = quiet.shape
    counts = np.zeros((n, t, n_states), np.float32)
    mine = series_of_row >= 0
    flat = (series_of_row[mine] * t + at[mine]) * n_states + state_of_row[mine]
    np.add.at(counts.reshape(-1), flat, _jobs(rows)[mine].astype(np.float32))
    counts[(quiet == NEVER) | ~arrived] = np.nan
    return counts


def _frozen(rows: pa.Table, at: NDArray[np.int64], arrived: NDArray[np.bool_], longest: int) -> NDArray[np.bool_]:
    """Ticks whose stock counts are all equal to the last arrived tick's, [T].

    The sum of a 64-bit hash of (queue, prod_source, resource, state, count) over the rows with jobs is one fingerprint
    per tick that does not mind rows of zero; two different ticks share one with a probability of about 2^-64. A source
    that counts no stocks at all cannot freeze. A tick older than the lookback of a score is not compared with: whether
    it is on the grid depends on where the grid begins.

    Args:
        rows: all rows of the grid, of all queues.
        at: [rows] their grid positions.
        arrived: [T].
        longest: ticks between two that are compared, at most.
    """
    names, codes = zip(*(_codes(rows.column(f)) for f in (*ROW_FIELDS, "job_status")), strict=True)
    jobs = _jobs(rows)
    mixed = jobs.view(np.uint64)
    for values, code in zip(names, codes, strict=True):
        mixed = _mix(mixed ^ np.array([_hash(v) for v in values], np.uint64)[code])
    stock = np.array([not is_flow(s) for s in names[-1]], np.bool_)[codes[-1]]
    counted = (jobs > 0) & stock
    fingerprint = np.zeros(len(arrived), np.uint64)
    np.add.at(fingerprint, at[counted], mixed[counted])
    has_stock = np.bincount(at[stock], minlength=len(arrived)) > 0
    index = np.flatnonzero(arrived)
    before, now = index[:-1], index[1:]
    frozen = np.zeros(len(arrived), np.bool_)
    frozen[now] = (fingerprint[now] == fingerprint[before]) & (has_stock[now] | has_stock[before])
    frozen[now] &= now - before <= longest
    return frozen


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014): every input bit moves every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _queue_online(
    rows: pa.Table,
    at: NDArray[np.int64],
    queues: Sequence[str],
    segments: _Segments,
    spans: _Spans,
    tick: Tick,
    before: Mapping[str, tuple[int, bool]],
) -> NDArray[np.bool_]:
    """Status of each queue is online, [Q, T]: from its last row that carries a status, else from the metadata."""
    longest = STATUS_CARRIED_DAYS * tick.per_day
    n_ticks = spans[-1][1]
    online = np.ones((len(queues), n_ticks), np.bool_)
    for (start, end), (_, _, records) in zip(spans, segments, strict=True):
        listed = np.array([records.get(q, {}).get("status", "online") == "online" for q in queues], np.bool_)
        online[:, start:end] = listed[:, None]
    for i, name in enumerate(queues):
        if name in before:
            age, was_online = before[name]
            online[i, : max(0, longest - age)] = was_online
    said_at = valid_mask(one_chunk(rows.column("site_state")))
    carried = np.arange(rows.num_rows) if said_at is None else np.flatnonzero(said_at)
    if carried.size == 0:
        return online
    names, codes = _codes(rows.column("panda_queue"))
    words, states = _codes(rows.column("site_state"))
    codes, states = codes[carried], states[carried]
    place = {name: i for i, name in enumerate(queues)}
    queue = np.array([place[n] for n in names], np.int64)[codes]
    up = np.array([w == "online" for w in words], np.bool_)[states]
    said = np.full(online.shape, -1, np.int64)
    said[queue, at[carried]] = np.arange(len(carried))
    last = np.maximum.accumulate(np.where(said >= 0, np.arange(n_ticks), -1), axis=1)
    # A status older than the lookback of a score would make the score depend on when the grid begins.
    fresh = (last >= 0) & (np.arange(n_ticks) - last < longest)
    row = np.take_along_axis(said, np.maximum(last, 0), axis=1)
    return np.where(fresh, up[np.maximum(row, 0)], online)


def _ages(
    carried: Mapping[str, tuple[np.datetime64, bool]], first: np.datetime64, tick: Tick
) -> dict[str, tuple[int, bool]]:
    """Per queue the ticks from the row that said its status to the first of the grid, and whether it was online."""
    return {queue: (int((first - time) // tick.delta), online) for queue, (time, online) in carried.items()}


def _declared(queues: Sequence[str], downtimes: Collection[Downtime], times: Times) -> NDArray[np.bool_]:
    """Whether a downtime of the queue is declared for the tick, [Q, T]."""
    declared = np.zeros((len(queues), len(times)), np.bool_)
    place = {name: i for i, name in enumerate(queues)}
    for downtime in downtimes:
        if downtime.panda_queue in place:
            declared[place[downtime.panda_queue]] |= (times >= downtime.start) & (times < downtime.end)
    return declared


def _listed(
    triples: Sequence[_Triple], known: set[_Triple], queues: Sequence[Collection[str]], spans: _Spans, n_ticks: int
) -> NDArray[np.bool_]:
    """Whether a triple is known at the tick without a row in the grid, [R, T]."""
    listed = np.zeros((len(triples), n_ticks), np.bool_)
    listed[[i for i, t in enumerate(triples) if t in known]] = True
    for (start, end), held in zip(spans, queues, strict=True):
        listed[[i for i, t in enumerate(triples) if t[0] in held and t[1:] == ("", "")], start:end] = True
    return listed


def _after_first_row(
    triple_of_row: NDArray[np.int64], at: NDArray[np.int64], shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Whether a triple has had a row in the grid by the tick, [R, T]."""
    first = np.full(shape[0], shape[1], np.int64)
    np.minimum.at(first, triple_of_row, at)
    return np.arange(shape[1]) >= first[:, None]


def _any_member(member: NDArray[np.int64], spans: _Spans, flags: NDArray[np.bool_], n_series: int) -> NDArray[np.bool_]:
    """Whether any triple of the series has the flag at the tick: [R, T] to [N, T]."""
    out = np.zeros((n_series, flags.shape[1]), np.bool_)
    for segment, (start, end) in enumerate(spans):
        mine = np.flatnonzero(member[segment] >= 0)
        np.logical_or.at(out[:, start:end], member[segment, mine], flags[mine, start:end])
    return out
