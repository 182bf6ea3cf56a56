"""An import in parts: files are read and checked by whoever is there, and only when all of them are, stored by day.

Workers leave what they have read in a folder of the store that no reader looks at, for each part one Arrow file with
one batch per UTC day. A day is then merged from the batches of all parts in the order of the files, as if one process
had read them one after the other, and put by the store's own door: the files of the store are the same bytes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from qad_dl.arrow import codes_of, one_chunk
from qad_dl.atomic import temporary_name
from qad_dl.errors import StoreError
from qad_dl.history import load_jobs, parts_of_file
from qad_dl.progress import progress
from qad_dl.rows import JOBS_SCHEMA, concat_rows, seconds_of, split_days
from qad_dl.schema import Tick, Times
from qad_dl.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from qad_dl.cluster import Workers
    from qad_dl.objects import Place


@dataclass(frozen=True)
class Found:
    """What files hold.

    Attributes:
        rows: number of rows.
        ticks: those with a row, ascending, `datetime64[s]`.
        queues: names of the queues.
        states: names of the job states.
    """

    rows: int
    ticks: Times
    queues: frozenset[str]
    states: frozenset[str]

    def __or__(self, other: Found) -> Found:
        """What both hold."""
        ticks = np.union1d(self.ticks, other.ticks)
        return Found(self.rows + other.rows, ticks, self.queues | other.queues, self.states | other.states)


class Checked(Protocol):
    """Rows of files that were all accepted, and wait to be stored."""

    @property
    def found(self) -> Found:
        """What they are."""

    def put(self, store: Store) -> int:
        """Store them, day by day; the number of days that changed."""


@contextlib.contextmanager
def checked_rows(paths: Sequence[Path], tick: Tick, store: Place, workers: Workers | None) -> Iterator[Checked | None]:
    """Read and check history files; None where there are none.

    Args:
        paths: the files; of equal (time, series, state) the last row of the last file counts.
        tick: length of a tick.
        store: folder of the store, which need not be there yet.
        workers: who reads; this process if not given.

    Raises:
        InputError: the first file, in their order, that is refused.
        StoreError: nothing can be written there.
        ClusterError: see `cluster.Workers.run`.
    """
    if not paths:
        yield None
    elif workers is None:
        rows = concat_rows([load_jobs(path, tick) for path in progress(paths, "reading", unit="file")])
        yield _Held(rows, found_in(rows))
    else:
        with _staging(Path(str(store))) as folder:
            yield _staged(paths, tick, folder, workers)


def found_in(rows: pa.Table) -> Found:
    """What a table of `JOBS_SCHEMA` holds."""
    ticks = np.unique(seconds_of(rows)).view("datetime64[s]")
    return Found(rows.num_rows, ticks, _used(rows.column("panda_queue")), _used(rows.column("job_status")))


@dataclass(frozen=True)
class _Held:
    """Rows in memory."""

    rows: pa.Table
    found: Found

    def put(self, store: Store) -> int:
        """Store them."""
        days = list(split_days(self.rows))
        return sum(store.put(part) for _, part in progress(days, "storing", unit="day"))


@dataclass(frozen=True)
class _Staged:
    """Rows that workers have read.

    Attributes:
        folder: where they are.
        found: what they are.
        days: UTC day -> (number of the part, number of the batch in it), in the order of the parts.
        workers: who stores them.
    """

    folder: Path
    found: Found
    days: Mapping[np.datetime64, list[tuple[int, int]]]
    workers: Workers

    def put(self, store: Store) -> int:
        """Let the workers store them, a day at a time."""
        path = store.folder.absolute()
        parts = [(path, store.tick.minutes, self.folder, batches) for _, batches in sorted(self.days.items())]
        return sum(changed for _, changed in self.workers.run(put_day, parts, (path, self.folder), "storing", "day"))


def read_part(
    path: Path, tick_minutes: int, groups: range | None, folder: Path, number: int
) -> tuple[Found, list[Any]]:
    """On a worker: read and check one part of a file, and leave its rows in the folder.

    Returns:
        What it holds, and the UTC days of its batches.
    """
    rows = load_jobs(path, Tick(tick_minutes), groups)
    days = list(split_days(rows))
    target = _staged_file(folder, number)
    temporary = temporary_name(target)
    with pa.ipc.new_file(str(temporary), JOBS_SCHEMA, options=pa.ipc.IpcWriteOptions(compression="lz4")) as file:
        for _, part in days:
            file.write_table(concat_rows([part]))
    temporary.replace(target)  # a part that is done twice is the same twice
    return found_in(rows), [day for day, _ in days]


def put_day(store: Path, tick_minutes: int, folder: Path, batches: Sequence[tuple[int, int]]) -> int:
    """On a worker: merge what the parts hold of one UTC day into the store; 1 if that changed it, else 0."""
    tables = []
    for number, batch in batches:
        with pa.ipc.open_file(str(_staged_file(folder, number))) as file:
            tables.append(pa.Table.from_batches([file.get_batch(batch)], JOBS_SCHEMA))
    return Store.open(store, Tick(tick_minutes)).put(concat_rows(tables))


def _staged(paths: Sequence[Path], tick: Tick, folder: Path, workers: Workers) -> _Staged:
    """Let workers read all files."""
    files = [path.absolute() for path in paths]
    cut = [(path, groups) for path in files for groups in parts_of_file(path)]
    parts = [(path, tick.minutes, groups, folder, number) for number, (path, groups) in enumerate(cut)]
    made: dict[int, tuple[Found, list[Any]]] = {}
    for number, read in workers.run(read_part, parts, (*files, folder), "reading"):
        made[number] = read
        os.utime(folder)  # or it would look as if it had been left behind
    days: dict[np.datetime64, list[tuple[int, int]]] = {}
    for number in range(len(parts)):
        for batch, day in enumerate(made[number][1]):
            days.setdefault(day, []).append((number, batch))
    return _Staged(folder, reduce(Found.__or__, (found for found, _ in made.values())), days, workers)


@contextlib.contextmanager
def _staging(store: Path) -> Iterator[Path]:
    """A folder in the store for what is being imported; neither is left behind if nothing comes of it.

    If this process is killed, the collector removes the folder an hour later, as it does with all such names.
    """
    new = not store.exists()
    folder = temporary_name(store.absolute() / "import")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        msg = f"{store}: cannot be written ({error.strerror or error}); give a folder of yours"
        raise StoreError(msg) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if new:
            with contextlib.suppress(OSError):  # it is a store now
                store.rmdir()


def _staged_file(folder: Path, number: int) -> Path:
    return folder / f"{number:06}.arrow"


def _used(column: Any) -> frozenset[str]:
    """The names in a dictionary column."""
    array = one_chunk(column)
    names = array.dictionary.to_pylist()
    return frozenset(names[code] for code in np.unique(codes_of(array)).tolist())
