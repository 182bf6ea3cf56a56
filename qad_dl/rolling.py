"""The grid of the last days kept from tick to tick: a tick adds its columns to it instead of reading a week again.

What is kept names what it was made from: the entries of the store, the metadata and the downtimes that it saw. Where
anything else has changed since than rows after its end, it is made again from the store, so that the scores of a
tick are those of a backtest whatever happened in between.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from qad_dl.arrow import codes_of, from_numpy, one_chunk
from qad_dl.atomic import replacing_file
from qad_dl.backtest import read_history
from qad_dl.gathering import UNSAID
from qad_dl.grid import NEVER, Grid, build_grid, grid_of, said_of, start_gathering, times_of
from qad_dl.rows import concat_rows, merge_rows, series_of
from qad_dl.schema import Tick, state_order

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.bundle import Bundle
    from qad_dl.downtimes import Downtime
    from qad_dl.metadata import Metadata
    from qad_dl.schema import Times
    from qad_dl.store import Store

FORMAT: Final = 2
"""Version of what `save` writes; another is made again."""


@dataclass(frozen=True)
class Source:
    """What a grid was made from, as far as it lies before the grid's end.

    Attributes:
        bundle: name of the bundle.
        versions: the newest entry of each day, see `Store.versions`.
        metadata: which dump holds from when, see `Store.metadata_versions`.
        downtimes: hash of the declared downtimes that had begun.
    """

    bundle: str
    versions: Mapping[str, int]
    metadata: tuple[str, ...]
    downtimes: str


@dataclass(frozen=True)
class Rolling:
    """A grid that can be carried on.

    Attributes:
        grid: the ticks that a score of the newest looks at, and whether those of one lookback before it arrived.
        source: what it was made from.
        known: (panda_queue, prod_source, resource) that have had a row so far.
        said: per queue, the tick whose row said its status last, and whether it was online.
        newest: the rows of the newest tick that arrived.
        memory: arrays that somebody else made of the grid; gone where the grid was made anew.
    """

    grid: Grid
    source: Source
    known: frozenset[tuple[str, str, str]]
    said: Mapping[str, tuple[np.datetime64, bool]]
    newest: pa.Table
    memory: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def roll(kept: Rolling | None, store: Store, bundle: Bundle, at: np.datetime64) -> tuple[Rolling, Metadata]:
    """The grid that ends with the tick `at`, carried on from `kept` where that is the truth, else made anew.

    Returns:
        The grid, equal to that of `backtest.read_grid` wherever a score of `at` looks, and the metadata of its range.

    Raises:
        StoreError: a file of the store is damaged.
        ConfigError: an entity or selection field of the bundle that is in no metadata.
    """
    start = at - bundle.preprocess.plan.lookback * store.tick.delta
    metadata, downtimes = store.metadata(start), store.downtimes()
    source = _source(store, bundle, start, at, downtimes)
    if kept is not None and kept.grid.times[-1] == at and kept.source == source:
        return kept, metadata
    rows = None if kept is None else _fresh_rows(kept, store, bundle, at, source, downtimes)
    if kept is None or rows is None:
        return _made(store, bundle, at, source, metadata, downtimes), metadata
    return _carried_on(kept, rows, bundle, at, source, metadata, downtimes), metadata


def save(path: Path, kept: Rolling) -> None:
    """Write a grid, whole or not at all."""
    grid = kept.grid
    about = {
        "format": FORMAT,
        "tick": grid.tick.minutes,
        "entity": grid.entity,
        "series": grid.series,
        "states": grid.states,
        "source": {**vars(kept.source)},
        "known": sorted(kept.known),
        "said": {queue: [int(time.astype(np.int64)), online] for queue, (time, online) in kept.said.items()},
    }
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, kept.newest.schema) as writer:
        writer.write_table(kept.newest)
    arrays: dict[str, Any] = {
        "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
        "newest": np.frombuffer(sink.getvalue().to_pybytes(), np.uint8),
        "times": grid.times.astype(np.int64),
        **{name: getattr(grid, name) for name in _ARRAYS},
        **{_MEMORY + name: array for name, array in kept.memory.items()},
    }
    with replacing_file(path) as file:
        np.savez(file, **arrays)


_MEMORY: Final = "memory_"
_ARRAYS: Final = ("counts", "arrived", "frozen", "quiet", "online", "known", "before")


def load(path: Path) -> Rolling | None:
    """What `save` wrote; None where there is nothing, or nothing that this program can read: it is made again then."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            if about["format"] != FORMAT:
                return None
            arrays = {name: file[name] for name in _ARRAYS}
            memory = {name.removeprefix(_MEMORY): file[name] for name in file.files if name.startswith(_MEMORY)}
            times, newest = file["times"].astype("datetime64[s]"), file["newest"].tobytes()
        with pa.ipc.open_file(pa.py_buffer(newest)) as reader:
            rows = reader.read_all()
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, pa.ArrowException):
        return None
    source = about["source"]
    return Rolling(
        grid=Grid(
            tick=Tick(about["tick"]),
            times=times,
            entity=tuple(about["entity"]),
            series=tuple(tuple(key) for key in about["series"]),
            states=tuple(about["states"]),
            **arrays,
        ),
        source=Source(source["bundle"], source["versions"], tuple(source["metadata"]), source["downtimes"]),
        known=frozenset((q, s, r) for q, s, r in about["known"]),
        said={queue: (np.datetime64(time, "s"), bool(online)) for queue, (time, online) in about["said"].items()},
        newest=rows,
        memory=memory,
    )


def _source(
    store: Store, bundle: Bundle, start: np.datetime64, at: np.datetime64, downtimes: Sequence[Downtime]
) -> Source:
    """What a grid of [start, at] is made from."""
    end = at + store.tick.delta
    return Source(bundle.name, store.versions(start, end), store.metadata_versions(start, end), _begun(downtimes, end))


def _begun(downtimes: Collection[Downtime], end: np.datetime64) -> str:
    """A hash of what the downtimes say of the time before `end`: one that is announced or prolonged changes nothing."""
    rows = sorted({f"{d.panda_queue}\x1f{d.start}\x1f{min(d.end, end)}" for d in downtimes if d.start < end})
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _fresh_rows(
    kept: Rolling,
    store: Store,
    bundle: Bundle,
    at: np.datetime64,
    source: Source,
    downtimes: Collection[Downtime],
) -> pa.Table | None:
    """The rows since the end of `kept`; None where it cannot be carried on."""
    grid, old = kept.grid, kept.source
    end = grid.times[-1] + grid.tick.delta
    ahead = int((at - grid.times[-1]) // grid.tick.delta)
    held = source.metadata[:1] + tuple(said for said in source.metadata[1:] if _time_of(said) < end)
    if (
        old.bundle != bundle.name
        or not 0 < ahead < len(grid.times)
        or kept.newest.num_rows == 0
        or not old.versions
        or old.downtimes != _begun(downtimes, end)
        or old.metadata[len(old.metadata) - len(held) :] != held
    ):
        return None
    first = min(source.versions, default="")
    if any(day not in source.versions for day in old.versions if day >= first):
        return None
    rows = store.added(old.versions, source.versions)
    if rows is None or rows.num_rows == 0:
        return rows
    times = times_of(rows)
    return None if times.min() < end or times.max() > at else merge_rows([rows])


def _time_of(said: str) -> np.datetime64:
    """From when a dump holds, of an element of `Source.metadata`."""
    return np.datetime64(said.partition(" ")[0], "s")


def _made(
    store: Store,
    bundle: Bundle,
    at: np.datetime64,
    source: Source,
    metadata: Metadata,
    downtimes: Collection[Downtime],
) -> Rolling:
    """From the store."""
    preprocess = bundle.preprocess
    start = at - preprocess.plan.lookback * store.tick.delta
    pieces, known = read_history(store, start, at + store.tick.delta)
    times = store.tick.range(start, at + store.tick.delta)
    gathering = start_gathering(times, store.tick, metadata, preprocess.entity, preprocess.select)
    for rows in pieces:
        gathering.add(rows)
        del rows  # or it was held while the next is read
    queues, having = list(gathering.queues.place), known | set(gathering.triples.place)
    said = said_of(gathering, queues)
    grid = grid_of(gathering, downtimes, known)
    arrived, grid = grid.times[grid.arrived], _copied(grid.newest(bundle.sight))
    newest = store.read(arrived[-1], arrived[-1] + store.tick.delta) if arrived.size else concat_rows([])
    span = store.span()
    if span is not None and span[1] > at:
        # What these entries hold of later ticks is not in the grid: it must not pass for known when they are due.
        source = replace(source, versions={})
    return Rolling(grid, source, frozenset(having), _last_said(said, queues, times), _newest(newest, newest))


def _copied(grid: Grid) -> Grid:
    """The same grid without a hold on the one that it was cut out of."""
    arrays: dict[str, Any] = {name: np.ascontiguousarray(getattr(grid, name)) for name in ("times", *_ARRAYS)}
    return replace(grid, **arrays)


def _last_said(said: NDArray[np.int8], queues: Sequence[str], times: Times) -> dict[str, tuple[np.datetime64, bool]]:
    """`Rolling.said` of the status by queue and tick."""
    place = np.where(said != UNSAID, np.arange(len(times)), -1).max(axis=1, initial=-1)
    return {
        q: (times[at], bool(said[i, at] == 1)) for i, (q, at) in enumerate(zip(queues, place, strict=True)) if at >= 0
    }


def _carried_on(
    kept: Rolling,
    rows: pa.Table,
    bundle: Bundle,
    at: np.datetime64,
    source: Source,
    metadata: Metadata,
    downtimes: Collection[Downtime],
) -> Rolling:
    """`kept` and the columns after its end, at the same length."""
    grid, preprocess = kept.grid, bundle.preprocess
    # From the newest tick that arrived, since whether the source is frozen is told by comparing with that.
    since = times_of(kept.newest)[0]
    new = build_grid(
        concat_rows([kept.newest, rows]),
        grid.tick.range(since, at + grid.tick.delta),
        grid.tick,
        metadata,
        preprocess.entity,
        preprocess.select,
        downtimes,
        kept.known,
        kept.said,
    )
    return replace(
        kept,
        grid=_joined(grid, new),
        source=source,
        known=kept.known | series_of(rows),
        said=_said(rows, kept.said),
        newest=_newest(rows, kept.newest),
    )


def _said(rows: pa.Table, before: Mapping[str, tuple[np.datetime64, bool]]) -> dict[str, tuple[np.datetime64, bool]]:
    """Per queue the last row that says its status; of several in a tick the last in the order of the rows."""
    said = dict(before)
    if rows.num_rows == 0:
        return said
    states, queues = one_chunk(rows.column("site_state")), one_chunk(rows.column("panda_queue"))
    state, queue = codes_of(states), codes_of(queues)
    names, words = queues.dictionary.to_pylist(), states.dictionary.to_pylist()
    carried = np.flatnonzero(state >= 0)
    times = times_of(rows)[carried]
    order = carried[np.argsort(times, kind="stable")]
    last = np.full(len(names), -1, np.int64)
    np.maximum.at(last, queue[order], np.arange(len(order)))
    when = np.sort(times, kind="stable")
    for i in np.flatnonzero(last >= 0).tolist():
        said[names[i]] = (when[last[i]], words[state[order[last[i]]]] == "online")
    return said


def _newest(rows: pa.Table, before: pa.Table) -> pa.Table:
    """The rows of the newest tick, those of `before` where there are none."""
    if rows.num_rows == 0:
        return before
    times = times_of(rows)
    last = times == times.max()
    return merge_rows([rows if last.all() else rows.filter(from_numpy(last, pa.bool_()))])


def _joined(old: Grid, new: Grid) -> Grid:
    """The columns of `new` after the end of `old` behind those of `old`, as many in all as `old` has."""
    length, more = len(old.times), int((new.times[-1] - old.times[-1]) // old.tick.delta)
    series = tuple(sorted({*old.series, *new.series}))
    states = state_order(frozenset((*old.states, *new.states)))
    place = {key: i for i, key in enumerate(series)}
    here, there = _rows_of(old, place), _rows_of(new, place)

    def both(name: str, missing: Any) -> NDArray[Any]:
        first, second = getattr(old, name), getattr(new, name)
        out = np.full((len(series), length), missing, first.dtype)
        out[here, :-more] = first[:, more:]
        out[there, -more:] = second[:, -more:]
        return out

    quiet = _quiet(both("quiet", NEVER), more, len(old.before))
    every = np.concatenate([old.before, old.arrived, new.arrived[-more:]])[more:]
    arrived = every[-length:]
    counts = _counts(old, new, series, states, more)
    counts[(quiet == NEVER) | ~arrived] = np.nan
    grid = Grid(
        tick=old.tick,
        times=old.tick.range(old.times[more], new.times[-1] + old.tick.delta),
        entity=old.entity,
        series=series,
        states=states,
        counts=counts,
        arrived=arrived,
        frozen=np.concatenate([old.frozen[more:], new.frozen[-more:]]),
        quiet=quiet,
        online=both("online", True),
        known=both("known", False) | (quiet != NEVER),
        before=every[:-length],
    )
    return _only(grid, np.flatnonzero(grid.known.any(axis=1)))


def _rows_of(grid: Grid, place: Mapping[tuple[str, ...], int]) -> NDArray[np.int64]:
    return np.array([place[key] for key in grid.series], np.int64)


def _quiet(quiet: NDArray[np.int32], more: int, before: int) -> NDArray[np.int32]:
    """Ticks since the last row: carried on through the new columns, and `NEVER` where that is one lookback ago."""
    if quiet.shape[1] > more:
        last = quiet[:, -more - 1]
        passed = last[:, None] + np.arange(1, more + 1, dtype=np.int32)
        carried = np.where(last[:, None] == NEVER, np.int32(NEVER), passed)
        quiet[:, -more:] = np.where(quiet[:, -more:] == NEVER, carried, quiet[:, -more:])
    quiet[quiet > before + np.arange(quiet.shape[1])] = NEVER
    return quiet


def _counts(
    old: Grid, new: Grid, series: Sequence[tuple[str, ...]], states: Sequence[str], more: int
) -> NDArray[np.float32]:
    """Counts of both, 0 where there is no row; what is not there at all is for the caller to mark."""
    place = {key: i for i, key in enumerate(series)}
    out = np.zeros((len(series), len(old.times), len(states)), np.float32)
    kept, added = slice(None, -more), slice(-more, None)
    for grid, ticks, taken in ((old, kept, slice(more, None)), (new, added, added)):
        rows, channels = _rows_of(grid, place), np.array([states.index(state) for state in grid.states], np.int64)
        counts = grid.counts[:, taken]
        if len(rows) == len(series) and len(channels) == len(states):
            out[:, ticks] = counts
        else:
            out[np.ix_(rows, np.arange(out.shape[1])[ticks], channels)] = counts
    out[np.isnan(out)] = 0
    return out


def _only(grid: Grid, left: NDArray[np.int64]) -> Grid:
    """The grid with some of its series."""
    if len(left) == len(grid.series):
        return grid
    parts = {name: getattr(grid, name)[left] for name in ("counts", "quiet", "online", "known")}
    return replace(grid, series=tuple(grid.series[i] for i in left), **parts)
