"""News that waits to be told, and the telling.

```
OUTBOX/news/TICK-DIGEST.json    one piece of news, until every channel has had it; it never changes
       CHANNEL.json             what a channel has been told (see `ledger`), written after each message
       lock                     held by the one process that is telling
```
News is there before anybody is told, and a channel's ledger is written when its message is out: what is killed in
between is told again with the same key (mail: Message-ID), and never lost. A channel that is down holds up no other.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from qad_dl.atomic import create_file, sweep
from qad_dl.errors import QadError, SinkDownError, SinkError, StoreError
from qad_dl.sinks.alertmanager import AlertmanagerSink, labels_of
from qad_dl.sinks.jsonl import JsonlSink
from qad_dl.sinks.ledger import Ledger, Told
from qad_dl.sinks.news import News
from qad_dl.sinks.plan import cases_for, plan, to_message
from qad_dl.timeparse import format_time

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from qad_dl.sinks.message import Message
    from qad_dl.sinks.plan import Case, Gates
    from qad_dl.sinks.routing import Channel


PATIENCE_S: Final = 30.0
"""For so long one process waits for another that is telling."""


class Talker(Protocol):
    """A sink that people read."""

    def send(self, message: Message) -> str:
        """Send a message; a complaint in one line where it went out all the same, or ''."""

    def check(self) -> None:
        """See whether it would take one, without sending any; raises as `send`."""


Sink = Talker | JsonlSink | AlertmanagerSink


class Delivered(NamedTuple):
    """How the telling went.

    Attributes:
        pending: pieces of news that still wait, by sink; those that no gate holds back.
        held: those that a silence, quiet hours or the cap hold back, or that are not due yet, by sink.
        troubles: what went wrong, by sink, one line each.
        sent: messages, lines or alerts, by sink.
    """

    pending: Mapping[str, int]
    held: Mapping[str, int]
    troubles: Mapping[str, str]
    sent: Mapping[str, int]


@dataclass
class _Work:
    """One channel at work."""

    channel: Channel
    path: Path
    ledger: Ledger
    trouble: str = ""
    sent: int = 0
    held: int = 0

    def keep(self, ledger: Ledger) -> None:
        if ledger != self.ledger:
            self.ledger = ledger
            ledger.write(self.path)


@dataclass(frozen=True)
class Outbox:
    """The folder.

    Attributes:
        path: it is made when the first news comes.
    """

    path: Path
    spare: Callable[[], bool] = field(default=lambda: True)
    """Whether there is time left for one more message."""

    def add(self, news: Iterable[News]) -> None:
        """Put news in; what is there already stays as it is."""
        self._news.mkdir(parents=True, exist_ok=True)
        for item in news:
            digest = hashlib.sha256(item.key.encode(errors="surrogatepass")).hexdigest()[:16]
            name = f"{format_time(item.tick).replace(':', '')}-{digest}.json"
            create_file(self._news / name, json.dumps(item.to_json()).encode())

    def waiting(self) -> tuple[News, ...]:
        """News that some channel may not have had, oldest first.

        Raises:
            StoreError: a file is damaged.
        """
        return tuple(news for news, _ in self._read())

    def deliver(
        self,
        sinks: Sequence[tuple[Channel, Sink]],
        gates: Gates,
        open_now: Sequence[News],
        wall: datetime,
        review_url: str = "",
        but: Collection[str] = (),
    ) -> Delivered:
        """Tell every channel what it has not been told.

        Args:
            sinks: the channels, each with its sink.
            gates: what can hold news back from people.
            open_now: of every open incident, for sinks that want all of them again and again.
            wall: the time by the clock of the machine, aware.
            review_url: address of the review page.
            but: sinks that are left alone this time.

        Raises:
            StoreError: a file is damaged.
        """
        with self._alone() as alone:
            if not alone:
                busy = {"outbox": f"{self.path}: another process is telling, and has not ended in time"}
                return Delivered({}, {}, busy, {})
            return self._deliver(sinks, gates, open_now, wall, review_url, but)

    def _deliver(
        self,
        sinks: Sequence[tuple[Channel, Sink]],
        gates: Gates,
        open_now: Sequence[News],
        wall: datetime,
        review_url: str,
        but: Collection[str],
    ) -> Delivered:
        files = self._read()
        waiting = tuple(news for news, _ in files)
        works = []
        for channel, sink in sinks:
            path = self.ledger(channel)
            work = _Work(channel, path, Ledger.read(path))
            works.append(work)
            if channel.sink in but:
                continue
            cases = cases_for(channel, waiting, work.ledger)
            try:
                self._tell(work, sink, cases, gates, open_now, wall, review_url)
            except SinkError as error:
                work.trouble = str(error)
            if work.ledger.keys or work.ledger.sent:
                work.keep(work.ledger.without_old({news.key for news in waiting}, gates.now))
        self._remove(files, works, wall)
        return _delivered(works, waiting)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Nobody else tells in the meantime: two processes with one ledger would tell everything twice."""
        self.path.mkdir(parents=True, exist_ok=True)
        until = time.monotonic() + PATIENCE_S
        with (self.path / "lock").open("a") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= until or not self.spare():
                        yield False
                        return
                    time.sleep(0.1)
            yield True

    def _tell(
        self,
        work: _Work,
        sink: Sink,
        cases: Sequence[Case],
        gates: Gates,
        open_now: Sequence[News],
        wall: datetime,
        review_url: str,
    ) -> None:
        """In the way of the sink."""
        if isinstance(sink, JsonlSink):
            _write(work, sink, cases, gates)
        elif isinstance(sink, AlertmanagerSink):
            _post(work, sink, cases, gates, open_now, wall)
        else:
            self._send(work, sink, cases, gates, review_url)

    def _send(self, work: _Work, sink: Talker, cases: Sequence[Case], gates: Gates, review_url: str) -> None:
        """To people: message by message."""
        planned = plan(cases, work.ledger, gates)
        ledger = replace(work.ledger, held=planned.held)
        for case in planned.dropped:
            ledger = _after(ledger, case, gates.now)
        work.keep(ledger)
        work.held = sum(len(case.news) for case in planned.waiting)
        for batch in planned.batches:
            if not self.spare():
                return
            try:
                work.trouble = sink.send(to_message(batch, review_url)) or work.trouble
            except SinkDownError:
                raise
            except SinkError as error:  # of this message; others may be taken
                work.trouble = str(error)
                continue
            ledger = work.ledger.counted(gates.now)
            for case in batch:
                ledger = _after(ledger, case, gates.now)
                ledger = ledger.told(case.name, Told.of(case.newest, gates.now))
            work.keep(ledger)
            work.sent += 1

    def _read(self) -> list[tuple[News, Path]]:
        found = []
        for path in sorted(self._news.glob("2*.json")) if self._news.is_dir() else ():
            try:
                found.append((News.from_json(json.loads(path.read_bytes())), path))
            except (OSError, ValueError, KeyError, TypeError, QadError) as error:
                msg = f"{path}: is damaged ({' '.join(str(error).split())[:120]}); remove it: this news is lost"
                raise StoreError(msg) from error
        return found

    def _remove(self, files: Sequence[tuple[News, Path]], works: Sequence[_Work], wall: datetime) -> None:
        """News that nobody waits for."""
        for news, path in files:
            if not any(_waits(work, news) for work in works):
                path.unlink(missing_ok=True)
        if self._news.is_dir():
            sweep(self._news, wall.timestamp())

    def ledger(self, channel: Channel) -> Path:
        """The file of what a channel has been told."""
        plain = re.sub(r"[^A-Za-z0-9@.+-]+", "_", channel.name)[:60]
        digest = hashlib.sha256(channel.name.encode(errors="surrogatepass")).hexdigest()[:8]
        return self.path / (f"{plain}.json" if plain == channel.name else f"{plain}-{digest}.json")

    @property
    def _news(self) -> Path:
        return self.path / "news"


def _after(ledger: Ledger, case: Case, now: float) -> Ledger:
    """After a case was told, or dropped; one that was dropped was told of before as it is, or never."""
    ledger = ledger.done(case.news, now)
    told = ledger.incidents.get(case.name)
    if told is not None and told.open and not case.newest.incident.open:
        ledger = ledger.told(case.name, replace(told, open=False, at=now))
    return ledger


def _write(work: _Work, sink: JsonlSink, cases: Sequence[Case], gates: Gates) -> None:
    """Every piece of news, in order."""
    news = sorted((n for case in cases for n in case.news), key=lambda n: n.tick)
    if news:
        sink.write(news)
        ledger = work.ledger.done(news, gates.now)
        for case in cases:
            ledger = ledger.told(case.name, Told.of(case.newest, gates.now))
        work.keep(ledger)
        work.sent = len(news)


def _post(
    work: _Work, sink: AlertmanagerSink, cases: Sequence[Case], gates: Gates, open_now: Sequence[News], wall: datetime
) -> None:
    """Every open incident, and those that are over since the last time."""
    newest = {n.name: n for n in open_now if n.name in work.ledger.incidents or work.channel.takes(n)}
    waits = {case.name: case for case in cases}
    for name, case in waits.items():
        if not (name in newest and case.newest.incident.open):  # what is open now is newer than news of it
            newest[name] = case.newest
    told = work.ledger.incidents
    newest = {n: news for n, news in newest.items() if n in told or not _doubled(news, newest, work.ledger)}
    shut = {name for name, news in newest.items() if name not in told and gates.silenced(news)}
    # One that was over before it could be posted is posted as open, and resolved the next time: else nobody is told.
    late = {n for n, news in newest.items() if n not in told and n not in shut and _over(news)}
    alerts = {
        name: (_reopened(news) if name in late else news, _labels(told.get(name), waits.get(name), news))
        for name, news in newest.items()
        if name not in shut
    }
    refused = _posted(work, sink, alerts, wall)
    ledger = work.ledger
    for name, case in waits.items():
        if name not in late | refused and not (name in shut and case.newest.incident.open):
            ledger = ledger.done(case.news, gates.now)
    for name, (news, labels) in alerts.items():
        if name in refused:
            continue
        ledger = ledger.told(name, Told.of(news, gates.now, labels))
    work.keep(ledger)
    work.held = sum(len(case.news) for name, case in waits.items() if name in shut and case.newest.incident.open)
    work.sent = len(alerts) - len(refused)


def _posted(
    work: _Work, sink: AlertmanagerSink, alerts: Mapping[str, tuple[News, Mapping[str, str]]], wall: datetime
) -> set[str]:
    """Post alerts, one by one where they are refused together; which of them are refused."""
    try:
        sink.post(list(alerts.values()), wall)
    except SinkDownError:
        raise
    except SinkError:
        refused = set()
        for name, alert in alerts.items():
            try:
                sink.post([alert], wall)
            except SinkDownError:
                raise
            except SinkError as error:
                work.trouble = str(error)
                refused.add(name)
        return refused
    return set()


def _doubled(news: News, newest: Mapping[str, News], ledger: Ledger) -> bool:
    """Whether another bundle has posted the same queues, or does so now."""
    queues = set(news.incident.queues)
    rivals = [other for other in newest.values() if other.label != news.label and queues <= set(other.incident.queues)]
    first = all(
        (-len(news.incident.queues), news.label) < (-len(other.incident.queues), other.label) for other in rivals
    )
    return bool(queues) and (ledger.covers(news) or not first)


def _over(news: News) -> bool:
    """Whether it was an incident of its own and is over."""
    return not news.incident.open and not news.incident.folded


def _labels(told: Told | None, case: Case | None, news: News) -> Mapping[str, str]:
    """Those that it was posted with; else by the oldest news, which knows the metadata of its queues."""
    if told is not None and told.labels:
        return told.labels
    return labels_of(news if case is None else case.news[0])


def _delivered(works: Sequence[_Work], waiting: Sequence[News]) -> Delivered:
    def total(count: Callable[[_Work], int]) -> dict[str, int]:
        found: dict[str, int] = {}
        for work in works:
            found[work.channel.sink] = found.get(work.channel.sink, 0) + count(work)
        return found

    def left(work: _Work) -> int:
        return max(0, sum(_waits(work, news) for news in waiting) - work.held)

    return Delivered(
        pending=total(left),
        held=total(lambda w: w.held),
        troubles={w.channel.sink: w.trouble for w in works if w.trouble},
        sent=total(lambda w: w.sent),
    )


def _waits(work: _Work, news: News) -> bool:
    return not work.ledger.has(news) and (news.name in work.ledger.incidents or work.channel.takes(news))


def _reopened(news: News) -> News:
    return replace(news, transition=news.transition._replace(incident=news.incident._replace(closed=None)))
