"""What a training period has to learn from, some series at a time: series, states and scales."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from qad_dl.scaling import Quantity, Scale, fit_scale, to_x

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qad_dl.grid import Grid
    from qad_dl.schema import Tick, Times

MIN_STATE_SHARE: Final = 2e-4
"""A state seen in a smaller share of the observed ticks of the training data is no channel of the model."""


class Tally(NamedTuple):
    """What some series have to learn from.

    Attributes:
        ticks: their grid, without what it says of series.
        series: their keys.
        enough: [n] whether a series has a day of usable ticks.
        used: usable ticks of all of them.
        seen: of each state the usable ticks that have jobs in it.
    """

    ticks: Ticks
    series: tuple[tuple[str, ...], ...]
    enough: NDArray[np.bool_]
    used: int
    seen: tuple[int, ...]


class Ticks(NamedTuple):
    """What the grids of all parts share."""

    tick: Tick
    times: Times
    entity: tuple[str, ...]
    states: tuple[str, ...]


def _usable(grid: Grid, use: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return use & np.isfinite(grid.counts).any(axis=2)


def tally_of(grid: Grid, use: NDArray[np.bool_]) -> Tally:
    """What some series have, of the ticks `use` [N, T]."""
    use = _usable(grid, use)
    return Tally(
        ticks=Ticks(grid.tick, grid.times, grid.entity, grid.states),
        series=grid.series,
        enough=use.sum(axis=1) >= grid.tick.per_day,
        used=int(use.sum()),
        seen=tuple(int(((grid.counts[:, :, s] > 0) & use).sum()) for s in range(len(grid.states))),
    )


def same_ticks(tallies: Sequence[Tally]) -> Ticks:
    """The ticks that all parts share; `ValueError` where they do not."""
    first = tallies[0].ticks
    if any(t.ticks.states != first.states or len(t.ticks.times) != len(first.times) for t in tallies):
        raise ValueError("the parts of a grid have different ticks or states")
    return first


def frequent_states(tallies: Sequence[Tally]) -> tuple[str, ...]:
    """The states that are channels of a model (`MIN_STATE_SHARE`)."""
    total = max(1, sum(t.used for t in tallies))
    seen = np.sum([t.seen for t in tallies], axis=0)
    return tuple(s for s, n in zip(tallies[0].ticks.states, seen.tolist(), strict=True) if n / total >= MIN_STATE_SHARE)


def scale_of(grid: Grid, use: NDArray[np.bool_], states: Sequence[str], quantity: Quantity) -> Scale:
    """Loc and scale of each series [N, S] over the ticks in use."""
    x = to_x(grid.counts[:, :, [grid.states.index(s) for s in states]], quantity)
    return fit_scale(x, _usable(grid, use), quantity)


def joined_scale(scales: Sequence[Scale]) -> Scale:
    """Those of all parts."""
    return Scale(np.concatenate([s.loc for s in scales]), np.concatenate([s.scale for s in scales]))


def median_scale(scale: Scale, of: NDArray[np.int64]) -> Scale:
    """The medians of some series, [S]."""
    return Scale(np.median(scale.loc[of], axis=0), np.median(scale.scale[of], axis=0))
