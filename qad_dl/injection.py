"""Incidents put into counts that happened: what a bundle sees of them can be counted where nobody knows the real ones.

Each is a kind of `panda.md` in its plainest form, in jobs of the queue's own size, for six hours on one queue. They are
no simulation: jobs do not flow on. But two bundles see the very same counts, so what one sees and the other does not
says which sees more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from qad_dl.grid import Grid

    Counts = Mapping[str, NDArray[np.float64]]

TICKS: Final = 36
"""Six hours."""

EVERY_DAYS: Final = 2
"""A queue has one in so many days."""

LEAST_RUNNING: Final = 10.0
"""A queue of fewer running jobs, in the median of the day before, is left alone."""

SEVERITY: Final = (0.4, 1.0)
"""How much of an incident's full effect, drawn evenly."""


@dataclass(frozen=True)
class Injected:
    """One incident.

    Attributes:
        series: row of the grid.
        start: position of its first tick; it lasts `TICKS`.
        kind: its kind.
    """

    series: int
    start: int
    kind: str


def _site_down(c: Counts, t: NDArray[np.float64], size: float) -> dict[str, NDArray[np.float64]]:
    fall = np.exp(-t / 3)
    lost = {"failed": c["failed"] + 0.3 * size * np.exp(-t / 6)}
    return lost | {s: c[s] * fall for s in ("starting", "running", "holding", "finished")}


def _pilots_starve(c: Counts, t: NDArray[np.float64], size: float) -> dict[str, NDArray[np.float64]]:
    fall = np.exp(-t / 12)
    waits = {"activated": c["activated"] + size * (1 - fall), "starting": c["starting"] * np.exp(-t / 2)}
    return waits | {s: c[s] * fall for s in ("running", "finished")}


def _black_hole(c: Counts, t: NDArray[np.float64], size: float) -> dict[str, NDArray[np.float64]]:
    return {"failed": c["failed"] + 0.3 * size, "finished": 0.6 * c["finished"]}


def _storage_writes(c: Counts, t: NDArray[np.float64], size: float) -> dict[str, NDArray[np.float64]]:
    stuck = np.cumsum(0.8 * c["finished"])
    piled = {"holding": c["holding"] + 0.5 * stuck, "transferring": c["transferring"] + 0.5 * stuck}
    return piled | {"finished": 0.2 * c["finished"]}


def _input_stuck(c: Counts, t: NDArray[np.float64], size: float) -> dict[str, NDArray[np.float64]]:
    waits = {"assigned": c["assigned"] + size * (1 - np.exp(-t / 12)), "activated": c["activated"] * np.exp(-t / 6)}
    return waits | {s: c[s] * np.exp(-t / 18) for s in ("starting", "running", "finished")}


def _slots_lost(c: Counts, t: NDArray[np.float64], size: float) -> dict[str, NDArray[np.float64]]:
    fall = 0.3 + 0.7 * np.exp(-t / 2)
    return {"activated": c["activated"] + 0.5 * size} | {s: c[s] * fall for s in ("starting", "running", "finished")}


KINDS: Final[Mapping[str, Callable[[Counts, NDArray[np.float64], float], dict[str, NDArray[np.float64]]]]] = {
    "site_down": _site_down,
    "pilots_starve": _pilots_starve,
    "black_hole": _black_hole,
    "storage_writes": _storage_writes,
    "input_stuck": _input_stuck,
    "slots_lost": _slots_lost,
}
"""What each does at full severity, from the counts of the queue by state, ticks since its start and running jobs."""

STATES: Final = ("assigned", "activated", "starting", "running", "holding", "transferring", "finished", "failed")


def inject(grid: Grid, first: int, rng: np.random.Generator) -> tuple[Grid, tuple[Injected, ...]]:
    """A grid with incidents in it from position `first` on, and where they are.

    States that the grid does not have are left alone, as they would be by a collector that does not get them.

    Args:
        grid: counts of jobs.
        first: position of the first tick that may be changed.
        rng: draws queues' kinds, times and severities; the same for the same series and ticks.
    """
    counts, done = grid.counts.copy(), []
    day, end = grid.tick.per_day, len(grid.times)
    for series in range(len(grid.series)):
        for begin in range(first, end - EVERY_DAYS * day + 1, EVERY_DAYS * day):
            start = begin + int(rng.integers(0, EVERY_DAYS * day - TICKS))
            kind, severity = str(rng.choice(list(KINDS))), float(rng.uniform(*SEVERITY))
            size = _running(grid, series, start)
            ticks = slice(start, start + TICKS)
            if size >= LEAST_RUNNING and grid.online[series, ticks].all() and (grid.quiet[series, ticks] < day).all():
                _put(counts, grid, series, ticks, kind, severity, size)
                done.append(Injected(series, start, kind))
    return replace(grid, counts=counts), tuple(done)


def _running(grid: Grid, series: int, start: int) -> float:
    """Running jobs in the median of the day before, 0 where that is not known."""
    if "running" not in grid.states:
        return 0.0
    before = grid.counts[series, max(0, start - grid.tick.per_day) : start, grid.states.index("running")]
    known = before[np.isfinite(before)]
    return float(np.median(known)) if known.size else 0.0


def _put(
    counts: NDArray[np.float32], grid: Grid, series: int, ticks: slice, kind: str, severity: float, size: float
) -> None:
    there = {s: counts[series, ticks, grid.states.index(s)].astype(np.float64) for s in STATES if s in grid.states}
    length = ticks.stop - ticks.start
    known = {s: np.nan_to_num(there.get(s, np.zeros(length))) for s in STATES}
    for state, full in KINDS[kind](known, np.arange(1, length + 1, dtype=np.float64), size).items():
        if state in there:
            mixed = np.rint(known[state] + severity * (full - known[state]))
            counts[series, ticks, grid.states.index(state)] = np.where(np.isfinite(there[state]), mixed, np.nan)
