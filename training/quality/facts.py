"""What is true of a world whatever scores it: its incidents, their size, and what hindsight could see of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.metrics.hindsight import hindsight
from qad_dl.metrics.truth import span
from qad_dl.schema import is_flow
from qad_dl.timeparse import parse_time
from training.quality.known import load_grid, load_known

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.grid import Grid
    from qad_dl.metrics.truth import Truth, Window
    from training.quality.parts import Made

CURVE: Final = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""Budgets at which curves are drawn; those of the measures are among them."""

STOP_SHARE: Final = 0.1
"""An incident stops a queue if in its first hour the queue finishes less than this share of its usual jobs,"""

STOP_LEAST: Final = 0.5
"""and if it usually finishes at least this many in a tick."""


def make_facts(_place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """Facts of [start, end) of a world: `incidents` by name, `hindsight` by budget."""
    (world,) = made.values()
    start, end = (parse_time(str(inputs[k]), k) for k in ("start", "end"))
    grid = load_grid(world.place, end)
    times = grid.tick.range(start, end)
    known = load_known(world.place, grid.series, times, grid.known[:, -len(times) :])
    seen = hindsight_by_incident(grid, known.truth)
    incidents = {
        w.name: {
            "kind": w.kind,
            "field": known.incidents[w.name].field,
            "value": known.incidents[w.name].value,
            "queues": len(w.rows),
            "jobs": size(grid, w),
            "stops": stops(grid, w),
            "hindsight": {f"{b:g}": bool(by.get(w.name)) for b, by in seen.items()},
        }
        for w in known.truth.windows
    }
    shares = {f"{b:g}": float(np.mean([bool(by[n]) for n in incidents])) if by else None for b, by in seen.items()}
    return {"incidents": incidents, "hindsight": shares}


def hindsight_by_incident(grid: Grid, truth: Truth) -> dict[float, dict[str, float]]:
    """Whether hindsight sees each incident, 1 or 0 by name, at each budget of `CURVE`; empty where it cannot be told.

    `hindsight` tells shares by kind: here each incident is its own kind.
    """
    own = replace(truth, windows=tuple(replace(w, kind=w.name) for w in truth.windows))
    return {h.budget: h.seen_by_kind for h in hindsight(grid, own, CURVE)}


def size(grid: Grid, window: Window) -> float:
    """Mean number of jobs, in all stock states, of the largest queue hit, over the day before."""
    stock = [i for i, state in enumerate(grid.states) if not is_flow(state)]
    before = _before(grid, window, grid.tick.per_day, stock)
    means = [float(np.nanmean(b.sum(axis=1))) if np.isfinite(b).any() else 0.0 for b in before]
    return max(means, default=0.0)


def stops(grid: Grid, window: Window) -> bool:
    """Whether a hit queue that usually finishes jobs finishes hardly any in the first hour of an incident."""
    if "finished" not in grid.states:
        return False
    column = [grid.states.index("finished")]
    hour = grid.tick.per_day // 24
    first = span(grid.times, window.start, window.start + hour * grid.tick.delta)
    for row, before in zip(window.rows, _before(grid, window, 6 * hour, column), strict=True):
        now = grid.counts[row, first][:, column]
        if not (np.isfinite(now).any() and np.isfinite(before).any()):
            continue
        usual = float(np.nanmean(before))
        if usual >= STOP_LEAST and float(np.nanmean(now)) <= STOP_SHARE * usual:
            return True
    return False


def _before(grid: Grid, window: Window, ticks: int, states: Sequence[int]) -> list[NDArray[np.float32]]:
    """Counts [up to ticks, states] of each hit queue before an incident."""
    until = int(np.searchsorted(grid.times, window.start))
    return [grid.counts[row, max(until - ticks, 0) : until][:, list(states)] for row in window.rows]
