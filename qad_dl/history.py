"""Job history as it comes (interfaces, section 1): read, validated whole, floored to ticks.

A file is read in pieces of a million rows, each validated and coded before the next is read, so that memory holds the
coded table (40 bytes a row) and one piece. A file with one bad row is refused as a whole: `InputError` names the file,
the row (1 is the first row of data) and the reason.
"""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from qad_dl.arrow import from_numpy
from qad_dl.columns import BadRow, counts, labels, names, statuses, times
from qad_dl.errors import InputError
from qad_dl.rows import JOBS_SCHEMA, NAME, concat_rows, empty_rows, merge_rows
from qad_dl.schema import JOBS_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from qad_dl.schema import Tick

__all__ = ["JOBS_SCHEMA", "load_jobs", "normalise_jobs", "read_jobs"]

REQUIRED: Final = ("time", "panda_queue", "job_status", "jobs")

_BATCH_ROWS: Final = 1 << 20
_BLOCK_BYTES: Final = 32 << 20
_FAULTS: Final = (pa.ArrowException, OSError, EOFError, UnicodeDecodeError)
"""What pyarrow raises for a file that is not what its name says."""


def read_jobs(path: Path, tick: Tick) -> pa.Table:
    """Read one history file: Parquet (`.parquet`, `.pq`) or CSV (`.csv`, `.csv.gz`).

    Args:
        path: the file.
        tick: length of a tick; times are floored to it.

    Returns:
        A canonical table of `JOBS_SCHEMA` (see `qad_dl.rows`); of equal (time, series, state) the last row counted.

    Raises:
        InputError: the file or one of its rows is refused; one line with file, row and reason.
    """
    return merge_rows([load_jobs(path, tick)])


def load_jobs(path: Path, tick: Tick, groups: range | None = None) -> pa.Table:
    """As `read_jobs`, but the rows come as they stand in the file, duplicates too: the store merges them by day.

    Args:
        path: the file.
        tick: length of a tick.
        groups: which row groups of a Parquet file; all of a file if not given.
    """
    where = str(path)
    try:
        before = 0 if groups is None else sum(_group_rows(path)[: groups.start])
        pieces = _pieces(Path(path), groups)
        table = concat_rows(list(_normalised(pieces, tick, where, text=not _is_parquet(Path(path)), before=before)))
    except _FAULTS as error:
        raise InputError(_unreadable(where, error)) from error
    if table.num_rows == 0:
        msg = f"{where}: holds no rows; a history file has one row per tick, series and state"
        raise InputError(msg)
    return table


def parts_of_file(path: Path) -> list[range | None]:
    """Row groups that `load_jobs` may read one lot at a time, of about a million rows; None is the whole file.

    A CSV file is one part: where its rows begin is known only when all before them has been read.

    Raises:
        InputError: there is no such file, or its name says no known format.
    """
    _check_file(path)
    try:
        rows = _group_rows(path) if _is_parquet(path) else []
    except _FAULTS:
        rows = []  # what is wrong with it is said when it is read
    if sum(rows) == 0:
        return [None]
    lot = (np.cumsum(rows) - 1) // _BATCH_ROWS
    edges = [0, *(np.flatnonzero(np.diff(lot)) + 1).tolist(), len(rows)]
    return [range(low, high) for low, high in itertools.pairwise(edges)]


def normalise_jobs(data: Any, tick: Tick, where: str) -> pa.Table:
    """Validate and normalise a history that is in memory already.

    Args:
        data: a `pandas.DataFrame` or `pyarrow.Table` with the columns of interfaces section 1.
        tick: length of a tick; times are floored to it.
        where: what to call the data in an error.

    Returns:
        A canonical table of `JOBS_SCHEMA`; empty if `data` has no rows.

    Raises:
        InputError: a column is missing or a row is refused.
    """
    table = data if isinstance(data, pa.Table) else _from_pandas(data, where)
    chosen = _choose(table.column_names, where)
    return merge_rows(list(_normalised(_slices(table.select(chosen)), tick, where, text=False)))


def _is_parquet(path: Path) -> bool:
    """Whether a file is read as Parquet; InputError if it is neither that nor CSV."""
    name = path.name.lower()
    if name.endswith((".parquet", ".pq")):
        return True
    if name.endswith((".csv", ".csv.gz")):
        return False
    msg = f"{path}: is neither .parquet nor .csv nor .csv.gz; name the file by its format"
    raise InputError(msg)


def _check_file(path: Path) -> None:
    if not path.is_file():
        msg = f"{path}: is no file; give the path of a job history"
        raise InputError(msg)


def _group_rows(path: Path) -> list[int]:
    """Rows of each row group of a Parquet file."""
    footer = pq.read_metadata(path)
    return [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]


def _pieces(path: Path, groups: range | None = None) -> Iterator[pa.RecordBatch]:
    """The needed columns of a file, or of some row groups of it, piece by piece."""
    _check_file(path)
    return _parquet_pieces(path, groups) if _is_parquet(path) else _csv_pieces(path)


def _parquet_pieces(path: Path, groups: range | None) -> Iterator[pa.RecordBatch]:
    """Pieces of a Parquet file, its text columns as dictionaries."""
    with pq.ParquetFile(path) as plain:
        schema = plain.schema_arrow
        chosen = _choose(schema.names, str(path))
    text = [name for name in chosen if pa.types.is_string(schema.field(name).type)]
    with pq.ParquetFile(path, read_dictionary=text) as file:
        yield from file.iter_batches(_BATCH_ROWS, row_groups=None if groups is None else list(groups), columns=chosen)


def _csv_pieces(path: Path) -> Iterator[pa.RecordBatch]:
    """Pieces of a CSV file, all columns as text: what a column means is decided in one place, `qad_dl.columns`."""
    chosen = _choose(_csv_header(path), str(path))
    coded = {name: pa.string() if name == "jobs" else NAME for name in chosen}
    # Serial reading is what makes Arrow say in which row it stumbled.
    reader = pacsv.open_csv(
        path,
        read_options=pacsv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
        parse_options=pacsv.ParseOptions(newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(include_columns=chosen, column_types=coded, strings_can_be_null=False),
    )
    with reader:
        yield from reader


def _csv_header(path: Path) -> list[str]:
    """Names of the columns of a CSV file; Arrow alone would take the first of two columns of one name."""
    with pa.input_stream(path, compression="detect") as stream:
        head = stream.read(1 << 16)
    line = head.split(b"\n", 1)[0] + b"\n"
    if not line.strip():
        msg = f"{path}: is empty; a history file has a line of column names and one row per tick, series and state"
        raise InputError(msg)
    return list(pacsv.read_csv(io.BytesIO(line)).column_names)


def _choose(columns: Sequence[str], where: str) -> list[str]:
    """The columns that we read; InputError if one is missing or there twice."""
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        found = ", ".join(columns[:12])
        msg = f"{where}: column {', '.join(missing)} is missing; found are {found[:200]}"
        raise InputError(msg)
    chosen = [name for name in JOBS_COLUMNS if name in columns]
    twice = [name for name in chosen if list(columns).count(name) > 1]
    if twice:
        msg = f"{where}: column {twice[0]} is there twice; keep one"
        raise InputError(msg)
    return chosen


def _slices(table: pa.Table) -> Iterator[pa.RecordBatch]:
    """Pieces of a table in memory."""
    return iter(table.to_batches(max_chunksize=_BATCH_ROWS))


def _normalised(
    pieces: Iterable[pa.RecordBatch], tick: Tick, where: str, *, text: bool, before: int = 0
) -> Iterator[pa.Table]:
    """Validate and code pieces one by one, counting rows through all of them, from those `before` the first on."""
    for piece in pieces:
        if piece.num_rows == 0:
            continue
        try:
            yield _normalise(piece, tick, text=text)
        except BadRow as bad:
            msg = f"{where}: row {before + bad.index + 1}: {bad.reason}; nothing of it was stored"
            raise InputError(msg) from bad
        before += piece.num_rows


def _normalise(piece: pa.RecordBatch, tick: Tick, *, text: bool) -> pa.Table:
    """One piece as a table of `JOBS_SCHEMA`; `BadRow` counts from its first row."""
    absent = pa.nulls(piece.num_rows, pa.string())
    column = {name: piece.column(name) if name in piece.schema.names else absent for name in JOBS_COLUMNS}
    seconds = times(column["time"]) // tick.seconds * tick.seconds
    arrays = [
        from_numpy(seconds, JOBS_SCHEMA.field("time").type),
        names(column["panda_queue"], "panda_queue"),
        labels(column["prod_source"], "prod_source"),
        labels(column["resource"], "resource"),
        names(column["job_status"], "job_status"),
        from_numpy(counts(column["jobs"], text=text), pa.float64()),
        statuses(column["site_state"], "site_state"),
    ]
    return pa.Table.from_arrays(arrays, schema=JOBS_SCHEMA)


def _from_pandas(frame: Any, where: str) -> pa.Table:
    """The needed columns of a DataFrame as Arrow arrays."""
    chosen = _choose([str(name) for name in frame.columns], where)
    if len(frame) == 0:
        return empty_rows().select(chosen)
    return pa.table([_from_series(frame[name], name, where) for name in chosen], names=chosen)


def _from_series(series: Any, name: str, where: str) -> Any:
    """One column of a DataFrame; a column of Python objects of several kinds is refused at the first odd one."""
    try:
        return pa.array(series, from_pandas=True)
    except pa.ArrowException as error:
        kinds = [type(value) for value in series]
        row = next((i for i, kind in enumerate(kinds) if kind is not kinds[0]), 0)
        value = repr(series.iloc[row])[:40]
        msg = f"{where}: row {row + 1}: {name} is {value}, a {kinds[row].__name__}, in a column of {kinds[0].__name__}"
        raise InputError(msg) from error


def _unreadable(where: str, error: Exception) -> str:
    """The one line for a file that cannot be read."""
    return f"{where}: cannot be read ({' '.join(str(error).split())[:200]}); is it whole, and what its name says?"
