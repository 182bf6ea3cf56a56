"""Writing to InfluxDB what the collector keeps and finds, so that nothing is lost or doubled by outages or kills.

Counts are not queued: the store has them. What the sink remembers is which ticks of the store, and which points of its
archives of hours and days, are still to be written. Verdicts are in no store, so each tick's are kept as a file until
the server has them. Everything is written newest first, and again if we cannot know whether it arrived: a point with
the same tags and time takes the place of the first.

```
FOLDER/written.json                  per policy: looked at until when, and what is waiting
       verdicts/TIME-BUNDLE.line.gz  points of `queue_anomaly` that are waiting
```
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import time
import zlib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from qad_dl.arrow import from_numpy
from qad_dl.atomic import TEMPORARY, replace_file
from qad_dl.downsampling import DAYS, HOURS, LEVELS, Level
from qad_dl.errors import InfluxDownError, InfluxError, StoreError
from qad_dl.influx.client import Written
from qad_dl.influx.condense import condense
from qad_dl.influx.policies import FOREVER, Policies, prepare
from qad_dl.influx.qmonit import TICK_POLICY, anomaly_lines, average_lines, averaged_rows, job_lines
from qad_dl.rows import DAY_S, merge_rows, seconds_of
from qad_dl.store.retention import archive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from qad_dl.influx.client import Influx
    from qad_dl.metadata import Metadata
    from qad_dl.results import Results
    from qad_dl.store import Store

EVERYTHING: Final = frozenset({"jobs", "jobs_average", "queue_anomaly"})
BLOCK: Final = np.timedelta64(6, "h")
"""Waiting ticks this near to each other are read from the store at once."""

_DAY: Final = np.timedelta64(DAY_S, "s")
_SECOND: Final = np.timedelta64(1, "s")
_MONTH: Final = np.timedelta64(30 * DAY_S, "s")
_STATE: Final = "written.json"
VERDICTS: Final = "verdicts"


@dataclass(frozen=True)
class Flushed:
    """What a flush did.

    Attributes:
        ticks: ticks, hours and days whose counts were written.
        verdicts: files of verdicts that were written.
        waiting: ticks, hours, days and files that are still to be written, for want of time.
        points: points sent in all.
        too_old: batches of which the server dropped points as too old for their policy.
    """

    ticks: int = 0
    verdicts: int = 0
    waiting: int = 0
    points: int = 0
    too_old: int = 0


@dataclass
class _Backlog:
    """What is to be written to one policy: `until` is the newest time looked at, `waiting` ascends."""

    until: np.datetime64 | None = None
    waiting: list[np.datetime64] = field(default_factory=list)

    @classmethod
    def read(cls, item: Any) -> _Backlog:
        """From its JSON."""
        until = None if item["until"] is None else np.datetime64(item["until"], "s")
        return cls(until, [np.datetime64(time, "s") for time in item["waiting"]])

    def written(self) -> dict[str, Any]:
        """As JSON."""
        return {"until": None if self.until is None else str(self.until), "waiting": [str(t) for t in self.waiting]}


@dataclass(frozen=True)
class InfluxSink:
    """A database that gets counts, averages and verdicts.

    Attributes:
        influx: the database; it and its policies are made if they do not exist.
        store: what to write counts from; `qad_dl.store.retention.keep_up` makes its archives.
        folder: where to remember what is written.
        policies: for how long what is kept.
        measurements: which to write; beside a QMonit that stays, without `jobs`.
    """

    influx: Influx
    store: Store
    folder: Path
    policies: Policies = field(default_factory=Policies)
    measurements: frozenset[str] = EVERYTHING

    def stage(self, results: Results, at: np.datetime64, bundle: str, metadata: Metadata) -> None:
        """Keep the verdicts of a tick until the server has them; staging a tick again replaces them.

        Args:
            results: scores that hold the tick, with details if the points per state are wanted.
            at: the tick.
            bundle: name of the bundle.
            metadata: with its history.

        Raises:
            StoreError: the folder cannot be written.
        """
        if "queue_anomaly" not in self.measurements:
            return
        lines = "\n".join(anomaly_lines(results, at, bundle, metadata.at(at)))
        name = hashlib.sha256(bundle.encode()).hexdigest()[:12]  # a bundle may be called anything
        path = self.folder / VERDICTS / f"{_stamp(at)}-{name}.line.gz"
        with _writing(self.folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, gzip.compress(lines.encode(), mtime=0))

    def late(self, ticks: Iterable[np.datetime64]) -> None:
        """Let ticks be written that entered the store, or changed in it, after newer ones had been looked at."""
        state = self.read_state()
        backlog = state.setdefault(TICK_POLICY, _Backlog())
        backlog.waiting = sorted({*backlog.waiting, *(tick.astype("datetime64[s]") for tick in ticks)})
        self.write_state(state)

    def flush(self, now: np.datetime64, metadata: Metadata, until: float = float("inf")) -> Flushed:
        """Write what is waiting and what the store has got since the last time.

        Args:
            now: the tick that is being done, `datetime64[s]`.
            metadata: with its history; each tick is written with what held then.
            until: `time.monotonic()` at which to stop; the next call goes on.

        Raises:
            InfluxError: something is refused, though all else was written; `InfluxDownError` if the server does not
                answer. What is not written waits.
            StoreError: the store or the folder cannot be read or written.
        """
        return _Flush(self, now, metadata, until).run()

    def read_state(self) -> dict[str, _Backlog]:
        """What is remembered."""
        path = self.folder / _STATE
        try:
            known: dict[str, Any] = json.loads(path.read_bytes())
            return {name: _Backlog.read(item) for name, item in known.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = f"{path}: cannot be read ({error}); remove it, then all that the store has is written again"
            raise StoreError(msg) from error

    def write_state(self, state: dict[str, _Backlog]) -> None:
        """Keep what is to be remembered."""
        written = {name: item.written() for name, item in state.items()}
        with _writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_file(self.folder / _STATE, json.dumps(written, indent=1).encode())


@dataclass
class _Flush:
    """One call of `flush`."""

    sink: InfluxSink
    now: np.datetime64
    metadata: Metadata
    until: float
    state: dict[str, _Backlog] = field(default_factory=dict)
    ticks: int = 0
    verdicts: int = 0
    total: Written = field(default_factory=Written)
    refused: InfluxError | None = None

    def __post_init__(self) -> None:
        self.influx = self.sink.influx.before(self.until)
        self.stores = {TICK_POLICY: self.sink.store}
        self.stores |= {level.name: archive(self.sink.store, level) for level in LEVELS}

    def run(self) -> Flushed:
        """All that is to be done, as far as there is time."""
        self.state = self.sink.read_state()
        self._look()
        self.sink.write_state(self.state)
        try:
            prepare(self.influx, self.sink.policies)
            for step in self._steps():
                if self._over():
                    break
                self._try(step)
        except InfluxDownError:
            if not self._over():
                raise
        if self.refused is not None:
            raise self.refused
        waiting = sum(len(backlog.waiting) for backlog in self.state.values()) + len(self._files())
        return Flushed(self.ticks, self.verdicts, waiting, self.total.points, self.total.too_old)

    def _steps(self) -> Iterator[Callable[[], None]]:
        """What there is to do: the newest of everything, then what has waited, newest first; verdicts before that."""
        for policy in self.stores:
            yield from (partial(self._counts, policy, block) for block in self._blocks(policy)[:1])
        yield from (partial(self._send, path) for path in self._files())
        for policy in self.stores:
            yield from (partial(self._counts, policy, block) for block in self._blocks(policy))
        yield from (partial(self._condense, level) for level in LEVELS)

    def _try(self, step: Callable[[], None]) -> None:
        """Do one thing; what is refused does not keep the rest from being done."""
        try:
            step()
        except InfluxDownError:
            raise
        except InfluxError as error:
            self.refused = self.refused or error

    def _look(self) -> None:
        """See what the store has got since the last time, and forget what its policy would delete."""
        if not self.sink.measurements & {"jobs", "jobs_average"}:
            return
        for policy, store in self.stores.items():
            backlog = self.state.setdefault(policy, _Backlog())
            kept = self._kept(policy)
            found = _times(store, _after(store, backlog, kept, self.now), self.now)
            backlog.until = max([*found, *([backlog.until] if backlog.until is not None else [])], default=None)
            backlog.waiting = sorted({*(time for time in backlog.waiting if kept is None or time >= kept), *found})

    def _kept(self, policy: str) -> np.datetime64 | None:
        """Since when a policy keeps points; None for ever."""
        days = self.sink.policies.by_name()[policy]
        return None if days == FOREVER else self.now - days * _DAY

    def _blocks(self, policy: str) -> list[list[np.datetime64]]:
        """The waiting times of a policy, newest first: the newest by itself, others in blocks that are near."""
        waiting = self.state[policy].waiting[::-1] if policy in self.state else []
        blocks = [waiting[:1]] if waiting else []
        for time_ in waiting[1:]:
            if len(blocks) == 1 or blocks[-1][0] - time_ >= BLOCK:
                blocks.append([])
            blocks[-1].append(time_)
        return blocks

    def _counts(self, policy: str, block: list[np.datetime64]) -> None:
        """Write the counts of the ticks of a block, newest first."""
        store, average = self.stores[policy], policy == TICK_POLICY and "jobs_average" in self.sink.measurements
        rows = store.read(block[-1] - _DAY if average else block[-1], block[0] + _SECOND)
        ticks, days = (merge_rows([averaged_rows(rows)]), self._days(block)) if average else (None, None)
        for at in block:
            if self._over():
                return
            held = self.metadata.at(at)
            if "jobs" in self.sink.measurements:
                self.total += self.influx.write(job_lines(_between(rows, at - _SECOND, at), held), policy)
            if ticks is not None and days is not None:
                near, long = _between(ticks, at - _DAY, at), _between(days, at - _MONTH, at)
                per_hour = HOURS.points(store.tick)
                self.total += self.influx.write(average_lines(near, long, at, per_hour, held), policy)
            self.ticks += 1
            self.state[policy].waiting.remove(at)
            self.sink.write_state(self.state)

    def _days(self, block: list[np.datetime64]) -> pa.Table:
        """Canonical rows of the days that averages of a block look back on."""
        days = self.stores[DAYS.name].read(block[-1] - _MONTH, block[0] + _SECOND)
        return merge_rows([averaged_rows(days)])

    def _files(self) -> list[Path]:
        """The verdicts that are waiting, newest first; those that their policy would delete are removed."""
        folder = self.sink.folder / VERDICTS
        names = sorted((path for path in folder.glob("*.line.gz") if not path.name.startswith(TEMPORARY)), reverse=True)
        kept = self._kept(TICK_POLICY)
        for path in names:
            if kept is not None and _time_of(path) < kept:
                path.unlink(missing_ok=True)
        return [path for path in names if kept is None or _time_of(path) >= kept]

    def _send(self, path: Path) -> None:
        """Write the verdicts of a file, and have their hour and day condensed again if that was done before."""
        try:
            lines = gzip.decompress(path.read_bytes()).decode().split("\n")
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            msg = f"{path}: is damaged ({error}); remove it: the verdicts of its tick are then not in InfluxDB"
            raise StoreError(msg) from error
        self.total += self.influx.write((line for line in lines if line), TICK_POLICY)
        for level in LEVELS:
            backlog = self.state.get(_condensed(level))
            if backlog is not None and backlog.until is not None:
                backlog.until = min(backlog.until, level.tick.ceil(_time_of(path)) - level.tick.delta)
        self.sink.write_state(self.state)
        path.unlink(missing_ok=True)
        self.verdicts += 1

    def _condense(self, level: Level) -> None:
        """Write the verdicts of the hours or days that are over."""
        if "queue_anomaly" not in self.sink.measurements:
            return
        newest = level.tick.floor(self.now)
        backlog = self.state.setdefault(_condensed(level), _Backlog())
        first = newest if backlog.until is None else backlog.until + level.tick.delta
        for stamp in level.tick.range(first, newest + _SECOND):
            if self._over():
                return
            self.total += condense(self.influx, level, stamp)
            backlog.until = stamp
            self.sink.write_state(self.state)

    def _over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self.until


def _after(store: Store, backlog: _Backlog, kept: np.datetime64 | None, now: np.datetime64) -> np.datetime64:
    """From when on a store may hold what was not looked at yet."""
    if backlog.until is not None:
        return backlog.until + store.tick.delta
    span = store.span()
    first = now if span is None else span[0]
    return first if kept is None else max(first, kept)


def _times(store: Store, start: np.datetime64, now: np.datetime64) -> list[np.datetime64]:
    """The ticks of a store from `start` to `now` that have rows, ascending; read day by day: there may be many."""
    found: list[np.datetime64] = []
    end = now + _SECOND
    while start < end:
        stop = min(end, (start.astype("datetime64[D]") + np.timedelta64(1, "D")).astype("datetime64[s]"))
        found += list(np.unique(seconds_of(store.read(start, stop))).view("datetime64[s]"))
        start = stop
    return found


def _between(rows: pa.Table, low: np.datetime64, high: np.datetime64) -> pa.Table:
    """The rows of (low, high]."""
    times = seconds_of(rows).view("datetime64[s]")
    return rows.filter(from_numpy((times > low) & (times <= high), pa.bool_()))


def _stamp(time_: np.datetime64) -> str:
    """A time as it stands in a file's name."""
    return f"{str(time_.astype('datetime64[s]')).replace(':', '')}Z"


def _time_of(path: Path) -> np.datetime64:
    """The time in a file's name."""
    day, clock_ = path.name[:17].split("T")
    return np.datetime64(f"{day}T{clock_[:2]}:{clock_[2:4]}:{clock_[4:6]}", "s")


def _condensed(level: Level) -> str:
    """Under which name the state keeps how far verdicts are condensed."""
    return f"verdicts {level.name}"


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn what the operating system says against writing into one line."""
    try:
        yield
    except OSError as error:
        msg = f"{folder}: cannot be written ({error.strerror or error}); see to its rights and its space"
        raise StoreError(msg) from error
