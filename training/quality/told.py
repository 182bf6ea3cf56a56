"""How incidents are told: groups by the right value, as one, in time; kinds by their right name."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.incidents_file import QUEUE_FIELD
from qad_dl.metrics.budget import GRACE
from qad_dl.metrics.episodes import episode_begins
from qad_dl.metrics.truth import RECOVERY, span

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.incidents import Found, Values
    from qad_dl.incidents_file import Incident
    from qad_dl.metrics.truth import Truth, Window
    from training.quality.known import Known


EARLY_TICKS: Final = 12
"""Evidence of a group that begins up to two hours before an incident may be told with it."""

HEARD_WITHIN: Final = 72
"""Ticks after the start of a group incident in which its telling is looked for, tick by tick,"""

TOLD_FROM: Final = 144
"""each time from what was known since so many ticks before it."""


@dataclass(frozen=True)
class Telling:
    """What was told, beside what was.

    Attributes:
        known: what was.
        found: what was told.
        values: the metadata values that may be told, and their series.
        flagged: [N, T] bool, the decision of each queue alone.
        tell: what would be told from the ticks [first, end) alone, by the indices of all ticks.
    """

    known: Known
    found: Sequence[Found]
    values: Values
    flagged: NDArray[np.bool_]
    tell: Callable[[int, int], Sequence[Found]]

    @property
    def truth(self) -> Truth:
        """Incidents, healthy time, downtimes."""
        return self.known.truth

    def begins(self) -> NDArray[np.bool_]:
        """Where an episode of a queue begins, outside downtimes, [N, T]."""
        return episode_begins(self.flagged, self.truth.tick.per_day) & ~self.truth.left_out


def group_cases(telling: Telling) -> list[dict[str, Any]]:
    """Each incident that hits several series: was it seen, told as one, with the right value, and in time.

    Returns:
        For each: name, kind, field, queues; `seen`: queues of it whose episodes begin inside or within 1 h after it;
        `told`: number of incidents told that begin there on its queues, groups up to `EARLY_TICKS` before; `right`: one
        of them names its value, or one with the very same queues; `one`: that one alone; `alone_ticks`,
        `told_ticks`, `named_ticks`: from its start to the first tick at which a queue of it is flagged, anything is
        told of its queues, and its value is named, by what is known at that tick; None where that does not happen,
        the last two also where it takes longer than `HEARD_WITHIN`.
    """
    begins = telling.begins()
    return [_group_case(telling, begins, w) for w in telling.truth.windows if len(w.rows) > 1]


def _group_case(telling: Telling, begins: NDArray[np.bool_], window: Window) -> dict[str, Any]:
    incident = telling.known.incidents[window.name]
    ticks = span(telling.truth.times, window.start, window.end + GRACE)
    told = [f for f in telling.found if _belongs(f, window, ticks)]
    right = [f for f in told if _names(telling.values, incident, f)]
    hot = begins[list(window.rows), ticks]
    first = np.flatnonzero(hot.any(axis=0))
    heard, named = _heard(telling, incident, window) if told else (None, None)
    return {
        "name": window.name,
        "kind": window.kind,
        "field": incident.field,
        "queues": len(window.rows),
        "seen": int(hot.any(axis=1).sum()),
        "told": len(told),
        "right": bool(right),
        "one": bool(right) and len(told) == 1,
        "alone_ticks": int(first[0]) if first.size else None,
        "told_ticks": heard,
        "named_ticks": named,
    }


def _belongs(found: Found, window: Window, ticks: slice) -> bool:
    """Whether something told is of an incident: its weak evidence may have begun a little before."""
    early = EARLY_TICKS if len(found.series) > 1 else 0
    return bool(ticks.start - early <= found.start < ticks.stop and found.end > ticks.start) and bool(
        set(window.rows) & set(found.series)
    )


def _names(values: Values, incident: Incident, found: Found) -> bool:
    return len(found.series) > 1 and same_value(values, incident, found)


def _heard(telling: Telling, incident: Incident, window: Window) -> tuple[int | None, int | None]:
    """Ticks after its start at which anything is told, and its value is named, from what is known by then."""
    ticks = span(telling.truth.times, window.start, window.end + GRACE)
    heard: int | None = None
    for tick in range(ticks.start, min(ticks.stop, ticks.start + HEARD_WITHIN)):
        known = telling.tell(max(ticks.start - TOLD_FROM, 0), tick + 1)
        told = [f for f in known if _belongs(f, window, ticks)]
        if told and heard is None:
            heard = tick - ticks.start
        if any(_names(telling.values, incident, f) for f in told):
            return heard, tick - ticks.start
    return heard, None


def told_groups(telling: Telling) -> list[dict[str, Any]]:
    """Each group that was told outside downtimes: its value, and whether an incident has it then or in the 24 h before.

    A group of which every queue is in a downtime, or in the 24 h after one, is left out, as its queues are elsewhere.
    """
    out = []
    for f in telling.found:
        if len(f.series) < 2 or telling.truth.left_out[list(f.series), f.start].all():
            continue
        start, end = telling.truth.times[f.start], telling.truth.times[f.end - 1]
        true = any(
            i.start <= end and start < i.end + RECOVERY and same_value(telling.values, i, f)
            for i in telling.known.incidents.values()
        )
        out.append({"field": f.field, "value": f.value, "queues": len(f.series), "kind": f.kind, "true": true})
    return out


def same_value(values: Values, incident: Incident, found: Found) -> bool:
    """Whether a group names the value of an incident, or another that the very same series have."""
    told, wanted = (found.field, found.value), (incident.field, incident.value)
    if told == wanted:
        return True
    if found.field == QUEUE_FIELD or told not in values.names or wanted not in values.names:
        return False
    one, other = (values.member[values.names.index(name)] for name in (told, wanted))
    return bool(np.array_equal(one, other))


def kind_cases(telling: Telling) -> list[dict[str, Any]]:
    """Each incident seen, and the kind of the incident told that has the earliest episode of its queues."""
    begins = telling.begins()
    cases = []
    for window in telling.truth.windows:
        ticks = span(telling.truth.times, window.start, window.end + GRACE)
        rows = np.array(window.rows)
        at = np.argwhere(begins[rows, ticks].T)
        if at.size:
            tick, row = ticks.start + int(at[0, 0]), int(rows[at[0, 1]])
            told = next((f for f in telling.found if row in f.series and f.start <= tick < f.end), None)
            cases.append({"name": window.name, "kind": window.kind, "told": told.kind if told else None})
    return cases


def confusion(cases: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Counts by true and told kind."""
    table: dict[str, Counter[str]] = {}
    for case in cases:
        table.setdefault(case["kind"], Counter())[case["told"] or "nothing"] += 1
    return {kind: dict(sorted(row.items())) for kind, row in sorted(table.items())}
