"""Fetch what a tick needs, and judge it before it counts.

A source is loaded when it is asked: an HTTP client alone is a good part of the start of a tick.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa

from qad_dl.arrow import codes_of, dictionary, from_numpy, one_chunk
from qad_dl.errors import SourceError
from qad_dl.rows import JOBS_SCHEMA, concat_rows, empty_rows, seconds_of
from qad_dl.sources.files import read_dropped
from qad_dl.sources.snapshot import FAILED, MISSING, OK, Verdict, judge_snapshot
from qad_dl.timeparse import format_time
from serving.config import PANDA_URL
from serving.state import Collected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from qad_dl.metadata import Record
    from qad_dl.store import Store
    from serving.config import Config
    from serving.state import Clocks, Progress

COMPARED: Final = np.timedelta64(1, "D")
"""A snapshot is compared with one that is no older: half a grid that is gone for longer is gone."""


class Request(NamedTuple):
    """What is asked of a source.

    Attributes:
        config: where to.
        store: what is known already.
        tick: the tick in work.
        clocks: now.
        progress: how far it was done; None at the first tick.
        folder: of the state.
        simulated: the tick was asked for (`--at`): then ticks pass the time, and not the clock.
    """

    config: Config
    store: Store
    tick: np.datetime64
    clocks: Clocks
    progress: Progress | None
    folder: Path
    simulated: bool = False

    @property
    def passed_s(self) -> float | None:
        """Seconds since the last fetch that counted; None where there was none."""
        fetched = self.progress.fetched if self.progress else None
        if fetched is None or self.progress is None or self.progress.good is None:
            return None
        if self.simulated:
            return float((self.tick - self.progress.good) / np.timedelta64(1, "s"))
        return self.clocks.passed(fetched)


def collect(request: Request) -> Collected:
    """Fetch and judge. A source that does not answer is a verdict, too: `failed`, with what it said."""
    until = time.monotonic() + request.config.deadline.fetch_seconds
    try:
        collected = SOURCES[request.config.source.kind](request, until)
    except SourceError as error:
        collected = Collected(request.tick, request.clocks, FAILED, str(error), empty_rows())
    return _with_metadata(request, collected, until)


def _from_panda(request: Request, until: float) -> Collected:
    from qad_dl.sources.http import Client, open_session
    from qad_dl.sources.panda import fetch_jobs, window

    source, passed = request.config.source, request.passed_s
    token = source.token.reveal() if source.token else ""
    counts = fetch_jobs(Client(open_session(source.ca_file), until), source.url or PANDA_URL, window(passed), token)
    rows = counts.rows(request.tick)
    verdict = judge_snapshot(rows, _last_rows(request), passed)
    return Collected(request.tick, request.clocks, verdict.name, verdict.text, rows if verdict.counts else empty_rows())


def _last_rows(request: Request) -> pa.Table | None:
    """The counts of the newest tick that counted, if that was within a day."""
    good = request.progress.good if request.progress else None
    if good is None or request.tick - good > COMPARED:
        return None
    return request.store.read(good, good + request.store.tick.delta)


def _with_metadata(request: Request, collected: Collected, until: float) -> Collected:
    """Add what CRIC says: metadata, each row's status, downtimes; the last known where it does not answer."""
    config = request.config.cric
    if config is None:
        return collected
    from qad_dl.sources.cric import Cache
    from qad_dl.sources.http import Client
    from serving.cric import Cric, cric_session

    client, cache = Client(cric_session(config), until), Cache(request.folder / "cric", request.clocks.wall)
    said = Cric(config, request.config.downtimes, client, cache).ask(request.tick)
    troubles = {**collected.troubles, **said.troubles}
    if said.queues is None:
        return replace(collected, troubles=troubles)
    return replace(
        collected,
        rows=_with_status(collected.rows, said.queues),
        queues=said.queues,
        downtimes=said.downtimes,
        metadata_age_s=said.age_s,
        troubles=troubles,
    )


def _with_status(rows: pa.Table, queues: Mapping[str, Record]) -> pa.Table:
    """The rows, each with the status of its queue now where it says none itself."""
    said = one_chunk(rows.column("site_state"))
    if rows.num_rows == 0 or said.null_count < rows.num_rows:
        return rows
    column = one_chunk(rows.column("panda_queue"))
    names = column.dictionary.to_pylist()
    statuses = [queues.get(name, {}).get("status") for name in names]
    words = sorted({status for status in statuses if status})
    of_queue = np.array([words.index(s) if s else -1 for s in statuses] or [-1], np.int32)
    states = dictionary(of_queue[codes_of(column)], words)
    return rows.set_column(rows.schema.get_field_index("site_state"), JOBS_SCHEMA.field("site_state"), states)


def _from_files(request: Request, until: float) -> Collected:
    dropped = read_dropped(request.config.folder, request.store.tick, request.tick)
    said = [text for _, text in dropped.refused]
    verdict = OK if not said else "refused"
    if int(request.tick.astype(np.int64)) not in set(seconds_of(dropped.rows).tolist()):
        verdict, said = MISSING, [*said, f"no file holds rows of {format_time(request.tick)}"]
    return Collected(
        request.tick,
        request.clocks,
        verdict,
        "; ".join(said),
        dropped.rows,
        taken=tuple(map(str, dropped.read)),
        refused=tuple(str(path) for path, _ in dropped.refused),
    )


def _from_influxdb(request: Request, until: float) -> Collected:
    from serving.influx import fetch_influx, influx_source

    config = request.config
    fetched = fetch_influx(
        influx_source(config.source).before(until),
        request.store,
        request.tick,
        config.source.history_days,
        metadata=config.cric is None,
    )
    rows, verdict = _judged(request, fetched.rows)
    if verdict is None:
        verdict = Verdict(MISSING, f"{config.source.url}: has no points of {format_time(request.tick)} yet")
    return Collected(
        request.tick,
        request.clocks,
        verdict.name,
        verdict.text,
        rows,
        fetched.queues if config.cric is None else None,
    )


def _judged(request: Request, rows: pa.Table) -> tuple[pa.Table, Verdict | None]:
    """The ticks that count, and what the one in work is; None where there are no rows of it.

    Others may have written a bad snapshot, or be half way through a good one: that is read again by the next ticks.
    """
    seconds, last, verdict = seconds_of(rows), None, None
    kept = [empty_rows()]
    for moment in np.unique(seconds).astype("datetime64[s]"):
        piece = rows.filter(from_numpy(seconds == moment.astype(np.int64), pa.bool_()))
        if last is None:
            last = _rows_before(request, moment)
        found = judge_snapshot(piece, last, None)
        if found.counts:
            kept.append(piece)
            last = piece
        if moment == request.tick:
            verdict = found
    return concat_rows(kept), verdict


def _rows_before(request: Request, time: np.datetime64) -> pa.Table | None:
    """The newest counts before a tick that can be had cheaply."""
    last = _last_rows(request) if request.progress and request.progress.good and request.progress.good < time else None
    return request.store.read(time - request.store.tick.delta, time) if last is None else last


SOURCES: Final[dict[str, Callable[[Request, float], Collected]]] = {
    "panda": _from_panda,
    "files": _from_files,
    "influxdb": _from_influxdb,
}
