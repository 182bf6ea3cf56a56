"""Shards read like arrays: rows of series first, then ticks; of the files only what is asked for is read."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.errors import ConfigError
from qad_dl.grid import NEVER, Grid
from qad_dl.prepared import NO_ROW, Prepared
from qad_dl.scaling import Quantity, Scale
from training.shards.files import map_array

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.prepared import Rows
    from qad_dl.schema import Tick, Times

ARRAYS: Final = ("values", "x", "last_row", "flags", "ids", "level")
"""Files of a shard; see `MappedPrepared`."""

FLAGS: Final = ("usable", "expected", "recovering", "weight")
"""Of the bits in `flags`, the lowest first."""

SPARE_FILES: Final = 256
"""Files that a process may have open besides those of the shards."""


class Mapped:
    """An array [N, ...] whose rows lie in files of `size` rows each."""

    def __init__(self, paths: Sequence[Path], size: int) -> None:
        """Map the files."""
        self.paths, self.size = tuple(paths), size
        self.parts = [map_array(path) for path in self.paths]

    def __reduce__(self) -> tuple[type[Mapped], tuple[tuple[Path, ...], int]]:
        """Another process maps the same files, and is sent no content."""
        return Mapped, (self.paths, self.size)

    def __len__(self) -> int:
        """Rows of all files."""
        return sum(len(part) for part in self.parts)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """A copy of what an array would give.

        Args:
            key: a row, a slice of rows or [B] or [B, 1] of them; then slices of the other axes, or [B, L] places.
        """
        rows, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(rows, slice):
            rows = np.arange(len(self))[rows]
        if np.ndim(rows) == 0:
            return np.asarray(self[(np.array([rows]), *rest)][0])
        shard, local = np.divmod(rows, self.size)
        of = shard if shard.ndim == 1 else shard[:, 0]
        out: NDArray[Any] | None = None
        for k in np.unique(of):
            mine = np.flatnonzero(of == k)
            picked = self.parts[k][(local[mine], *(r[mine] if isinstance(r, np.ndarray) else r for r in rest))]
            if out is None:
                out = np.empty((len(rows), *picked.shape[1:]), picked.dtype)
            out[mine] = picked
        return self.parts[0][(slice(0), *(r for r in rest if isinstance(r, slice)))] if out is None else out


@dataclass(frozen=True)
class Flag:
    """One bit of `flags` as an array of truth values."""

    flags: Mapped
    bit: int

    def __len__(self) -> int:
        """Rows."""
        return len(self.flags)

    def __getitem__(self, key: Any) -> NDArray[np.bool_]:
        """As of `Mapped`."""
        return np.asarray((self.flags[key] >> np.uint8(self.bit)) & np.uint8(1), np.bool_)


@dataclass(frozen=True)
class Ticks:
    """What a history is of all its series together; arrays as in `Grid`."""

    tick: Tick
    times: Times
    entity: tuple[str, ...]
    series: tuple[tuple[str, ...], ...]
    arrived: NDArray[np.bool_]
    frozen: NDArray[np.bool_]
    rest: NDArray[np.bool_]


@dataclass(frozen=True)
class MappedPrepared:
    """What `Prepared` is, in shards.

    Attributes:
        ticks: of all series.
        segment: [T] which of the metadata's segments holds at the tick.
        arrays: by name: values, x [N, T, S] float32; last_row [N, T] int32; flags [N, T] uint8, see `FLAGS`;
            ids [N, D, F] int32; level [N, D, 2, S] float32, loc and scale.
    """

    ticks: Ticks
    segment: NDArray[np.int64]
    arrays: dict[str, Mapped]

    @classmethod
    def open(cls, ticks: Ticks, segment: NDArray[np.int64], folders: Sequence[Path], size: int) -> MappedPrepared:
        """Map the shards of some folders, of `size` series each."""
        _allow_files(len(folders) * len(ARRAYS))
        return cls(ticks, segment, {name: Mapped([f / f"{name}.npy" for f in folders], size) for name in ARRAYS})

    @property
    def times(self) -> Times:
        """Every tick, [T]."""
        return self.ticks.times

    @property
    def series(self) -> tuple[tuple[str, ...], ...]:
        """Keys of the series, [N]."""
        return self.ticks.series

    @property
    def values(self) -> Rows:
        """As in `Prepared`, and so are the others."""
        return self.arrays["values"]

    @property
    def last_row(self) -> Rows:
        """[N, T] int32."""
        return self.arrays["last_row"]

    @cached_property
    def usable(self) -> Rows:
        """[N, T]."""
        return self.flag("usable")

    def flag(self, name: str) -> Flag:
        """One of `FLAGS`, [N, T]."""
        return Flag(self.arrays["flags"], FLAGS.index(name))

    def level(self, segment: NDArray[np.int64], series: NDArray[np.int64]) -> Scale:
        """Loc and scale of series in segments, [B, S] for [B] each."""
        both = self.arrays["level"][series][np.arange(len(series)), segment]
        return Scale(both[:, 0], both[:, 1])

    def ids(self, segment: NDArray[np.int64], series: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ids of series in segments, [B, F] for [B] each."""
        return self.arrays["ids"][series][np.arange(len(series)), segment].astype(np.int64)

    def of(self, series: NDArray[np.int64]) -> Prepared:
        """Some series, in memory; of their grid without the counts and the status, which nobody needs any more."""
        last_row = self.arrays["last_row"][series].astype(np.int64)
        level = self.arrays["level"][series].transpose(2, 1, 0, 3)
        return Prepared(
            grid=self._grid(series, last_row),
            x=self.arrays["x"][series],
            values=self.arrays["values"][series],
            usable=self.usable[series],
            last_row=last_row,
            expected=self.flag("expected")[series],
            recovering=self.flag("recovering")[series],
            segment=self.segment,
            static_cat=np.ascontiguousarray(self.arrays["ids"][series].transpose(1, 0, 2), np.int64),
            scale=Scale(*map(np.ascontiguousarray, level)),
            quantity=Quantity.COUNTS,
        )

    def _grid(self, series: NDArray[np.int64], last_row: NDArray[np.int64]) -> Grid:
        ticks, n = self.ticks, len(series)
        age = np.arange(len(ticks.times)) - last_row
        return Grid(
            tick=ticks.tick,
            times=ticks.times,
            entity=ticks.entity,
            series=tuple(ticks.series[i] for i in series),
            states=(),
            counts=np.empty((n, len(ticks.times), 0), np.float32),
            arrived=ticks.arrived,
            frozen=ticks.frozen,
            quiet=np.where(last_row == NO_ROW, NEVER, age).astype(np.int32),
            online=np.empty((n, 0), np.bool_),
            known=np.empty((n, 0), np.bool_),
            rest=ticks.rest,
        )


def _allow_files(wanted: int) -> None:
    """Let this process, and those that it starts, have so many files open.

    Raises:
        ConfigError: the system does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if wanted + SPARE_FILES <= soft or soft == resource.RLIM_INFINITY:
        return
    if hard != resource.RLIM_INFINITY and wanted + SPARE_FILES > hard:
        msg = f"data.shard_series: {wanted} files would be open, {hard} may be: give more series per shard"
        raise ConfigError(msg)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted + SPARE_FILES, hard))
