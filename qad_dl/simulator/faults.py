"""What an incident does to the mechanism: one function per kind, acting on rates, slots and nodes, never on counts.

`s` is the severity, 0..1. A rate that is a share of what is left (free slots filled, transfers done) makes up for a
small cut, since the backlog grows; `choke` therefore cuts it by the cube, so that about 1 - s of the flow remains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.schema import Tick

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from qad_dl.simulator.mechanism import Rates

    Floats = NDArray[np.float64]

HEARTBEAT_TICKS: Final = 2 * 60 // Tick().minutes
"""The server declares a job lost when it has heard nothing for two hours."""


VANISH_TICKS: Final = 12
"""In so many ticks all lost jobs have been found."""


@dataclass(frozen=True)
class Fault:
    """An incident at work.

    Attributes:
        kind: one of `schema.INCIDENT_KINDS`.
        begin, end: ticks [begin, end).
        severity: 0..1.
        groups: indices of the groups hit.
        usual: jobs per tick that these groups usually start, `[len(groups)]`.
        mode: which of its variants the kind takes; uniform in [0, 1).
    """

    kind: str
    begin: int
    end: int
    severity: float
    groups: NDArray[np.int64]
    usual: Floats
    mode: float


def cut(rate: Floats, groups: NDArray[np.int64], s: float) -> None:
    """Leave 1 - s of a flow."""
    rate[groups] *= 1.0 - s


def choke(rate: Floats, groups: NDArray[np.int64], s: float) -> None:
    """Cut the chance of leaving a stock so that about 1 - s of the flow remains in the long run."""
    rate[groups] *= (1.0 - s) ** 3


def _more(rate: Floats, groups: NDArray[np.int64], share: float) -> None:
    """Add `share` of failures to the share that fails anyway."""
    rate[groups] = 1.0 - (1.0 - rate[groups]) * (1.0 - share)


def _site_down(rates: Rates, fault: Fault, s: float, _age: int) -> None:
    """Nothing starts, nothing is written, nothing reports back; see `lost_share` for the jobs that ran."""
    for rate in (rates.pilots, rates.start, rates.add, rates.stage_out, rates.stage_in):
        choke(rate, fault.groups, s)


def _pilots_starve(rates: Rates, fault: Fault, s: float, _age: int) -> None:
    """No pilots, or not enough."""
    choke(rates.pilots, fault.groups, s)


def _harvester_down(rates: Rates, fault: Fault, s: float, _age: int) -> None:
    """No pilots, and jobs already handed to it do not start."""
    choke(rates.pilots, fault.groups, s)
    cut(rates.start, fault.groups, s)


def _black_hole(rates: Rates, fault: Fault, s: float, _age: int) -> None:
    """A node takes jobs and fails them within minutes."""
    rates.eaten[fault.groups] += s * (1.5 + 3.0 * fault.mode) * fault.usual


def _bad_task(rates: Rates, fault: Fault, s: float, _age: int) -> None:
    """Jobs of one task fail early wherever they run."""
    _more(rates.doom, fault.groups, 0.25 + 0.65 * s)


def _storage_writes(rates: Rates, fault: Fault, s: float, age: int) -> None:
    """Outputs cannot be written: they wait in holding or in transferring; pilots give up after some hours."""
    choke(rates.stage_out if fault.mode < 0.5 else rates.add, fault.groups, s)
    if fault.mode > 0.25:
        cut(rates.add, fault.groups, 0.8 * s)
    if age >= HEARTBEAT_TICKS:
        _more(rates.fail, fault.groups, 0.6 * s)


def _transfer_backlog(rates: Rates, fault: Fault, s: float, _age: int) -> None:
    """Output transfers hang; the brokerage stops at the queue's transferring limit."""
    choke(rates.stage_out, fault.groups, s)


def _input_stuck(rates: Rates, fault: Fault, s: float, _age: int) -> None:
    """Input transfers hang."""
    choke(rates.stage_in, fault.groups, s)


def _frontier(rates: Rates, fault: Fault, s: float, _age: int) -> None:
    """Conditions or software cannot be read: jobs fail within the hour."""
    _more(rates.doom, fault.groups, 0.2 + 0.75 * s)


def _brokerage_stop(rates: Rates, fault: Fault, s: float, _age: int) -> None:
    """No new jobs are sent."""
    cut(rates.arrivals, fault.groups, s)


def _slots_lost(_rates: Rates, _fault: Fault, _s: float, _age: int) -> None:
    """Nothing but the slots, see `slots_left` and `lost_share`."""


def _central(rates: Rates, fault: Fault, s: float, _age: int) -> None:
    """The server is slow or down: work is not brokered, not handed out, or not closed."""
    if fault.mode < 0.7:
        cut(rates.arrivals, fault.groups, s)
        cut(rates.assign, fault.groups, s)
    if fault.mode > 0.3:
        choke(rates.pilots, fault.groups, s)
    if fault.mode > 0.6:
        choke(rates.add, fault.groups, s)


def _rollout(rates: Rates, fault: Fault, s: float, _age: int) -> None:
    """A new pilot or container: a part of the jobs fails, early or at the end."""
    _more(rates.doom, fault.groups, 0.1 + 0.45 * s)
    _more(rates.fail, fault.groups, 0.1 + 0.4 * s)


EFFECTS: Final[dict[str, Callable[[Rates, Fault, float, int], None]]] = {
    "site_down": _site_down,
    "pilots_starve": _pilots_starve,
    "harvester_down": _harvester_down,
    "black_hole": _black_hole,
    "bad_task": _bad_task,
    "storage_writes": _storage_writes,
    "transfer_backlog": _transfer_backlog,
    "input_stuck": _input_stuck,
    "frontier": _frontier,
    "brokerage_stop": _brokerage_stop,
    "slots_lost": _slots_lost,
    "central": _central,
    "rollout": _rollout,
}


def apply(rates: Rates, faults: list[Fault], t: int, queue: NDArray[np.int64], strength: float) -> None:
    """Change the rates of tick `t` in place by all `faults` at work.

    Args:
        rates: of the normal life of this tick.
        faults: those for which `at_work` holds.
        t: the tick.
        queue: queue of each group, for the slots.
        strength: `WorldParams.strength`.
    """
    for fault in faults:
        s = float(np.clip(fault.severity * strength, 0.0, 1.0))
        if fault.begin <= t < fault.end:
            EFFECTS[fault.kind](rates, fault, s, t - fault.begin)
            if fault.kind == "slots_lost":
                rates.slots[np.unique(queue[fault.groups])] *= 1.0 - s
        missed = t - fault.begin - heartbeat(fault)
        if 0 <= missed < VANISH_TICKS:
            rates.vanish[fault.groups] = 0.3 if missed < VANISH_TICKS - 1 else 1.0


def at_work(fault: Fault, t: int) -> bool:
    """Whether the incident lasts at tick t, or jobs that it has lost are still counted as running."""
    return fault.begin <= t < max(fault.end, fault.begin + heartbeat(fault) + VANISH_TICKS)


def heartbeat(fault: Fault) -> int:
    """Ticks until lost jobs are declared failed; a batch system that kills them itself says so at once."""
    if fault.kind == "slots_lost" and fault.mode > 0.6:
        return 0
    return HEARTBEAT_TICKS + int(6 * fault.mode)


def lost_share(fault: Fault) -> float:
    """Share of the running jobs whose nodes die when the incident begins."""
    if fault.kind == "site_down":
        return fault.severity
    if fault.kind == "slots_lost" and fault.mode > 0.3:
        return fault.severity
    return 0.0
