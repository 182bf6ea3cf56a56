"""A scores file (interfaces, section 5) as the arrays that the measures work on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qad_dl.errors import InputError
from qad_dl.scores_file import BUDGET_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.schema import Tick, Times


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
    flagged.reshape(-1)[place] = table.column("flagged").fill_null(pa.scalar(False)).to_numpy()
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
        with pq.ParquetFile(path) as file:
            table = file.read(_wanted(file.schema_arrow.names))
    except (OSError, pa.ArrowException) as error:
        msg = f"{path}: cannot be read as a Parquet file of scores ({str(error)[:120]}); `qad backtest` writes them"
        raise InputError(msg) from error
    wanted: dict[str, Callable[[pa.DataType], bool]] = {
        "time": pa.types.is_timestamp,
        "score": pa.types.is_floating,
        "flagged": pa.types.is_boolean,
    }
    for name, right in wanted.items():
        if name not in table.column_names or not right(table.schema.field(name).type):
            kind = table.schema.field(name).type if name in table.column_names else "absent"
            msg = f"{path}: column {name!r} is {kind}; this is not a file of scores as `qad backtest` writes it"
            raise InputError(msg)
    if not table.num_rows:
        msg = f"{path}: holds no rows; run `qad backtest` over a range with data"
        raise InputError(msg)
    return table


def _wanted(names: Sequence[str]) -> list[str]:
    """The columns to read: the key, which is before the score, the time, the score and the decision."""
    key = names[: names.index("score")] if "score" in names else names
    return [name for name in names if name in {*key, "time", "score", "flagged"}]


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
    seconds = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64()).to_numpy() / 1e6
    off = np.flatnonzero(seconds % tick.seconds)
    if off.size:
        msg = f"{path}: time {column[int(off[0])]} is on no tick of {tick.minutes} minutes, the store's"
        raise InputError(msg)
    return (seconds // tick.seconds).astype(np.int64)


def _series(table: pa.Table, entity: tuple[str, ...]) -> tuple[tuple[tuple[str, ...], ...], NDArray[np.int64]]:
    """The keys, sorted, and the index of each row's key."""
    combined = np.zeros(table.num_rows, np.int64)
    names = []
    for field in entity:
        encoded = pc.unique(table.column(field).cast(pa.string())).sort()
        codes = pc.index_in(table.column(field).cast(pa.string()), encoded)
        names.append(encoded.to_pylist())
        combined = combined * len(encoded) + codes.to_numpy().astype(np.int64)
    distinct, of_row = np.unique(combined, return_inverse=True)
    places = np.unravel_index(distinct, [len(n) for n in names])
    keys = zip(*([n[i] for i in p] for n, p in zip(names, places, strict=True)), strict=True)
    return tuple(keys), of_row.reshape(-1).astype(np.int64)


def _refuse_doubles(double: int, path: Path) -> None:
    if double:
        msg = f"{path}: {double} rows repeat the series and tick of another row; wanted one row for each"
        raise InputError(msg)


def _score(table: pa.Table, path: Path) -> NDArray[np.float64]:
    score: NDArray[np.float64] = table.column("score").cast(pa.float64()).to_numpy()
    wrong = np.flatnonzero((score < 0) | np.isinf(score))
    if wrong.size:
        msg = f"{path}: row {int(wrong[0]) + 1} has the score {score[wrong[0]]}; a score is finite and >= 0, or null"
        raise InputError(msg)
    return score


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
