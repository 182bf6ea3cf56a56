"""Job counts from files that somebody drops into a folder (interfaces, section 1).

A file is taken once it has its name: whoever writes it gives it a name that begins with a dot and renames it. What was
stored is moved to `done/`, what was refused to `refused/`; a file that is read again after a crash changes nothing,
since rows merge. Rows after the tick in work are left for their time: a file that has any stays, and is read again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa

from qad_dl.arrow import from_numpy
from qad_dl.errors import InputError, SourceError
from qad_dl.history import load_jobs
from qad_dl.rows import concat_rows, merge_rows, seconds_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from qad_dl.schema import Tick

ENDINGS: Final = (".parquet", ".pq", ".csv", ".csv.gz")
DONE: Final = "done"
REFUSED: Final = "refused"


class Dropped(NamedTuple):
    """What lies in the folder.

    Attributes:
        rows: of all files, up to the tick in work; a table of `JOBS_SCHEMA`.
        read: files of which all rows are in `rows`.
        refused: files that were refused, and why, in one line.
    """

    rows: pa.Table
    read: tuple[Path, ...]
    refused: tuple[tuple[Path, str], ...]


def read_dropped(folder: Path, tick: Tick, at: np.datetime64) -> Dropped:
    """Read the files of a folder up to the tick `at`.

    Raises:
        SourceError: there is no such folder.
    """
    if not folder.is_dir():
        msg = f"{folder}: is no folder; make it, or name another as source.url"
        raise SourceError(msg)
    tables, read, refused = [], [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.name.lower().endswith(ENDINGS) or not path.is_file():
            continue
        try:
            rows = load_jobs(path, tick)
        except InputError as error:
            refused.append((path, str(error)))
            continue
        ripe = seconds_of(rows) <= at.astype("datetime64[s]").astype(np.int64)
        if ripe.all():
            read.append(path)
        else:
            rows = rows.filter(from_numpy(ripe, pa.bool_()))
        tables.append(rows)
    return Dropped(merge_rows([concat_rows(tables)]), tuple(read), tuple(refused))


def put_away(paths: Iterable[Path], folder: str) -> None:
    """Move files into a folder beside them; one that has gone already is no fault."""
    for path in paths:
        target = path.parent / folder
        target.mkdir(exist_ok=True)
        if path.exists():
            path.replace(target / path.name)
