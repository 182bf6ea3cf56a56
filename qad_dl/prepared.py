"""A grid made ready for windows, in memory or read like one that is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from qad_dl.grid import NEVER
from qad_dl.scaling import Scale

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qad_dl.grid import Grid
    from qad_dl.scaling import Quantity
    from qad_dl.schema import Times

NO_ROW: Final = -int(NEVER)
"""In `Prepared.last_row`: far before any grid."""


class Rows(Protocol):
    """An array [N, T, ...], or what is read like one: rows of series first, then ticks."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> NDArray[Any]: ...


class Windowed(Protocol):
    """What windows are cut from: `Prepared`, or what is read like one."""

    @property
    def times(self) -> Times:
        """Every tick, [T]."""

    @property
    def series(self) -> tuple[tuple[str, ...], ...]:
        """Keys of the series, [N]."""

    @property
    def segment(self) -> NDArray[np.int64]:
        """As in `Prepared`."""

    @property
    def values(self) -> Rows:
        """As in `Prepared`."""

    @property
    def usable(self) -> Rows:
        """As in `Prepared`."""

    @property
    def last_row(self) -> Rows:
        """As in `Prepared`, of any integer type."""

    def level(self, segment: NDArray[np.int64], series: NDArray[np.int64]) -> Scale:
        """Loc and scale of series in segments, [B, S] for [B] each."""

    def ids(self, segment: NDArray[np.int64], series: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ids of series in segments, [B, F] for [B] each."""

    def of(self, series: NDArray[np.int64]) -> Prepared:
        """Some series, in memory."""


@dataclass(frozen=True)
class Prepared:
    """A grid made ready for windows: what `Preprocess.prepare` gives.

    Attributes:
        grid: where it came from.
        x: [N, T, S] float32 ln(1 + jobs), or measurements, of the model's states, NaN where not counted.
        values: [N, T, S] float32 standardised x, NaN where not counted.
        usable: [N, T] the tick arrived, is not frozen (unless all stood still), and the series has had a row.
        last_row: [N, T] int64 position of the last row that proves that the series has begun, below 0 where that is
            before the grid, `NO_ROW` where none does.
        expected: [N, T] a fall is expected: not online, in a downtime, or ramping up after one.
        recovering: [N, T] so, or within a day after it was offline or had no row for a day: not yet as it was.
        segment: [T] which of the metadata's segments holds at the tick.
        static_cat: [D, N, F] int64 ids per segment.
        scale: loc and scale per segment and series, [D, N, S].
        quantity: what the values of the grid are.
    """

    grid: Grid
    x: NDArray[np.float32]
    values: NDArray[np.float32]
    usable: NDArray[np.bool_]
    last_row: NDArray[np.int64]
    expected: NDArray[np.bool_]
    recovering: NDArray[np.bool_]
    segment: NDArray[np.int64]
    static_cat: NDArray[np.int64]
    scale: Scale
    quantity: Quantity

    @property
    def times(self) -> Times:
        """Every tick, [T]."""
        return self.grid.times

    @property
    def series(self) -> tuple[tuple[str, ...], ...]:
        """Keys of the series, [N]."""
        return self.grid.series

    def level(self, segment: NDArray[np.int64], series: NDArray[np.int64]) -> Scale:
        """Loc and scale of series in segments, [B, S] for [B] each."""
        return Scale(self.scale.loc[segment, series], self.scale.scale[segment, series])

    def ids(self, segment: NDArray[np.int64], series: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ids of series in segments, [B, F] for [B] each."""
        return self.static_cat[segment, series]

    def of(self, series: NDArray[np.int64]) -> Prepared:
        """Some series, copied."""
        names = ("x", "values", "usable", "last_row", "expected", "recovering")
        parts: dict[str, Any] = {name: getattr(self, name)[series] for name in names}
        scale = Scale(self.scale.loc[:, series], self.scale.scale[:, series])
        return replace(self, grid=self.grid.of(series), scale=scale, static_cat=self.static_cat[:, series], **parts)
