"""The day that `make tick-demo` plays: normal life from the seed of `make demo`, and what happens written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.schema import Tick
from qad_dl.simulator.incidents import Told
from qad_dl.simulator.params import WorldParams
from qad_dl.simulator.run import Run, run
from qad_dl.simulator.script import Outage, Script
from qad_dl.simulator.status import ONLINE

if TYPE_CHECKING:
    from collections.abc import Callable

TICK = Tick()
PER_DAY = TICK.per_day
HOUR = PER_DAY // 24
QUEUES, SEED, DAYS = 100, 1, 17
"""Queues and seed are those of `make demo`, so that its bundle knows the queues; it is trained on the first 14 days."""

DAY = 15 * PER_DAY
"""The tick at which the day begins."""


@dataclass(frozen=True)
class Day:
    """A simulated grid with a day of which everything is known.

    Attributes:
        run: the grid.
        first: tick at which the day begins.
        incidents: what happens in it.
        outage: the declared downtime in it.
    """

    run: Run
    first: int
    incidents: tuple[Told, ...]
    outage: Outage


def make_day(start: np.datetime64) -> Day:
    """The full day, on the queues of `make demo`.

    Args:
        start: the first tick of the world; a Monday, so that its weeks are those that the bundle was trained on.
    """
    params = _params(QUEUES, DAYS, start)
    script, incidents, outage = _script(run(params))
    return Day(run(params, script), DAY, incidents, outage)


def make_small_day(start: np.datetime64) -> Day:
    """Six hours on the eight queues of `make trained`: a queue that stops, and another one's declared downtime."""
    params = _params(8, 9, start)
    plain, first = run(params), 7 * PER_DAY
    jobs = np.bincount(plain.world.layout.queue, weights=plain.counts[first : first + HOUR, :, 4].mean(axis=0))
    online = (plain.life.status[first - 6 * HOUR : first + PER_DAY] == ONLINE).all(axis=0)
    order = [int(q) for q in np.argsort(-jobs) if online[q]]
    sites = [fact.get("atlas_site", "") for fact in plain.world.facts]
    hit = order[0]
    other = next(q for q in order[1:] if sites[q] != sites[hit])
    name = plain.world.names[hit]
    told = Told(1, "site_down", "panda_queue", name, first + 9, first + 15, 1.0, (name,))
    outage = Outage(sites[other], first + 6, first + 12, first + 60)
    return Day(run(params, Script((told,), (outage,), first - PER_DAY // 2)), first, (told,), outage)


def _params(queues: int, days: int, start: np.datetime64) -> WorldParams:
    return WorldParams(
        days=days, queues=queues, seed=SEED, start=start, incidents=False, missed=0, holes=0, frozen=0, late_queues=0
    )


def _script(plain: Run) -> tuple[Script, tuple[Told, ...], Outage]:
    """Five incidents and a downtime, each on queues that nothing else touches."""
    world, taken = plain.world, set()
    running = plain.counts[DAY - HOUR : DAY + PER_DAY, :, 4].mean(axis=0)
    jobs = np.bincount(world.layout.queue, weights=running, minlength=len(world.names))
    online = (plain.life.status[DAY - 6 * HOUR :] == ONLINE).all(axis=0)
    worth = online & (jobs >= 40)

    def members(field: str, value: str) -> tuple[int, ...]:
        return tuple(q for q, f in enumerate(world.facts) if f.get(field) == value and online[q] and jobs[q] >= 3)

    def values(field: str, fits: Callable[[tuple[int, ...]], bool]) -> str:
        found = {f.get(field, "") for f in world.facts} - {""}
        good = [v for v in sorted(found) if fits(members(field, v)) and not taken & set(members(field, v))]
        assert good, f"no value of {field} is left in this world"
        return max(good, key=lambda v: sum(worth[list(members(field, v))]))

    def told(number: int, kind: str, field: str, value: str, begin: float, hours: float, severity: float) -> Told:
        hit = members(field, value) if field != "panda_queue" else (world.names.index(value),)
        taken.update(hit)
        at = DAY + round(begin * HOUR)
        names = tuple(world.names[q] for q in hit)
        return Told(number, kind, field, value, at, at + round(hours * HOUR), severity, names)

    def alone() -> str:
        left = [q for q in np.argsort(-jobs) if worth[q] and q not in taken]
        site = [world.facts[q].get("atlas_site") for q in range(len(world.names))]
        free = [q for q in left if not any(site[q] == site[t] for t in taken)]
        taken.add(int(free[3]))
        return world.names[free[3]]

    harvester = values("harvester", lambda m: 5 <= len(m) <= 30)
    first = told(1, "harvester_down", "harvester", harvester, 2.0, 3.0, 1.0)
    site = values("atlas_site", lambda m: 2 <= len(m) <= 6)
    second = told(2, "site_down", "atlas_site", site, 7.0, 3.0, 1.0)
    third = told(3, "black_hole", "panda_queue", alone(), 11.0, 2.0, 1.0)
    fourth = told(4, "pilots_starve", "panda_queue", alone(), 14.0, 3.5, 1.0)
    store = values("write_storage", lambda m: 2 <= len(m) <= 6)
    fifth = told(5, "storage_writes", "write_storage", store, 17.5, 2.5, 1.0)
    down = values("atlas_site", lambda m: 2 <= len(m) <= 6)
    outage = Outage(down, DAY + 4 * HOUR, DAY + 6 * HOUR, DAY + 16 * HOUR)
    incidents = (first, second, third, fourth, fifth)
    return Script(incidents, (outage,), DAY - PER_DAY // 2), incidents, outage
