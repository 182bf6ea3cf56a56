"""How jobs move: the queue dynamics of PanDA, vectorised over groups (queue x prod_source x resource).

    arrivals -> defined -> assigned -> activated -> starting -> running -> holding -> transferring -> finished
                   |          |            |            |          |  |        |            |
                cancelled  closed   cancelled/closed  doomed     failed  cancelled        failed
                                                        |
                                                      failed

`doomed` jobs run and will fail early; `lost` jobs ran on nodes that died: the server goes on counting them as running
until their heartbeat is missed. Both are part of the reported `running`. Every transition of a tick is drawn from the
stock at the end of the last one, so that stock(t) = stock(t - 1) + in - out holds exactly, in whole jobs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.simulator.chance import poisson, thin

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

REPORTED = (
    "defined",
    "assigned",
    "activated",
    "starting",
    "running",
    "holding",
    "transferring",
    "finished",
    "failed",
    "cancelled",
    "closed",
)
"""The job states of the output, in the order of the last axis of the counts."""

STOCKS = ("defined", "assigned", "activated", "starting", "running", "doomed", "lost", "holding", "transferring")
DEFINED, ASSIGNED, ACTIVATED, STARTING, RUNNING, DOOMED, LOST, HOLDING, TRANSFERRING = range(len(STOCKS))

DRAWS = len(STOCKS) + 1 + 7 + 3
"""Rows of random numbers per tick: exits and arrivals, then what becomes of the exits, then of the side exits."""


@dataclass(frozen=True)
class Rates:
    """What the mechanism does in one tick; float64 arrays `[G]` unless said otherwise, probabilities per tick.

    Attributes:
        arrivals: jobs offered by the brokerage before its own limits.
        assign: defined -> assigned.
        stage_in: assigned -> activated (input transfers).
        pilots: share of the free slots that get a job.
        eaten: jobs that a black-hole node takes from activated.
        start: starting -> running.
        end: running -> its end.
        doom: share of starting jobs that will fail early.
        doom_end: end of those.
        fail: share of ending jobs that fail.
        add: holding -> transferring or finished.
        remote: share of them that need an output transfer.
        stage_out: transferring -> finished.
        kill: jobs waiting or running that a user kills.
        close: waiting jobs that the server closes to broker them again.
        vanish: lost -> failed, when heartbeats are missed.
        slots: `[Q]`, cores that each queue has.
    """

    arrivals: Floats
    assign: Floats
    stage_in: Floats
    pilots: Floats
    eaten: Floats
    start: Floats
    end: Floats
    doom: Floats
    doom_end: Floats
    fail: Floats
    add: Floats
    remote: Floats
    stage_out: Floats
    kill: Floats
    close: Floats
    vanish: Floats
    slots: Floats


@dataclass(frozen=True)
class Layout:
    """What never changes; arrays `[G]`.

    Attributes:
        queue: index of the group's queue.
        queues: number of queues.
        cores: cores of one job.
        depth: waiting jobs per running job at which the brokerage stops.
        floor: waiting jobs that it always allows.
        transfer_limit: transferring jobs at which the brokerage stops (CRIC's transferringlimit).
    """

    queue: NDArray[np.int64]
    queues: int
    cores: Floats
    depth: Floats
    floor: Floats
    transfer_limit: Floats


def empty_stock(groups: int) -> Floats:
    """A grid without jobs: `[len(STOCKS), G]`."""
    return np.zeros((len(STOCKS), groups))


def reported(stock: Floats, flows: Floats) -> NDArray[np.int32]:
    """The counts that PanDA shows: `[G, len(REPORTED)]`, from stock `[len(STOCKS), G]` and flows `[4, G]`."""
    running = stock[RUNNING] + stock[DOOMED] + stock[LOST]
    rows = [*stock[:RUNNING], running, stock[HOLDING], stock[TRANSFERRING], *flows]
    return np.stack(rows, axis=1).astype(np.int32)


def brokered(stock: Floats, rates: Rates, layout: Layout) -> Floats:
    """Arrivals after the brokerage's limits: it slows near the limit of waiting jobs, stops at that of transfers."""
    waiting = stock[DEFINED] + stock[ASSIGNED] + stock[ACTIVATED]
    limit = layout.floor + layout.depth * (stock[RUNNING] + stock[STARTING])
    room = np.clip((limit - waiting) / (0.4 * limit), 0.0, 1.0)
    return np.asarray(rates.arrivals * room * (stock[TRANSFERRING] < layout.transfer_limit))


def dispatched(stock: Floats, rates: Rates, layout: Layout) -> Floats:
    """Jobs that pilots take, before noise: the free cores of the queue, shared by the work that waits. `[G]`."""
    busy = layout.cores * stock[STARTING : LOST + 1].sum(axis=0)
    free = rates.slots - np.bincount(layout.queue, weights=busy, minlength=layout.queues)
    want = layout.cores * stock[ACTIVATED]
    total = np.bincount(layout.queue, weights=want, minlength=layout.queues)
    share = want / np.maximum(total[layout.queue], 1e-9)
    jobs = np.maximum(free, 0.0)[layout.queue] * share * rates.pilots / layout.cores
    return np.asarray(np.minimum(jobs, stock[ACTIVATED]))


def step(stock: Floats, rates: Rates, layout: Layout, uniform: Floats, normal: Floats) -> tuple[Floats, Floats]:
    """Advance one tick.

    Args:
        stock: `[len(STOCKS), G]` jobs at the end of the last tick, whole numbers.
        rates: of this tick.
        layout: of the world.
        uniform: `[DRAWS, G]` draws from [0, 1).
        normal: `[DRAWS, G]` standard normal draws.

    Returns:
        The new stock, and the flows `[4, G]`: finished, failed, cancelled, closed.
    """
    taken = dispatched(stock, rates, layout)
    pull = (taken + rates.eaten) / np.maximum(stock[ACTIVATED], 1.0)
    arrivals = poisson(brokered(stock, rates, layout), uniform[0], normal[0])
    out = _exits(stock, rates, pull, uniform[1:10], normal[1:10])
    onward = thin(_forked(out), _forks(rates, pull, taken), uniform[10:17], normal[10:17])
    side = out[[ASSIGNED, ACTIVATED, RUNNING]] - onward[[1, 2, 4]]
    cancelled = thin(side, _side_shares(rates), uniform[17:20], normal[17:20])
    return _move(stock, arrivals, out, onward, side, cancelled)


def _exits(stock: Floats, rates: Rates, pull: Floats, uniform: Floats, normal: Floats) -> Floats:
    """How many leave each stock: `[len(STOCKS), G]`."""
    kill, drop = rates.kill, rates.kill + rates.close
    chance = np.stack(
        [
            rates.assign + kill,
            rates.stage_in + drop,
            pull + drop,
            rates.start,
            rates.end + kill,
            rates.doom_end,
            rates.vanish,
            rates.add,
            rates.stage_out,
        ]
    )
    return thin(stock, chance, uniform, normal)


def _forked(out: Floats) -> Floats:
    """The exits that have two ways on: `[7, G]`."""
    return out[[DEFINED, ASSIGNED, ACTIVATED, STARTING, RUNNING, HOLDING, TRANSFERRING]]


def _forks(rates: Rates, pull: Floats, taken: Floats) -> Floats:
    """The share of each fork that goes its main way: `[7, G]`, in the order of `_forked`."""
    kill, drop, tiny = rates.kill, rates.kill + rates.close, 1e-12
    eaten = rates.eaten / np.maximum(rates.eaten + taken, 1e-9)
    return np.stack(
        [
            rates.assign / (rates.assign + kill + tiny),
            rates.stage_in / (rates.stage_in + drop + tiny),
            pull / (pull + drop + tiny),
            (1.0 - rates.doom) * (1.0 - eaten),
            rates.end * (1.0 - rates.fail) / (rates.end + kill + tiny),
            rates.remote,
            np.full_like(pull, 0.998),
        ]
    )


def _side_shares(rates: Rates) -> Floats:
    """The share of side exits that is cancelled: of assigned and activated (else closed), of running (else failed)."""
    drop = rates.kill / (rates.kill + rates.close + 1e-12)
    ended = rates.kill / (rates.kill + rates.end * rates.fail + 1e-12)
    return np.stack([drop, drop, ended])


def _move(
    stock: Floats, arrivals: Floats, out: Floats, onward: Floats, side: Floats, cancelled: Floats
) -> tuple[Floats, Floats]:
    """Book the transitions: new stock and flows."""
    into = np.zeros_like(stock)
    into[DEFINED] = arrivals
    into[ASSIGNED], into[ACTIVATED], into[STARTING] = onward[0], onward[1], onward[2]
    into[RUNNING], into[DOOMED] = onward[3], out[STARTING] - onward[3]
    into[HOLDING], into[TRANSFERRING] = onward[4], onward[5]
    finished = out[HOLDING] - onward[5] + onward[6]
    failed = side[2] - cancelled[2] + out[DOOMED] + out[LOST] + out[TRANSFERRING] - onward[6]
    dropped = out[DEFINED] - onward[0] + cancelled.sum(axis=0)
    closed = side[0] - cancelled[0] + side[1] - cancelled[1]
    return stock + into - out, np.stack([finished, failed, dropped, closed])


def lose_nodes(stock: Floats, groups: NDArray[np.int64], share: float) -> Floats:
    """Nodes die under `share` of the running jobs of `groups`: a new stock, in which they are `lost`."""
    changed = stock.copy()
    for state in (RUNNING, DOOMED):
        gone = np.rint(stock[state, groups] * share)
        changed[state, groups] -= gone
        changed[LOST, groups] += gone
    return changed
