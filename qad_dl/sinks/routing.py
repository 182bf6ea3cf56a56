"""Who is told what, and when: routes by metadata, silences, quiet hours."""

from __future__ import annotations

from datetime import UTC, time
from typing import TYPE_CHECKING, NamedTuple

from qad_dl.incidents_file import QUEUE_FIELD
from qad_dl.sinks.news import MONITOR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, tzinfo

    from qad_dl.sinks.news import News


class Route(NamedTuple):
    """One way for news.

    Attributes:
        sink: where to.
        match: metadata that a queue of the incident must have, all of them; everything where empty.
        to: recipients or a channel; those of the sink where empty.
    """

    sink: str
    match: Mapping[str, str]
    to: tuple[str, ...] = ()


class Channel(NamedTuple):
    """All routes with one end, so that nobody is told twice of what matches two of them.

    Attributes:
        sink: where to.
        to: one recipient; that of the sink where empty.
        matches: any of them must match.
    """

    sink: str
    to: str = ""
    matches: tuple[Mapping[str, str], ...] = ({},)

    @property
    def name(self) -> str:
        """What it is called in files and reports."""
        return f"{self.sink} {self.to}" if self.to else self.sink

    def takes(self, news: News) -> bool:
        """Whether the news goes there."""
        return any(fits(match, news) for match in self.matches)


def channels_of(sinks: Mapping[str, Sequence[str]], routes: Sequence[Route]) -> tuple[Channel, ...]:
    """The channels of some sinks, one for each recipient. A sink without a route is told everything.

    Of the collector's own troubles, which have no metadata, a sink's own recipients are told where no route takes
    them: a route takes them if it matches everything, or `kind = "monitor"`.

    Args:
        sinks: their own recipients by name; none where a sink has but one end.
        routes: all of them.
    """
    channels = []
    for sink, own in sinks.items():
        ends: dict[str, list[Mapping[str, str]]] = {}
        mine = [route for route in routes if route.sink == sink]
        if not any(route.match.items() <= {("kind", MONITOR)} for route in mine):
            mine = [*mine, Route(sink, {"kind": MONITOR} if mine else {})]
        for route in mine:
            for to in route.to or tuple(own) or ("",):
                ends.setdefault(to, []).append(route.match)
        channels += [Channel(sink, to, tuple(matches)) for to, matches in ends.items()]
    return tuple(channels)


def fits(match: Mapping[str, str], news: News, *, every: bool = False) -> bool:
    """Whether news has what is asked for.

    Args:
        match: metadata, or `panda_queue`, `kind`, `bundle`, `incident`, and `trouble` of the collector's own.
        news: any.
        every: all queues must have it; for a route one is enough.
    """
    incident = news.incident
    whole = {"kind": incident.kind, "bundle": news.label, "incident": incident.id}
    if incident.kind == MONITOR:
        whole["trouble"] = incident.value
        return all(whole.get(name) == value for name, value in match.items())
    left = {name: value for name, value in match.items() if name not in whole}
    if any(whole[name] != match[name] for name in match.keys() - left.keys()):
        return False
    hit = [_has(left, queue, news.records.get(queue, {})) for queue in incident.queues]
    return all(hit) if every else any(hit) or not left


def _has(match: Mapping[str, str], queue: str, record: Mapping[str, str]) -> bool:
    return all(({QUEUE_FIELD: queue} | dict(record)).get(name) == value for name, value in match.items())


class Quiet(NamedTuple):
    """Hours in which only what is severe is told; the rest waits for their end.

    Attributes:
        start, end: time of day; the same for both is never. A start after the end is over midnight.
        zone: whose time of day.
        least_score: from this score on it is told all the same.
    """

    start: time = time(0)
    end: time = time(0)
    zone: tzinfo = UTC
    least_score: float = 8.0

    def holds(self, news: News, now: datetime) -> bool:
        """Whether news has to wait.

        Args:
            news: any.
            now: aware.
        """
        at = now.astimezone(self.zone).time()
        over_midnight = self.start > self.end
        quiet = (at >= self.start or at < self.end) if over_midnight else self.start <= at < self.end
        return quiet and news.incident.score < self.least_score
