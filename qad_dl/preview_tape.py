"""Channels that keep what they are given and send nothing: what a preview listens with."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.sinks.alertmanager import AlertmanagerSink
from qad_dl.sinks.jsonl import JsonlSink
from qad_dl.sinks.post import Poster

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from qad_dl.sinks.message import Message
    from qad_dl.sinks.news import News
    from qad_dl.sinks.outbox import Sink
    from qad_dl.sinks.routing import Channel

PEOPLE: Final = frozenset({"mail", "mattermost", "apprise", "everybody"})
"""Sinks whose messages somebody reads; what others are given is counted apart."""


@dataclass(frozen=True)
class Sent:
    """One message.

    Attributes:
        at: the tick at which it would have gone out, `datetime64[s]`.
        to: name of the channel.
        sink: its sink.
        subject: one line.
        news: all that it tells, oldest first.
    """

    at: np.datetime64
    to: str
    sink: str
    subject: str
    news: tuple[News, ...]


@dataclass
class Tape:
    """What the channels were given."""

    at: np.datetime64 = field(default_factory=lambda: np.datetime64(0, "s"))
    news: dict[str, News] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)

    def begin(self, at: np.datetime64, news: Sequence[News]) -> None:
        """A tick."""
        self.at = at
        self.news.update({n.key: n for n in news})

    def keep(self, channel: Channel, subject: str, news: Sequence[News]) -> None:
        """Something that went out."""
        self.sent.append(Sent(self.at, channel.name, channel.sink, subject, tuple(news)))


@dataclass(frozen=True)
class _Reader:
    """Somebody who reads messages."""

    channel: Channel
    tape: Tape

    def send(self, message: Message) -> str:
        """Keep it."""
        told = [news for key, news in self.tape.news.items() if f" {key} " in f" {message.key} "]
        self.tape.keep(self.channel, message.title, told)
        return ""

    def check(self) -> None:
        """There is nothing to see."""


@dataclass(frozen=True)
class _Lines(JsonlSink):
    """Lines that are counted."""

    channel: Channel
    tape: Tape

    def write(self, news: Sequence[News]) -> None:
        """Keep a line for each."""
        for item in news:
            self.tape.keep(self.channel, f"{item.transition.action} {item.name}", [item])


@dataclass(frozen=True)
class _Alerts(AlertmanagerSink):
    """Alerts that are counted when they begin and when they end, not at each tick in between."""

    channel: Channel = field(kw_only=True)
    tape: Tape = field(kw_only=True)
    firing: dict[str, bool] = field(default_factory=dict)

    def post(self, alerts: Sequence[tuple[News, Mapping[str, str]]], now: datetime) -> None:
        """Keep those that change."""
        for news, _ in alerts:
            if self.firing.get(news.name, False) != news.incident.open:
                self.firing[news.name] = news.incident.open
                word = "firing" if news.incident.open else "resolved"
                self.tape.keep(self.channel, f"{word} {news.name}", [news])


def keeping(channel: Channel, tape: Tape) -> Sink:
    """A sink in place of the real one; the outbox knows JSON lines and Alertmanager by their type."""
    if channel.sink == "jsonl":
        return _Lines(Path(os.devnull), channel, tape)
    if channel.sink == "alertmanager":
        return _Alerts(Poster("preview", ""), channel=channel, tape=tape)
    return _Reader(channel, tape)
