"""The newest tick alone is reconstructed as a whole window does it, from as little of a grid as it looks at."""

from __future__ import annotations

import numpy as np
import pytest

from qad_dl.grid import build_grid
from qad_dl.reconstruction import Model, Reconstruction, carries, reconstruct, reconstruct_newest
from tests.light.made import TICK, at
from tests.light.made_bundle import METADATA, fitted, made_history, persistence

DAYS = 6
PREPROCESS = fitted()
PLAN = PREPROCESS.plan
ROWS = made_history(DAYS, seed=9)
WHOLE, NEWEST = Model(persistence(PREPROCESS, PLAN.stride), 1), Model(persistence(PREPROCESS, 1), 1)


def grid_until(last: int, missing: range):
    """All ticks up to a position, without the rows of some."""
    seconds = ROWS.column("time").to_numpy().astype("datetime64[s]")
    place = (seconds - at(0)) // TICK.delta
    kept = (place <= last) & ~np.isin(place, missing)
    return build_grid(ROWS.filter(kept), TICK.range(at(0), at(last + 1)), TICK, METADATA)


def newest(grid) -> Reconstruction:
    prepared = PREPROCESS.prepare(grid, METADATA)
    return reconstruct_newest(NEWEST, PREPROCESS, prepared, np.arange(len(grid.series)))


@pytest.mark.parametrize("last", [5 * TICK.per_day, 5 * TICK.per_day + 1, 5 * TICK.per_day + 100, 6 * TICK.per_day - 1])
@pytest.mark.parametrize("gap", ["none", "before", "across", "all but the first", "in", "at the end"])
def test_the_newest_tick_is_that_of_the_window(last: int, gap: str) -> None:
    first = last - PLAN.context  # of the context
    missing = {
        "none": range(0),
        "before": range(first - 20, first),
        "across": range(first - 10, first + 10),
        "all but the first": range(first + 1, last),
        "in": range(first + 40, first + 60),
        "at the end": range(last - 8, last + 1),
    }[gap]
    grid = grid_until(last, missing)
    prepared = PREPROCESS.prepare(grid, METADATA)
    wanted = reconstruct(WHOLE, PREPROCESS, prepared, np.arange(len(grid.series)), last)
    short = grid.newest(PLAN.context + 1)
    assert carries(PREPROCESS, short) == (first in missing)
    grids = [grid, grid.newest(PLAN.length)] + [short] * (not carries(PREPROCESS, short))
    for one in map(newest, grids):
        for name in ("location", "spread", "seen", "counted"):
            np.testing.assert_array_equal(getattr(one, name), getattr(wanted, name), err_msg=name)


def test_what_is_carried_from_before_the_context_makes_a_difference() -> None:
    last = 5 * TICK.per_day + 100
    first = last - PLAN.context
    carried = newest(grid_until(last, range(first - 10, last)))
    nothing = newest(grid_until(last, range(first - 10, last)).newest(PLAN.context + 1))
    assert not np.array_equal(carried.location, nothing.location)  # else the test above shows nothing
