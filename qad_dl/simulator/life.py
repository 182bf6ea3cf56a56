"""Normal life, drawn before anything happens: work, slots, job lengths, transfers, failures, kills, statuses.

Arrays over groups are `[T, G]` float32, over queues `[T, Q]`; they are the same with and without incidents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.schema import Tick
from qad_dl.simulator.chance import stream, wander
from qad_dl.simulator.mechanism import Rates
from qad_dl.simulator.status import statuses
from qad_dl.simulator.world import ACTIVITIES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qad_dl.simulator.params import WorldParams
    from qad_dl.simulator.status import Window
    from qad_dl.simulator.world import World

    Panel = NDArray[np.float32]

HOUR = 60 // Tick().minutes
DAY = Tick().per_day


@dataclass(frozen=True)
class Life:
    """The course of normal life.

    Attributes:
        arrivals, pilots, stage_in, stage_out, end, doom, fail, kill: `[T, G]`, see `mechanism.Rates`.
        slots: `[T, Q]` cores.
        status: `[T, Q]` int8, index into `schema.STATUSES`.
        downtimes: what downtimes.csv says.
    """

    arrivals: Panel
    pilots: Panel
    stage_in: Panel
    stage_out: Panel
    end: Panel
    doom: Panel
    fail: Panel
    kill: Panel
    slots: Panel
    status: NDArray[np.int8]
    downtimes: tuple[Window, ...]


def live(params: WorldParams, world: World) -> Life:
    """Draw the normal life of all queues; one stream per concern."""
    shape = (params.ticks, len(world.activity))
    plan = statuses(params, world)
    slots = _slots(params, world) * plan.capacity
    doom, pilots, stage_out = _troubles(params, world)
    rng = stream(params.seed, "site")
    queue = world.layout.queue
    base_in = _pace(rng.lognormal(np.log(0.7), 0.4, world.layout.queues), params, rng, 0.2)[:, queue]
    base_out = _pace(rng.lognormal(np.log(0.6), 0.4, world.layout.queues), params, rng, 0.2)[:, queue]
    return Life(
        arrivals=_arrivals(params, world, slots, stream(params.seed, "demand")) * plan.brokerage[:, queue],
        pilots=pilots * plan.pilots[:, queue],
        stage_in=base_in,
        stage_out=base_out * stage_out,
        end=_lengths(params, world),
        doom=doom,
        fail=_failures(params, world),
        kill=_kills(params, world, shape),
        slots=slots,
        status=plan.status,
        downtimes=plan.downtimes,
    )


def rates_at(life: Life, world: World, t: int) -> Rates:
    """The mechanism's rates of tick `t` while nothing is wrong; arrays are fresh, so that faults may change them."""
    groups = len(world.activity)
    push = world.push[world.layout.queue]

    def panel(values: Panel) -> NDArray[np.float64]:
        return np.array(values[t], dtype=np.float64)

    return Rates(
        arrivals=panel(life.arrivals),
        assign=np.full(groups, 0.6),
        stage_in=panel(life.stage_in),
        pilots=panel(life.pilots),
        eaten=np.zeros(groups),
        start=np.where(push, 0.12, 0.45),
        end=panel(life.end),
        doom=panel(life.doom),
        doom_end=np.full(groups, 0.45),
        fail=panel(life.fail),
        add=np.full(groups, 0.55),
        remote=np.where([s == "user" for s in world.source], 0.35, 0.85),
        stage_out=panel(life.stage_out),
        kill=panel(life.kill),
        close=np.full(groups, 0.0008),
        vanish=np.zeros(groups),
        slots=panel(life.slots),
    )


def _pace(hours: NDArray[np.float64], params: WorldParams, rng: np.random.Generator, sigma: float) -> Panel:
    """Transfer probabilities per tick of queues whose mean transfer takes `hours`: `[T, Q]`."""
    walk = wander(rng, (params.ticks, len(hours)), sigma * params.noise, 12.0)
    return (1.0 - np.exp(-np.exp(walk) / (hours.astype(np.float32) * HOUR))).astype(np.float32)


def _slots(params: WorldParams, world: World) -> Panel:
    """Cores of each queue: drift, opportunistic levels, HPC bursts. `[T, Q]`."""
    rng = stream(params.seed, "slots")
    shape = (params.ticks, world.layout.queues)
    level = np.exp(wander(rng, shape, 0.07 * params.noise, 96.0)) * world.slots.astype(np.float32)
    for q in range(shape[1]):
        steps = _opportunistic(rng, shape[0])
        bursts = _bursts(rng, shape[0])
        if world.opportunistic[q]:
            level[:, q] *= steps
        if world.hpc[q]:
            level[:, q] *= bursts
    return level


def _opportunistic(rng: np.random.Generator, ticks: int) -> Panel:
    """Levels that hold for half a day or so, then move over one or two hours: `[T]`."""
    holds = rng.exponential(14.0 * HOUR, size=ticks // (2 * HOUR) + 2).astype(int) + 2 * HOUR
    levels = np.exp(rng.normal(-0.2, 0.45, len(holds)))
    raw = np.repeat(levels, holds)[: ticks + 2 * HOUR]
    return _trailing(raw, 2 * HOUR)[:ticks].astype(np.float32)


def _bursts(rng: np.random.Generator, ticks: int) -> Panel:
    """HPC allocations: nothing, then thousands for hours to a day and a half, then nothing. `[T]`."""
    out = np.zeros(ticks, dtype=np.float32)
    at = int(rng.exponential(30.0 * HOUR))
    while at < ticks:
        length = int(np.clip(rng.lognormal(np.log(16.0), 0.6), 3.0, 60.0) * HOUR)
        out[at : at + length] = rng.lognormal(0.0, 0.5)
        at += length + int(rng.exponential(40.0 * HOUR)) + 3 * HOUR
    return out


def _trailing(values: NDArray[np.floating], width: int) -> NDArray[np.floating]:
    """Mean of the last `width` values; before the first one it was as at the first."""
    padded = np.concatenate([np.full(width - 1, values[0]), values])
    return np.convolve(padded, np.full(width, 1.0 / width), "valid")


def _arrivals(params: WorldParams, world: World, slots: Panel, rng: np.random.Generator) -> Panel:
    """Jobs that the brokerage would send per tick: `[T, G]`.

    A queue's share follows what it can run (harvester asks for what the slots hold), averaged over two hours.
    """
    queue, groups = world.layout.queue, len(world.activity)
    smooth = np.stack([_trailing(column, 2 * HOUR) for column in slots.T], axis=1)
    full = smooth[:, queue] * (world.share / world.layout.cores / world.length / HOUR)
    offered = np.stack([_activity(params, index, rng) for index in range(len(ACTIVITIES))], axis=1)
    local = wander(rng, (params.ticks, groups), 0.20 * params.noise, 20.0)
    local += params.burstiness * rng.standard_normal((params.ticks, groups), dtype=np.float32)
    preference = np.exp(rng.normal(0.0, 0.25, groups))
    batches = _batches(params, world, rng)
    return (full * (offered[:, world.activity] * np.exp(local) * preference + batches)).astype(np.float32)


def _activity(params: WorldParams, index: int, rng: np.random.Generator) -> Panel:
    """Work of one activity over time, relative to the slots: campaigns, or the users' days and weeks. `[T]`."""
    walk = np.exp(wander(rng, (params.ticks, 1), 0.14 * params.noise, 60.0)[:, 0])
    gaps = _gaps(params, rng)
    if ACTIVITIES[index][0] != "user":
        return np.asarray(params.demand * walk * gaps, dtype=np.float32)
    hours = (
        (params.start - params.start.astype("datetime64[D]")) / np.timedelta64(600, "s") + np.arange(params.ticks)
    ) / HOUR
    weekday = (params.start.astype("datetime64[D]").astype(int) + 3 + hours // 24) % 7
    day = 1.0 + params.daily * np.cos((hours - 14.5) * (2.0 * np.pi / 24.0))
    week = np.where(weekday >= 5, params.weekly, 1.0)
    edges = np.convolve(
        np.pad(week, (3 * HOUR, 3 * HOUR - 1), mode="edge"), np.full(6 * HOUR, 1.0 / (6 * HOUR)), "valid"
    )
    return np.asarray(0.85 * params.demand * walk * day * edges, dtype=np.float32)


def _gaps(params: WorldParams, rng: np.random.Generator) -> Panel:
    """1, and less while one campaign has ended and the next has not begun: `[T]`; edges take about an hour."""
    out = np.ones(params.ticks + HOUR)
    for _ in range(rng.poisson(params.campaign_gaps * params.days)):
        at = int(rng.integers(0, params.ticks))
        length = int(np.clip(rng.lognormal(np.log(8.0), 0.6), 2.0, 36.0) * HOUR)
        out[at : at + length] *= np.clip(params.campaign_depth * rng.lognormal(0.0, 0.4), 0.05, 1.0)
    return np.convolve(out, np.full(HOUR, 1.0 / HOUR), "valid")[: params.ticks].astype(np.float32)


def _batches(params: WorldParams, world: World, rng: np.random.Generator) -> Panel:
    """Submissions that come at once, more often from users: extra work relative to the slots. `[T, G]`."""
    user = np.array([s == "user" for s in world.source])
    chance = np.where(user, 2.0, 0.5) / DAY
    hits = rng.random((params.ticks, len(user)), dtype=np.float32) < chance
    size = np.exp(rng.standard_normal((params.ticks, len(user)), dtype=np.float32) * 0.7) * 4.0
    return np.asarray(hits * size, dtype=np.float32)


def _lengths(params: WorldParams, world: World) -> Panel:
    """Chance per tick that a running job ends: tasks change it everywhere, queues differ a little. `[T, G]`."""
    rng = stream(params.seed, "lengths")
    common = wander(rng, (params.ticks, len(ACTIVITIES)), 0.12 * params.noise, 36.0)[:, world.activity]
    own = wander(rng, (params.ticks, len(world.activity)), 0.10 * params.noise, 10.0)
    hours = np.exp(common + own) * world.length.astype(np.float32)
    return np.asarray(1.0 - np.exp(-1.0 / (hours * HOUR)), dtype=np.float32)


def _failures(params: WorldParams, world: World) -> Panel:
    """Share of ending jobs that fail: a base per queue, wandering with the tasks. `[T, G]`."""
    rng = stream(params.seed, "failures")
    base = np.clip(rng.lognormal(np.log(params.failure_median), 0.7, world.layout.queues), 0.004, 0.3)
    user = np.array([1.8 if s == "user" else 1.0 for s in world.source])
    walk = wander(rng, (params.ticks, len(user)), 0.30 * params.noise, 12.0)
    return np.asarray(np.clip(np.exp(walk) * base[world.layout.queue] * user, 0.0, 0.6), dtype=np.float32)


def _kills(params: WorldParams, world: World, shape: tuple[int, int]) -> Panel:
    """Users abort tasks: part of the user jobs of some queues goes within one or two ticks. `[T, G]`."""
    rng = stream(params.seed, "kills")
    out = np.full(shape, 0.0003, dtype=np.float32)
    for _ in range(rng.poisson(params.user_kills * params.days * world.layout.queues / 100.0)):
        at, source = int(rng.integers(0, shape[0])), "user" if rng.random() < 0.8 else "managed"
        groups = np.flatnonzero([s == source for s in world.source])
        if len(groups):
            few = rng.choice(groups, min(len(groups), 1 + rng.poisson(4.0)), replace=False)
            out[at : at + 2, few] = np.clip(rng.lognormal(np.log(0.15), 0.7), 0.02, 0.8)
    return out


def _troubles(params: WorldParams, world: World) -> tuple[Panel, Panel, Panel]:
    """Small troubles that nobody would write a ticket for: failing tasks, stalls of pilots and of transfers.

    Returns:
        doom (share of starting jobs that fail early), pilots (share of free slots filled), factor on stage-out;
        `[T, G]` each.
    """
    rng = stream(params.seed, "troubles")
    shape = (params.ticks, len(world.activity))
    doom = np.full(shape, 0.006, dtype=np.float32)
    pilots = np.exp(wander(rng, shape, 0.15 * params.noise, 3.0)) * np.float32(0.3)
    stage_out = np.ones(shape, dtype=np.float32)
    for _ in range(rng.poisson(params.task_failures * params.days * world.layout.queues / 100.0)):
        at, length = int(rng.integers(0, shape[0])), int(rng.lognormal(np.log(2.0), 0.5) * HOUR) + 1
        groups = np.flatnonzero(world.activity == rng.choice(world.activity))
        few = rng.choice(groups, min(len(groups), 1 + rng.poisson(5.0)), replace=False)
        doom[at : at + length, few] += np.float32(np.clip(rng.lognormal(np.log(0.08), 0.6), 0.0, 0.4))
    for _ in range(rng.poisson(params.hiccups * params.days * world.layout.queues)):
        at, length = int(rng.integers(0, shape[0])), int(rng.integers(1, 5))
        mine = np.flatnonzero(world.layout.queue == rng.integers(0, world.layout.queues))
        (pilots if rng.random() < 0.6 else stage_out)[at : at + length, mine] *= np.float32(rng.uniform(0.1, 0.7))
    return doom, np.clip(pilots, 0.0, 1.0), stage_out
