"""The incidents of the page: ranked, each with its queues, a sparkline, and the counts that show it most."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qad_dl.incident_features import figures, in_notable_units, incident_features, leader
from qad_dl.incidents_file import QUEUE_FIELD
from qad_dl.review.spark import sparkline
from qad_dl.tuning.features import Sight
from qad_dl.tuning.order import placings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qad_dl.incidents_file import Incident
    from qad_dl.metadata import Record
    from qad_dl.results import Details, Results
    from qad_dl.tuning.order import Order, Placing

Json = dict[str, Any]


def named(incidents: Sequence[Incident]) -> list[Incident]:
    """The incidents under names that say what they are, so that labels find them again in another range.

    The form is that of the collector's incidents: when it began, and a digest of what it is.
    """
    return [incident._replace(incident=incident_name(incident)) for incident in incidents]


def incident_name(incident: Incident) -> str:
    """For example `20260121T1530-1f0c3a`."""
    text = "|".join((str(incident.start), incident.field, incident.value, *incident.queues))
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    return f"{str(incident.start)[:16].replace(':', '').replace('-', '')}-{digest}"


@dataclass(frozen=True)
class Placed:
    """An incident by the indices of the results.

    Attributes:
        incident: itself.
        series: indices of its queues, the highest score first; a queue that is not shown is left out.
        start, end: ticks, half open, inside the range.
        placing: its place in the order that reviewers taught; None where none was.
    """

    incident: Incident
    series: tuple[int, ...]
    start: int
    end: int
    placing: Placing | None = None

    @property
    def rank(self) -> tuple[float, float, int, int, str]:
        """What the list goes by: the taught order where there is one, then severity, size, and time."""
        chance = 0.0 if self.placing is None else self.placing.chance
        return (-chance, -(self.incident.severity or 0.0), -len(self.series), self.start, self.incident.incident)


def place(
    incidents: Sequence[Incident], results: Results, metadata: Mapping[str, Record], order: Order | None = None
) -> list[Placed]:
    """Those incidents that the range shows, the highest severity first, or in the order that reviewers taught.

    Args:
        incidents: as they were found, followed, or written down; where no queues are listed the metadata name them.
        results: what is shown.
        metadata: queue -> its metadata.
        order: what reviewers taught; None where nothing.
    """
    at = results.entity.index(QUEUE_FIELD) if QUEUE_FIELD in results.entity else 0
    rows: dict[str, list[int]] = {}
    for i, key in enumerate(results.series):
        rows.setdefault(key[at], []).append(i)
    found = []
    for incident in incidents:
        start, end = (int(np.searchsorted(results.times, t)) for t in (incident.start, incident.end))
        series = [i for queue in queues_of(incident, metadata) for i in rows.get(queue, ())]
        if start < end and series:
            top = np.nan_to_num(results.alone[series, start:end], nan=-1.0).max(axis=1)
            ranked = [series[k] for k in np.argsort(-top, kind="stable")]
            found.append(Placed(incident, tuple(ranked), start, end))
    if order is not None:
        sights = [Sight(p.series, p.start, p.end, p.incident.kind, p.incident.field != QUEUE_FIELD) for p in found]
        found = [replace(p, placing=o) for p, o in zip(found, placings(order, results, sights), strict=True)]
    return sorted(found, key=lambda p: p.rank)


def queues_of(incident: Incident, metadata: Mapping[str, Record]) -> Sequence[str]:
    """The queues of an incident by name: as listed, or by field and value."""
    if incident.queues:
        return incident.queues
    if incident.field == QUEUE_FIELD:
        return (incident.value,)
    return sorted(queue for queue, record in metadata.items() if record.get(incident.field) == incident.value)


def incident_line(placed: Placed, results: Results, details: Details, rank: Mapping[int, int], of: int) -> Json:
    """One incident of the list; the keys are short because the page holds many.

    Args:
        placed: the incident.
        results: what is shown.
        details: of the results.
        rank: series -> its row in the page.
        of: how many of the series shown have the value; 0 where that is not known.
    """
    incident, series, ticks = placed.incident, list(placed.series), slice(placed.start, placed.end)
    score, flagged = results.score[series], np.any(results.flagged[series], axis=0)
    placing = placed.placing
    highest = np.where(np.isfinite(score), score, -1.0).max(axis=0)
    state, direction = leader(results, series, ticks)
    features = incident_features(results, series, placed.start, placed.end, of)
    top = incident.severity if incident.severity is not None else max(0.0, float(highest[ticks].max()))
    return {
        "id": incident.incident,
        "k": incident.kind,
        "f": incident.field,
        "v": incident.value,
        "a": placed.start,
        "b": placed.end,
        "top": round(float(top), 2),
        "q": [rank[i] for i in series],
        "of": of,
        "s": sparkline(np.where(highest >= 0, highest, np.nan), flagged, results.threshold),
        "w": [state, direction, *figures(details, series, ticks, state, direction)],
        "z": [round(float(z), 2) for z in in_notable_units(features)],
        **({} if placing is None else {"p": placing.chance, "y": placing.why}),
    }
