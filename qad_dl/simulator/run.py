"""Run a world: normal life, incidents, mechanism, tick by tick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.progress import progress
from qad_dl.schema import Tick
from qad_dl.simulator import faults, incidents, mechanism
from qad_dl.simulator.chance import stream
from qad_dl.simulator.life import Life, live, rates_at
from qad_dl.simulator.world import World, make_world

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qad_dl.simulator.faults import Fault
    from qad_dl.simulator.incidents import Planned, Told
    from qad_dl.simulator.params import WorldParams
    from qad_dl.simulator.script import Script

    Floats = NDArray[np.float64]

REST_TICKS = 6 * 60 // Tick().minutes
"""A queue that was hit is left alone so long afterwards, except by group incidents."""

WARM_UP_TICKS = Tick().per_day
"""Ticks run before the first one that is written, so that the grid does not begin empty."""


@dataclass(frozen=True)
class Run:
    """A simulated grid.

    Attributes:
        params: of the world.
        world: queues and groups.
        life: normal life.
        counts: `[T, G, len(REPORTED)]` int32, what the PanDA server knows at each tick.
        told: the incidents, in order of their begin.
    """

    params: WorldParams
    world: World
    life: Life
    counts: NDArray[np.int32]
    told: tuple[Told, ...]


@dataclass
class _Course:
    """The state that the loop carries along."""

    stock: Floats
    busy_until: NDArray[np.int64]
    told: list[Told] = field(default_factory=list)
    active: list[Fault] = field(default_factory=list)


def run(params: WorldParams, script: Script | None = None) -> Run:
    """Simulate the world of `params`; the same parameters give the same counts.

    Args:
        params: of the world.
        script: what happens beside what is drawn.

    Raises:
        ConfigError, InputError: see `world.make_world`.
    """
    world = make_world(params)
    life = live(params, world)
    if script is not None:
        life = script.live(life, world)
    rng = stream(params.seed, "mechanism")
    course = _Course(_warm_up(world, life, rng), np.zeros(len(world.names), dtype=np.int64))
    pending = incidents.plan(params)
    counts = np.empty((params.ticks, len(world.activity), len(mechanism.REPORTED)), dtype=np.int32)
    for t in progress(range(params.ticks), "simulate", unit="tick"):
        pending = _begin_incidents(course, pending, t, params, world, life)
        for started in script.begun(t, params, world, life) if script is not None else ():
            _start(course, *started, world)
        rates = rates_at(life, world, t)
        faults.apply(rates, course.active, t, world.layout.queue, params.strength)
        course.stock, flows = _tick(course.stock, rates, world, rng)
        counts[t] = mechanism.reported(course.stock, flows)
    return Run(params, world, life, counts, tuple(course.told))


def _tick(stock: Floats, rates: mechanism.Rates, world: World, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """One step with a block of random numbers whose size never changes."""
    shape = (mechanism.DRAWS, stock.shape[1])
    return mechanism.step(stock, rates, world.layout, rng.random(shape), rng.standard_normal(shape))


def _warm_up(world: World, life: Life, rng: np.random.Generator) -> Floats:
    """Run the first tick's life for a day, from queues that are as full as usual."""
    stock = mechanism.empty_stock(len(world.activity))
    rates = rates_at(life, world, 0)
    usual = 0.8 * rates.slots[world.layout.queue] * world.share / world.layout.cores
    stock[mechanism.RUNNING] = np.where(rates.arrivals > 0, np.rint(usual), 0.0)
    for _ in range(WARM_UP_TICKS):
        stock, _flows = _tick(stock, rates_at(life, world, 0), world, rng)
    return stock


def _begin_incidents(
    course: _Course, pending: list[Planned], t: int, params: WorldParams, world: World, life: Life
) -> list[Planned]:
    """Start what is due, forget what is long over; returns what is still to come."""
    course.active = [fault for fault in course.active if faults.at_work(fault, t)]
    while pending and pending[0].begin <= t:
        started = incidents.begin(pending[0], params, world, life, course.stock, course.busy_until > t)
        pending = pending[1:]
        if started is not None:
            _start(course, *started, world)
    return pending


def _start(course: _Course, told: Told, fault: Fault, world: World) -> None:
    """Book an incident and let the nodes die that it takes with it."""
    course.told.append(told)
    course.active.append(fault)
    hit = np.unique(world.layout.queue[fault.groups])
    course.busy_until[hit] = np.maximum(course.busy_until[hit], fault.end + REST_TICKS)
    course.stock = mechanism.lose_nodes(course.stock, fault.groups, faults.lost_share(fault))
