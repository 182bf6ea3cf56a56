"""Long rows as sorted tables: merge, sort and split them, by integer codes rather than by names.

A table here has the columns of `JOBS_SCHEMA`. It is *canonical* when its rows are sorted by (panda_queue, prod_source,
resource, job_status, time), no two rows agree in all five, and its dictionaries are sorted and hold no unused name:
equal contents are then equal tables.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from qad_dl.arrow import codes_of, dictionary, from_numpy, one_chunk, to_numpy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

NAME: Final = pa.dictionary(pa.int32(), pa.string())
JOBS_SCHEMA: Final = pa.schema(
    [
        pa.field("time", pa.timestamp("s", "UTC"), nullable=False),
        pa.field("panda_queue", NAME, nullable=False),
        pa.field("prod_source", NAME, nullable=False),
        pa.field("resource", NAME, nullable=False),
        pa.field("job_status", NAME, nullable=False),
        pa.field("jobs", pa.float64(), nullable=False),
        pa.field("site_state", NAME, nullable=True),
    ]
)
"""Columns of the job history inside the library; `jobs` is finite and >= 0, only `site_state` may be null."""

SERIES: Final = ("panda_queue", "prod_source", "resource")
"""The columns that name a series."""

DAY_S: Final = 86400

_KEY: Final = (*SERIES, "job_status")
_LIMIT: Final = 2**62
"""Sort keys stay below this, so that they fit into int64."""


def empty_rows() -> pa.Table:
    """A table of no rows."""
    return pa.Table.from_batches([], JOBS_SCHEMA)


def concat_rows(tables: Sequence[pa.Table]) -> pa.Table:
    """Put tables one after the other, each column in one chunk with one dictionary."""
    full = [table for table in tables if table.num_rows]
    if not full:
        return empty_rows()
    if len(full) == 1 and all(column.num_chunks == 1 for column in full[0].columns):
        return full[0]
    return pa.Table.from_arrays([_join(full, field) for field in JOBS_SCHEMA], schema=JOBS_SCHEMA)


def conforming(table: pa.Table) -> pa.Table:
    """A table with the columns of `JOBS_SCHEMA` in its types; casting loads Arrow's functions, which takes a while."""
    return table if table.schema.equals(JOBS_SCHEMA) else table.cast(JOBS_SCHEMA)


def merge_rows(tables: Sequence[pa.Table]) -> pa.Table:
    """Merge tables into a canonical one; of rows with the same time, series and state the last one counts.

    Args:
        tables: tables of `JOBS_SCHEMA`; later tables and later rows win.
    """
    table = concat_rows(tables)
    if table.num_rows == 0:
        return empty_rows()
    keys = [_recode(*_codes(table, name)) for name in _KEY]
    seconds = seconds_of(table)
    kept = _last_of_each(_sort_key(keys, seconds))
    state, states = _codes(table, "site_state")
    arrays = [
        from_numpy(_pick(seconds, kept), JOBS_SCHEMA.field("time").type),
        *(dictionary_column(_pick(codes, kept), names) for codes, names in keys),
        from_numpy(_pick(to_numpy(one_chunk(table.column("jobs"))), kept), pa.float64()),
        dictionary_column(*_recode(_pick(state, kept), states)),
    ]
    return pa.Table.from_arrays(arrays, schema=JOBS_SCHEMA)


def split_days(table: pa.Table) -> Iterator[tuple[np.datetime64, pa.Table]]:
    """Cut a table into its UTC days, in their order; the order of the rows within a day is kept.

    Yields:
        The day as `datetime64[D]`, and its rows.
    """
    table = concat_rows([table])
    days = seconds_of(table) // DAY_S
    if not days.size:
        return
    order: NDArray[np.int64] | None = None
    if np.any(days[1:] < days[:-1]):
        # 16-bit keys make numpy's stable sort a radix sort; 200 years are 73,000 days, so the span is checked.
        offset = days - days.min()
        order = np.argsort(offset.astype(np.uint16) if offset.max() < 2**16 else offset, kind="stable")
        days = days[order]
    edges = np.concatenate([[0], np.flatnonzero(np.diff(days)) + 1, [days.size]])
    for low, high in itertools.pairwise(edges.tolist()):
        piece = table.slice(low, high - low) if order is None else table.take(order[low:high])
        yield np.datetime64(int(days[low]), "D"), piece


def seconds_of(table: pa.Table) -> NDArray[np.int64]:
    """The column `time` as seconds since the epoch, int64 [rows]."""
    return to_numpy(one_chunk(table.column("time")))


def series_of(table: pa.Table) -> set[tuple[str, str, str]]:
    """The distinct (panda_queue, prod_source, resource) of a table."""
    if table.num_rows == 0:
        return set()
    columns = [_recode(*_codes(table, name)) for name in SERIES]
    key = _combine([codes for codes, _ in columns], [len(names) for _, names in columns])
    first = np.unique(key, return_index=True)[1]
    named = ([names[code] for code in codes[first].tolist()] for codes, names in columns)
    return set(zip(*named, strict=True))


def dictionary_column(codes: NDArray[np.int32], names: Sequence[str | None]) -> pa.DictionaryArray[Any, Any]:
    """A dictionary column from codes; -1 is null."""
    missing = np.array([*(name is None for name in names), False])
    if missing.any():
        codes = np.where(missing[codes], np.int32(-1), codes)
    column: pa.DictionaryArray[Any, Any] = dictionary(codes, [name or "" for name in names])
    return column


def _join(tables: Sequence[pa.Table], field: Any) -> Any:
    """One column of several tables as one array (Arrow's own unification of dictionaries takes three times as long)."""
    chunks = [chunk for table in tables for chunk in table.column(field.name).chunks]
    if field.type != NAME:
        return pa.concat_arrays(chunks)
    names: dict[str | None, int] = {}
    codes = np.empty(sum(len(chunk) for chunk in chunks), np.int32)
    start = 0
    for chunk in chunks:
        old, values = _codes_of(chunk)
        new = np.array([*(names.setdefault(value, len(names)) for value in values), -1], np.int32)
        codes[start : start + len(old)] = old if np.array_equal(new[:-1], np.arange(len(values))) else new[old]
        start += len(old)
    return dictionary_column(codes, list(names))


def _codes(table: pa.Table, name: str) -> tuple[NDArray[np.int32], list[str | None]]:
    """A dictionary column as codes, int32 [rows] with -1 for null, and the names they stand for."""
    return _codes_of(one_chunk(table.column(name)))


def _codes_of(array: Any) -> tuple[NDArray[np.int32], list[str | None]]:
    """As `_codes`, of one array."""
    return codes_of(array), array.dictionary.to_pylist()


def _recode(codes: NDArray[np.int32], values: Sequence[str | None]) -> tuple[NDArray[np.int32], list[str]]:
    """Codes that sort like the names, int32 [rows] with -1 for null, and the used names in their order."""
    used = np.zeros(len(values) + 1, bool)
    used[codes] = True  # -1 marks the spare last element
    names = sorted({value for value, use in zip(values, used, strict=False) if use and value is not None})
    rank = {name: i for i, name in enumerate(names)}
    new = np.array([*(-1 if value is None else rank.get(value, -1) for value in values), -1], np.int32)
    return (codes if np.array_equal(new[:-1], np.arange(len(values))) else new[codes]), names


def _combine(codes: Sequence[NDArray[Any]], sizes: Sequence[int]) -> NDArray[np.int64]:
    """One int64 number per row that sorts like the tuple of its codes.

    Where the product of `sizes` would not fit, what was combined so far is first replaced by its rank.
    """
    key = codes[0].astype(np.int64)
    size = max(sizes[0], 1)
    for column, width in zip(codes[1:], sizes[1:], strict=True):
        if size * max(width, 1) >= _LIMIT:
            distinct, key = np.unique(key, return_inverse=True)
            size = len(distinct)
        key = key * width + column
        size *= max(width, 1)
    return key


def _sort_key(columns: Sequence[tuple[NDArray[np.int32], list[str]]], seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """One int64 number per row in whose order the rows belong, int64 [rows]."""
    since = seconds - seconds.min()
    codes = [*(codes for codes, _ in columns), since]
    return _combine(codes, [*(len(names) for _, names in columns), int(since.max()) + 1])


def _last_of_each(key: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The rows to keep, in the order of `key`, the last row of each key; None when that is every row as it stands."""
    if np.all(key[1:] > key[:-1]):
        return None
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    return np.asarray(order[last])


def _pick(values: NDArray[Any], kept: NDArray[np.int64] | None) -> NDArray[Any]:
    """`values` at the rows `kept`."""
    return values if kept is None else values[kept]
