"""What reviewers said: problem, expected or unsure, of an incident, of a queue in a range, of a group.

A label is one reviewer's word; two reviewers who label the same thing make two labels, and nobody overwrites another's.
Everything that happens to labels is an `Event`, and events are only ever added (`LabelLog`); labels are what follows
from the events (`labels_of`), whatever the order in which they came in.
"""

from qad_dl.labels.book import ConflictError, Label, Labels, labels_of
from qad_dl.labels.cover import Span, label_mask, spans_of
from qad_dl.labels.event import (
    EXPECTED,
    PROBLEM,
    PUT,
    UNDO,
    UNSURE,
    WORDS,
    Event,
    GroupTarget,
    IncidentTarget,
    QueueTarget,
    Target,
    event_of,
)
from qad_dl.labels.exchange import format_events, parse_events
from qad_dl.labels.log import LabelLog, Merged

__all__ = [
    "EXPECTED",
    "PROBLEM",
    "PUT",
    "UNDO",
    "UNSURE",
    "WORDS",
    "ConflictError",
    "Event",
    "GroupTarget",
    "IncidentTarget",
    "Label",
    "LabelLog",
    "Labels",
    "Merged",
    "QueueTarget",
    "Span",
    "Target",
    "event_of",
    "format_events",
    "label_mask",
    "labels_of",
    "parse_events",
    "spans_of",
]
