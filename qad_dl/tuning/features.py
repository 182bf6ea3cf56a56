"""What an incident looks like in a few numbers that people can name; for the model that orders incidents.

All are taken from the scores of the range that shows the incident, with the incident itself and the week before it:
never from labels, from other incidents, or from what comes after.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.events import find_events
from qad_dl.evidence import evidence
from qad_dl.schema import FLOW_STATES, INCIDENT_KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.results import Results

WEEK_TICKS: Final = 1008
"""So far back is looked for earlier flags of the same queues."""

KIND: Final = "kind "
"""Begins the name of the features that say whether an incident is of a kind."""

WORDS: Final[Mapping[str, str]] = {
    "score": "highest score above the threshold",
    "rise": "ticks from its begin to the highest score, doublings",
    "length": "ticks that it lasts, doublings",
    "queues": "queues, doublings",
    "alone": "one queue alone",
    "failures": "share of what its queues show by counts of finished, failed, cancelled or closed jobs",
    "low": "share of what its queues show by what is low",
    "expected": "share of its time in which a fall was expected",
    "before": "flags of a queue of it in the week before, doublings",
    **{KIND + kind: f"kind {kind}" for kind in INCIDENT_KINDS},
}
"""Every feature in words."""


@dataclass(frozen=True)
class Sight:
    """An incident by the indices of the results that show it.

    Attributes:
        series: its queues.
        start, end: ticks, half open.
        kind: likeliest kind.
        group: whether it is told by what its queues share.
    """

    series: tuple[int, ...]
    start: int
    end: int
    kind: str
    group: bool


def describe(results: Results, sights: Sequence[Sight]) -> NDArray[np.float64]:
    """[incidents, features], the columns as in `WORDS`; finite.

    Args:
        results: that show them; evidence counts from the threshold that each series has.
        sights: incidents of one tick at least.
    """
    begins = [_begins(results, i) for i in range(len(results.series))] if sights else []
    return np.array([_described(results, sight, begins) for sight in sights]).reshape(-1, len(WORDS))


def _begins(results: Results, i: int) -> NDArray[np.int64]:
    return np.array([event.start for event in find_events(results.flagged[i], results.score[i])], np.int64)


def _described(results: Results, sight: Sight, begins: Sequence[NDArray[np.int64]]) -> list[float]:
    rows, ticks = list(sight.series), slice(sight.start, sight.end)
    signs = np.nan_to_num(evidence(results)[rows, ticks], nan=0.0)
    top = signs.max(axis=0)
    peak = int(top.argmax())
    first = max(0, sight.start - WEEK_TICKS)
    before = [int(((begins[i] >= first) & (begins[i] < sight.start)).sum()) for i in rows]
    failures, low = _shares(results, rows, ticks)
    named = {
        "score": float(np.clip(top[peak] - results.threshold, -2.0, 10.0)),
        "rise": float(np.log2(1 + peak)),
        "length": float(np.log2(sight.end - sight.start)),
        "queues": float(np.log2(len(rows))),
        "alone": float(not sight.group),
        "failures": failures,
        "low": low,
        "expected": float(results.expected[rows, ticks].mean()),
        "before": float(np.log2(1 + np.mean(before))),
        KIND + sight.kind: 1.0,
    }
    return [named.get(name, 0.0) for name in WORDS]


def _shares(results: Results, rows: Sequence[int], ticks: slice) -> tuple[float, float]:
    """Shares of what its queues show by themselves that flows and that what is low add most to."""
    score = np.nan_to_num(results.alone[rows, ticks], nan=0.0)
    state, low = results.state[rows, ticks], results.direction[rows, ticks] < 0
    flows = np.array([name in FLOW_STATES for name in results.states] + [False])  # the last is for unscored ticks
    total = float(score.sum()) or 1.0
    return float(score[flows[state]].sum()) / total, float(score[low].sum()) / total
