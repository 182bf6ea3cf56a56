"""The store: job history by UTC day, metadata with their history, downtimes.

```
STORE/store.json                       format version and tick length
      jobs/2010-05-01/00000003.parquet  the log of a day (see `qad_dl.store.daylog`): wholes and parts
      cric/...                          see `qad_dl.store.dumps`
      downtimes/00000001.csv            a log of wholes (see `qad_dl.store.downtimes`)
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
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from qad_dl.arrow import from_numpy
from qad_dl.atomic import TEMPORARY, clock, create_file, sweep
from qad_dl.downtimes import declared_now
from qad_dl.errors import StoreError
from qad_dl.objects import place_of
from qad_dl.rows import concat_rows, conforming, merge_rows, seconds_of, split_days
from qad_dl.schema import Tick
from qad_dl.store.dayfile import FORMAT, read_rows, read_series
from qad_dl.store.daylog import (
    append_rows,
    compact_day,
    day_log,
    day_logs,
    put_rows,
    read_footers,
    read_if_within,
    whole_content,
)
from qad_dl.store.downtimes import change_downtimes, read_downtimes
from qad_dl.store.dumps import add_dump, dump_versions, read_dumps
from qad_dl.store.log import writing

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from qad_dl.downtimes import Downtime
    from qad_dl.metadata import Metadata, Record
    from qad_dl.objects import ObjectPath, Place
    from qad_dl.store.log import Log

SETTINGS: Final = "store.json"


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
        with writing(path):
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
        return sum(put_rows(self._log(day), part, self.tick) for day, part in split_days(rows))

    def append(self, rows: pa.Table) -> None:
        """Add rows as one small file per day: what a collector does at each tick. Merges as `put`."""
        rows = conforming(rows)  # Parquet has no seconds: what is read from a file has others
        self._check(rows)
        for day, part in split_days(rows):
            append_rows(self._log(day), part, self.tick)

    def scattered(self, before: np.datetime64) -> list[np.datetime64]:
        """The UTC days that end at or before `before` and are still several files, ascending, `datetime64[D]`."""
        over = ((day, log) for day, log in self._days().items() if day + np.timedelta64(1, "D") <= before)
        return [day for day, log in over if len(log.numbers()) > 1]

    def compact(self, before: np.datetime64) -> None:
        """Make one file of each UTC day that ends at or before `before`, and clear what killed writers left."""
        days = self.days()
        for day in self.scattered(before):
            compact_day(self._log(day), self.tick)
        if not isinstance(self.path, Path):
            return  # killed writers leave nothing there
        with writing(self.path):
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
            read = read_rows if start <= low and high <= end else partial(read_if_within, start=start, end=end)
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

    def span(self) -> tuple[np.datetime64, np.datetime64] | None:
        """The first and the newest tick that arrived; None in a store without rows."""
        logs = list(self._days().values())
        first = next((s.entries for s in map(read_footers, logs) if s.entries), None)
        last = next((s.entries for s in map(read_footers, reversed(logs)) if s.entries), None)
        if not first or not last:
            return None
        return min(entry.first for entry in first), max(entry.last for entry in last)

    def days(self) -> list[np.datetime64]:
        """The UTC days that have a folder, ascending, `datetime64[D]`."""
        return list(self._days())

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
        days = {str(day): whole_content(log, self.tick) for day, log in self._days().items() if first <= day <= last}
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
        with writing(self.path / "cric"):
            return add_dump(self.path / "cric", queues, time)

    def downtimes(self) -> list[Downtime]:
        """The declared downtimes, each once, sorted."""
        return read_downtimes(self.path / "downtimes")

    def add_downtimes(self, rows: Iterable[Downtime]) -> bool:
        """Add downtimes to the set of those that are known; whether that changed anything."""
        new = set(rows)
        return change_downtimes(self.path / "downtimes", lambda known: known | new)

    def declare_downtimes(
        self, rows: Iterable[Downtime], status: str, queues: Container[str], now: np.datetime64
    ) -> bool:
        """Let these be all that a source declares, as `declared_now` has it; whether that changed anything."""
        new = set(rows)
        return change_downtimes(self.path / "downtimes", lambda known: declared_now(known, new, status, queues, now))

    def _check(self, rows: pa.Table) -> None:
        """Refuse times off the ticks: they would be rows that no grid has a place for."""
        if np.any(seconds_of(rows) % self.tick.seconds):
            msg = f"{self.path}: rows hold times off the {self.tick.minutes}-minute ticks; floor them first"
            raise StoreError(msg)

    def _days(self) -> dict[np.datetime64, Log]:
        """The logs of the days that have a folder, ascending."""
        return day_logs(self.path / "jobs")

    def _log(self, day: np.datetime64) -> Log:
        """The log of a day."""
        return day_log(self.path / "jobs", day)


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
