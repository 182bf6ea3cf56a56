"""The newest tick alone is reconstructed as a whole window does it, from as little of a grid as it looks at."""

from __future__ import annotations

import numpy as np
import pytest

from qad_dl.grid import build_grid
from qad_dl.metadata import Metadata
from qad_dl.reconstruction import (
    Model,
    Reconstruction,
    begins_window,
    carries,
    reconstruct,
    reconstruct_newest,
    unmoved,
)
from qad_dl.rows import merge_rows
from tests.light.made import TICK, at, history
from tests.light.made_bundle import METADATA, fitted, made_history, persistence, stream_of

DAYS = 6
PREPROCESS = fitted()
PLAN = PREPROCESS.plan
ROWS = made_history(DAYS, seed=9)
WHOLE, NEWEST = Model(persistence(PREPROCESS, PLAN.stride), 1), Model(stream_of(PREPROCESS).prime, 1)


def grid_until(last: int, missing: range):
    """All ticks up to a position, without the rows of some."""
    seconds = ROWS.column("time").to_numpy().astype("datetime64[s]")
    place = (seconds - at(0)) // TICK.delta
    kept = (place <= last) & ~np.isin(place, missing)
    return build_grid(ROWS.filter(kept), TICK.range(at(0), at(last + 1)), TICK, METADATA)


def newest(grid) -> Reconstruction:
    prepared = PREPROCESS.prepare(grid, METADATA)
    made, _ = reconstruct_newest(NEWEST, PREPROCESS, prepared, np.arange(len(grid.series)))
    return made


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


def test_a_series_without_a_row_carries_nothing() -> None:
    last = 5 * TICK.per_day + 100
    whole = grid_until(last, range(0))
    late = merge_rows([ROWS, history([(last - 3, "NEW", "running", 5.0)])])
    seconds = late.column("time").to_numpy().astype("datetime64[s]")
    until = late.filter((seconds - at(0)) // TICK.delta <= last)
    grid = build_grid(until, TICK.range(at(0), at(last + 1)), TICK, METADATA)
    assert len(grid.series) == len(whole.series) + 1
    for name in ("location", "spread", "seen", "counted"):
        short, wanted = (getattr(newest(g), name) for g in (grid.newest(PLAN.context + 1), grid))
        np.testing.assert_array_equal(short, wanted, err_msg=name)
    assert not carries(PREPROCESS, grid.newest(PLAN.context + 1))


def begun(last: int, missing: range, metadata: Metadata = METADATA) -> dict[str, bool]:
    """Of which series a window that begins shows what the one before it showed."""
    grid = grid_until(last, missing)
    assert begins_window(PREPROCESS, grid.times)
    said = unmoved(PREPROCESS, PREPROCESS.prepare(grid, metadata))
    return {queue: bool(same) for (queue,), same in zip(grid.series, said, strict=True)}


def test_a_window_that_begins_shows_what_the_one_before_showed_but_for_what_changed() -> None:
    midnight = 4 * TICK.per_day
    first = midnight - PLAN.context  # of the context
    for missing in (range(0), range(first - 20, first), range(first + 1, first + 9), range(midnight - 3, midnight)):
        assert all(begun(midnight, missing).values())
    assert not any(begun(midnight, range(first - 2, first + 2)).values())  # the one before knows what was before it
    held = METADATA.dumps[0]
    moved = {**held, "Q2": {**held["Q2"], "cloud": "UK"}}
    for ago, told in ((TICK.per_day // 2, True), (TICK.per_day + 1, False), (-1, False)):
        metadata = Metadata(np.array([at(0), at(midnight - ago)]), (held, moved))
        changed = [queue for queue, same in begun(midnight, range(0), metadata).items() if not same]
        assert changed == (["Q2"] if told else [])


def test_only_the_first_tick_of_a_window_begins_one() -> None:
    midnight = 4 * TICK.per_day
    assert [begins_window(PREPROCESS, TICK.range(at(0), at(midnight + 1 + k))) for k in (-1, 0, 1)] == [
        False,
        True,
        False,
    ]
