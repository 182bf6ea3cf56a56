"""Which queues and which ticks a label is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.incidents_file import Incident, hit_queues
from qad_dl.labels.event import GroupTarget, IncidentTarget

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.labels.book import Label
    from qad_dl.metadata import Metadata
    from qad_dl.schema import Times

UNSAID_KIND = "other"
"""The kind of an incident of which nobody has said the kind."""


@dataclass(frozen=True)
class Span:
    """A queue over [start, end), UTC `datetime64[s]`."""

    panda_queue: str
    start: np.datetime64
    end: np.datetime64


def incident_of(label: Label, ends: Mapping[str, np.datetime64] | None = None) -> Incident | None:
    """What is labelled as an incident of the file format, under the label's id.

    Args:
        label: the label.
        ends: when incidents that went on when they were labelled were over, by id. The word on one that is not there
            holds up to the moment at which it was said: whoever said it knew no more.

    Returns:
        The incident; None where nothing of it had happened when it was labelled.
    """
    target = label.target
    end = target.end
    if isinstance(target, IncidentTarget) and end is None:
        end = (ends or {}).get(target.incident, label.newest.time.astype("datetime64[s]"))
    if end is None or end <= target.start:
        return None
    kind = label.kind or UNSAID_KIND
    if isinstance(target, IncidentTarget):
        field, value = target.field or "", target.value or ""
        return Incident(label.id, kind, field, value, target.start, end, queues=target.queues)
    if isinstance(target, GroupTarget):
        return Incident(label.id, kind, target.field, target.value, target.start, end)
    return Incident(label.id, kind, "panda_queue", target.panda_queue, target.start, end, queues=(target.panda_queue,))


def spans_of(label: Label, metadata: Metadata, ends: Mapping[str, np.datetime64] | None = None) -> tuple[Span, ...]:
    """The queues and times that a label is about; of a group the queues that have the value at its start.

    Args:
        label: the label.
        metadata: of the store.
        ends: see `incident_of`.

    Raises:
        InputError: a group by a field that no metadata record has.
    """
    incident = incident_of(label, ends)
    if incident is None:
        return ()
    return tuple(Span(queue, incident.start, incident.end) for queue in hit_queues(incident, metadata))


def label_mask(
    labels: Iterable[Label],
    metadata: Metadata,
    queues: Sequence[str],
    times: Times,
    ends: Mapping[str, np.datetime64] | None = None,
) -> NDArray[np.bool_]:
    """Where any of the labels holds: [N, T] for `queues` by `times`; a queue that is not among them is passed over.

    Args:
        labels: choose them by their word first.
        metadata: of the store.
        queues: names, [N]; a name may be there several times.
        times: ticks, [T] `datetime64[s]`, ascending.
        ends: see `incident_of`.

    Raises:
        InputError: a group by a field that no metadata record has.
    """
    mask = np.zeros((len(queues), len(times)), dtype=bool)
    rows: dict[str, list[int]] = {}
    for row, queue in enumerate(queues):
        rows.setdefault(queue, []).append(row)
    for label in labels:
        for span in spans_of(label, metadata, ends):
            first, last = np.searchsorted(times, (span.start, span.end))
            mask[rows.get(span.panda_queue, []), first:last] = True
    return mask
