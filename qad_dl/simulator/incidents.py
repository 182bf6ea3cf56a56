"""Which incidents happen, when, and to whom: planned beforehand, given their victims when they begin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.schema import Tick
from qad_dl.simulator.chance import stream
from qad_dl.simulator.faults import Fault
from qad_dl.simulator.mechanism import LOST, STARTING
from qad_dl.simulator.status import ONLINE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qad_dl.simulator.life import Life
    from qad_dl.simulator.params import WorldParams
    from qad_dl.simulator.world import World

    Floats = NDArray[np.float64]

DAY: Final = Tick().per_day
HOUR: Final = 60 // Tick().minutes
EARLY_SHARE: Final = 0.6
"""The part of the time in which `WorldParams.pollution` scales the rate: most of what is later trained on."""

GROUP_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "site_down": ("atlas_site",),
    "pilots_starve": ("atlas_site",),
    "slots_lost": ("atlas_site",),
    "harvester_down": ("harvester",),
    "storage_writes": ("write_storage", "atlas_site"),
    "transfer_backlog": ("nucleus", "write_storage"),
    "input_stuck": ("atlas_site", "cloud"),
    "frontier": ("frontier", "atlas_site"),
    "rollout": ("pilot_version", "container_type"),
    "central": ("vo_name",),
}
"""What the queues hit by a group incident share; bad_task and brokerage_stop go by prod_source."""

WIDE: Final = 0.12
"""A value shared by more than this part of all queues is only hit by the kinds in `WIDE_KINDS`."""

WIDE_KINDS: Final = frozenset({"harvester_down", "central", "brokerage_stop", "bad_task"})


TOTAL_KINDS: Final = frozenset({"site_down", "harvester_down", "brokerage_stop", "central"})
"""Kinds that are hardly ever partial: their severity comes from the upper quarter of the range."""


@dataclass(frozen=True)
class Planned:
    """An incident before it is known whom it hits.

    Attributes:
        number: its number, which also names its own random stream.
        begin, end: ticks [begin, end).
        grouped: whether it is meant to hit several queues.
    """

    number: int
    begin: int
    end: int
    grouped: bool


@dataclass(frozen=True)
class Told:
    """One row of incidents.csv; ticks [begin, end)."""

    number: int
    kind: str
    field: str
    value: str
    begin: int
    end: int
    severity: float
    queues: tuple[str, ...]


def plan(params: WorldParams) -> list[Planned]:
    """When incidents begin and end, ascending; spread evenly with jitter, from the stream 'incidents'."""
    rng = stream(params.seed, "incidents")
    first = int(params.quiet_days * DAY)
    if not params.incidents or params.ticks <= first:
        return []
    times = np.arange(first, params.ticks)
    rate = np.where(times < EARLY_SHARE * params.ticks, params.pollution, 1.0) * params.incidents_per_day / DAY
    mass = np.concatenate([[0.0], np.cumsum(rate)])
    count = int(mass[-1] + rng.random())
    places = (np.arange(count) + rng.random(count)) * (mass[-1] / max(count, 1))
    begins = np.minimum(first + np.searchsorted(mass, places, side="right") - 1, params.ticks - 1)
    hours = rng.lognormal(np.log(params.duration_median), params.duration_sigma, count)
    lengths = np.rint(np.clip(hours, 1.0, params.duration_max) * HOUR).astype(int)
    grouped = rng.permutation(count) < params.group_share * count
    return [
        Planned(i, int(b), int(min(b + n, params.ticks)), bool(g))
        for i, (b, n, g) in enumerate(zip(begins, lengths, grouped, strict=True))
    ]


def begin(
    item: Planned, params: WorldParams, world: World, life: Life, stock: Floats, busy: NDArray[np.bool_]
) -> tuple[Told, Fault] | None:
    """Choose kind and victims of a planned incident among the queues that have something to lose now.

    Args:
        item: the plan.
        params: the world's parameters.
        world: queues and groups.
        life: for the statuses during the incident and what the groups usually start.
        stock: `[len(STOCKS), G]` at the end of the last tick.
        busy: `[Q]` queues that an incident hits already, or did a few hours ago.

    Returns:
        The row of incidents.csv and the fault, or None if no queue is left to hit.
    """
    rng = stream(params.seed, f"incident {item.number}")
    running = stock[STARTING : LOST + 1].sum(axis=0)
    jobs = np.bincount(world.layout.queue, weights=running, minlength=len(world.names))
    online = (life.status[item.begin : item.end] == ONLINE).all(axis=0)
    lasting = life.slots[item.begin : item.end].mean(axis=0) >= 0.5 * life.slots[item.begin]
    worth = online & lasting & ~busy & (jobs >= params.min_jobs)
    chosen = _choose(item, params, world, worth, online & (jobs >= 3.0), rng)
    if chosen is None:
        return None
    kind, field, value, queues = chosen
    groups = np.flatnonzero(np.isin(world.layout.queue, queues) & _of_source(world, field, value))
    severity = _severity(kind, params, rng)
    usual = usual_starts(life, world, item.begin)[groups]
    fault = Fault(kind, item.begin, item.end, severity, groups, usual, float(rng.random()))
    names = tuple(world.names[q] for q in queues)
    return Told(item.number, kind, field, value, item.begin, item.end, severity, names), fault


def _severity(kind: str, params: WorldParams, rng: np.random.Generator) -> float:
    """In the world's range, more often near its upper end: what is noticed is rarely mild."""
    low, high = params.severity_low, params.severity_high
    low = (low + 3.0 * high) / 4.0 if kind in TOTAL_KINDS else low
    return round(float(high - (high - low) * rng.random() ** 2), 2)


def usual_starts(life: Life, world: World, t: int) -> Floats:
    """Jobs per tick that each group ends, and so starts, when its slots are full: `[G]`."""
    slots = life.slots[t].astype(np.float64)[world.layout.queue]
    return np.asarray(slots * world.share / world.layout.cores * life.end[t])


def _choose(
    item: Planned,
    params: WorldParams,
    world: World,
    worth: NDArray[np.bool_],
    members: NDArray[np.bool_],
    rng: np.random.Generator,
) -> tuple[str, str, str, NDArray[np.int64]] | None:
    """Kind, field, value and queues; a kind for which nobody is left gives way to the next."""
    if item.grouped:
        for kind in _order(params.group_kinds, rng):
            found = _group(kind, world, worth, members, rng)
            if found is not None:
                return kind, *found
    alone = np.flatnonzero(worth)
    if not len(alone) or not params.single_kinds:
        return None
    queue = rng.choice(alone)
    return next(iter(_order(params.single_kinds, rng))), "panda_queue", world.names[queue], np.array([queue])


def _order(kinds: dict[str, float], rng: np.random.Generator) -> list[str]:
    """The kinds in random order, the likely ones first more often."""
    names = sorted(kind for kind, share in kinds.items() if share > 0)
    shares = np.array([kinds[name] for name in names])
    return (
        [str(name) for name in rng.choice(names, len(names), replace=False, p=shares / shares.sum())] if names else []
    )


def _group(
    kind: str, world: World, worth: NDArray[np.bool_], members: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[str, str, NDArray[np.int64]] | None:
    """A metadata value that at least two queues worth hitting share, and all its queues that have jobs."""
    if kind in ("bad_task", "brokerage_stop"):
        return _by_source(kind, world, worth, members, rng)
    options = [option for field in GROUP_FIELDS[kind] for option in _values(kind, field, world, worth, members)]
    return options[int(rng.integers(0, len(options)))] if options else None


def _values(
    kind: str, field: str, world: World, worth: NDArray[np.bool_], members: NDArray[np.bool_]
) -> list[tuple[str, str, NDArray[np.int64]]]:
    """All values of `field` that may be hit."""
    column = np.array([fact.get(field, "") for fact in world.facts])
    options = []
    for value in sorted(set(column) - {""}):
        mine = column == value
        if (worth & mine).sum() >= 2 and (kind in WIDE_KINDS or mine.mean() <= WIDE):
            options.append((field, str(value), np.flatnonzero(mine & members)))
    return options


def _by_source(
    kind: str, world: World, worth: NDArray[np.bool_], members: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[str, str, NDArray[np.int64]] | None:
    """Queues of one prod_source: those that run the bad task, or all of them."""
    sources = sorted(set(world.source))
    source = sources[int(rng.integers(0, len(sources)))]
    takes = np.zeros(len(world.names), dtype=bool)
    takes[world.layout.queue[np.array([s == source for s in world.source])]] = True
    if (worth & takes).sum() < 2:
        return None
    if kind == "brokerage_stop":
        return "prod_source", source, np.flatnonzero(takes & members)
    candidates = np.flatnonzero(worth & takes)
    some = rng.choice(candidates, min(len(candidates), 2 + int(rng.poisson(5.0))), replace=False)
    return "prod_source", source, np.sort(some)


def _of_source(world: World, field: str, value: str) -> NDArray[np.bool_]:
    """Groups that an incident of that field and value can touch, `[G]`."""
    if field != "prod_source":
        return np.ones(len(world.source), dtype=bool)
    return np.array([source == value for source in world.source])
