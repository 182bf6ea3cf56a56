"""A scores file (interfaces, section 5) as the arrays that the measures work on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qad_dl.arrow import codes_of, one_chunk, to_numpy, valid_mask
from qad_dl.errors import InputError
from qad_dl.scores_file import BUDGET_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.schema import Tick, Times

_WANTED: Final[dict[str, Callable[[pa.DataType], bool]]] = {
    "time": pa.types.is_timestamp,
    "score": pa.types.is_floating,
    "flagged": pa.types.is_boolean,
}
"""Columns that are read beside the key, and what each has to be."""

_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True)
class Scores:
    """The scores of N series over T ticks.

    Attributes:
        times: every tick from the first to the last in the file, [T] `datetime64[s]`.
        entity: names of the key columns: those before the score, without the time.
        series: keys, sorted, [N].
        score: [N, T] float64, NaN where unscored or absent.
        flagged: [N, T] bool.
        present: [N, T] bool, the file has a row.
        budget: that `flagged` was set to; None where the file does not say.
    """

    times: Times
    entity: tuple[str, ...]
    series: tuple[tuple[str, ...], ...]
    score: NDArray[np.float64]
    flagged: NDArray[np.bool_]
    present: NDArray[np.bool_]
    budget: float | None


def read_scores(path: Path, tick: Tick) -> Scores:
    """Read a scores file.

    Raises:
        InputError: no Parquet, no rows, a column missing or of another type, a time that is missing or not on a tick, a
            negative or infinite score, or two rows of one series and tick.
    """
    table = _read(path)
    entity = _entity(table, path)
    at = _ticks(table, tick, path)
    series, of_row = _series(table, entity)
    first = int(at.min())
    shape = (len(series), int(at.max()) - first + 1)
    place = of_row * shape[1] + (at - first)
    present = np.zeros(shape, np.bool_)
    present.reshape(-1)[place] = True
    _refuse_doubles(len(place) - int(np.count_nonzero(present)), path)
    score = np.full(shape, np.nan)
    score.reshape(-1)[place] = _score(table, path)
    flagged = np.zeros(shape, np.bool_)
    flagged.reshape(-1)[place] = _flagged(table)
    return Scores(
        times=tick.time(np.arange(first, first + shape[1])),
        entity=entity,
        series=series,
        score=score,
        flagged=flagged,
        present=present,
        budget=_budget(table, path),
    )


def _read(path: Path) -> pa.Table:
    try:
        with pq.ParquetFile(path) as plain:
            schema = plain.schema_arrow
        key, names = _columns(schema.names)
        text = [name for name in key if pa.types.is_string(schema.field(name).type)]
        with pq.ParquetFile(path, read_dictionary=text) as file:
            table = file.read(names)
    except (OSError, pa.ArrowException) as error:
        msg = f"{path}: cannot be read as a Parquet file of scores ({str(error)[:120]}); `qad backtest` writes them"
        raise InputError(msg) from error
    for name, right in _WANTED.items():
        if name not in names or not right(schema.field(name).type):
            kind = schema.field(name).type if name in names else "absent"
            msg = f"{path}: column {name!r} is {kind}; this is not a file of scores as `qad backtest` writes it"
            raise InputError(msg)
    if not table.num_rows:
        msg = f"{path}: holds no rows; run `qad backtest` over a range with data"
        raise InputError(msg)
    return table


def _columns(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The columns that name the series, which are before the score, and all that are read."""
    before = names[: names.index("score")] if "score" in names else names
    key = [name for name in before if name not in _WANTED]
    return key, [name for name in names if name in {*key, *_WANTED}]


def _entity(table: pa.Table, path: Path) -> tuple[str, ...]:
    entity = tuple(name for name in table.column_names[: table.column_names.index("score")] if name != "time")
    for name in entity:
        kind = table.schema.field(name).type
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(plain) or pa.types.is_large_string(plain)) or table.column(name).null_count:
            msg = f"{path}: column {name!r}, which names the series, is {kind} or has nulls; it must be text"
            raise InputError(msg)
    if not entity:
        msg = f"{path}: no column before 'score' names the series; wanted panda_queue, or the configured entity"
        raise InputError(msg)
    return entity


def _ticks(table: pa.Table, tick: Tick, path: Path) -> NDArray[np.int64]:
    """Number of the tick since the epoch of each row."""
    column = table.column("time")
    if column.null_count:
        msg = f"{path}: {column.null_count} rows have no time"
        raise InputError(msg)
    ticks, over = np.divmod(to_numpy(one_chunk(column)), tick.seconds * _PER_SECOND[column.type.unit])
    off = np.flatnonzero(over)
    if off.size:
        msg = f"{path}: time {column[int(off[0])]} is on no tick of {tick.minutes} minutes, the store's"
        raise InputError(msg)
    return ticks


def _series(table: pa.Table, entity: tuple[str, ...]) -> tuple[tuple[tuple[str, ...], ...], NDArray[np.int64]]:
    """The keys, sorted, and the index of each row's key."""
    keys: list[tuple[str, ...]] = [()]
    of_row = np.zeros(table.num_rows, np.int64)
    for field in entity:
        names, codes = _coded(one_chunk(table.column(field)))
        pair = of_row * len(names) + codes
        there = np.zeros(len(keys) * len(names), np.bool_)
        there[pair] = True
        keys = [(*keys[i // len(names)], names[i % len(names)]) for i in np.flatnonzero(there).tolist()]
        of_row = (np.cumsum(there) - 1)[pair]
    return tuple(keys), of_row


def _coded(column: Any) -> tuple[list[str], NDArray[np.int64]]:
    """The names in a column of text, sorted, and which of them each row has."""
    coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    words = coded.dictionary.to_pylist()
    names = sorted(set(words))
    place = {name: i for i, name in enumerate(names)}
    return names, np.array([place[word] for word in words], np.int64)[codes_of(coded)]


def _refuse_doubles(double: int, path: Path) -> None:
    if double:
        msg = f"{path}: {double} rows repeat the series and tick of another row; wanted one row for each"
        raise InputError(msg)


def _score(table: pa.Table, path: Path) -> NDArray[np.float64]:
    column = one_chunk(table.column("score").cast(pa.float64()))
    score, valid = to_numpy(column), valid_mask(column)
    score = score if valid is None else np.where(valid, score, np.nan)
    wrong = np.flatnonzero((score < 0) | np.isinf(score))
    if wrong.size:
        msg = f"{path}: row {int(wrong[0]) + 1} has the score {score[wrong[0]]}; a score is finite and >= 0, or null"
        raise InputError(msg)
    return score


def _flagged(table: pa.Table) -> NDArray[np.bool_]:
    """The decision of each row; what is null is none."""
    column = one_chunk(table.column("flagged"))
    flagged, valid = to_numpy(column), valid_mask(column)
    return flagged if valid is None else flagged & valid


def _budget(table: pa.Table, path: Path) -> float | None:
    text = (table.schema.metadata or {}).get(BUDGET_KEY)
    if text is None:
        return None
    try:
        budget = float(text)
    except ValueError:
        budget = math.nan
    if not (math.isfinite(budget) and budget >= 0):
        msg = f"{path}: file metadata qad.budget is {text.decode(errors='replace')!r}; wanted a number >= 0"
        raise InputError(msg)
    return budget
