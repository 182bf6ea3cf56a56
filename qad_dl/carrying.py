"""From a tick to the next: what is kept (`rolling`) carried on with the rows of a tick, or made anew from the store.

What is kept names what it was made from: the entries of the store, the metadata and the downtimes that it saw. Where
anything else has changed since than rows after its end, it is made again from the store, so that the scores of a
tick are those of a backtest whatever happened in between.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from qad_dl.arrow import codes_of, from_numpy, one_chunk
from qad_dl.backtest import read_history
from qad_dl.gathering import UNSAID
from qad_dl.grid import grid_of, start_gathering, stocks_of, times_of
from qad_dl.online import said_of
from qad_dl.rolling import Rolling, Source, keep, load
from qad_dl.rows import merge_rows, seconds_of, series_of
from qad_dl.schema import is_flow

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.bundle import Bundle
    from qad_dl.downtimes import Downtime
    from qad_dl.metadata import Metadata
    from qad_dl.schema import Times
    from qad_dl.store import Store


def roll(path: Path, store: Store, bundle: Bundle, at: np.datetime64) -> tuple[Rolling, Metadata]:
    """What is kept at `path` as of the tick `at`: carried on where that is the truth, else made anew.

    Nothing is said to be kept until it is saved.

    Returns:
        The newest ticks, and the metadata of one lookback before `at` and of that.

    Raises:
        StoreError: a file of the store is damaged.
        ConfigError: an entity or selection field of the bundle that is in no metadata.
    """
    start = at - bundle.preprocess.plan.lookback * store.tick.delta
    metadata, downtimes = store.metadata(start), store.downtimes()
    source, kept = _source(store, bundle, start, at, downtimes), load(path)
    if kept is not None and kept.end == at and kept.source == source:
        return kept, metadata
    rows = None if kept is None else _fresh_rows(kept, store, bundle, at, source, downtimes)
    carried = None if kept is None or rows is None else _through(kept, rows, bundle, at, metadata, downtimes)
    if carried is not None:
        return replace(carried, source=source), metadata
    if kept is not None:
        kept.ring.close()
    return _made(path, store, bundle, at, source, metadata, downtimes), metadata


def _source(
    store: Store, bundle: Bundle, start: np.datetime64, at: np.datetime64, downtimes: Sequence[Downtime]
) -> Source:
    """What is made of [start, at] is made from this."""
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
    old, end = kept.source, kept.end + kept.tick.delta
    ahead = int((at - kept.end) // kept.tick.delta)
    held = source.metadata[:1] + tuple(said for said in source.metadata[1:] if _time_of(said) < end)
    if (
        old.bundle != bundle.name
        or not 0 < ahead < bundle.sight
        or kept.stocks is None
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


def _through(
    kept: Rolling,
    rows: pa.Table,
    bundle: Bundle,
    at: np.datetime64,
    metadata: Metadata,
    downtimes: Collection[Downtime],
) -> Rolling | None:
    """`kept` carried on tick by tick to `at`; None where a state comes up that it has no place for."""
    seconds = seconds_of(rows)
    if kept.end + kept.tick.delta < at:
        kept.unsay()  # the file has a slot for one tick: with two the old end is no more
    while kept.end < at:
        now = kept.end + kept.tick.delta
        mine = seconds == now.astype("datetime64[s]").astype(np.int64)
        part = rows if mine.all() else rows.filter(from_numpy(mine, pa.bool_()))
        carried = _carried_on(kept, part, bundle, metadata, downtimes)
        if carried is None:
            return None
        kept = carried
    return kept


def _carried_on(
    kept: Rolling, rows: pa.Table, bundle: Bundle, metadata: Metadata, downtimes: Collection[Downtime]
) -> Rolling | None:
    """`kept` with one tick more."""
    preprocess, now = bundle.preprocess, kept.end + kept.tick.delta
    gathering = start_gathering(np.array([now]), kept.tick, metadata, preprocess.entity, preprocess.select)
    gathering.add(rows)
    stocks = stocks_of(gathering)
    grid = grid_of(gathering, downtimes, kept.known, kept.said, kept.stocks)
    if not set(grid.states) <= set(kept.states):
        return None
    ended = not grid.at_rest()[0] and bool(grid.arrived[0])
    flows = any(map(is_flow, grid.states))
    return replace(
        kept,
        series=kept.add(grid),
        end=now,
        ticks=kept.ticks.and_then(bool(grid.arrived[0]), bool(grid.frozen[0]), ended and flows),
        known=kept.known | series_of(rows),
        said=_said(rows, kept.said),
        stocks=stocks or kept.stocks,
    )


def _made(
    path: Path,
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
    said, stocks = said_of(gathering, queues), stocks_of(gathering)
    grid = grid_of(gathering, downtimes, known)
    span = store.span()
    if span is not None and span[1] > at:
        # What these entries hold of later ticks is not in the grid: it must not pass for known when they are due.
        source = source._replace(versions={})
    kept = keep(path, grid, bundle, source)
    return replace(kept, known=frozenset(having), said=_last_said(said, queues, times), stocks=stocks)


def _last_said(said: NDArray[np.int8], queues: Sequence[str], times: Times) -> dict[str, tuple[np.datetime64, bool]]:
    """`Rolling.said` of the status by queue and tick."""
    place = np.where(said != UNSAID, np.arange(len(times)), -1).max(axis=1, initial=-1)
    return {
        q: (times[at], bool(said[i, at] == 1)) for i, (q, at) in enumerate(zip(queues, place, strict=True)) if at >= 0
    }


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
