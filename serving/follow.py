"""Follow the incidents through the new ticks, and the collector's own troubles beside them.

```
STATE/results/LABEL.npz   scores of the last week, of each bundle
      incidents.json      the incidents and troubles after the newest tick
```
What happened goes into the outbox before the incidents are kept: a tick that is killed between the two says it again,
under the same keys, and the outbox knows them.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.atomic import replace_file
from qad_dl.errors import QadError, StoreError
from qad_dl.evidence import plain
from qad_dl.followed import CLOSED, OPENED, REOPENED, Followed, Rules, Transition
from qad_dl.incident_log import KEPT_TICKS, follow
from qad_dl.incidents import values_among
from qad_dl.joined import joined, until
from qad_dl.results import BY_TICK, Results
from qad_dl.schema import TICK_MINUTES
from qad_dl.sinks.news import MONITOR, News, records_of
from qad_dl.sinks.places import places_of
from qad_dl.timeparse import format_time, parse_time
from qad_dl.tuning.file import tuned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from serving.evaluate import Scored
    from serving.state import State

TICK: Final = np.timedelta64(TICK_MINUTES, "m")

TROUBLES: Final = Rules(n=1, m=1, recovery=3)
"""A trouble is told at once, and over after half an hour without it; longer where it comes and goes."""


@dataclass(frozen=True)
class Book:
    """The incidents after a tick.

    Attributes:
        tick: the tick; None before the first.
        incidents: by label.
        texts: of the troubles, by id.
    """

    tick: np.datetime64 | None = None
    incidents: Mapping[str, tuple[Followed, ...]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)

    def open(self, label: str) -> tuple[Followed, ...]:
        """Those that go on."""
        return tuple(incident for incident in self.incidents.get(label, ()) if incident.open)

    def with_news(self, news: News) -> Book:
        """The book with the incident of some news in it."""
        mine = (*self.incidents.get(news.label, ()), news.incident)
        return replace(
            self, incidents={**self.incidents, news.label: mine}, texts={**self.texts, news.incident.id: news.text}
        )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "tick": None if self.tick is None else format_time(self.tick),
            "incidents": {label: [i.to_json() for i in found] for label, found in self.incidents.items()},
            "texts": dict(self.texts),
        }

    @classmethod
    def read(cls, path: Path) -> Book:
        """What was kept; nothing where there is nothing.

        Raises:
            StoreError: the file is damaged.
        """
        try:
            data = json.loads(path.read_bytes())
            found = {k: tuple(map(Followed.from_json, v)) for k, v in data["incidents"].items()}
            return cls(None if data["tick"] is None else parse_time(data["tick"]), found, data["texts"])
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError, QadError) as error:
            msg = f"{path}: is damaged ({' '.join(str(error).split())[:120]}); remove it: open incidents are told again"
            raise StoreError(msg) from error

    def write(self, path: Path) -> None:
        """Keep it, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(self.to_json(), ensure_ascii=False).encode())


def follow_all(
    state: State, book: Book, scored: Sequence[Scored], tick: np.datetime64, rules: Rules | None = None
) -> tuple[Book, list[News]]:
    """Follow the incidents of each bundle through its new ticks.

    Args:
        state: where the results of the last week are kept.
        book: the incidents so far.
        scored: the new ticks by each bundle.
        tick: the newest of them.
        rules: when an incident is told and when it is over.
    """
    news: list[News] = []
    incidents = dict(book.incidents)
    for part in scored:
        # What is kept is not tuned: without the tuning everything is as if it had never been.
        past = joined(load_results(state.results(part.label)), plain(part.results), KEPT_TICKS)
        seen = tuned(past, part.tune, part.metadata)
        values = values_among(past, part.records, part.known)
        for at in part.results.times:
            if book.tick is not None and at <= book.tick:
                continue
            known, window = incidents.get(part.label, ()), until(seen, at)
            found, happened = follow(known, window, values, rules, part.results, unknown=part.unknown)
            incidents[part.label] = found
            places = places_of([t.incident for t in happened], window, part.tune)
            news += [
                News(part.label, at, t, records=records_of(t, part.results, part.records), place=place)
                for t, place in zip(happened, places, strict=True)
            ]
        save_results(state.results(part.label), past)
    return Book(tick, incidents, book.texts), news


def follow_troubles(
    book: Book, troubles: Mapping[str, str], tick: np.datetime64, *, over: bool
) -> tuple[Book, list[News]]:
    """Follow the collector's own troubles: each is told when it begins and when it is over.

    Args:
        book: the incidents so far.
        troubles: those of now, name to one line.
        tick: now.
        over: whether those that are not among them may be over; not where the tick had nothing to do.
    """
    known = {incident.value: incident for incident in book.incidents.get(MONITOR, ())}
    after, texts, news = dict(known), {i.id: book.texts.get(i.id, "") for i in known.values()}, []
    for name, text in troubles.items():
        before = known.get(name)
        after[name] = incident = _trouble(name, tick) if before is None else _again(before, tick)
        texts[incident.id] = text
        if before is None or not before.open:
            news.append(News(MONITOR, tick, Transition(OPENED if before is None else REOPENED, incident), text))
    for name, incident in known.items() if over else ():
        quiet = int((tick - incident.last) // TICK)
        if name not in troubles and incident.open and quiet >= TROUBLES.recovery_of(incident.reopened):
            after[name] = closed = incident._replace(closed=tick)
            news.append(News(MONITOR, tick, Transition(CLOSED, closed), texts[incident.id]))
        elif name not in troubles and not incident.open and quiet >= TROUBLES.longest:
            del after[name]
    kept = {incident.id for incident in after.values()}
    texts = {name: text for name, text in texts.items() if name in kept}
    return Book(book.tick, {**book.incidents, MONITOR: tuple(after.values())}, texts), news


STOPPED: Final = "ticks_stopped"


def stopped_news(since: np.datetime64, text: str, over: np.datetime64 | None = None) -> News:
    """That ticks have stopped, or, with `over`, that they have gone on; the same incident for the same `since`."""
    incident = _trouble(STOPPED, since)
    if over is None:
        return News(MONITOR, since, Transition(OPENED, incident), text)
    return News(MONITOR, over, Transition(CLOSED, incident._replace(last=over, closed=over)), text)


def _again(incident: Followed, tick: np.datetime64) -> Followed:
    """A trouble that goes on, or comes back."""
    if incident.open:
        return incident._replace(last=max(incident.last, tick))
    return incident._replace(last=tick, closed=None, reopened=incident.reopened + 1)


def load_results(path: Path) -> Results | None:
    """What `save_results` wrote; None where there is nothing that can be read."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            # One of before has no scores of series by themselves: they were the scores.
            before = {} if "alone" in file.files else {"alone": "score"}
            arrays = {name: file[before.get(name, name)] for name in BY_TICK}
            times = file["times"].astype("datetime64[s]")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return Results(
        times=times,
        entity=tuple(about["entity"]),
        series=tuple(tuple(key) for key in about["series"]),
        states=tuple(about["states"]),
        kinds=tuple(about["kinds"]),
        budget=about["budget"],
        threshold=about["threshold"],
        levels=tuple((rate, least) for rate, least in about["levels"]),
        **arrays,
    )


def save_results(path: Path, results: Results) -> None:
    """Write results without details, whole or not at all."""
    names = ("entity", "series", "states", "kinds", "budget", "threshold", "levels")
    about = json.dumps({name: getattr(results, name) for name in names}).encode()
    content = io.BytesIO()
    arrays = {name: getattr(results, name) for name in BY_TICK}
    np.savez(content, about=np.frombuffer(about, np.uint8), times=results.times.astype(np.int64), **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content.getvalue())


def _trouble(name: str, tick: np.datetime64) -> Followed:
    return Followed(
        id=f"{str(tick)[:16].replace(':', '').replace('-', '')}-{name.replace(' ', '-')}",
        field=MONITOR,
        value=name,
        queues=(),
        start=tick,
        last=tick,
        told=tick,
        kind=MONITOR,
    )
