"""Real windows, and grids of any number of series, to run a network on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.backtest import read_grid
from qad_dl.metadata import Metadata

if TYPE_CHECKING:
    from qad_dl.grid import Grid
    from qad_dl.preprocess import Preprocess
    from qad_dl.store import Store
    from qad_dl.windows import Windows


def real_windows(store: Store, preprocess: Preprocess, at: np.datetime64, number: int) -> Windows:
    """So many windows of the week before a tick, of all series in turn, at the places where serving cuts them."""
    metadata = store.metadata()
    grid = read_grid(store, preprocess, at, at + store.tick.delta, metadata)
    prepared = preprocess.prepare(grid, metadata)
    plan, n = preprocess.plan, len(grid.series)
    places = np.arange(plan.context, len(grid.times) - plan.stride, plan.stride)
    turn = np.arange(number)
    return preprocess.cut(prepared, turn % n, places[turn // n % len(places)], plan.stride)


def tiled(grid: Grid, metadata: Metadata, number: int) -> tuple[Grid, Metadata]:
    """A grid of queues, repeated under other names until there are so many, and the metadata of all of them."""
    index = np.arange(number) % len(grid.series)
    names = [f"{grid.series[i][0]}~{k}" if k >= len(grid.series) else grid.series[i][0] for k, i in enumerate(index)]
    records = metadata.at(grid.times[-1])
    known = {name: records.get(grid.series[i][0], {}) for name, i in zip(names, index, strict=True)}
    arrays = {name: getattr(grid, name)[index] for name in ("counts", "quiet", "online", "known")}
    return replace(grid, series=tuple((name,) for name in names), **arrays), Metadata.single(known)
