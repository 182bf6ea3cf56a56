"""Fetch what a tick needs, and judge it before it counts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.errors import SourceError
from qad_dl.rows import empty_rows, seconds_of
from qad_dl.sources.files import read_dropped
from qad_dl.timeparse import format_time
from serving.influx import fetch_influx, influx_source
from serving.state import Collected

if TYPE_CHECKING:
    from collections.abc import Callable

    from qad_dl.store import Store
    from serving.config import Config
    from serving.state import Clocks, Progress

OK = "ok"
FAILED = "failed"
MISSING = "missing"


@dataclass(frozen=True)
class Request:
    """What is asked of a source.

    Attributes:
        config: where to.
        store: what is known already.
        tick: the tick in work.
        clocks: now.
        progress: how far it was done; None at the first tick.
    """

    config: Config
    store: Store
    tick: np.datetime64
    clocks: Clocks
    progress: Progress | None


def collect(request: Request) -> Collected:
    """Fetch and judge. A source that does not answer is a verdict, too: `failed`, with what it said."""
    try:
        return SOURCES[request.config.source.kind](request)
    except SourceError as error:
        return Collected(request.tick, request.clocks, FAILED, str(error), empty_rows())


def _from_files(request: Request) -> Collected:
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


def _from_influxdb(request: Request) -> Collected:
    config, until = request.config, time.monotonic() + request.config.deadline.fetch_seconds
    fetched = fetch_influx(
        influx_source(config.source).before(until),
        request.store,
        request.tick,
        config.source.history_days,
        metadata=config.cric is None,
    )
    arrived = int(request.tick.astype(np.int64)) in set(seconds_of(fetched.rows).tolist())
    return Collected(
        request.tick,
        request.clocks,
        OK if arrived else MISSING,
        "" if arrived else f"{config.source.url}: has no points of {format_time(request.tick)} yet",
        fetched.rows,
        fetched.queues if config.cric is None else None,
    )


SOURCES: Final[dict[str, Callable[[Request], Collected]]] = {"files": _from_files, "influxdb": _from_influxdb}
