"""What a channel is told next: a pure function of the news that waits, of what it was told before, and of now.

All that waits of one incident is one case, and is told as it stands now: a channel that was down while an incident
opened, grew and closed gets one message. What several bundles see in the same queues is told by the one that saw it
first. Then the gates: silences, quiet hours, a cap per hour, behind which what
waited comes as a digest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from qad_dl.sinks.message import CLOSED, OPENED, PASSED, REOPENED, UPDATED, digest, single
from qad_dl.sinks.news import MONITOR
from qad_dl.sinks.routing import Quiet
from qad_dl.sinks.silences import silenced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qad_dl.sinks.ledger import Ledger, Told
    from qad_dl.sinks.message import Message
    from qad_dl.sinks.news import News
    from qad_dl.sinks.routing import Channel
    from qad_dl.sinks.silences import Silence

UPDATE_S: Final = 3600.0
"""That an incident grows is told once an hour at most; that a queue turns out to be one of many is told at once."""


UNTAUGHT: Final = 0.5
"""Incidents of a bundle without a taught order are between those that are likely problems and those that are not."""


@dataclass(frozen=True)
class Gates:
    """What can hold news back.

    Attributes:
        now: seconds since the epoch.
        silences: those that are known.
        quiet: the quiet hours.
        per_hour: messages per channel and hour; 0 is no cap.
    """

    now: float
    silences: Sequence[Silence] = ()
    quiet: Quiet = field(default_factory=Quiet)
    per_hour: int = 0

    @property
    def time(self) -> np.datetime64:
        """Now as `datetime64[s]`."""
        return np.datetime64(int(self.now), "s")

    def silenced(self, news: News) -> bool:
        """Whether somebody does not want to know."""
        return silenced(self.silences, news, self.time)

    def quieted(self, news: News) -> bool:
        """Whether it is night."""
        return self.quiet.holds(news, datetime.fromtimestamp(self.now, UTC))


class Case(NamedTuple):
    """All that waits of one incident.

    Attributes:
        news: oldest first, at least one.
        saying: what is said of it, one of `message.HEADINGS`; '' where there is nothing to say.
    """

    news: tuple[News, ...]
    saying: str = ""

    @property
    def newest(self) -> News:
        """As it stands now."""
        return self.news[-1]

    @property
    def name(self) -> str:
        """Of the incident."""
        return self.newest.name


class Plan(NamedTuple):
    """What is to be done.

    Attributes:
        batches: of each message the cases that it tells.
        dropped: cases of which nothing is to be told.
        held: names of the incidents that wait behind a gate.
        waiting: cases that are not due yet, or held.
    """

    batches: tuple[tuple[Case, ...], ...] = ()
    dropped: tuple[Case, ...] = ()
    held: frozenset[str] = frozenset()
    waiting: tuple[Case, ...] = ()


def cases_for(channel: Channel, waiting: Sequence[News], ledger: Ledger) -> tuple[Case, ...]:
    """What waits for a channel, by incident. Whoever was told of an incident is told how it goes on."""
    groups: dict[str, list[News]] = {}
    for news in waiting:
        if not ledger.has(news):
            groups.setdefault(news.name, []).append(news)
    return tuple(
        Case(tuple(group))
        for name, group in groups.items()
        if name in ledger.incidents or any(channel.takes(news) for news in group)
    )


def plan(cases: Sequence[Case], ledger: Ledger, gates: Gates) -> Plan:
    """What a channel for people is told now.

    Args:
        cases: what waits for it.
        ledger: what it was told before.
        gates: what can hold news back.
    """
    due, dropped, waiting, held = [], [], [], set(ledger.held)
    for case in cases:
        told = ledger.incidents.get(case.name)
        saying = saying_of(case.newest, told)
        closed = not case.newest.incident.open
        again = told is None and ledger.covers(case.newest)
        if not saying or again or (closed and gates.silenced(case.newest)):
            dropped.append(case)
        elif gates.silenced(case.newest) or gates.quieted(case.newest):
            waiting.append(case)
            held.add(case.name)
        elif told is not None and saying == UPDATED and not _urgent(case.newest, told, gates.now):
            waiting.append(case)
        else:
            due.append(case._replace(saying=saying))
    due, doubled = _without_doubles(sorted(due, key=_rank), ledger)
    dropped += doubled
    batches, left = _batched(due, held, gates, len(ledger.recent(gates.now)))
    held |= {case.name for case in left}
    return Plan(batches, tuple(dropped), frozenset(held), (*waiting, *left))


def _without_doubles(due: Sequence[Case], ledger: Ledger) -> tuple[list[Case], list[Case]]:
    """Of incidents of several bundles with the same queues the first, and the others."""
    kept: list[Case] = []
    doubled: list[Case] = []
    for case in due:
        queues = set(case.newest.incident.queues)
        others = (k for k in kept if k.newest.label != case.newest.label)
        double = bool(queues) and any(queues <= set(other.newest.incident.queues) for other in others)
        (doubled if double and case.name not in ledger.incidents else kept).append(case)
    return kept, doubled


def saying_of(news: News, told: Told | None) -> str:
    """What is to be said of an incident; '' for nothing."""
    incident = news.incident
    if incident.folded:
        return ""  # its group tells of it
    if told is None:
        return OPENED if incident.open else PASSED
    if told.open != incident.open:
        return REOPENED if incident.open else CLOSED
    if not incident.open:
        return PASSED if incident.reopened > told.reopened else ""
    return UPDATED if _grown(news, told) else ""


def to_message(batch: Sequence[Case], review_url: str) -> Message:
    """The message that tells a batch."""
    key = " ".join(news.key for case in batch for news in case.news)
    if len(batch) == 1:
        return single(key, batch[0].saying, batch[0].newest, review_url)
    return digest(key, [(case.saying, case.newest) for case in batch], review_url)


def _grown(news: News, told: Told) -> bool:
    """Whether it is worth a message that it has changed."""
    incident = news.incident
    renamed = (incident.field, incident.value) != (told.field, told.value)
    return renamed or len(incident.queues) >= max(2 * len(told.queues), len(told.queues) + 3)


def _urgent(news: News, told: Told, now: float) -> bool:
    return (news.incident.group and not told.group) or not 0 <= now - told.at < UPDATE_S


def _rank(case: Case) -> tuple[bool, bool, float, float, str]:
    """The most important first: by the order that reviewers taught where they did, then by score."""
    incident, place = case.newest.incident, case.newest.place
    chance = UNTAUGHT if place is None else place.chance
    return not incident.open, incident.kind != MONITOR, -chance, -incident.score, case.name


def _batched(
    due: Sequence[Case], held: set[str], gates: Gates, sent: int
) -> tuple[tuple[tuple[Case, ...], ...], tuple[Case, ...]]:
    """The messages, as many as the cap lets through, and what it does not."""
    late = tuple(case for case in due if case.name in held)
    batches: list[tuple[Case, ...]] = [(case,) for case in due if len(late) < 2 or case.name not in held]
    if len(late) > 1:
        batches.insert(0, late)
    if not gates.per_hour or len(batches) <= gates.per_hour - sent:
        return tuple(batches), ()
    slots = gates.per_hour - sent
    if slots <= 0:
        return (), tuple(due)
    rest = tuple(case for batch in batches[slots - 1 :] for case in batch)
    return (*batches[: slots - 1], rest), ()
