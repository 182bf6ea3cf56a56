"""Reading a benchmark: `{train,test,label}/NAME.parquet` as one grid on a clock of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qad_dl.arrow import one_chunk, to_numpy
from qad_dl.errors import InputError
from qad_dl.grid import ENTITY_DEFAULT, NEVER, Grid

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.schema import Tick

EPOCH: Final = np.datetime64("2000-01-03T00:00:00", "s")
"""The made-up time of the first tick of the test parts: a benchmark has samples, not times."""

STATE: Final = "column {}"
"""How a column is named as a state, so that none means what a state of jobs of that name means."""

LABEL: Final = "label"


@dataclass(frozen=True)
class Dataset:
    """A benchmark in memory.

    Attributes:
        grid: all entities over train and test; train parts end, and test parts begin, at one tick. Ticks that an entity
            does not have, and rows with a missing value, are not observed.
        split: grid position of the first tick of the test parts.
        samples: rows of each entity's test part, [N].
    """

    grid: Grid
    split: int
    samples: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the entities, [N]."""
        return tuple(key[0] for key in self.grid.series)

    def train(self) -> Grid:
        """The grid of the train parts."""
        grid, until = self.grid, slice(self.split)
        per_tick = {name: getattr(grid, name)[until] for name in ("times", "arrived", "frozen")}
        per_pair = {name: getattr(grid, name)[:, until] for name in ("counts", "quiet", "online", "known")}
        return replace(grid, **per_tick, **per_pair)


def read_dataset(folder: Path, tick: Tick) -> Dataset:
    """Read the train and test parts; labels are not looked at.

    Args:
        folder: with the folders `train` and `test`.
        tick: how long a sample is said to last.

    Raises:
        InputError: a file is missing, unreadable, empty, or not of numbers in the same columns as the others.
    """
    names = _names(folder)
    columns, _ = _table(folder / "train" / f"{names[0]}.parquet")
    parts = [[_values(folder / part / f"{name}.parquet", columns) for part in ("train", "test")] for name in names]
    split = max(len(train) for train, _ in parts)
    ticks = split + max(len(test) for _, test in parts)
    values = np.full((len(names), ticks, len(columns)), np.nan, np.float32)
    for n, (train, test) in enumerate(parts):
        values[n, split - len(train) : split] = train
        values[n, split : split + len(test)] = test
    grid = _grid(names, tuple(STATE.format(c) for c in columns), values, tick, split)
    return Dataset(grid, split, tuple(len(test) for _, test in parts))


def read_labels(folder: Path, data: Dataset) -> dict[str, NDArray[np.bool_]] | None:
    """Labels of each entity's test part, [rows] each; None where the benchmark has no folder of them.

    Raises:
        InputError: the folder is there, but not all of its labels.
    """
    if not (folder / LABEL).is_dir():
        return None
    return {
        name: _label(folder / LABEL / f"{name}.parquet", rows)
        for name, rows in zip(data.names, data.samples, strict=True)
    }


def _names(folder: Path) -> list[str]:
    found = [{p.stem for p in (folder / part).glob("*.parquet")} for part in ("train", "test")]
    if not found[0]:
        msg = f"{folder / 'train'}: there is no NAME.parquet; give dataset=DIR with the folders train and test"
        raise InputError(msg)
    if found[0] != found[1]:
        odd = sorted(found[0] ^ found[1])[0]
        where, lacks = ("train", "test") if odd in found[0] else ("test", "train")
        msg = f"{folder / where / odd}.parquet: {lacks} has no file of that name; every entity needs both"
        raise InputError(msg)
    return sorted(found[0])


def _table(path: Path) -> tuple[tuple[str, ...], pa.Table]:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        msg = f"{path}: cannot be read as Parquet ({' '.join(str(error).split())}); write it again"
        raise InputError(msg) from error
    if not table.num_rows or not table.num_columns:
        msg = f"{path}: holds no samples; leave the entity out, or give its rows"
        raise InputError(msg)
    return tuple(table.column_names), table


def _values(path: Path, columns: tuple[str, ...]) -> NDArray[np.float32]:
    """[rows, S], NaN where missing."""
    names, table = _table(path)
    if set(names) != set(columns) or len(names) != len(columns):
        odd = sorted(set(names) ^ set(columns)) or ["one is there twice"]
        msg = (
            f"{path}: its columns are not those of the other files ({', '.join(odd)}); give all entities the same ones"
        )
        raise InputError(msg)
    return np.stack([_column(path, table, name) for name in columns], axis=1)


def _column(path: Path, table: pa.Table, name: str) -> NDArray[np.float32]:
    column = table.column(name)
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        msg = f"{path}: column {name} is of {column.type}; give numbers"
        raise InputError(msg)
    numbers: Any = column.cast(pa.float64())
    values = to_numpy(one_chunk(pc.fill_null(numbers, np.nan))).astype(np.float32)
    infinite = np.flatnonzero(np.isinf(values))
    if infinite.size:
        msg = f"{path}: row {infinite[0]} of column {name} is infinite; leave it empty if it is not known"
        raise InputError(msg)
    return values


def _label(path: Path, rows: int) -> NDArray[np.bool_]:
    names, table = _table(path)
    if LABEL not in names:
        msg = f"{path}: has no column {LABEL}; give 0 or 1 for each row of the test part"
        raise InputError(msg)
    values = _column(path, table, LABEL)
    if len(values) != rows or not np.isin(values, (0, 1)).all():
        msg = f"{path}: holds {len(values)} labels for {rows} rows, or others than 0 and 1; give one for each row"
        raise InputError(msg)
    return np.asarray(values == 1)


def _grid(names: list[str], states: tuple[str, ...], values: NDArray[np.float32], tick: Tick, split: int) -> Grid:
    n, t, _ = values.shape
    whole = np.asarray(np.isfinite(values).all(axis=2))
    begun = np.maximum.accumulate(whole, axis=1)
    last = np.maximum.accumulate(np.where(whole, np.arange(t), -1), axis=1)
    start = EPOCH - split * tick.delta
    return Grid(
        tick=tick,
        times=tick.range(start, start + t * tick.delta),
        entity=ENTITY_DEFAULT,
        series=tuple((name,) for name in names),
        states=states,
        counts=np.where(whole[:, :, None], values, np.float32(np.nan)),
        arrived=np.asarray(whole.any(axis=0)),
        frozen=np.zeros(t, np.bool_),
        quiet=np.where(begun, np.arange(t) - last, NEVER).astype(np.int32),
        online=np.ones((n, t), np.bool_),
        known=np.ones((n, t), np.bool_),
    )
