"""CRIC's status of each queue over time: downtimes, HammerCloud exclusions, queues that come and go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.schema import STATUSES, Tick
from qad_dl.simulator.chance import stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qad_dl.simulator.params import WorldParams
    from qad_dl.simulator.world import World

HOUR = 60 // Tick().minutes
DAY = Tick().per_day
ONLINE, OFFLINE, TEST, BROKEROFF, PAUSED = (
    STATUSES.index(s) for s in ("online", "offline", "test", "brokeroff", "paused")
)


@dataclass(frozen=True)
class Window:
    """A declared downtime of one queue: ticks [begin, end) with `status`."""

    queue: int
    begin: int
    end: int
    status: int


@dataclass(frozen=True)
class StatusPlan:
    """Statuses and what follows from them.

    Attributes:
        status: `[T, Q]` int8, index into `schema.STATUSES`.
        brokerage: `[T, Q]` factor on the work offered: 1 online; a trickle of HammerCloud tests in `test`; else 0.
        pilots: `[T, Q]` 1 where pilots are sent (online, test, brokeroff), else 0.
        capacity: `[T, Q]` factor on the slots: 0 before a queue begins, after it has retired, and in an outage.
        downtimes: the declared ones, in order of their begin.
    """

    status: NDArray[np.int8]
    brokerage: NDArray[np.float32]
    pilots: NDArray[np.float32]
    capacity: NDArray[np.float32]
    downtimes: tuple[Window, ...]


def statuses(params: WorldParams, world: World) -> StatusPlan:
    """Draw the statuses of all queues from the stream 'status'."""
    rng = stream(params.seed, "status")
    status = np.repeat(world.status[None, :], params.ticks, axis=0)
    capacity = np.ones(status.shape, dtype=np.float32)
    _changes(status, rng)
    _exclusions(params, status, rng)
    windows = _downtimes(params, world, status, capacity, rng)
    windows += _lifetimes(params, status, capacity, rng)
    brokerage = np.select([status == ONLINE, status == TEST], [1.0, 0.02], 0.0).astype(np.float32)
    pilots = np.isin(status, (ONLINE, TEST, BROKEROFF)).astype(np.float32)
    return StatusPlan(status, brokerage, pilots, capacity, tuple(sorted(windows, key=lambda w: (w.begin, w.queue))))


def _changes(status: NDArray[np.int8], rng: np.random.Generator) -> None:
    """One in six of the queues that the dump has not online comes online for good at some time."""
    for q in np.flatnonzero(status[0] != ONLINE):
        comes, at = rng.random() < 1 / 6, int(rng.integers(0, len(status)))
        if comes:
            status[at:, q] = ONLINE


def _exclusions(params: WorldParams, status: NDArray[np.int8], rng: np.random.Generator) -> None:
    """HammerCloud puts online queues in `test` for some hours."""
    ticks, queues = status.shape
    for _ in range(rng.poisson(params.exclusions * params.days * queues)):
        q, at = int(rng.integers(0, queues)), int(rng.integers(0, ticks))
        part = status[at : at + int(np.clip(rng.lognormal(np.log(4.0), 0.6), 1.0, 24.0) * HOUR), q]
        part[part == ONLINE] = TEST


def _downtimes(
    params: WorldParams, world: World, status: NDArray[np.int8], capacity: NDArray[np.float32], rng: np.random.Generator
) -> list[Window]:
    """Declared downtimes of whole sites: drained as brokeroff, an outage as offline, then tests."""
    sites = [fact.get("atlas_site", fact["panda_queue"]) for fact in world.facts]
    names = sorted(set(sites))
    windows: list[Window] = []
    for _ in range(rng.poisson(params.downtimes * params.days * len(names))):
        site, at = names[int(rng.integers(0, len(names)))], int(rng.integers(0, params.ticks))
        drain, outage, tests = (int(np.clip(rng.lognormal(np.log(m), 0.5), 1.0, 60.0) * HOUR) for m in (6.0, 10.0, 2.0))
        for q in (i for i, name in enumerate(sites) if name == site and world.status[i] == ONLINE):
            edges = np.minimum(np.cumsum([at, drain, outage, tests]), params.ticks)
            if (status[edges[0] : edges[3], q] == ONLINE).all():
                for begin, end, code in zip(edges, edges[1:], (BROKEROFF, OFFLINE, TEST), strict=False):
                    status[begin:end, q] = code
                    windows += [Window(q, int(begin), int(end), code)] * int(end > begin)
                capacity[edges[1] : edges[2], q] = 0.0
    return windows


def _lifetimes(
    params: WorldParams, status: NDArray[np.int8], capacity: NDArray[np.float32], rng: np.random.Generator
) -> list[Window]:
    """Some queues begin after the first days; some leave, drained for a day and then offline for good, as declared."""
    ticks, queues = status.shape
    kind = rng.random(queues)
    at = rng.integers(min(2 * DAY, ticks - 1), ticks, queues)
    for q in np.flatnonzero(kind < params.late_queues):
        capacity[: at[q], q] = 0.0
        status[: at[q], q] = OFFLINE
    windows = []
    for q in np.flatnonzero(kind > 1.0 - params.retired_queues):
        gone = min(int(at[q]) + DAY, ticks)
        status[at[q] : gone, q] = BROKEROFF
        status[gone:, q] = OFFLINE
        capacity[gone:, q] = 0.0
        spans = ((int(at[q]), gone, BROKEROFF), (gone, ticks, OFFLINE))
        windows += [Window(int(q), begin, end, code) for begin, end, code in spans if end > begin]
    return windows
