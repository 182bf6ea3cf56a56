"""Grids of small histories, made by hand."""

from __future__ import annotations

from qad_dl.grid import Grid, build_grid
from qad_dl.metadata import Metadata
from tests.light.made import TICK, history, ticks

EMPTY = Metadata.empty()


def grid_of(rows, n: int, metadata: Metadata = EMPTY, first: int = 0, **options) -> Grid:
    return build_grid(history(rows), ticks(n, first), TICK, metadata, **options)
