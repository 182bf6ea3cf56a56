"""The outbox: told once, never lost, whatever fails at whatever line."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.errors import SinkDownError, SinkError, StoreError
from qad_dl.sinks import outbox as outbox_module
from qad_dl.sinks.jsonl import JsonlSink
from qad_dl.sinks.ledger import Ledger
from qad_dl.sinks.outbox import Delivered, Outbox
from qad_dl.sinks.plan import Gates
from qad_dl.sinks.routing import Channel
from tests.light.made_news import HOSTILE, T0, UPDATED, closed, group, incident, news, trouble

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qad_dl.sinks.message import Message
    from qad_dl.sinks.outbox import Sink

NOW = float(T0.astype(np.int64)) + 1200
WALL = datetime(2026, 1, 5, 4, tzinfo=UTC)
MAIL, FILE = Channel("mail", "ops@x"), Channel("jsonl")


@dataclass
class Recorder:
    """A sink in this process that can be made to fail."""

    messages: list[Message] = field(default_factory=list)
    error: Exception | None = None
    complaint: str = ""

    def send(self, message: Message) -> str:
        if self.error is not None:
            raise self.error
        self.messages.append(message)
        return self.complaint

    @property
    def titles(self) -> list[str]:
        return [m.title.removeprefix("[qad] ").split(":")[0] for m in self.messages]


class KilledError(BaseException):
    """What kill -9 is to a process, as far as the files see it."""


@pytest.fixture
def box(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox")


def deliver(box: Outbox, *sinks: tuple[Channel, Sink], now: float = NOW, per_hour: int = 0) -> Delivered:
    return box.deliver(sinks, Gates(now, per_hour=per_hour), [], WALL)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def test_everybody_is_told_once(box: Outbox, tmp_path: Path) -> None:
    mail, file = Recorder(), JsonlSink(tmp_path / "told" / "told.jsonl")
    opened = news(incident())
    for _ in range(3):
        box.add([opened])
        made = deliver(box, (MAIL, mail), (FILE, file))
        assert made.pending == {"mail": 0, "jsonl": 0}
    assert mail.titles == ["CERN-PROD_1"]
    (line,) = lines(file.path)
    assert (line["key"], line["action"], line["value"]) == (opened.key, "opened", "CERN-PROD_1")
    assert box.waiting() == ()


def test_a_sink_that_is_down_holds_up_no_other_and_is_told_when_it_is_back(box: Outbox, tmp_path: Path) -> None:
    mail, file = Recorder(error=SinkDownError("mail server: gone")), JsonlSink(tmp_path / "told.jsonl")
    box.add([news(incident("A")), news(incident("B"))])
    made = deliver(box, (MAIL, mail), (FILE, file))
    assert (made.pending, made.troubles) == ({"mail": 2, "jsonl": 0}, {"mail": "mail server: gone"})
    box.add([news(closed(incident("A")), 14)])
    deliver(box, (MAIL, mail), (FILE, file))
    mail.error = None
    made = deliver(box, (MAIL, mail), (FILE, file))
    assert (made.pending, made.troubles) == ({"mail": 0, "jsonl": 0}, {})
    assert sorted(mail.titles) == ["B", "Over already"]
    written = [(line["action"], line["value"]) for line in lines(file.path)]
    assert sorted(written[:2]) == [("opened", "A"), ("opened", "B")]
    assert written[2:] == [("closed", "A")]
    assert box.waiting() == ()


def test_a_message_that_is_refused_holds_up_no_other(box: Outbox) -> None:
    class Picky(Recorder):
        def send(self, message: Message) -> str:
            if "bad" in message.title:
                raise SinkError("refuses this one")
            return super().send(message)

    mail = Picky()
    box.add([news(incident("bad", score=9.0)), news(incident("good"))])
    made = deliver(box, (MAIL, mail))
    assert (mail.titles, made.pending, made.troubles) == (["good"], {"mail": 1}, {"mail": "refuses this one"})


def test_a_complaint_is_a_trouble_and_the_message_is_out(box: Outbox) -> None:
    mail = Recorder(complaint="refuses b@x")
    box.add([news(incident())])
    made = deliver(box, (MAIL, mail))
    assert (made.pending, made.troubles) == ({"mail": 0}, {"mail": "refuses b@x"})
    assert len(mail.messages) == 1


def test_what_is_left_alone_still_waits(box: Outbox) -> None:
    mail = Recorder()
    box.add([news(incident())])
    made = box.deliver([(MAIL, mail)], Gates(NOW), [], WALL, but={"mail"})
    assert (made.pending, mail.messages) == ({"mail": 1}, [])


def test_without_time_nothing_is_begun(box: Outbox) -> None:
    mail = Recorder()
    box.add([news(incident("A")), news(incident("B"))])
    left = [True, False]
    made = replace(box, spare=lambda: left.pop(0)).deliver([(MAIL, mail)], Gates(NOW), [], WALL)
    assert (len(mail.messages), made.pending) == (1, {"mail": 1})


def test_the_cap_is_kept_over_ticks_and_loses_nothing(box: Outbox) -> None:
    mail = Recorder()
    for tick in range(12):
        box.add([news(incident(f"Q{tick}-{i}"), tick) for i in range(3)])
        deliver(box, (MAIL, mail), now=NOW + 600 * tick, per_hour=4)
        recent = Ledger.read(box.ledger(MAIL)).recent(NOW + 600 * tick)
        assert len(recent) <= 4
    deliver(box, (MAIL, mail), now=NOW + 600 * 20, per_hour=4)
    text = "".join(m.title + m.plain() for m in mail.messages)
    assert all(f"Q{tick}-{i}" in text for tick in range(12) for i in range(3))
    assert box.waiting() == ()


def test_a_new_channel_is_told_from_now_on(box: Outbox) -> None:
    old, new = Recorder(), Recorder()
    box.add([news(incident())])
    deliver(box, (MAIL, old))
    box.add([news(closed(incident()), 14), news(incident("B"))])
    deliver(box, (MAIL, old), (Channel("mail", "new@x"), new))
    assert old.titles == ["CERN-PROD_1", "B", "Over"]
    assert new.titles == ["B", "Over already"]


@pytest.mark.parametrize("kill_at", range(1, 12))
def test_killed_anywhere_nothing_is_lost_and_nothing_is_told_under_two_keys(
    box: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int
) -> None:
    """Each write of a file may be the last thing that a process does."""
    mail, file = Recorder(), JsonlSink(tmp_path / "told.jsonl")
    left = [kill_at]

    def deadly(really: Callable[..., object]) -> object:
        def call(*args: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                raise KilledError
            return really(*args)

        return call

    monkeypatch.setattr(outbox_module, "create_file", deadly(outbox_module.create_file))
    monkeypatch.setattr("qad_dl.sinks.ledger.replace_file", deadly(Ledger.write.__globals__["replace_file"]))
    told = [[news(incident("A")), news(group())], [news(group(), 2, UPDATED)], [news(closed(incident("A")), 14)]]
    for batch in told:
        for _ in range(2):  # the tick that was killed, and the one that finishes it
            try:
                box.add(batch)
                deliver(box, (MAIL, mail), (FILE, file))
            except KilledError:
                continue
            break
    assert len({line["key"] for line in lines(file.path)}) == len(lines(file.path)) == 4
    by_key = {m.key: m for m in mail.messages}
    assert sorted(m.title.removeprefix("[qad] ").split(":")[0] for m in by_key.values()) == [
        "A", "Over", "harvester=CERN_central_A"]  # fmt: skip
    assert len(mail.messages) <= len(by_key) + 1
    assert box.waiting() == ()


def test_two_processes_do_not_tell_at_once(box: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    class Inner(Recorder):
        def send(self, message: Message) -> str:
            monkeypatch.setattr(outbox_module, "PATIENCE_S", 0.2)
            self.seen = deliver(box, (MAIL, other))
            return super().send(message)

    mail, other = Inner(), Recorder()
    box.add([news(incident())])
    deliver(box, (MAIL, mail))
    assert "another process is telling" in mail.seen.troubles["outbox"]
    assert (len(mail.messages), other.messages) == (1, [])
    deliver(box, (MAIL, other))
    assert other.messages == []


def test_half_a_line_is_left_and_the_news_is_told_whole(tmp_path: Path) -> None:
    file = JsonlSink(tmp_path / "told.jsonl")
    first, second = news(incident("A")), news(incident("B"))
    file.write([first])
    file.path.write_bytes(file.path.read_bytes() + b'{"key": "queues/2026')
    file.write([first, second])
    whole = [line for line in file.path.read_text().splitlines() if line.endswith("}")]
    assert [json.loads(line)["value"] for line in whole] == ["A", "B"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_go_through_files_as_they_are(box: Outbox, tmp_path: Path, name: str) -> None:
    mail, file = Recorder(), JsonlSink(tmp_path / "told.jsonl")
    made = news(incident(name), cloud=name)
    box.add([made])
    assert box.waiting() == (made,)
    deliver(box, (MAIL, mail), (FILE, file))
    (line,) = lines(file.path)
    assert (line["value"], line["queues"]) == (name, [name])
    assert len(file.path.read_text().splitlines()) == 1


def test_a_recipient_cannot_name_a_file_elsewhere(box: Outbox) -> None:
    for to in ("../../etc/passwd", "a/b", "", "x" * 500, "a b"):
        assert box.ledger(Channel("mail", to)).parent == box.path
    assert box.ledger(Channel("mail", "a b")) != box.ledger(Channel("mail", "a_b"))


@pytest.mark.parametrize("what", ["news", "ledger"])
def test_a_damaged_file_is_one_line(box: Outbox, what: str) -> None:
    box.add([news(incident())])
    path = next((box.path / "news").iterdir()) if what == "news" else box.ledger(MAIL)
    path.write_text("{}")
    with pytest.raises(StoreError, match="is damaged"):
        deliver(box, (MAIL, Recorder()))


def test_a_file_that_cannot_be_written_is_a_sink_that_is_down(box: Outbox, tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("no folder")
    box.add([trouble()])
    made = deliver(box, (FILE, JsonlSink(tmp_path / "folder" / "told.jsonl")))
    assert made.pending == {"jsonl": 1}
    assert "cannot be written" in made.troubles["jsonl"]
