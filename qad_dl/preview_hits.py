"""Known incidents beside what a preview tells: which news is of one, and who would have heard of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.followed import REOPENED
from qad_dl.incident_log import series_names
from qad_dl.metrics.budget import GRACE
from qad_dl.metrics.hits import incident_windows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qad_dl.histories import History
    from qad_dl.incidents_file import Incident
    from qad_dl.preview_tape import Sent
    from qad_dl.results import Results
    from qad_dl.sinks.news import News

EARLY: Final = np.timedelta64(2, "h").astype("timedelta64[s]")
"""Evidence of a group that begins so long before a known incident may be told with it."""

AFTER: Final = np.timedelta64(24, "h").astype("timedelta64[s]")
"""What begins so soon after a known incident is no false alarm, as in the measures."""


@dataclass(frozen=True)
class Heard:
    """A known incident, and who would have heard of it.

    Attributes:
        incident: the row of the incidents file.
        queues: how many queues it hits.
        first: by channel, the first message that tells it.
    """

    incident: Incident
    queues: int
    first: Mapping[str, Sent]

    @property
    def message(self) -> Sent | None:
        """The first one to anybody; None where nobody is told."""
        return min(self.first.values(), key=lambda sent: (sent.at, sent.to), default=None)

    @property
    def delay_min(self) -> float | None:
        """Minutes from its start to that message."""
        first = self.message
        return None if first is None else float((first.at - self.incident.start) / np.timedelta64(60, "s"))


@dataclass(frozen=True)
class Hit:
    """A known incident that begins in the range, and the names of the queues that it hits."""

    incident: Incident
    queues: frozenset[str]

    def told_by(self, news: News) -> bool:
        """Whether news is of it: of its queues, and begun inside it or within an hour after (a group a bit before)."""
        followed = news.incident
        began = news.tick if news.transition.action == REOPENED else followed.start
        early = EARLY if followed.group else np.timedelta64(0, "s")
        inside = self.incident.start - early <= began < self.incident.end + GRACE
        return bool(inside and news.tick >= self.incident.start and self.queues.intersection(followed.queues))

    def excuses(self, news: News) -> bool:
        """Whether what began is no false alarm because of it, or of what comes back within a day after it."""
        followed = news.incident
        inside = self.incident.start - EARLY <= news.tick < self.incident.end + AFTER
        return bool(inside and self.queues.intersection(followed.queues))


def hits_of(
    incidents: Sequence[Incident], pasts: Sequence[Results], store: History, span: tuple[np.datetime64, np.datetime64]
) -> list[Hit]:
    """The known incidents with the queues that they hit, of those that any bundle scores."""
    metadata = store.metadata()
    queues = {key[0] for key in store.known_series(span[1] + np.timedelta64(1, "D"))}
    queues |= {name for dump in metadata.dumps for name in dump}
    hit: dict[str, set[str]] = {}
    for past in pasts:
        names = series_names(past)
        windows = incident_windows(incidents, past.entity, past.series, metadata, queues, span)
        for window in windows:
            hit.setdefault(window.name, set()).update(names[row] for row in window.rows)
    return [Hit(i, frozenset(hit[i.incident])) for i in incidents if i.incident in hit]
