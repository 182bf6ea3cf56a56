"""The store: job history by UTC day, metadata with their history, downtimes.

```
STORE/store.json                       format version and tick length
      jobs/2010-05-01/00000003.parquet  the log of a day (see `qad_dl.store.log`): wholes and parts
      cric/...                          see `qad_dl.store.dumps`
      downtimes/00000001.csv            a log of wholes
      1h/ 1d/                           stores of hours and days (see `qad_dl.store.retention`)
```
Any number of processes may read and write at the same time, on a network file system too; each sees whole entries only.
The file system must know hard links. On object storage (`qad_dl.objects`) it must refuse to create what is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from qad_dl.arrow import from_numpy
from qad_dl.atomic import TEMPORARY, clock, create_file, sweep
from qad_dl.downtimes import Downtime, declared_now, format_downtimes, parse_downtimes
from qad_dl.errors import StoreError
from qad_dl.objects import place_of
from qad_dl.rows import concat_rows, conforming, merge_rows, seconds_of, split_days
from qad_dl.schema import Tick
from qad_dl.store.dayfile import FORMAT, SUFFIX, DayFile, encode, read_footer, read_rows, read_series
from qad_dl.store.dumps import add_dump, dump_versions, read_dumps
from qad_dl.store.log import TRIES, Log, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping

    from qad_dl.metadata import Metadata, Record
    from qad_dl.objects import ObjectPath, Place

SETTINGS: Final = "store.json"


class _DowntimesFile(NamedTuple):
    """An entry of the downtimes' log."""

    rows: tuple[Downtime, ...]
    whole: bool = True


class Store:
    """A history of ours (`qad_dl.histories.protocol`), on a disk or on object storage.

    Make one with `create` or `open`.

    Attributes:
        path: where it is.
        tick: length of its ticks.
    """

    def __init__(self, path: Place, tick: Tick) -> None:
        self.path = path
        self.tick = tick

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return str(self.path)

    @property
    def address(self) -> str:
        """What opens it again in any folder."""
        path = self.path.absolute()
        return str(path) if isinstance(path, Path) else path.url

    @property
    def folder(self) -> Path:
        """Its folder, for what works on files.

        Raises:
            StoreError: it is not on a disk.
        """
        if not isinstance(self.path, Path):
            msg = f"{self.path}: is not on a disk, and this needs a folder; import into one"
            raise StoreError(msg)
        return self.path

    @classmethod
    def create(cls, path: str | Place, tick: Tick | None = None) -> Store:
        """Open the store at `path`, making it first if there is none; `tick` is 10 minutes unless given.

        Raises:
            StoreError: the folder holds something else, or a store of another tick length or format.
        """
        path = place_of(path)
        found = cls.find(path, tick)
        if found is not None:
            return found
        settings = {"kind": "qad store", "format": FORMAT, "tick_minutes": (tick or Tick()).minutes}
        content = json.dumps(settings, indent=1).encode() + b"\n"
        with _writing(path):
            path.mkdir(parents=True, exist_ok=True)
            made = create_file(path / SETTINGS, content)
        if not isinstance(path, Path):
            _check_exclusive(path / SETTINGS, content)
        return cls(path, tick or Tick()) if made else cls.open(path, tick)

    @classmethod
    def find(cls, path: str | Place, tick: Tick | None = None) -> Store | None:
        """Open the store at `path`, or None where `create` would make one; raises as `open`."""
        path = place_of(path)
        with contextlib.suppress(FileNotFoundError):
            return cls._of(path, _read_settings(path), tick)
        if isinstance(path, Path) and path.is_dir():
            empty = all(item.name.startswith(TEMPORARY) for item in path.iterdir())
        else:
            empty = not path.exists()
        return None if empty else cls.open(path, tick)

    @classmethod
    def open(cls, path: str | Place, tick: Tick | None = None) -> Store:
        """Open an existing store.

        Args:
            path: its folder or address.
            tick: the tick length that it must have, if given.

        Raises:
            StoreError: there is no store, or one of another tick length or format.
        """
        path = place_of(path)
        try:
            return cls._of(path, _read_settings(path), tick)
        except FileNotFoundError as error:
            what = "is no store" if path.exists() else "does not exist"
            msg = f"{path}: {what}; make one with `qad import {path} --jobs FILE`"
            raise StoreError(msg) from error

    @classmethod
    def _of(cls, path: Place, minutes: int, tick: Tick | None) -> Store:
        """The store at `path`, if its ticks are those that are wanted."""
        stored = Tick(minutes)
        if tick is not None and tick != stored:
            msg = (
                f"{path}: has ticks of {stored.minutes} minutes, not {tick.minutes}; use another store for another tick"
            )
            raise StoreError(msg)
        return cls(path, stored)

    def put(self, rows: pa.Table) -> int:
        """Merge rows into the days they touch; by (time, series, state) the last counts, `rows` after the store's.

        Each day becomes visible whole, in one step; a day whose content would stay the same is not written.

        Args:
            rows: a table of `JOBS_SCHEMA`, times on ticks.

        Returns:
            The number of days changed.

        Raises:
            StoreError: a time is off the ticks, or a file cannot be written or is damaged.
        """
        rows = conforming(rows)
        self._check(rows)
        return sum(self._put_day(day, part) for day, part in split_days(rows))

    def append(self, rows: pa.Table) -> None:
        """Add rows as one small file per day: what a collector does at each tick. Merges as `put`."""
        rows = conforming(rows)  # Parquet has no seconds: what is read from a file has others
        self._check(rows)
        for day, part in split_days(rows):
            content = encode(merge_rows([part]), self.tick.minutes, whole=False)
            log = self._log(day)
            for _ in range(TRIES):
                number = log.snapshot(read_footer).last + 1
                with _writing(log.folder):
                    if log.publish(number, content) and not log.superseded(number, read_footer):
                        break
            else:
                raise _contended(log.folder)

    def scattered(self, before: np.datetime64) -> list[np.datetime64]:
        """The UTC days that end at or before `before` and are still several files, ascending, `datetime64[D]`."""
        over = ((day, log) for day, log in self._days().items() if day + np.timedelta64(1, "D") <= before)
        return [day for day, log in over if len(log.numbers()) > 1]

    def compact(self, before: np.datetime64) -> None:
        """Make one file of each UTC day that ends at or before `before`, and clear what killed writers left."""
        days = self.days()
        for day in self.scattered(before):
            self._compact_day(day)
        if not isinstance(self.path, Path):
            return  # killed writers leave nothing there
        with _writing(self.path):
            now = clock(self.path)
            names = ["", "cric", "cric/dumps", "downtimes", *(f"jobs/{day}" for day in days)]
            for folder in (self.path / name for name in names):
                if folder.is_dir():
                    sweep(folder, now)

    def read(self, start: np.datetime64, end: np.datetime64) -> pa.Table:
        """The rows of [start, end), merged; sorted by day, then as in `qad_dl.rows`.

        Returns:
            A table of `JOBS_SCHEMA`; empty if there are none.

        Raises:
            StoreError: a file is damaged.
        """
        return concat_rows(list(self.pieces(start, end)))

    def span(self) -> tuple[np.datetime64, np.datetime64] | None:
        """The first and the newest tick that arrived; None in a store without rows."""
        logs = list(self._days().values())
        first = next((s.entries for s in map(_footers, logs) if s.entries), None)
        last = next((s.entries for s in map(_footers, reversed(logs)) if s.entries), None)
        if not first or not last:
            return None
        return min(entry.first for entry in first), max(entry.last for entry in last)

    def known_series(self, before: np.datetime64) -> set[tuple[str, str, str]]:
        """The (panda_queue, prod_source, resource) with a row on a UTC day before the day of `before`."""
        limit = before.astype("datetime64[D]")
        known: set[tuple[str, str, str]] = set()
        for day, log in self._days().items():
            if day < limit:
                known.update(*(entry.series for entry in log.snapshot(read_series).entries))
        return known

    def versions(self, start: np.datetime64, end: np.datetime64) -> dict[str, int]:
        """Of each UTC day that [start, end) touches and that has rows, the number of its newest entry.

        Two equal answers mean that the rows of these days have not changed in between.
        """
        first, last = start.astype("datetime64[D]"), (end - np.timedelta64(1, "s")).astype("datetime64[D]")
        numbers = {str(day): log.numbers() for day, log in self._days().items() if first <= day <= last}
        return {day: found[-1] for day, found in numbers.items() if found}

    def digests(self, start: np.datetime64, end: np.datetime64) -> dict[str, str]:
        """A hash of the rows of each UTC day that [start, end) touches; how many files hold them makes no difference.

        Raises:
            StoreError: a file is damaged.
        """
        first, last = start.astype("datetime64[D]"), (end - np.timedelta64(1, "s")).astype("datetime64[D]")
        days = {str(day): _content(log, self.tick) for day, log in self._days().items() if first <= day <= last}
        return {day: hashlib.sha256(content).hexdigest() for day, content in days.items() if content}

    def added(self, seen: Mapping[str, int], now: Mapping[str, int]) -> pa.Table | None:
        """The rows that were appended between two answers of `versions`, in order; None if more than that has changed.

        Args:
            seen: the earlier answer, for the days that are to be compared.
            now: the later one.
        """
        tables: list[pa.Table] = []
        for day, last in now.items():
            log = self._log(np.datetime64(day, "D"))
            for number in range(seen.get(day, 0) + 1, last + 1):
                try:
                    entry = read_rows(log.path(number))
                except FileNotFoundError:  # superseded
                    return None
                if entry.whole and number > 1:
                    return None
                tables.append(entry.rows)
        return concat_rows(tables)

    def metadata(self, start: np.datetime64 | None = None) -> Metadata:
        """The metadata with their history; with `start` only what holds from then on."""
        return read_dumps(self.path / "cric", start)

    def metadata_versions(self, start: np.datetime64, end: np.datetime64) -> tuple[str, ...]:
        """Which dump holds from when, 'TIME HASH' of each that holds in [start, end): equal answers, equal metadata."""
        return dump_versions(self.path / "cric", start, end)

    def add_metadata(self, queues: Mapping[str, Record], time: np.datetime64) -> bool:
        """Let a dump hold from `time` on, in place of another of that very time; whether that changed anything."""
        with _writing(self.path / "cric"):
            return add_dump(self.path / "cric", queues, time)

    def downtimes(self) -> list[Downtime]:
        """The declared downtimes, each once, sorted."""
        return [down for entry in self._downtimes_log().snapshot(_read_downtimes).entries for down in entry.rows]

    def add_downtimes(self, rows: Iterable[Downtime]) -> bool:
        """Add downtimes to the set of those that are known; whether that changed anything."""
        new = set(rows)
        return self._change_downtimes(lambda known: known | new)

    def declare_downtimes(
        self, rows: Iterable[Downtime], status: str, queues: Container[str], now: np.datetime64
    ) -> bool:
        """Let these be all that a source declares, as `declared_now` has it; whether that changed anything."""
        new = set(rows)
        return self._change_downtimes(lambda known: declared_now(known, new, status, queues, now))

    def _change_downtimes(self, change: Callable[[set[Downtime]], set[Downtime]]) -> bool:
        log = self._downtimes_log()
        for _ in range(TRIES):
            snapshot = log.snapshot(_read_downtimes)
            known = {down for entry in snapshot.entries for down in entry.rows}
            after = change(known)
            if after == known:
                return False
            content = format_downtimes(after).encode()
            if self._publish_whole(log, snapshot.last + 1, content, _read_downtimes):
                return True
        raise _contended(log.folder)

    def _check(self, rows: pa.Table) -> None:
        """Refuse times off the ticks: they would be rows that no grid has a place for."""
        if np.any(seconds_of(rows) % self.tick.seconds):
            msg = f"{self.path}: rows hold times off the {self.tick.minutes}-minute ticks; floor them first"
            raise StoreError(msg)

    def days(self) -> list[np.datetime64]:
        """The UTC days that have a folder, ascending, `datetime64[D]`."""
        return list(self._days())

    def _days(self) -> dict[np.datetime64, Log]:
        """The logs of the days that have a folder, ascending; objects are listed once, for all days together."""
        folder = self.path / "jobs"
        if not isinstance(folder, Path):
            found: dict[str, dict[str, ObjectPath]] = {}
            for key, path in folder.listed().items():
                day, _, name = key.partition("/")
                if name and not day.startswith(TEMPORARY):  # which a copy of a folder may have brought
                    found.setdefault(day, {})[name] = path
            return {np.datetime64(day, "D"): Log(folder / day, SUFFIX, found[day]) for day in sorted(found)}
        names = sorted(item.name for item in folder.iterdir()) if folder.is_dir() else []
        days = [np.datetime64(name, "D") for name in names if not name.startswith(TEMPORARY)]
        return {day: self._log(day) for day in days}

    def _log(self, day: np.datetime64) -> Log:
        """The log of a day."""
        return Log(self.path / "jobs" / str(day), SUFFIX)

    def _downtimes_log(self) -> Log:
        """The log of the downtimes."""
        return Log(self.path / "downtimes", ".csv")

    def _put_day(self, day: np.datetime64, rows: pa.Table) -> bool:
        """Merge the rows of one day into its log."""
        log = self._log(day)
        for _ in range(TRIES):
            snapshot = log.snapshot(read_rows)
            known = [entry.rows for entry in snapshot.entries]
            merged = merge_rows([*known, rows])
            if known and merged.equals(merge_rows(known)):
                if snapshot.entries[0].whole:
                    log.discard(snapshot.older)
                return False
            if self._publish_whole(log, snapshot.last + 1, encode(merged, self.tick.minutes, whole=True), read_footer):
                return True
        raise _contended(log.folder)

    def _compact_day(self, day: np.datetime64) -> None:
        """Make one whole of a day's entries."""
        log = self._log(day)
        for _ in range(TRIES):
            snapshot = log.snapshot(read_rows)
            if len(snapshot.entries) == 1 and snapshot.entries[0].whole:
                log.discard(snapshot.older)
                return
            content = encode(merge_rows([e.rows for e in snapshot.entries]), self.tick.minutes, whole=True)
            if self._publish_whole(log, snapshot.last + 1, content, read_footer):
                return
        raise _contended(log.folder)

    def _publish_whole(self, log: Log, number: int, content: bytes, read: Any) -> bool:
        """Publish a whole that was made from all entries below `number`; False if others were faster."""
        with _writing(log.folder):
            if not log.publish(number, content):
                return False
            numbers = log.numbers()
            if numbers[-1:] != [number] and log.superseded(number, read):
                return False
            log.discard(older for older in numbers if older < number)
        return True

    def pieces(self, start: np.datetime64, end: np.datetime64) -> Iterator[pa.Table]:
        """The rows of [start, end), merged, in pieces of at most a day, in the order of `read`.

        Raises:
            StoreError: a file is damaged.
        """
        start, end = start.astype("datetime64[s]"), end.astype("datetime64[s]")
        for day, log in self._days().items():
            low, high = day.astype("datetime64[s]"), (day + np.timedelta64(1, "D")).astype("datetime64[s]")
            if high <= start or low >= end:
                continue
            # Of a day that is not over every tick has a file, and of these a range may want few.
            read = read_rows if start <= low and high <= end else partial(_read_if_within, start=start, end=end)
            tables = [entry.rows for entry in log.snapshot(read).entries]
            rows = tables[0] if len(tables) == 1 else merge_rows(tables)
            del tables  # or two days were held while the next one is read
            if low < start or end < high:
                times = seconds_of(rows).view("datetime64[s]")
                rows = rows.filter(from_numpy((times >= start) & (times < end), pa.bool_()))
            if rows.num_rows:
                yield rows
            del rows
            pa.default_memory_pool().release_unused()  # Arrow would keep what a day took


def _footers(log: Log) -> Snapshot[DayFile]:
    """What a day holds, without rows."""
    return log.snapshot(read_footer)


def _content(log: Log, tick: Tick) -> bytes:
    """The rows of a day as the bytes of one whole file; none if there are none."""
    for _ in range(TRIES):
        entries = log.snapshot(read_footer).entries
        with contextlib.suppress(FileNotFoundError):  # superseded: look again
            if len(entries) == 1 and entries[0].whole:
                return entries[0].path.read_bytes()
            rows = [entry.rows for entry in log.snapshot(read_rows).entries]
            return encode(merge_rows(rows), tick.minutes, whole=True) if rows else b""
        log = Log(log.folder, log.suffix)
    raise _contended(log.folder)


def _read_if_within(path: Place, start: np.datetime64, end: np.datetime64) -> DayFile:
    """An entry of a day, without rows where none of them is in [start, end)."""
    footer = read_footer(path)
    return read_rows(path) if footer.first < end and start <= footer.last else footer


def _check_exclusive(path: ObjectPath, content: bytes) -> None:
    """Refuse a place where a second writer would take the place of the first unseen."""
    if not path.create_is_exclusive(content):
        msg = (
            f"{path}: could be put twice: the server takes no conditional puts (If-None-Match), without which two "
            "writers at once lose rows; use another server, or a newer release of it"
        )
        raise StoreError(msg)


def _read_settings(path: Place) -> int:
    """The tick length of a store, in minutes; `FileNotFoundError` where there is none."""
    try:
        settings = json.loads((path / SETTINGS).read_bytes())
        version, minutes = settings["format"], int(settings["tick_minutes"])
        Tick(minutes)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path / SETTINGS}: cannot be read as the settings of a store ({' '.join(str(error).split())[:120]})"
        raise StoreError(msg) from error
    if version != FORMAT:
        msg = f"{path}: is a store of format {version}, this program reads {FORMAT}; import into a new store"
        raise StoreError(msg)
    return minutes


def _read_downtimes(path: Place) -> _DowntimesFile:
    """An entry of the downtimes' log."""
    return _DowntimesFile(tuple(parse_downtimes(path.read_bytes().decode(), str(path))))


@contextlib.contextmanager
def _writing(path: Place) -> Iterator[None]:
    """Turn what the operating system says against writing into one line."""
    try:
        yield
    except OSError as error:
        msg = f"{path}: cannot be written ({error.strerror or error}); see to its rights, its space, and hard links"
        raise StoreError(msg) from error


def _contended(folder: Place) -> StoreError:
    """The error after too many tries."""
    return StoreError(f"{folder}: other processes were faster {TRIES} times; write to the store from fewer at a time")
