"""Alertmanager: every open incident is an alert, posted again at each tick, and resolved when it is over.

The labels are an alert's identity. They are set when it is posted first and stay, whatever is learned later; what
changes is in the annotations.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from qad_dl.incidents_file import QUEUE_FIELD
from qad_dl.sinks.message import OPENED, link_to, shown, single
from qad_dl.sinks.news import MONITOR
from qad_dl.timeparse import format_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from qad_dl.sinks.news import News
    from qad_dl.sinks.post import Poster

LABELLED: Final = ("cloud", "tier", "atlas_site", "federation", "harvester", "type", "resource_type")
"""Metadata that become labels where all queues of an incident share them, for Alertmanager's routes and groups."""

AHEAD: Final = timedelta(minutes=30)
"""An alert that is not posted again for three ticks resolves: whoever is told by us must know that we live."""

LONGEST: Final = 1000


@dataclass(frozen=True)
class AlertmanagerSink:
    """An Alertmanager.

    Attributes:
        poster: its address up to `/api/v2/alerts`.
        review_url: address of the review page, for links.
    """

    poster: Poster
    review_url: str = ""

    def post(self, alerts: Sequence[tuple[News, Mapping[str, str]]], now: datetime) -> None:
        """Post alerts: those of open incidents go on, the others resolve.

        Args:
            alerts: the newest news of each incident, and its labels.
            now: by the clock that Alertmanager has, aware.

        Raises:
            SinkError: it is refused, or nobody answers.
        """
        if alerts:
            self.poster.post([_alert(news, labels, now, self.review_url) for news, labels in alerts])

    def check(self) -> None:
        """See whether it is there and lets us in; raises as `post`."""
        self.poster.check(readable=True)


def labels_of(news: News) -> dict[str, str]:
    """The labels of an incident that is posted for the first time."""
    incident = news.incident
    if incident.kind == MONITOR:
        return {"alertname": "QueueAnomalyMonitor", "incident": incident.id, "trouble": _value(incident.value)}
    labels = {"alertname": "QueueAnomaly", "incident": incident.id, "bundle": _value(news.label)}
    for name in LABELLED:
        values = {news.records.get(queue, {}).get(name, "") for queue in incident.queues}
        if len(values) == 1 and (value := values.pop()):
            labels[name] = _value(value)
    if not incident.group and incident.field == QUEUE_FIELD:
        labels[QUEUE_FIELD] = _value(incident.value)
    return labels


def _value(text: str) -> str:
    """A label's value, which must be UTF-8; cut, since it becomes a part of mails' subjects and of addresses."""
    return shown(text, LONGEST) if len(text) > LONGEST else text.encode("utf-8", "backslashreplace").decode()


def _alert(news: News, labels: Mapping[str, str], now: datetime, review_url: str) -> dict[str, Any]:
    message = single(news.key, OPENED, news, review_url)
    incident = news.incident
    alert: dict[str, Any] = {
        "labels": dict(labels),
        "annotations": {
            "summary": message.title.removeprefix("[qad] "),
            "description": message.plain().strip(),
            "onset": format_time(incident.start),
            "kind": incident.kind,
            "queues": str(len(incident.queues)),
            "score": f"{incident.score:.1f}",
        },
        "endsAt": (now + AHEAD if incident.open else now).isoformat(),
    }
    link = link_to(incident, review_url)
    return {**alert, "generatorURL": link} if link else alert
