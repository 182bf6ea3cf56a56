"""The log of a UTC day's rows: where it is, and how rows are merged into it, added to it, and made one file."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.atomic import TEMPORARY
from qad_dl.rows import merge_rows
from qad_dl.store.dayfile import SUFFIX, DayFile, encode, read_footer, read_rows
from qad_dl.store.log import TRIES, Log, Snapshot, contended, writing

if TYPE_CHECKING:
    import pyarrow as pa

    from qad_dl.objects import ObjectPath, Place
    from qad_dl.schema import Tick


def day_logs(folder: Place) -> dict[np.datetime64, Log]:
    """The logs of the days that have a folder, ascending; objects are listed once, for all days together."""
    if not isinstance(folder, Path):
        found: dict[str, dict[str, ObjectPath]] = {}
        for key, path in folder.listed().items():
            day, _, name = key.partition("/")
            if name and not day.startswith(TEMPORARY):  # which a copy of a folder may have brought
                found.setdefault(day, {})[name] = path
        return {np.datetime64(day, "D"): Log(folder / day, SUFFIX, found[day]) for day in sorted(found)}
    names = sorted(item.name for item in folder.iterdir()) if folder.is_dir() else []
    days = [np.datetime64(name, "D") for name in names if not name.startswith(TEMPORARY)]
    return {day: day_log(folder, day) for day in days}


def day_log(folder: Place, day: np.datetime64) -> Log:
    """The log of a day."""
    return Log(folder / str(day), SUFFIX)


def put_rows(log: Log, rows: pa.Table, tick: Tick) -> bool:
    """Merge the rows of one day into its log; whether that changed anything."""
    for _ in range(TRIES):
        snapshot = log.snapshot(read_rows)
        known = [entry.rows for entry in snapshot.entries]
        merged = merge_rows([*known, rows])
        if known and merged.equals(merge_rows(known)):
            if snapshot.entries[0].whole:
                log.discard(snapshot.older)
            return False
        if log.publish_whole(snapshot.last + 1, encode(merged, tick.minutes, whole=True), read_footer):
            return True
    raise contended(log.folder)


def append_rows(log: Log, rows: pa.Table, tick: Tick) -> None:
    """Add the rows of one day to its log, as one small file."""
    content = encode(merge_rows([rows]), tick.minutes, whole=False)
    for _ in range(TRIES):
        number = log.snapshot(read_footer).last + 1
        with writing(log.folder):
            if log.publish(number, content) and not log.superseded(number, read_footer):
                return
    raise contended(log.folder)


def compact_day(log: Log, tick: Tick) -> None:
    """Make one whole of a day's entries."""
    for _ in range(TRIES):
        snapshot = log.snapshot(read_rows)
        if len(snapshot.entries) == 1 and snapshot.entries[0].whole:
            log.discard(snapshot.older)
            return
        content = encode(merge_rows([e.rows for e in snapshot.entries]), tick.minutes, whole=True)
        if log.publish_whole(snapshot.last + 1, content, read_footer):
            return
    raise contended(log.folder)


def read_footers(log: Log) -> Snapshot[DayFile]:
    """What a day holds, without rows."""
    return log.snapshot(read_footer)


def whole_content(log: Log, tick: Tick) -> bytes:
    """The rows of a day as the bytes of one whole file; none if there are none."""
    for _ in range(TRIES):
        entries = log.snapshot(read_footer).entries
        with contextlib.suppress(FileNotFoundError):  # superseded: look again
            if len(entries) == 1 and entries[0].whole:
                return entries[0].path.read_bytes()
            rows = [entry.rows for entry in log.snapshot(read_rows).entries]
            return encode(merge_rows(rows), tick.minutes, whole=True) if rows else b""
        log = Log(log.folder, log.suffix)
    raise contended(log.folder)


def read_if_within(path: Place, start: np.datetime64, end: np.datetime64) -> DayFile:
    """An entry of a day, without rows where none of them is in [start, end)."""
    footer = read_footer(path)
    return read_rows(path) if footer.first < end and start <= footer.last else footer
