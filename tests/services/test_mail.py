"""Mails through a real mail server: what they say, and what becomes of those that it does not take."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qad_dl.errors import SinkDownError, SinkError
from qad_dl.sinks.mail import MailSink
from qad_dl.sinks.message import CLOSED, OPENED, shown, single
from qad_dl.sinks.outbox import Outbox
from qad_dl.sinks.plan import Gates
from qad_dl.sinks.routing import Channel
from tests.light.made_news import HOSTILE, T0, closed, incident, news
from tests.services.certificates import make_certificate

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.receivers import MailBox

NOW = float(T0.astype(np.int64)) + 1200


def clock() -> datetime:
    return datetime(2026, 1, 5, 4, tzinfo=UTC)


def mail_to(mailbox: MailBox, *to: str, **options: Any) -> MailSink:
    return MailSink("127.0.0.1", mailbox.port, "qad@example.org", to or ("ops@example.org",), clock, **options)


def test_a_mail(mailbox: MailBox) -> None:
    message = single("k", OPENED, news(incident()), "https://qad.example.org")
    assert mail_to(mailbox).send(message) == ""
    ((to, letter),) = mailbox.letters
    assert to == ("ops@example.org",)
    assert letter["Subject"] == "[qad] CERN-PROD_1: starting at 0, activated high: pilots?"
    assert letter["From"].addresses[0].addr_spec == "qad@example.org"
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter["Date"].datetime == clock()
    plain, page = (letter.get_body((kind,)).get_content() for kind in ("plain", "html"))
    assert "activated: 5,400 where about 1,230 were expected (high)" in plain
    assert '<a href="https://qad.example.org/#queue=CERN-PROD_1&amp;from=' in page


def test_mails_on_one_incident_are_one_thread_and_a_repeated_one_has_the_same_id(mailbox: MailBox) -> None:
    sink = mail_to(mailbox)
    first, last = single("1", OPENED, news(incident())), single("2", CLOSED, news(closed(incident()), 14))
    for message in (first, first, last, single("3", OPENED, news(incident("other")))):
        sink.send(message)
    ids = [letter["Message-ID"] for _, letter in mailbox.letters]
    assert (ids[0] == ids[1], len(set(ids))) == (True, 3)
    assert [letter["References"] for _, letter in mailbox.letters] == [None, None, ids[0], None]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_in_a_mail(mailbox: MailBox, name: str) -> None:
    mail_to(mailbox).send(single("k", OPENED, news(incident(name))))
    ((to, letter),) = mailbox.letters
    assert to == ("ops@example.org",)
    assert letter["Bcc"] is None
    assert shown(name) in letter["Subject"]
    plain = letter.get_body(("plain",))
    assert plain is not None
    assert shown(name) in plain.get_content()
    page = letter.get_body(("html",))
    assert page is not None
    assert "<script" not in page.get_content()
    assert "<img" not in page.get_content()


def test_a_recipient_that_is_refused_and_a_mail_that_is(mailbox: MailBox) -> None:
    message = single("k", OPENED, news(incident()))
    mailbox.unknown = {"gone@x.org"}
    assert "refuses the recipients gone@x.org" in mail_to(mailbox, "a@x.org", "gone@x.org").send(message)
    with pytest.raises(SinkError, match=r"refuses a message .*no such user"):
        mail_to(mailbox, "gone@x.org").send(message)
    mailbox.refuses = True
    with pytest.raises(SinkError, match=r"554"):
        mail_to(mailbox).send(message)
    mailbox.stop()
    with pytest.raises(SinkDownError, match=f"127.0.0.1:{mailbox.port}: .*refused"):
        mail_to(mailbox).send(message)


def test_routes_and_an_outage_of_the_mail_server(mailbox: MailBox, tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox")
    channels = [Channel("mail", "de@x.org", ({"cloud": "DE"},)), Channel("mail", "ops@x.org")]
    sinks = [(channel, mail_to(mailbox, channel.to)) for channel in channels]
    mailbox.stop()
    box.add([news(incident("A"), cloud="DE"), news(incident("B"), cloud="FR")])
    made = box.deliver(sinks, Gates(NOW), [], clock())
    assert made.pending == {"mail": 3}
    mailbox.start()
    for _ in range(2):
        made = box.deliver(sinks, Gates(NOW), [], clock())
        assert made.pending == {"mail": 0}
    got = sorted((to[0], letter["Subject"].split(":")[0]) for to, letter in mailbox.letters)
    assert got == [("de@x.org", "[qad] A"), ("ops@x.org", "[qad] A"), ("ops@x.org", "[qad] B")]


def test_starttls_with_a_wrong_certificate_and_a_right_one(mailbox: MailBox, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    mailbox.stop()
    mailbox.options = {"tls_context": context, "require_starttls": True}
    mailbox.start()
    message = single("k", OPENED, news(incident()))
    with pytest.raises(SinkDownError, match=r"certificate is not trusted .*; see ca_file"):
        mail_to(mailbox, tls="starttls").send(message)
    with pytest.raises(SinkError, match=r"STARTTLS"):
        mail_to(mailbox).send(message)
    mail_to(mailbox, tls="starttls", ca_file=certificate[0]).send(message)
    assert len(mailbox.letters) == 1


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")
def test_a_wrong_password(mailbox: MailBox) -> None:
    from aiosmtpd.smtp import AuthResult

    mailbox.stop()
    right = (b"qad", b"right")
    mailbox.options = {
        "auth_require_tls": False,
        "auth_required": True,
        "authenticator": lambda *a: AuthResult(success=(a[-1].login, a[-1].password) == right, handled=False),
    }
    mailbox.start()
    message = single("k", OPENED, news(incident()))
    with pytest.raises(SinkDownError, match=r"refuses the user") as raised:
        mail_to(mailbox, user="qad", password="wrong-secret").send(message)
    assert "wrong-secret" not in str(raised.value) + repr(mail_to(mailbox, user="qad", password="wrong-secret"))
    mail_to(mailbox, user="qad", password="right").send(message)
    assert len(mailbox.letters) == 1
