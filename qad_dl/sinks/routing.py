"""Who is told what, and when: routes by metadata, silences, quiet hours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, time
from typing import TYPE_CHECKING

from qad_dl.incidents_file import QUEUE_FIELD
from qad_dl.sinks.news import MONITOR

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime, tzinfo

    from qad_dl.sinks.news import News


@dataclass(frozen=True)
class Route:
    """One way for news.

    Attributes:
        sink: where to.
        match: metadata that a queue of the incident must have, all of them; everything where empty.
        to: recipients or a channel; those of the sink where empty.
    """

    sink: str
    match: Mapping[str, str]
    to: tuple[str, ...] = ()


@dataclass(frozen=True)
class Channel:
    """All routes with one end, so that nobody is told twice of what matches two of them.

    Attributes:
        sink: where to.
        to: recipients or a channel; those of the sink where empty.
        matches: any of them must match.
    """

    sink: str
    to: tuple[str, ...] = ()
    matches: tuple[Mapping[str, str], ...] = ({},)

    @property
    def name(self) -> str:
        """What it is called in files and reports."""
        return f"{self.sink} {', '.join(self.to)}" if self.to else self.sink

    def takes(self, news: News) -> bool:
        """Whether the news goes there."""
        return any(fits(match, news) for match in self.matches)


def channels_of(sinks: Iterable[str], routes: Sequence[Route]) -> tuple[Channel, ...]:
    """The channels of some sinks. One without a route is told everything.

    Of the collector's own troubles, which have no metadata, a sink is told at its own recipients where no route takes
    them: a route takes them if it matches everything, or `kind = "monitor"`.
    """
    channels = []
    for sink in sinks:
        by_end: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
        for route in routes:
            if route.sink == sink:
                by_end.setdefault(tuple(sorted(route.to)), []).append(route.match)
        if not any(match.items() <= {("kind", MONITOR)} for matches in by_end.values() for match in matches):
            by_end.setdefault((), []).append({"kind": MONITOR} if by_end else {})
        channels += [Channel(sink, to, tuple(matches)) for to, matches in by_end.items()]
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


@dataclass(frozen=True)
class Quiet:
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
