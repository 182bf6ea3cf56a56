"""Long rows, piece by piece, to dense blocks of counts: what a grid is made of, with no more than a piece held as rows.

Names become numbers in the order in which they come up; who assembles a grid sorts them.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from qad_dl.arrow import codes_of, from_numpy, one_chunk, to_numpy, valid_mask
from qad_dl.rows import seconds_of
from qad_dl.schema import is_flow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.metadata import Record
    from qad_dl.schema import Tick, Times

ROW_FIELDS: Final = ("panda_queue", "prod_source", "resource")
"""Columns of the long table that may be part of an entity; every other entity field is looked up in the metadata."""

Triple: TypeAlias = tuple[str, str, str]
Segments: TypeAlias = "list[tuple[np.datetime64, np.datetime64, Mapping[str, Record]]]"

SLICE_ROWS: Final = 1 << 17
"""Rows that are taken in at a time: bounds what is needed beside the counts themselves."""

UNSAID: Final = -1
"""In `Said.online`: no row of the tick says the status."""


class Block(NamedTuple):
    """What some series have in some ticks.

    Attributes:
        series: [n] their numbers, each once.
        first: grid position of the first tick.
        states: [s] numbers of the states.
        counts: [n, t, s] float32 jobs, 0 where there is no row.
        has_row: [n, t] whether there is any row.
    """

    series: NDArray[np.int64]
    first: int
    states: NDArray[np.int64]
    counts: NDArray[np.float32]
    has_row: NDArray[np.bool_]


class Said(NamedTuple):
    """The status that rows carry: by number of the queue, [q], int8 [q, t]: 1 online, 0 not, `UNSAID`."""

    queues: NDArray[np.int64]
    first: int
    online: NDArray[np.int8]


class Numbers:
    """Numbers of things in the order in which they come up."""

    def __init__(self) -> None:
        self.place: dict[Any, int] = {}

    def of(self, things: Sequence[Any]) -> NDArray[np.int64]:
        """The number of each, a new one where it has none yet."""
        return np.array([self.place.setdefault(thing, len(self.place)) for thing in things], np.int64)

    def __len__(self) -> int:
        return len(self.place)


class Gathering:
    """What the pieces of a history hold in a range of ticks.

    Attributes:
        times: every tick of the range, [T].
        triples: numbers of the (panda_queue, prod_source, resource).
        series: numbers of the series' keys.
        states: numbers of the job states.
        queues: numbers of the queues.
        arrived: [T] whether the tick has any row at all.
        has_stock: [T] whether it has a row of a state that is no flow.
        fingerprint: [T] of its stock counts above 0; see `_hashes`.
        first: of each triple the position of its first row, T where it has none, [R].
        blocks: the counts.
        said: the status.
    """

    def __init__(
        self, times: Times, tick: Tick, segments: Segments, entity: tuple[str, ...], select: Mapping[str, str]
    ) -> None:
        self.times, self.tick, self.segments = times, tick, segments
        self.entity, self.select = entity, select
        self.triples, self.series, self.states, self.queues = Numbers(), Numbers(), Numbers(), Numbers()
        starts = [max(0, -int((times[0] - start) // tick.delta)) for start, _, _ in segments]
        self.spans = list(zip(starts, [*starts[1:], len(times)], strict=True))
        self.arrived = np.zeros(len(times), np.bool_)
        self.has_stock = np.zeros(len(times), np.bool_)
        self.fingerprint = np.zeros(len(times), np.uint64)
        self.first = np.empty(0, np.int64)
        self.blocks: list[Block] = []
        self.said: list[Said] = []
        self._member = np.empty((len(segments), 0), np.int64)

    def add(self, rows: pa.Table) -> None:
        """Take in a piece; where two pieces say something of one (time, series, state), their counts are summed.

        Args:
            rows: a table of `JOBS_SCHEMA` without two rows of one key; those outside the range are left out.
        """
        for start in range(0, rows.num_rows, SLICE_ROWS):
            self._add(rows.slice(start, SLICE_ROWS))

    def _add(self, rows: pa.Table) -> None:
        rows, at = self._inside(rows)
        if rows.num_rows == 0:
            return
        names, state = _used(*_codes(rows.column("job_status")))
        jobs = to_numpy(one_chunk(rows.column("jobs"))).astype(np.float64, copy=False)
        found, triple = _distinct([_codes(rows.column(name)) for name in ROW_FIELDS])
        number = self.number(found)
        low, high = int(at.min()), int(at.max()) + 1
        _mark(self.arrived[low:high], at - low)
        self._look_for_first(number, triple, at)
        self._add_fingerprints(found, names, triple, state, at, jobs)
        self._add_said(rows, [queue for queue, _, _ in found], triple, at)
        self._add_counts(number[triple], self.states.of(names), state, at, jobs)

    def _look_for_first(self, number: NDArray[np.int64], triple: NDArray[np.int64], at: NDArray[np.int64]) -> None:
        """Note the first rows of triples; one that had a row before all of these is not looked at."""
        may = self.first[number] > at.min()
        if may.any():
            rows = np.flatnonzero(may[triple])
            np.minimum.at(self.first, number[triple[rows]], at[rows])

    def number(self, triples: Sequence[Triple]) -> NDArray[np.int64]:
        """Numbers of some triples, of which series they are being looked up where they are new."""
        before = len(self.triples)
        numbers = self.triples.of(triples)
        new = [triples[i] for i in np.flatnonzero(numbers >= before).tolist()]
        if new:
            added = [self._series_of(new, queues) for _, _, queues in self.segments]
            self._member = np.concatenate([self._member, np.array(added, np.int64).reshape(-1, len(new))], axis=1)
            self.first = np.concatenate([self.first, np.full(len(new), len(self.times), np.int64)])
        return numbers

    def part(self, keys: Sequence[tuple[str, ...]]) -> Gathering:
        """What is known of some series, without their counts and the status: those are to be added."""
        part = Gathering(self.times, self.tick, self.segments, self.entity, self.select)
        place = np.full(len(self.series) + 1, -1, np.int64)  # -1 marks the spare last element
        place[self.series.of(keys)] = part.series.of(keys)
        member = place[self._member]
        mine = np.flatnonzero((member >= 0).any(axis=0))
        names = list(self.triples.place)
        part.triples.of([names[i] for i in mine.tolist()])
        part.states, part.first, part._member = self.states, self.first[mine], member[:, mine]
        part.arrived, part.has_stock, part.fingerprint = self.arrived, self.has_stock, self.fingerprint
        return part

    @property
    def member(self) -> NDArray[np.int64]:
        """Per segment and triple the number of its series, -1 where it is not selected, [D, R]."""
        return self._member

    def _series_of(self, triples: Sequence[Triple], queues: Mapping[str, Record]) -> list[int]:
        place = self.series.place
        if not self.select and set(self.entity) <= set(ROW_FIELDS):  # whatever the metadata say
            own = [ROW_FIELDS.index(field) for field in self.entity]
            return [
                place.setdefault(key, len(place)) for key in zip(*([t[i] for t in triples] for i in own), strict=True)
            ]
        keys = [_key(triple, queues.get(triple[0], {}), self.entity, self.select) for triple in triples]
        return [-1 if key is None else place.setdefault(key, len(place)) for key in keys]

    def _inside(self, rows: pa.Table) -> tuple[pa.Table, NDArray[np.int64]]:
        """The rows in the range and their grid positions."""
        if rows.num_rows == 0:
            return rows, np.empty(0, np.int64)
        at = (seconds_of(rows) - self.times[0].astype("datetime64[s]").astype(np.int64)) // self.tick.seconds
        inside = (at >= 0) & (at < len(self.times))
        if inside.all():
            return rows, at
        return rows.filter(from_numpy(inside, pa.bool_())), at[inside]

    def _add_fingerprints(
        self,
        triples: Sequence[Triple],
        states: Sequence[str],
        triple: NDArray[np.int64],
        state: NDArray[np.int64],
        at: NDArray[np.int64],
        jobs: NDArray[np.float64],
    ) -> None:
        """Add what the stock counts of the rows come to."""
        stock = np.array([not is_flow(name) for name in states], np.bool_)[state]
        counted = np.flatnonzero(stock & (jobs > 0))
        keys = _hashes(triples, states).reshape(-1)[(triple * len(states) + state)[counted]]
        np.add.at(self.fingerprint, at[counted], _mix(jobs[counted].view(np.uint64) ^ keys))
        low, high = int(at.min()), int(at.max()) + 1
        _mark(self.has_stock[low:high], at - low, stock)

    def _add_said(
        self, rows: pa.Table, queues: Sequence[str], triple: NDArray[np.int64], at: NDArray[np.int64]
    ) -> None:
        """Add the status that rows carry; of several rows of a queue and tick the last one's."""
        numbers = self.queues.of(queues)
        column = one_chunk(rows.column("site_state"))
        valid = valid_mask(column)
        words, code = _codes(column)
        distinct, local = np.unique(numbers, return_inverse=True)
        first, end = int(at.min()), int(at.max()) + 1
        said = np.full((len(distinct), end - first), UNSAID, np.int8)
        cell, online = (local * (end - first) - first)[triple] + at, np.array([w == "online" for w in words], np.int8)
        if valid is not None:
            cell, code = cell[valid], code[valid]
            if not cell.size:
                return
        said.reshape(-1)[cell] = online[code]
        self.said.append(Said(distinct, first, said))

    def _add_counts(
        self,
        triple: NDArray[np.int64],
        states: NDArray[np.int64],
        state: NDArray[np.int64],
        at: NDArray[np.int64],
        jobs: NDArray[np.float64],
    ) -> None:
        """Add a block of the rows' counts by series."""
        series = self._series_of_rows(triple, at)
        used = np.zeros(len(self.series) + 1, np.bool_)
        used[series] = True  # -1 marks the spare last element
        mine = None if not used[-1] else np.flatnonzero(series >= 0)
        if mine is not None:
            series, at, state, jobs = series[mine], at[mine], state[mine], jobs[mine]
        numbers = np.flatnonzero(used[:-1])
        if not numbers.size:
            return
        row = (np.cumsum(used[:-1]) - 1)[series]
        first = int(at.min())
        shape = (len(numbers), int(at.max()) + 1 - first)
        cell = row * shape[1] + (at - first)
        has_row = np.zeros(shape, np.bool_)
        has_row.reshape(-1)[cell] = True
        counts = np.zeros((*shape, len(states)), np.float32)
        np.add.at(counts.reshape(-1), cell * len(states) + state, jobs.astype(np.float32))
        self.blocks.append(Block(numbers, first, states, counts, has_row))

    def _series_of_rows(self, triple: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of each row's series, -1 where it is not selected, [rows]."""
        member = self._member
        if (member == member[:1]).all():
            return np.asarray(member[0, triple])
        segment = np.searchsorted([start for start, _ in self.spans], at, side="right") - 1
        return np.asarray(member[segment, triple])


def _mark(flags: NDArray[np.bool_], at: NDArray[np.int64], rows: NDArray[np.bool_] | None = None) -> None:
    """Set the flags of the ticks of rows, or of some of them; of most slices every tick has been met before."""
    if not flags.all():
        flags[at if rows is None else at[rows]] = True


def _codes(column: pa.ChunkedArray[Any] | pa.Array[Any]) -> tuple[list[str], NDArray[Any]]:
    """Values of a string column, of which no row may have some, and per row the index of its value, -1 where null."""
    array: Any = one_chunk(column)
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    return [str(name) for name in array.dictionary.to_pylist()], codes_of(array)


def _used(names: list[str], codes: NDArray[Any]) -> tuple[list[str], NDArray[np.int64]]:
    """Of the values those that a row has, in their order, and the index of each row's among them, -1 where it is null.

    A slice of a table has the dictionary of all of it.
    """
    used = np.zeros(len(names) + 1, np.bool_)
    used[codes] = True  # -1 marks the spare last element
    codes = codes.astype(np.int64)
    if used[:-1].all():
        return names, codes
    place = np.append(np.where(used[:-1], np.cumsum(used[:-1]) - 1, -1), -1)
    return [name for name, use in zip(names, used, strict=False) if use], place[codes]


def _distinct(columns: Sequence[tuple[list[str], NDArray[Any]]]) -> tuple[list[Triple], NDArray[np.int64]]:
    """The distinct (panda_queue, prod_source, resource) of rows, and of each row which one it has."""
    names, codes = zip(*columns, strict=True)
    flat = (codes[0].astype(np.int64) * len(names[1]) + codes[1]) * len(names[2]) + codes[2]
    steps = np.diff(flat)
    if (steps >= 0).all():  # canonical rows are sorted by these columns
        first = np.concatenate([[0], np.flatnonzero(steps) + 1])
        of_row = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(flat))))
    else:
        _, first, of_row = np.unique(flat, return_index=True, return_inverse=True)
    return [(names[0][codes[0][i]], names[1][codes[1][i]], names[2][codes[2][i]]) for i in first], of_row.reshape(-1)


def _key(triple: Triple, record: Record, entity: tuple[str, ...], select: Mapping[str, str]) -> tuple[str, ...] | None:
    """The key of the series that a triple belongs to; None where it is not selected."""
    own = dict(zip(ROW_FIELDS, triple, strict=True))

    def value(field: str) -> str:
        return own[field] if field in own else record.get(field, "")

    if any(value(field) != wanted for field, wanted in select.items()):
        return None
    return tuple(value(field) for field in entity)


def _hashes(triples: Sequence[Triple], states: Sequence[str]) -> NDArray[np.uint64]:
    """A 64-bit hash of each (queue, prod_source, resource, state), [R, S]."""
    hashed: Callable[[str], int] = _Hashed().__getitem__
    mixed = np.zeros(len(triples), np.uint64)
    for column in zip(*triples, strict=True):
        mixed = _mix(mixed ^ np.array([hashed(name) for name in column], np.uint64))
    return _mix(mixed[:, None] ^ np.array([hashed(name) for name in states], np.uint64))


class _Hashed(dict[str, int]):
    """Hashes of texts, each made once."""

    def __missing__(self, text: str) -> int:
        self[text] = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
        return self[text]


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014): every input bit moves every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
