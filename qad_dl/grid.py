"""Long rows to a regular UTC grid, with what was observed kept apart from what was zero.

A tick that arrived has a value for every state of every series: 0 where it has no row. A tick without any row did not
arrive, and a series is not there before its first row: both are NaN, never 0 (interfaces, section 1).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from qad_dl.arrow import from_numpy
from qad_dl.errors import ConfigError
from qad_dl.gathering import ROW_FIELDS, Gathering, Segments, Triple
from qad_dl.online import queues_up
from qad_dl.rows import seconds_of, series_of
from qad_dl.schema import RETIRED_AFTER_DAYS, Tick, Times, is_flow, state_order

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.downtimes import Downtime
    from qad_dl.metadata import Metadata

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
        before: whether the ticks before the first of `times` arrived, where this was cut out of a longer grid by
            `newest`, [B]; `quiet` then tells of rows in them, too.
        rest: `at_rest` of all series, where this has only some of them, [T]; None where it has all.
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
    before: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    rest: NDArray[np.bool_] | None = None

    def at_rest(self) -> NDArray[np.bool_]:
        """[T] no job ended anywhere: then unchanged stocks are the truth of a quiet hour.

        Where jobs go on ending while stocks do not change, the source hangs, and what it says of the stocks is old.
        """
        if self.rest is not None:
            return self.rest
        flows = [k for k, state in enumerate(self.states) if is_flow(state)]
        ended = np.zeros(len(self.times), np.bool_)
        for k in flows:
            ended |= (self.counts[:, :, k] > 0).any(axis=0)
        return ~ended & bool(flows)

    def of(self, series: NDArray[np.int64]) -> Grid:
        """Some series, copied, with what is known of all: what is said of one does not depend on who is with it."""
        parts: dict[str, Any] = {name: getattr(self, name)[series] for name in ("counts", "quiet", "online", "known")}
        return replace(self, series=tuple(self.series[i] for i in series), rest=self.at_rest(), **parts)

    def newest(self, ticks: int) -> Grid:
        """The newest ticks alone, at most `ticks`, without forgetting what was before them; nothing is copied."""
        cut = len(self.times) - ticks
        if cut <= 0:
            return self
        parts: dict[str, Any] = {name: getattr(self, name)[:, cut:] for name in ("counts", "quiet", "online", "known")}
        before = np.concatenate([self.before, self.arrived[:cut]])
        parts |= {name: getattr(self, name)[cut:] for name in ("times", "arrived", "frozen")}
        rest = None if self.rest is None else self.rest[cut:]
        return replace(self, before=before, rest=rest, **parts)


class Stocks(NamedTuple):
    """What the stock counts of all queues come to in the newest tick that arrived: was the source frozen in the next?

    Attributes:
        time: the tick.
        fingerprint: sum of their hashes.
        counted: whether it has any.
    """

    time: np.datetime64
    fingerprint: int
    counted: bool

    def to_json(self) -> list[Any]:
        """As plain JSON values; `from_json` is the inverse."""
        return [int(self.time.astype("datetime64[s]").astype(np.int64)), str(self.fingerprint), self.counted]

    @classmethod
    def from_json(cls, data: Sequence[Any]) -> Stocks:
        """Read what `to_json` wrote."""
        time, fingerprint, counted = data
        return cls(np.datetime64(int(time), "s"), int(fingerprint), bool(counted))


def stocks_of(gathering: Gathering) -> Stocks | None:
    """Of the newest tick that arrived; None where none did."""
    arrived = np.flatnonzero(gathering.arrived)
    if not arrived.size:
        return None
    last = arrived[-1]
    return Stocks(gathering.times[last], int(gathering.fingerprint[last]), bool(gathering.has_stock[last]))


def build_grid(
    rows: pa.Table | Iterable[pa.Table],
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
        rows: merged rows (`history.JOBS_SCHEMA`), or pieces of them in their order, of which one at a time is held;
            those outside `times` are left out.
        times: every tick of a range, [T].
        tick: length of a tick.
        metadata: what held when; entity fields, `select` and the status are looked up in it.
        entity: fields of a series' key: columns of the table or metadata fields. Rows with one key are summed.
        select: only queues (or rows) with these values, for example `{"cloud": "DE"}`.
        downtimes: declared downtimes.
        known: (panda_queue, prod_source, resource) that had rows before `times`; looked at after the last piece.
        carried: per queue, the tick before `times` whose row said its status last, and whether that was online.

    Raises:
        ConfigError: an entity or selection field that neither the table nor any metadata record has.
    """
    gathering = start_gathering(times, tick, metadata, entity, select)
    for piece in [rows] if isinstance(rows, pa.Table) else rows:
        gathering.add(piece)
        del piece  # or it was held while the next is read
    return grid_of(gathering, downtimes, known, carried)


def start_gathering(
    times: Times,
    tick: Tick,
    metadata: Metadata,
    entity: Sequence[str] = ENTITY_DEFAULT,
    select: Mapping[str, str] | None = None,
) -> Gathering:
    """What `grid_of` takes, to which rows are to be added; arguments and errors as of `build_grid`."""
    segments = metadata.segments(times[0], times[-1] + tick.delta)
    _check_fields((*entity, *(select or {})), segments)
    return Gathering(times, tick, segments, tuple(entity), dict(select or {}))


def grid_of(
    gathering: Gathering,
    downtimes: Collection[Downtime] = (),
    known: Collection[tuple[str, str, str]] = (),
    carried: Mapping[str, tuple[np.datetime64, bool]] | None = None,
    stocks: Stocks | None = None,
) -> Grid:
    """The grid of all that was gathered, which is used up by that; arguments as of `build_grid`.

    `stocks` are those of the newest tick that arrived before it.
    """
    number_listed(gathering, known)
    return assemble(gathering, downtimes, known, carried, stocks)


def number_listed(gathering: Gathering, known: Collection[Triple] = ()) -> None:
    """Let a gathering hold the series, too, that had no row but are known.

    Args:
        gathering: after the last of its rows.
        known: had rows before its times. What the metadata list comes on top.
    """
    # Those with rows too: before its first row a queue is known because it is listed, whatever comes later.
    gathering.number(sorted(set(known) | {(queue, "", "") for held in _listing(gathering) for queue in held}))


def assemble(
    gathering: Gathering,
    downtimes: Collection[Downtime] = (),
    known: Collection[Triple] = (),
    carried: Mapping[str, tuple[np.datetime64, bool]] | None = None,
    stocks: Stocks | None = None,
) -> Grid:
    """The grid of a gathering that holds all its series, or of a part of one; it is used up by that.

    Of a part, `Grid.rest` is to be said by who knows all series. Arguments as of `grid_of`.
    """
    times, tick = gathering.times, gathering.tick
    triples, spans = list(gathering.triples.place), gathering.spans
    order = sorted(gathering.series.place)
    rank = np.empty(len(order) + 1, np.int64)
    rank[[gathering.series.place[key] for key in order]] = np.arange(len(order))
    rank[-1] = -1
    member = rank[gathering.member]
    queues = [queue for queue, _, _ in triples]
    names = sorted(set(queues))
    place = {name: i for i, name in enumerate(names)}
    of_triple = np.array([place[queue] for queue in queues], np.int64)
    up = queues_up(gathering, names, downtimes, carried or {})
    listed = _listed(triples, set(known), _listing(gathering), spans, len(times))
    begun = listed | (np.arange(len(times)) >= gathering.first[:, None])
    online = _any_member(member, spans, up[of_triple] & begun, len(order))
    online |= ~_any_member(member, spans, begun, len(order))
    del up, begun
    frozen = _frozen(gathering, RETIRED_AFTER_DAYS * tick.per_day, stocks)
    quiet = _quiet(gathering, rank, len(order))
    counts, states = counts_of(gathering, rank, len(order))
    counts[quiet == NEVER] = np.nan
    counts[:, ~gathering.arrived] = np.nan
    return Grid(
        tick=tick,
        times=times,
        entity=gathering.entity,
        series=tuple(order),
        states=states,
        counts=counts,
        arrived=gathering.arrived,
        frozen=frozen,
        quiet=quiet,
        online=online,
        known=_any_member(member, spans, listed, len(order)) | (quiet != NEVER),
    )


def series_before(rows: pa.Table, time: np.datetime64) -> set[tuple[str, str, str]]:
    """The (panda_queue, prod_source, resource) of the rows before `time`."""
    before = times_of(rows) < time
    if not before.any():
        return set()
    return series_of(rows if before.all() else rows.filter(from_numpy(before, pa.bool_())))


_Spans: TypeAlias = "list[tuple[int, int]]"


def times_of(rows: pa.Table) -> Times:
    """The column `time` as `datetime64[s]`, [rows]."""
    return seconds_of(rows).view("datetime64[s]")


def _check_fields(fields: Sequence[str], segments: Segments) -> None:
    """Refuse a field that no record has: a misspelt field would silently sum the whole grid into one series."""
    asked = [f for f in fields if f not in ROW_FIELDS]
    if not asked:
        return
    seen = {name for _, _, queues in segments for record in queues.values() for name in record}
    for name in asked:
        if name not in seen:
            some = ", ".join(sorted(seen)[:12]) or "none, since there are no metadata"
            msg = f"entity or selection field {name!r} is no column of the history and in no metadata; known: {some}"
            raise ConfigError(msg)


def _listing(gathering: Gathering) -> list[Collection[str]]:
    """The queues that the metadata of each segment list, where they say which series there are."""
    return [() if _is_finer(gathering.entity) else held for _, _, held in gathering.segments]


def _is_finer(entity: Sequence[str]) -> bool:
    """Whether a queue is several series, of which the metadata know nothing."""
    return bool({"prod_source", "resource"} & set(entity))


def _quiet(gathering: Gathering, rank: NDArray[np.int64], n_series: int) -> NDArray[np.int32]:
    """`Grid.quiet`."""
    has_row = rows_seen(gathering, rank, n_series)
    ticks = np.arange(len(gathering.times), dtype=np.int32)
    last = np.where(has_row, ticks, np.int32(-1))
    np.maximum.accumulate(last, axis=1, out=last)
    return np.where(last < 0, np.int32(NEVER), ticks - last)


def rows_seen(gathering: Gathering, rank: NDArray[np.int64], n_series: int) -> NDArray[np.bool_]:
    """Whether a series has any row in a tick, [N, T]; `rank` is the place of each series' number."""
    has_row = np.zeros((n_series, len(gathering.times)), np.bool_)
    for block in gathering.blocks:
        rows = rank[block.series]
        has_row[rows, block.first : block.first + block.has_row.shape[1]] |= block.has_row
    return has_row


def counts_of(
    gathering: Gathering, rank: NDArray[np.int64], n_series: int
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """`Grid.counts`, 0 where there is no row, and the states; each block is let go when it is in its place."""
    found = gathering.states.place
    states = state_order(frozenset(found))
    channel = np.empty(len(states), np.int64)
    channel[[found[name] for name in states]] = np.arange(len(states))
    counts = np.zeros((n_series, len(gathering.times), len(states)), np.float32)
    while gathering.blocks:
        block = gathering.blocks.pop()
        ticks = slice(block.first, block.first + block.counts.shape[1])
        rows, channels = rank[block.series], channel[block.states]
        if np.array_equal(channels, np.arange(len(states))):
            counts[rows, ticks] += block.counts
            continue
        for at, to in enumerate(channels.tolist()):
            counts[rows, ticks, to] += block.counts[:, :, at]
    return counts, states


def _frozen(gathering: Gathering, longest: int, stocks: Stocks | None) -> NDArray[np.bool_]:
    """Ticks whose stock counts are all equal to the last arrived tick's, [T].

    The sum of a 64-bit hash of (queue, prod_source, resource, state, count) over the rows with jobs is one fingerprint
    per tick that does not mind rows of zero; two different ticks share one with a probability of about 2^-64. A source
    that counts no stocks at all cannot freeze. A tick older than the lookback of a score is not compared with: whether
    it is on the grid depends on where the grid begins.

    Args:
        gathering: all rows of the grid, of all queues.
        longest: ticks between two that are compared, at most.
        stocks: of the newest tick that arrived before the grid.
    """
    index = np.flatnonzero(gathering.arrived)
    place, fingerprint, has_stock = index, gathering.fingerprint[index], gathering.has_stock[index]
    if stocks is not None:
        place = np.append(-int((gathering.times[0] - stocks.time) // gathering.tick.delta), place)
        fingerprint = np.append(np.uint64(stocks.fingerprint), fingerprint)
        has_stock = np.append(stocks.counted, has_stock)
    same = (fingerprint[1:] == fingerprint[:-1]) & (has_stock[1:] | has_stock[:-1]) & (np.diff(place) <= longest)
    frozen = np.zeros(len(gathering.arrived), np.bool_)
    frozen[place[1:]] = same
    return frozen


def _listed(
    triples: Sequence[Triple], known: set[Triple], queues: Sequence[Collection[str]], spans: _Spans, n_ticks: int
) -> NDArray[np.bool_]:
    """Whether a triple is known at the tick without a row in the grid, [R, T]."""
    listed = np.zeros((len(triples), n_ticks), np.bool_)
    listed[[i for i, t in enumerate(triples) if t in known]] = True
    for (start, end), held in zip(spans, queues, strict=True):
        listed[[i for i, t in enumerate(triples) if t[0] in held and t[1:] == ("", "")], start:end] = True
    return listed


def _any_member(member: NDArray[np.int64], spans: _Spans, flags: NDArray[np.bool_], n_series: int) -> NDArray[np.bool_]:
    """Whether any triple of the series has the flag at the tick: [R, T] to [N, T]."""
    out = np.zeros((n_series, flags.shape[1]), np.bool_)
    for segment, (start, end) in enumerate(spans):
        mine = np.flatnonzero(member[segment] >= 0)
        np.logical_or.at(out[:, start:end], member[segment, mine], flags[mine, start:end])
    return out
