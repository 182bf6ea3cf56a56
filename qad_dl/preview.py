"""What people would have been told in past weeks: the collector's own way from scores to messages, tick by tick.

    backtest -> incidents at each tick (`incident_log.follow`) -> outbox -> routes, silences, quiet hours, cap

Each side of a preview is one setting: a budget, rules, routes, and what is tuned. All sides share one backtest. The
outbox is the real one, in a folder that is thrown away, and its channels keep what they are given, and send nothing.

The incidents of a tick are found in the week before it, so scoring begins a week early; following begins a day early,
that what was open by then is not taken for new. Silences are not looked at: those of today say nothing of past weeks.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from qad_dl.backtest import newest_tick, run_backtest
from qad_dl.errors import ConfigError
from qad_dl.evidence import plain
from qad_dl.followed import OPENED, REOPENED, UPDATED, Transition
from qad_dl.incident_log import KEPT_TICKS, follow
from qad_dl.incidents import find_incidents, values_among
from qad_dl.joined import joined
from qad_dl.preview_hits import Heard, Hit, hits_of
from qad_dl.preview_tape import PEOPLE, Sent, Tape, keeping
from qad_dl.progress import progress
from qad_dl.results import BY_TICK
from qad_dl.sinks.news import News, records_of
from qad_dl.sinks.outbox import Outbox
from qad_dl.sinks.places import places_of
from qad_dl.sinks.plan import Gates
from qad_dl.tuning.file import tuned

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.followed import Followed
    from qad_dl.histories import History
    from qad_dl.incidents import Found, Values
    from qad_dl.incidents_file import Incident
    from qad_dl.metadata import Metadata
    from qad_dl.results import Results
    from qad_dl.scorer import Scorer
    from qad_dl.sinks.policy import Policy
    from qad_dl.sinks.routing import Channel
    from qad_dl.tuning.file import Tune

PIECE_BYTES: Final = 1 << 28
"""Details of so many bytes are held at once; how long a piece is has no influence on what is told."""

WORTH_A_POOL: Final = 20_000
"""Fewer pairs of tick and series are done faster in one process."""


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
        courses = [_Course(store, label, scorer) for label, scorer in scorers.items()]
        for piece in _pieces(store, courses, times):
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


@dataclass
class _Span:
    """Results over some time, and what their series shared in it; whole enough to be given to another process.

    Attributes:
        past: results without details.
        metadata: what held when.
        known: by day, the (panda_queue, prod_source, resource) that have had rows by its end.
    """

    past: Results
    metadata: Metadata
    known: Mapping[np.datetime64, frozenset[tuple[str, str, str]]]
    _values: tuple[object, Values] | None = None

    def window(self, at: np.datetime64) -> Results:
        """What a collector holds at a tick: a week of the series that are known by then."""
        past = self.past
        stop = int(np.searchsorted(past.times, at)) + 1
        ticks = slice(max(0, stop - KEPT_TICKS), stop)
        known = past.known[:, stop - 1]
        rows: slice | NDArray[np.int64] = slice(None) if known.all() else np.flatnonzero(known)
        arrays = {name: getattr(past, name)[:, ticks][rows] for name in BY_TICK}  # those of `past` are not tuned
        series = tuple(key for key, there in zip(past.series, known, strict=True) if there)
        return replace(past, times=past.times[ticks], series=series, **arrays)

    def values(self, window: Results) -> Values:
        """What its series share at its last tick."""
        at = window.times[-1]
        records, day = self.metadata.at(at), at.astype("datetime64[D]")
        key = (id(records), day, window.series)
        if self._values is None or self._values[0] != key:
            self._values = (key, values_among(window, records, self.known[day]))
        return self._values[1]

    def found(self, at: np.datetime64, levels: Sequence[Level]) -> list[list[Found]]:
        """The incidents of the week before a tick, at each level."""
        window = self.window(at)
        values = self.values(window)
        return [find_incidents(_flagged(window, level, self.metadata), values) for level in levels]


class _Course:
    """One bundle, carried on piece by piece."""

    def __init__(self, store: History, label: str, scorer: Scorer) -> None:
        self.store, self.label, self.scorer = store, label, scorer
        self.metadata: Metadata = store.metadata()
        self.past: Results | None = None
        self.piece: Results | None = None

    def add(self, start: np.datetime64, end: np.datetime64, *, details: bool) -> None:
        """Score the ticks of [start, end)."""
        self.piece = run_backtest(self.store, self.scorer, start, end, details=details)
        self.past = joined(self.past, self.piece, KEPT_TICKS + len(self.piece.times))

    def span(self) -> _Span:
        """The piece and the week before it."""
        if self.past is None or self.piece is None:
            raise AssertionError("nothing was scored yet")
        known = {
            day: frozenset(self.store.known_series((day + 1).astype("datetime64[s]")))
            for day in np.unique(self.piece.times.astype("datetime64[D]"))
        }
        return _Span(self.past, self.metadata, known)


@dataclass(frozen=True)
class Level:
    """From which score on a tick is flagged.

    Attributes:
        budget: false alarm episodes per series and day.
        threshold: the score that all series share.
        tune: what is tuned beside it.
    """

    budget: float
    threshold: float
    tune: Tune | None = None


def _flagged(window: Results, level: Level, metadata: Metadata) -> Results:
    """The window with what is flagged at a level."""
    shared = plain(replace(window, budget=level.budget, threshold=level.threshold))
    return tuned(shared, level.tune, metadata)


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

    def follow(self, course: _Course, window: Results, values: Values, found: Sequence[Found]) -> list[News]:
        """What happens at the last tick of a window."""
        at, label = window.times[-1], course.label
        level = self.levels[label]
        results = _flagged(window, level, course.metadata)
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


def _pieces(
    store: History, courses: Sequence[_Course], times: NDArray[np.datetime64]
) -> Iterator[NDArray[np.datetime64]]:
    """Score the range, piece by piece, after the week before it."""
    step = store.tick.delta
    oldest = (store.span() or (times[0], times[0]))[0]
    begin = min(times[0], max(oldest, times[0] - store.tick.per_day * step))
    before = max(oldest, begin - KEPT_TICKS * step)
    if before < begin:
        for course in courses:
            course.add(before, begin, details=False)
    ticks = store.tick.range(begin, times[-1] + step)
    series = len({key[0] for key in store.known_series(times[-1] + np.timedelta64(1, "D"))})
    states = max(len(course.scorer.bundle.preprocess.states) for course in courses)
    length = max(store.tick.per_day, PIECE_BYTES // (max(series, 1) * states * 5 * 4))
    for i in range(0, len(ticks), length):
        piece = ticks[i : i + length]
        for course in courses:
            course.add(piece[0], piece[-1] + step, details=True)
        yield piece


def _replay(piece: NDArray[np.datetime64], courses: Sequence[_Course], sides: Sequence[_Replay]) -> None:
    """Follow and tell, tick by tick."""
    spans = [course.span() for course in courses]
    levels = [[side.levels[course.label] for side in sides] for course in courses]
    found = [_found(span, piece, level) for span, level in zip(spans, levels, strict=True)]
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


def _found(span: _Span, times: NDArray[np.datetime64], levels: Sequence[Level]) -> Iterator[list[list[Found]]]:
    """What is found at each tick at each level: each tick by itself, so on all cores where it is worth it."""
    workers = os.cpu_count() or 1
    if workers < 2 or len(times) * len(span.past.series) < WORTH_A_POOL:
        yield from (span.found(at, levels) for at in times)
        return
    parts = np.array_split(times, -(-len(times) // 16))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _Worker.begin, (span, levels)) as pool:
        for done in pool.map(_Worker.found, parts):
            yield from done


class _Worker:
    """What a process of the pool was given when it began."""

    span: ClassVar[_Span]
    levels: ClassVar[Sequence[Level]]

    @classmethod
    def begin(cls, span: _Span, levels: Sequence[Level]) -> None:
        """Take it over."""
        cls.span, cls.levels = span, levels

    @classmethod
    def found(cls, times: NDArray[np.datetime64]) -> list[list[list[Found]]]:
        """What is found at some ticks."""
        return [cls.span.found(at, cls.levels) for at in times]


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
