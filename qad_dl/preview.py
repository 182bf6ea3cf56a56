"""What people would have been told in past weeks: the collector's own way from scores to messages, tick by tick.

    backtest -> incidents at each tick (`incident_log.follow`) -> outbox -> routes, silences, quiet hours, cap

Each side of a preview is one setting: a budget, rules, routes, and what is tuned. All sides share one backtest. The
outbox is the real one, in a folder that is thrown away, and its channels keep what they are given, and send nothing.

The incidents of a tick are found in the week before it, so scoring begins a week early; following begins a day early,
that what was open by then is not taken for new. Silences are not looked at: those of today say nothing of past weeks.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.backtest import newest_tick
from qad_dl.errors import ConfigError
from qad_dl.followed import OPENED, REOPENED, UPDATED, Transition
from qad_dl.incident_log import follow
from qad_dl.preview_hits import Heard, Hit, hits_of
from qad_dl.preview_sights import Course, Level, flagged_at, found_at, scored_pieces
from qad_dl.preview_tape import PEOPLE, Sent, Tape, keeping
from qad_dl.progress import progress
from qad_dl.sinks.news import News, records_of
from qad_dl.sinks.outbox import Outbox
from qad_dl.sinks.places import places_of
from qad_dl.sinks.plan import Gates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.followed import Followed
    from qad_dl.histories import History
    from qad_dl.incidents import Found, Values
    from qad_dl.incidents_file import Incident
    from qad_dl.results import Results
    from qad_dl.scorer import Scorer
    from qad_dl.sinks.policy import Policy
    from qad_dl.sinks.routing import Channel
    from qad_dl.tuning.file import Tune


@dataclass(frozen=True)
class Setting:
    """What one side of a preview is replayed with.

    Attributes:
        policy: who is told what.
        tunes: what is tuned, by label of the bundle.
    """

    policy: Policy
    tunes: Mapping[str, Tune] = field(default_factory=dict)


@dataclass(frozen=True)
class Side:
    """What one policy would have sent.

    Attributes:
        policy: the policy.
        thresholds: score from which a tick is flagged, by label of the bundle.
        sent: all that went out in the range, in order.
        waiting: news that still waits behind a gate at its end.
        opened: incidents that were opened in the range and that some channel is told of, by name.
        heard: the known incidents; empty without any.
        strange: names of incidents that were opened and are no known one; None without known ones.
    """

    policy: Policy
    thresholds: Mapping[str, float]
    sent: tuple[Sent, ...]
    waiting: int
    opened: Mapping[str, News]
    heard: tuple[Heard, ...] = ()
    strange: frozenset[str] | None = None

    @property
    def messages(self) -> tuple[Sent, ...]:
        """What somebody would have read."""
        return tuple(sent for sent in self.sent if sent.sink in PEOPLE)


@dataclass(frozen=True)
class Preview:
    """All sides, in the order of their policies.

    Attributes:
        start, end: the range, half open.
        sides: what each policy would have sent.
    """

    start: np.datetime64
    end: np.datetime64
    sides: tuple[Side, ...]

    @property
    def days(self) -> float:
        """Length of the range."""
        return float((self.end - self.start) / np.timedelta64(1, "D"))


def preview(
    store: History,
    scorers: Mapping[str, Scorer],
    settings: Sequence[Setting],
    start: np.datetime64,
    end: np.datetime64,
    incidents: Sequence[Incident] = (),
) -> Preview:
    """Replay [start, end) under each setting.

    Args:
        store: history and metadata; nothing in it is changed.
        scorers: by the label that the collector gives the bundle.
        settings: one for each side.
        start: first tick whose messages count.
        end: one past the last.
        incidents: known ones.

    Raises:
        InputError: the store has no tick in the range, or does not have what a known incident names.
        ConfigError: the range is empty, or a budget is out of its range.
    """
    tick = store.tick
    times = tick.range(start, min(end, newest_tick(store) + tick.delta))
    if not times.size:
        msg = f"--start {start}Z to --end {end}Z holds no tick up to the newest of the store, {newest_tick(store)}Z"
        raise ConfigError(msg)
    with tempfile.TemporaryDirectory(prefix="qad-preview-") as folder:
        sides = [_Replay(setting, scorers, Path(folder) / str(i)) for i, setting in enumerate(settings)]
        courses = [Course(store, label, scorer) for label, scorer in scorers.items()]
        for piece in scored_pieces(store, courses, times):
            _replay(piece, courses, sides)
        made = [side.side(times[0]) for side in sides]
    if incidents:
        until = times[-1] + tick.delta
        hits = hits_of(incidents, [course.span().past for course in courses], store, (times[0], until))
        made = [_against(side, hits, times[0], until) for side in made]
    return Preview(times[0], times[-1] + tick.delta, tuple(made))


def restricted(channels: Sequence[Channel], group: Mapping[str, str]) -> tuple[Channel, ...]:
    """The channels with what they are told cut down to a group.

    Args:
        channels: any.
        group: metadata that a queue of an incident must have, beside what the routes ask for.
    """
    kept = []
    for channel in channels:
        matches = [
            {**match, **group}
            for match in channel.matches
            if all(match.get(name, value) == value for name, value in group.items())
        ]
        if matches:
            kept.append(channel._replace(matches=tuple(matches)))
    return tuple(kept)


class _Replay:
    """One setting at work."""

    def __init__(self, setting: Setting, scorers: Mapping[str, Scorer], folder: Path) -> None:
        policy = setting.policy
        self.policy, self.outbox = policy, Outbox(folder)
        self.levels = {
            label: Level(policy.budget, s.bundle.detection.threshold(policy.budget), setting.tunes.get(label))
            for label, s in scorers.items()
        }
        self.tape = Tape()
        self.sinks = [(channel, keeping(channel, self.tape)) for channel in policy.channels]
        self.incidents: dict[str, tuple[Followed, ...]] = {}
        self.held = False

    def follow(self, course: Course, window: Results, values: Values, found: Sequence[Found]) -> list[News]:
        """What happens at the last tick of a window."""
        at, label = window.times[-1], course.label
        level = self.levels[label]
        results = flagged_at(window, level, course.metadata)
        known = self.incidents.get(label, ())
        self.incidents[label], happened = follow(known, results, values, self.policy.rules, course.piece, found)
        records = course.metadata.at(at)
        places = places_of([t.incident for t in happened], results, level.tune)
        return [
            News(label, at, t, records=records_of(t, results, records), place=place)
            for t, place in zip(happened, places, strict=True)
        ]

    def tell(self, at: np.datetime64, news: Sequence[News]) -> None:
        """Tell what is new and what waits, as the collector does at the end of a tick."""
        if not news and not self.held:
            return
        self.outbox.add(news)
        self.tape.begin(at, news)
        seconds = float(at.astype(np.int64))
        gates = Gates(seconds, (), self.policy.quiet, self.policy.per_hour)
        going = [
            News(label, i.last, Transition(UPDATED, i))
            for label, held in self.incidents.items()
            for i in held
            if i.open
        ]
        wall = datetime.fromtimestamp(seconds, UTC)
        delivered = self.outbox.deliver(self.sinks, gates, going, wall, self.policy.review_url)
        self.held = any(delivered.held.values()) or any(delivered.pending.values())

    def side(self, start: np.datetime64) -> Side:
        """What was sent from a tick on."""
        begun = [n for n in self.tape.news.values() if n.transition.action in _BEGINS and n.tick >= start]
        opened = {n.name: n for n in begun if any(channel.takes(n) for channel in self.policy.channels)}
        sent = tuple(s for s in self.tape.sent if s.at >= start)
        thresholds = {label: level.threshold for label, level in self.levels.items()}
        return Side(self.policy, thresholds, sent, len(self.outbox.waiting()), opened)


_BEGINS: Final = (OPENED, REOPENED)


def _replay(piece: NDArray[np.datetime64], courses: Sequence[Course], sides: Sequence[_Replay]) -> None:
    """Follow and tell, tick by tick."""
    spans = [course.span() for course in courses]
    levels = [[side.levels[course.label] for side in sides] for course in courses]
    found = [found_at(span, piece, level) for span, level in zip(spans, levels, strict=True)]
    ticks = progress(zip(piece, zip(*found, strict=True), strict=True), "replay", len(piece), "tick")
    for at, by_course in ticks:
        news: list[list[News]] = [[] for _ in sides]
        for course, span, sights in zip(courses, spans, by_course, strict=True):
            window = span.window(at)
            values = span.values(window)
            for said, side, mine in zip(news, sides, sights, strict=True):
                said += side.follow(course, window, values, mine)
        for said, side in zip(news, sides, strict=True):
            side.tell(at, said)


def _against(side: Side, hits: Sequence[Hit], start: np.datetime64, end: np.datetime64) -> Side:
    """A side beside the incidents that are known."""
    heard = []
    for hit in hits:
        if start <= hit.incident.start < end:
            first: dict[str, Sent] = {}
            for sent in side.sent:
                if sent.to not in first and any(hit.told_by(news) for news in sent.news):
                    first[sent.to] = sent
            heard.append(Heard(hit.incident, len(hit.queues), first))
    strange = {name for name, news in side.opened.items() if not any(hit.excuses(news) for hit in hits)}
    return replace(side, heard=tuple(heard), strange=frozenset(strange))
