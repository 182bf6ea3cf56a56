"""From the config to the sinks: who is told what, by which channel, and what holds it back."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from qad_dl.followed import UPDATED, Transition
from qad_dl.sinks.ledger import Ledger
from qad_dl.sinks.news import News
from qad_dl.sinks.outbox import Delivered, Outbox
from qad_dl.sinks.plan import Gates, cases_for, plan, to_message
from qad_dl.sinks.silences import Silences

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from qad_dl.sections import Secret
    from qad_dl.sinks.outbox import Sink
    from qad_dl.sinks.routing import Channel
    from serving.config import Config
    from serving.follow import Book
    from serving.state import State


class Telling(NamedTuple):
    """All that is needed to tell people.

    Attributes:
        config: who.
        state: where the outbox and the silences are.
        now: seconds since the epoch by the clock of the ticks, for quiet hours, silences and the cap.
    """

    config: Config
    state: State
    now: float

    def deliver(self, book: Book, until: float, but: Collection[str] = ()) -> Delivered:
        """Tell every channel what it has not been told; what cannot be told now waits for the next tick.

        Args:
            book: the incidents as they are now.
            until: `time.monotonic()` after which no further message is begun.
            but: sinks that are left alone, since they have just failed.

        Raises:
            StoreError: a file of the outbox, or the silences, are damaged.
            ConfigError: apprise is not installed, or does not know an address.
        """
        return Outbox(self.state.outbox, lambda: time.monotonic() < until).deliver(
            [(channel, self._sink(channel)) for channel in self.config.policy.channels],
            self._gates(),
            list(_going_on(book)),
            datetime.now(UTC),
            self.config.message.review_url,
            but,
        )

    def check(self, name: str) -> Iterator[str]:
        """See whether the channels of a sink would take something, without telling anybody: a line for each that would.

        Raises:
            SinkError: one that would not; `SinkDownError` where nobody answers.
            ConfigError: apprise is not installed, or does not know an address.
        """
        for channel in self.config.policy.channels:
            if channel.sink == name:
                self._sink(channel).check()
                yield f"{channel.to or 'it'} would be told"

    def preview(self) -> list[str]:
        """What people would be told now, in words."""
        waiting = Outbox(self.state.outbox).waiting()
        said = []
        for channel in self.config.policy.channels:
            if channel.sink in {"jsonl", "alertmanager"}:
                continue
            ledger = Ledger.read(Outbox(self.state.outbox).ledger(channel))
            planned = plan(cases_for(channel, waiting, ledger), ledger, self._gates())
            messages = [to_message(batch, self.config.message.review_url) for batch in planned.batches]
            said += [f"To {channel.name}: {message.title}\n\n{message.plain()}" for message in messages]
        return said

    def _gates(self) -> Gates:
        policy = self.config.policy
        return Gates(self.now, Silences(self.state.silences).read(), policy.quiet, policy.per_hour)

    def _sink(self, channel: Channel) -> Sink:
        """A sink, of which only what it needs itself is loaded."""
        sinks = self.config.sink
        match channel.sink:
            case "jsonl" if sinks.jsonl:
                from qad_dl.sinks.jsonl import JsonlSink

                return JsonlSink(sinks.jsonl.path)
            case "alertmanager" if a := sinks.alertmanager:
                from qad_dl.sinks.alertmanager import AlertmanagerSink
                from qad_dl.sinks.post import Poster

                url = f"{a.url.rstrip('/')}/api/v2/alerts"
                poster = Poster("Alertmanager", url, a.user, _revealed(a.password), a.ca_file)
                return AlertmanagerSink(poster, self.config.message.review_url)
            case "mail" if m := sinks.mail:
                from qad_dl.sinks.mail import MailSink

                return MailSink(
                    m.host,
                    m.port,
                    m.sender,
                    (channel.to,),
                    lambda: datetime.now(UTC),
                    m.user,
                    _revealed(m.password),
                    m.tls,
                    m.ca_file,
                )
            case "mattermost" if w := sinks.mattermost:
                from qad_dl.sinks.mattermost import MattermostSink
                from qad_dl.sinks.post import Poster

                return MattermostSink(Poster("Mattermost", w.url.reveal(), ca_file=w.ca_file), channel.to)
            case "apprise" if sinks.apprise:
                from qad_dl.sinks.apprise import AppriseSink

                return AppriseSink(tuple(sinks.apprise.urls.reveal().split()))
        msg = f"no sink {channel.sink!r}"
        raise ValueError(msg)


def queue(state: State, news: Iterable[News]) -> None:
    """Put news into the outbox; news that is there already stays as it is."""
    Outbox(state.outbox).add(news)


def _going_on(book: Book) -> Iterator[News]:
    """Every open incident, as news of the newest tick."""
    for label, incidents in book.incidents.items():
        for incident in incidents:
            if incident.open:
                yield News(label, incident.last, Transition(UPDATED, incident), book.texts.get(incident.id, ""))


def _revealed(secret: Secret | None) -> str:
    return "" if secret is None else secret.reveal()
