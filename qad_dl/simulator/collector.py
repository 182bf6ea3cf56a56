"""What a collector far from the server gets to see: holes, late ticks, frozen sources, rows out of order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.schema import Tick, is_flow
from qad_dl.simulator.chance import stream
from qad_dl.simulator.mechanism import REPORTED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qad_dl.simulator.params import WorldParams

FLOW = np.array([is_flow(state) for state in REPORTED])
ZERO_FILLED = np.isin(REPORTED, ("assigned", "activated", "running", "finished", "failed"))
"""PanDA's statistics API fills these with zeros in groups that exist."""

HOUR = 60 // Tick().minutes
MAX_FREEZE_TICKS = 4


@dataclass(frozen=True)
class Collection:
    """How the collection went, per tick `[T]`.

    Attributes:
        arrived: a snapshot was written.
        frozen: its stock counts are those of the tick before.
        sums: its flow counts are those of all ticks since the last that arrived, not only of its own 10 minutes.
        behind: its rows stand behind those of the next tick in the file.
    """

    arrived: NDArray[np.bool_]
    frozen: NDArray[np.bool_]
    sums: NDArray[np.bool_]
    behind: NDArray[np.bool_]


def collection(params: WorldParams) -> Collection:
    """Draw it from the stream 'collector'. The first tick always arrives."""
    rng = stream(params.seed, "collector")
    arrived = rng.random(params.ticks) >= params.missed
    for _ in range(rng.poisson(params.holes * params.days)):
        at = int(rng.integers(0, params.ticks))
        arrived[at : at + int(np.clip(rng.lognormal(np.log(4.0), 0.8), 2, 12 * HOUR))] = False
    arrived[0] = True
    frozen = np.zeros(params.ticks, dtype=bool)
    for _ in range(rng.poisson(params.frozen * params.days)):
        at = int(rng.integers(1, max(params.ticks, 2)))
        frozen[at : at + int(rng.integers(1, MAX_FREEZE_TICKS + 1))] = True
    after_hole = np.concatenate([[False], ~arrived[:-1]]) & arrived
    sums = after_hole & (rng.random(params.ticks) < params.late_sum)
    behind = rng.random(params.ticks) < params.out_of_order
    return Collection(arrived, frozen & arrived, sums, behind)


def observe(counts: NDArray[np.int32], how: Collection) -> NDArray[np.int32]:
    """The counts as collected, `[T, G, S]` int32; ticks that did not arrive keep values that nobody may use."""
    seen = counts.copy()
    last = 0
    for t in range(len(counts)):
        if not how.arrived[t]:
            continue
        if how.sums[t]:
            seen[t][:, FLOW] = counts[last + 1 : t + 1][:, :, FLOW].sum(axis=0)
        if how.frozen[t]:
            seen[t][:, ~FLOW] = seen[last][:, ~FLOW]
        last = t
    return seen


def reported_rows(seen: NDArray[np.int32], zero_fill: bool) -> NDArray[np.bool_]:
    """Which counts `[T, G, S]` become rows: those above 0, and PanDA's zeros in groups that have any job."""
    rows = seen > 0
    if zero_fill:
        rows |= rows.any(axis=2, keepdims=True) & ZERO_FILLED
    return rows
