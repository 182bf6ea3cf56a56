"""Declared downtimes (interfaces, section 3): when which queue was announced to be down."""

from __future__ import annotations

import csv
import io
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qad_dl.errors import ConfigError, InputError
from qad_dl.timeparse import format_time, parse_time

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    import numpy as np

COLUMNS: Final = ("panda_queue", "start", "end", "status")

DOWN: Final = "OUTAGE"
"""The one severity of CRIC's downtimes that is down; the others are at risk."""


@dataclass(frozen=True, order=True)
class Downtime:
    """One declared downtime.

    Attributes:
        panda_queue: the queue.
        start: `datetime64[s]`, UTC; the queue is down in [start, end).
        end: later than `start`.
        status: what was announced, as it was written ('offline', 'OUTAGE', ...; may be '').
    """

    panda_queue: str
    start: np.datetime64
    end: np.datetime64
    status: str


def read_downtimes(path: Path) -> list[Downtime]:
    """Read a downtimes CSV, `.gz` or not; further columns are ignored, a file with a header alone has no downtimes.

    Raises:
        InputError: the file or a row of it is refused; one line with file, row (1 is the first of data) and reason.
    """
    path = Path(path)
    return parse_downtimes(_text(path), str(path))


def parse_downtimes(text: str, where: str) -> list[Downtime]:
    """As `read_downtimes`, from the text; `where` names it in an error."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            msg = f"{where}: column {', '.join(missing)} is missing; downtimes have {', '.join(COLUMNS)}"
            raise InputError(msg)
        return [_downtime(row, f"{where}: row {number}") for number, row in enumerate(reader, start=1)]
    except csv.Error as error:
        msg = f"{where}: line {reader.line_num}: is not CSV ({error}); downtimes have {', '.join(COLUMNS)}"
        raise InputError(msg) from error


def format_downtimes(downtimes: Iterable[Downtime]) -> str:
    """Downtimes as CSV, each once, sorted."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for down in sorted(set(downtimes)):
        writer.writerow([down.panda_queue, format_time(down.start), format_time(down.end), down.status])
    return out.getvalue()


def declared_now(
    known: Iterable[Downtime], declared: Iterable[Downtime], status: str, queues: Container[str], now: np.datetime64
) -> set[Downtime]:
    """What is known after somebody has said what is declared by now: what is no longer declared ends now.

    Args:
        known: before.
        declared: all that is declared and not over.
        status: of those that the same source declared before; others stay.
        queues: that the source speaks of; downtimes of others stay.
        now: what has been until now stays as it was.
    """
    said = set(declared)
    found = set(said)
    for down in known:
        if down.status != status or down.panda_queue not in queues or down.end <= now:
            found.add(down)
        elif down.start < now and not any(_covers(other, down, now) for other in said):
            found.add(replace(down, end=now))
    return found


def _covers(other: Downtime, down: Downtime, now: np.datetime64) -> bool:
    """Whether another downtime says all that one says of the time before `now`."""
    return other.panda_queue == down.panda_queue and bool(other.start <= down.start and other.end >= now)


def _downtime(row: Mapping[str, str | None], where: str) -> Downtime:
    """One row, checked."""
    values = {name: row.get(name) for name in COLUMNS}
    absent = [name for name, value in values.items() if value is None]
    if absent:
        msg = f"{where}: {absent[0]} is missing; the row is too short"
        raise InputError(msg)
    queue, start, end, status = (str(value).strip() for value in values.values())
    if not queue:
        msg = f"{where}: panda_queue is empty; it must name a queue"
        raise InputError(msg)
    try:
        down = Downtime(queue, parse_time(start, "start"), parse_time(end, "end"), status)
    except (ConfigError, OverflowError) as error:
        msg = f"{where}: {error}"
        raise InputError(msg) from error
    if down.end <= down.start:
        msg = f"{where}: end {end} is not after start {start}"
        raise InputError(msg)
    return down


def _text(path: Path) -> str:
    """The text of a file, gzipped or not (told by its first bytes)."""
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            import gzip

            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except FileNotFoundError as error:
        msg = f"{path}: is no file; give the path of a downtimes CSV"
        raise InputError(msg) from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read as text ({' '.join(str(error).split())[:120]})"
        raise InputError(msg) from error
