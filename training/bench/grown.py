"""Larger histories: a store repeated under other names until it has as many queues or series as are wanted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qad_dl.arrow import codes_of, from_numpy, one_chunk
from qad_dl.rows import JOBS_SCHEMA, SERIES, concat_rows, dictionary_column
from qad_dl.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

BLOCK_ROWS: Final = 20_000_000
"""Rows that are stored at a time: what a larger day is made of stays in several files, as where several write."""


def grow(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """`grown_store` of the store `source` in `path`: `number` of `field` at the tick `at`.

    With `later` also so many ticks after it, each as a file of rows beside the store.
    """
    at = np.datetime64(inputs["at"], "s")
    source, path = Store.open(Path(inputs["source"])), Path(inputs["path"])
    grown_store(source, path, int(inputs["number"]), at, inputs["field"])
    copies = copies_of(source, int(inputs["number"]), at, inputs["field"])
    write_later(source, path, at, int(inputs.get("later", 0)), copies, inputs["field"])
    return {}


def write_later(
    source: Store, path: Path, at: np.datetime64, later: int, copies: list[tuple[int, frozenset[str]]], field: str
) -> None:
    """The ticks after `at` of copies of a store, each as a file of rows beside the store at `path`."""
    for i in range(later):
        time = at + (i + 1) * source.tick.delta
        rows = concat_rows(list(grown_rows(source, time, time + source.tick.delta, copies, field)))
        pq.write_table(rows, path.with_name(f"{i}.parquet"))


def grown_store(source: Store, path: Path, number: int, at: np.datetime64, field: str) -> Store:
    """A store that holds the week before a tick, and the tick, of `source` for so many queues or series.

    The days that are over are one file each, as after a night; the day of the tick is a file per tick, as a collector
    writes it.

    Args:
        source: with the week.
        path: folder to make.
        number: of queues (`field` panda_queue) or of (panda_queue, prod_source, resource) (`field` series); what
            `source` has, as often as it takes, the repetitions under other names.
        at: the newest tick.
        field: what is counted.
    """
    tick, store = source.tick, Store.create(path, source.tick)
    today, first = at.astype("datetime64[D]"), at.astype("datetime64[D]") - np.timedelta64(7, "D")
    copies = copies_of(source, number, at, field)
    for day in np.arange(first, today):
        parts = grown_rows(source, day.astype("datetime64[s]"), (day + 1).astype("datetime64[s]"), copies, field)
        for i, part in enumerate(parts):
            if i == 0:
                store.put(part)
            else:
                store.append(part)
    for time in tick.range(today.astype("datetime64[s]"), at + tick.delta):
        store.append(concat_rows(list(grown_rows(source, time, time + tick.delta, copies, field))))
    records = source.metadata().at(at)
    known = {named(queue, copy): record for copy, _ in copies for queue, record in records.items()}
    store.add_metadata(known, first.astype("datetime64[s]"))
    return store


def copies_of(source: Store, number: int, at: np.datetime64, field: str) -> list[tuple[int, frozenset[str]]]:
    """(copy, names of its queues or series) that make up `number`."""
    have = sorted(_keys(source.read(at - np.timedelta64(7, "D"), at + source.tick.delta), field)[1])
    return [(i // len(have), frozenset(have[: number - i])) for i in range(0, number, len(have))]


def grown_rows(
    source: Store, start: np.datetime64, end: np.datetime64, copies: list[tuple[int, frozenset[str]]], field: str
) -> Iterator[pa.Table]:
    """The rows of [start, end) in pieces of many copies."""
    rows = source.read(start, end)
    if rows.num_rows == 0:  # a tick that is missing is missing for all
        return
    codes, names = _keys(rows, field)
    pieces: list[pa.Table] = []
    for copy, wanted in copies:
        chosen = np.array([name in wanted for name in names], np.bool_)[codes]
        pieces.append(_renamed(rows.filter(from_numpy(chosen, pa.bool_())), copy))
        if sum(piece.num_rows for piece in pieces) >= BLOCK_ROWS:
            yield concat_rows(pieces)
            pieces = []
    if pieces:
        yield concat_rows(pieces)


def _keys(rows: pa.Table, field: str) -> tuple[NDArray[np.int64], list[str]]:
    """Per row the number of its queue or series among those of `rows`, and their names."""
    code, names = np.zeros(rows.num_rows, np.int64), [""]
    for column in ["panda_queue"] if field == "panda_queue" else SERIES:
        array = one_chunk(rows.column(column))
        values = array.dictionary.to_pylist()
        used, code = np.unique(code * len(values) + codes_of(array), return_inverse=True)
        names = [f"{names[i // len(values)]}\x1f{values[i % len(values)]}" for i in used.tolist()]
    return code, names


def _renamed(rows: pa.Table, copy: int) -> pa.Table:
    """The same rows of queues of other names; the first copy keeps its own."""
    array = one_chunk(rows.column("panda_queue"))
    names = [named(name, copy) for name in array.dictionary.to_pylist()]
    at = JOBS_SCHEMA.get_field_index("panda_queue")
    return rows.set_column(at, JOBS_SCHEMA.field(at), dictionary_column(codes_of(array), names))


def named(queue: str, copy: int) -> str:
    """The name of a copy of a queue."""
    return f"{queue}~{copy:04d}" if copy else queue
