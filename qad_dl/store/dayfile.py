"""One Parquet file of the store: the rows of a UTC day, or some of them.

Rows are canonical (see `qad_dl.rows`), names are dictionaries. The footer says what must be known without reading rows:

| key | meaning |
|---|---|
| `qad.format`, `qad.tick` | version of this format; minutes of a tick |
| `qad.whole` | 1: all rows of the day, 0: rows to be added to the entries before |
| `qad.span` | first and last tick, seconds since the epoch |
| `qad.series` | panda_queue -> prod_source -> list of resources; of a file that is not whole its rows say it |

Of format 1 every file has all of them. A tick's file is a fifth as large without, and its footer, of which a tick reads
those of the whole day, is read in half the time.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qad_dl.arrow import from_numpy, one_chunk, to_numpy
from qad_dl.errors import StoreError
from qad_dl.rows import JOBS_SCHEMA, conforming, empty_rows, seconds_of, series_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qad_dl.objects import Place

FORMAT: Final = 1
"""Version of the store's format."""

FORMATS: Final = {b"1": True, b"2": False}
"""Of a file, and whether its footer says which series it has."""

SUFFIX: Final = ".parquet"

_NAMES: Final = [field.name for field in JOBS_SCHEMA if pa.types.is_dictionary(field.type)]
_MS: Final = 1000


TAIL_BYTES: Final = 1 << 18
"""So much of an object's end is asked for at first: it holds the footer unless a day has many thousand series."""

FOOTERS: Final = 2048
"""Footers that a process remembers: a day of ticks has 144 files, and a tick asks for their spans more than once."""


@dataclass(frozen=True)
class DayFile:
    """A file of the store.

    Attributes:
        whole: whether it holds all rows of its day.
        first: its first tick, `datetime64[s]`.
        last: its last tick.
        rows: a table of `JOBS_SCHEMA`; empty if only the footer was read.
        nested: what the footer says of the series; None where it does not.
        path: where it lies.
    """

    whole: bool
    first: np.datetime64
    last: np.datetime64
    rows: pa.Table
    nested: bytes | None
    path: Place

    @cached_property
    def series(self) -> frozenset[tuple[str, str, str]]:
        """The (panda_queue, prod_source, resource) that have a row; looked at in few of the footers that are read.

        Where the footer does not say it, the rows must have been read (`read_series`).

        Raises:
            StoreError: the file is damaged.
        """
        if self.nested is None:
            return frozenset(series_of(self.rows))
        with _undamaged(self.path):
            return _flat(json.loads(self.nested))


def encode(rows: pa.Table, tick_minutes: int, *, whole: bool) -> bytes:
    """A canonical, non-empty table as the bytes of a file; equal tables give equal bytes."""
    seconds = seconds_of(rows)
    footer = {
        "qad.format": "1" if whole else "2",
        "qad.tick": str(tick_minutes),
        "qad.whole": str(int(whole)),
        "qad.span": f"{seconds.min()} {seconds.max()}",
    }
    if whole:
        footer["qad.series"] = json.dumps(_nested(series_of(rows)), separators=(",", ":"), ensure_ascii=False)
    sink = pa.BufferOutputStream()
    pq.write_table(rows.replace_schema_metadata(footer), sink, compression="zstd", row_group_size=1 << 22)
    return sink.getvalue().to_pybytes()


def read_footer(path: Place) -> DayFile:
    """Read what the footer says; of a file that is still the one that was read before, remembered.

    Of an object the end is read; it is remembered for what the listing said of it.

    Raises:
        FileNotFoundError: the file has gone.
        StoreError: it is damaged or of another format.
    """
    if not isinstance(path, Path):
        return _footer(path, path.version) if path.version else _read(path, with_rows=False)
    found = path.stat()
    return _footer(path, found.st_ino, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=FOOTERS)
def _footer(path: Place, *_version: int | str) -> DayFile:
    return _read(path, with_rows=False)


def read_rows(path: Place) -> DayFile:
    """Read footer and rows; raises as `read_footer`."""
    return _read(path, with_rows=True)


def read_series(path: Place) -> DayFile:
    """Read what says which series it has: the footer, or footer and rows; raises as `read_footer`."""
    found = read_footer(path)
    return read_rows(path) if found.nested is None else found


def _read(path: Place, *, with_rows: bool) -> DayFile:
    """Open a file once and read what is wanted."""
    with _undamaged(path), _source(path, with_rows=with_rows) as source, pq.ParquetFile(source) as file:
        footer = file.metadata.metadata or {}
        rows = _rows(file) if with_rows else empty_rows()
        return _parse(footer, rows, path)


def _source(path: Place, *, with_rows: bool) -> Any:
    """What Arrow reads: the file, all of an object, or the end of it if the footer is all that is wanted."""
    if isinstance(path, Path):
        return pa.OSFile(str(path), "rb")  # Arrow asks less of the system than where it is given a path
    if with_rows:
        return pa.BufferReader(path.read_bytes())
    tail = path.read_tail(TAIL_BYTES)
    length = int.from_bytes(tail[-8:-4], "little") + 8  # the footer, its length and Parquet's four letters
    return pa.BufferReader(tail if length <= len(tail) else path.read_tail(length))


@contextlib.contextmanager
def _undamaged(path: Place) -> Iterator[None]:
    """Turn what is said of a file that is not as it was written into one line."""
    try:
        yield
    except (pa.ArrowException, KeyError, ValueError, TypeError, AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the operating system's, not the content's: gone, stale, no right to read
        msg = f"{path}: is damaged ({' '.join(str(error).split())[:200]}); restore it or import its day again"
        raise StoreError(msg) from error


def _rows(file: pq.ParquetFile) -> pa.Table:
    """All rows as a table of `JOBS_SCHEMA`; Parquet has no seconds and keeps milliseconds instead."""
    table = file.read(use_threads=False).replace_schema_metadata(None)  # as fast, and half the memory
    kind = JOBS_SCHEMA.field("time").type
    seconds = from_numpy(to_numpy(one_chunk(table.column("time"))) // _MS, kind)
    table = table.set_column(0, JOBS_SCHEMA.field("time"), seconds)
    return conforming(table)


def _parse(footer: Mapping[bytes, bytes], rows: pa.Table, path: Place) -> DayFile:
    """The footer's entries by their meaning."""
    version = footer[b"qad.format"]
    if version not in FORMATS:
        readable = " and ".join(known.decode() for known in FORMATS)
        msg = f"{path}: has format {version.decode()}, this program reads {readable}; import into a new store"
        raise StoreError(msg)
    nested = footer[b"qad.series"] if FORMATS[version] else None
    first, last = (np.datetime64(int(part), "s") for part in footer[b"qad.span"].split())
    return DayFile(footer[b"qad.whole"] == b"1", first, last, rows, nested, path)


def _nested(series: set[tuple[str, str, str]]) -> dict[str, dict[str, list[str]]]:
    """Series as nested objects: a queue's name is then written once."""
    nested: dict[str, dict[str, list[str]]] = {}
    for queue, source, resource in sorted(series):
        nested.setdefault(queue, {}).setdefault(source, []).append(resource)
    return nested


def _flat(nested: Mapping[str, Mapping[str, Any]]) -> frozenset[tuple[str, str, str]]:
    """Inverse of `_nested`."""
    return frozenset(
        (queue, source, resource)
        for queue, sources in nested.items()
        for source, resources in sources.items()
        for resource in resources
    )
