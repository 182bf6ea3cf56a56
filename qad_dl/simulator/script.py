"""A world in which what happens is written down beforehand: for demonstrations and tests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.simulator.chance import stream
from qad_dl.simulator.faults import Fault
from qad_dl.simulator.incidents import usual_starts
from qad_dl.simulator.status import BROKEROFF, OFFLINE, ONLINE, Window

if TYPE_CHECKING:
    from qad_dl.simulator.incidents import Told
    from qad_dl.simulator.life import Life
    from qad_dl.simulator.params import WorldParams
    from qad_dl.simulator.world import World


@dataclass(frozen=True)
class Outage:
    """A declared downtime of a site: drained from `drain`, down over [begin, end), in ticks."""

    site: str
    drain: int
    begin: int
    end: int


@dataclass(frozen=True)
class Script:
    """What happens, beside normal life.

    Attributes:
        incidents: in the order of their begin; `queues` are those hit.
        outages: declared downtimes.
        calm_from: from this tick on nothing is declared or excluded but `outages`.
    """

    incidents: tuple[Told, ...] = ()
    outages: tuple[Outage, ...] = ()
    calm_from: int | None = None

    def live(self, life: Life, world: World) -> Life:
        """Normal life with the outages in it."""
        status, windows = life.status.copy(), list(life.downtimes)
        arrivals, pilots, slots = life.arrivals.copy(), life.pilots.copy(), life.slots.copy()
        if self.calm_from is not None:
            status[self.calm_from :] = status[self.calm_from]
            windows = [w for w in windows if w.begin < self.calm_from]
        for outage in self.outages:
            for q in (q for q, fact in enumerate(world.facts) if fact.get("atlas_site") == outage.site):
                if status[outage.drain, q] != ONLINE:
                    continue
                groups = world.layout.queue == q
                status[outage.drain : outage.begin, q], status[outage.begin : outage.end, q] = BROKEROFF, OFFLINE
                arrivals[outage.drain : outage.end, groups] = 0.0
                pilots[outage.begin : outage.end, groups] = 0.0
                slots[outage.begin : outage.end, q] = 0.0
                windows.append(Window(q, outage.drain, outage.begin, BROKEROFF))
                windows.append(Window(q, outage.begin, outage.end, OFFLINE))
        ordered = tuple(sorted(windows, key=lambda w: (w.begin, w.queue)))
        return replace(life, status=status, arrivals=arrivals, pilots=pilots, slots=slots, downtimes=ordered)

    def begun(self, t: int, params: WorldParams, world: World, life: Life) -> list[tuple[Told, Fault]]:
        """The incidents that begin at tick `t`."""
        return [(told, self._fault(told, params, world, life)) for told in self.incidents if told.begin == t]

    def _fault(self, told: Told, params: WorldParams, world: World, life: Life) -> Fault:
        hit = np.isin(world.layout.queue, [world.names.index(name) for name in told.queues])
        if told.field == "prod_source":
            hit &= np.array([source == told.value for source in world.source])
        groups = np.flatnonzero(hit)
        mode = float(stream(params.seed, f"script {told.number}").random())
        usual = usual_starts(life, world, told.begin)[groups]
        return Fault(told.kind, told.begin, told.end, told.severity, groups, usual, mode)
