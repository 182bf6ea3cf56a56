"""What people are told, through real servers: Alertmanager, a mail server, webhooks."""

from __future__ import annotations

import ssl
import subprocess
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qad_dl.errors import ConfigError, SinkDownError, SinkError
from qad_dl.sinks.alertmanager import AlertmanagerSink
from qad_dl.sinks.apprise import AppriseSink
from qad_dl.sinks.mail import MailSink
from qad_dl.sinks.mattermost import LONGEST, MattermostSink
from qad_dl.sinks.message import CLOSED, OPENED, shown, single
from qad_dl.sinks.outbox import Outbox
from qad_dl.sinks.plan import Gates
from qad_dl.sinks.post import Poster
from qad_dl.sinks.routing import Channel
from qad_dl.sinks.silences import Silence
from tests.light.made_news import HOSTILE, T0, TEN, UPDATED, closed, group, incident, news, trouble

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qad_dl.sinks.news import News
    from tests.services.alertmanager import Alertmanager
    from tests.services.receivers import MailBox, WebhookServer

NOW = float(T0.astype(np.int64)) + 1200
needs_alertmanager = pytest.mark.program("prometheus-alertmanager")
ALERTS = Channel("alertmanager")


def eventually(held: Callable[[], Any], seconds: float = 15.0) -> Any:
    """What is true at last."""
    until = time.monotonic() + seconds
    while not (found := held()) and time.monotonic() < until:
        time.sleep(0.1)
    return found


# --- Alertmanager ---


def alerts_of(server: Alertmanager) -> AlertmanagerSink:
    return AlertmanagerSink(Poster("Alertmanager", f"{server.url}/api/v2/alerts"), "https://qad.example.org")


def tell(box: Outbox, sink: AlertmanagerSink, *open_now: News, gates: Gates | None = None) -> dict[str, str]:
    made = box.deliver([(ALERTS, sink)], gates or Gates(NOW), open_now, datetime.now(UTC))
    return dict(made.troubles)


def told(webhook: WebhookServer) -> list[tuple[str, str]]:
    """What Alertmanager told: status and incident."""
    return [(a["status"], a["labels"]["incident"]) for _, post in webhook.posts for a in post["alerts"]]


@needs_alertmanager
def test_an_incident_is_an_alert_until_it_is_over(
    alertmanager: Alertmanager, webhook: WebhookServer, tmp_path: Path
) -> None:
    box, sink = Outbox(tmp_path / "outbox"), alerts_of(alertmanager)
    opened = news(group(), cloud="DE", tier="2", atlas_site="CERN-PROD", harvester="CERN_central_A")
    box.add([opened])
    tell(box, sink)
    (alert,) = alertmanager.alerts()
    assert alert["labels"] == {
        "alertname": "QueueAnomaly",
        "incident": opened.incident.id,
        "bundle": "queues",
        "cloud": "DE",
        "tier": "2",
        "atlas_site": "CERN-PROD",
        "harvester": "CERN_central_A",
    }
    assert alert["annotations"]["summary"].startswith("harvester=CERN_central_A: 41 of 43 queues: starting at 0")
    assert alert["annotations"]["onset"] == "2026-01-05T03:40:00Z"
    assert alert["generatorURL"].startswith("https://qad.example.org/#incident=20260105T0340-abcdef&worst=Q40&from=")
    ahead = datetime.fromisoformat(alert["endsAt"]) - datetime.now(UTC)
    assert timedelta(minutes=25) < ahead <= timedelta(minutes=30)
    assert eventually(lambda: told(webhook)) == [("firing", opened.incident.id)]
    # Metadata and members change; the identity stays, and nobody is told again.
    box.add([news(group(43), 3, UPDATED, cloud="FR")])
    for _ in range(3):
        tell(box, sink, news(group(43), 3, UPDATED))
    (alert,) = alertmanager.alerts()
    assert alert["annotations"]["queues"] == "43"
    assert alert["labels"]["cloud"] == "DE"
    box.add([news(closed(group(43)), 14)])
    tell(box, sink)
    assert eventually(lambda: len(told(webhook)) == 2)
    assert told(webhook)[1] == ("resolved", opened.incident.id)
    assert box.waiting() == ()


@needs_alertmanager
def test_a_restart_of_alertmanager_and_an_outage_lose_nothing(
    alertmanager: Alertmanager, webhook: WebhookServer, tmp_path: Path
) -> None:
    box, sink = Outbox(tmp_path / "outbox"), alerts_of(alertmanager)
    long, short = news(incident("long")), news(incident("short"))
    alertmanager.stop()
    box.add([long, short])
    troubles = tell(box, sink, long, short)
    assert troubles == {"alertmanager": f"Alertmanager at 127.0.0.1:{alertmanager.port}: cannot be reached"}
    box.add([news(closed(short.incident), 14)])
    tell(box, sink, long)
    alertmanager.start()
    assert tell(box, sink, long) == {}
    assert eventually(lambda: len(told(webhook)) == 2)
    assert set(told(webhook)) == {("firing", long.incident.id), ("firing", short.incident.id)}
    tell(box, sink, long)
    assert eventually(lambda: len(told(webhook)) == 3)
    assert told(webhook)[2] == ("resolved", short.incident.id)
    assert box.waiting() == ()
    alertmanager.stop()  # it forgets its alerts
    alertmanager.start()
    assert alertmanager.alerts() == []
    tell(box, sink, long)
    assert [a["labels"]["panda_queue"] for a in alertmanager.alerts()] == ["long"]


@needs_alertmanager
def test_what_is_folded_resolves_and_what_is_silenced_is_not_posted(alertmanager: Alertmanager, tmp_path: Path) -> None:
    box, sink = Outbox(tmp_path / "outbox"), alerts_of(alertmanager)
    child, other = news(incident("Q00")), news(incident("other"), atlas_site="S")
    silence = Silence("s", {"atlas_site": "S"}, "known", "me", T0, T0 + 6 * TEN)
    box.add([child, other])
    tell(box, sink, gates=Gates(NOW, [silence]))
    assert [a["labels"]["panda_queue"] for a in alertmanager.alerts()] == ["Q00"]
    box.add([news(group(), 2), news(closed(child.incident, 2)._replace(folded=group().id), 2)])
    tell(box, sink, gates=Gates(NOW, [silence]))
    assert [a["labels"]["incident"] for a in alertmanager.alerts()] == [group().id]
    tell(box, sink, news(group(), 2), gates=Gates(NOW + 3600, [silence]))
    assert [a["labels"].get("panda_queue") for a in alertmanager.alerts()] == [None, "other"]


@needs_alertmanager
def test_hostile_names_reach_alertmanager_as_they_are(alertmanager: Alertmanager, tmp_path: Path) -> None:
    box, sink = Outbox(tmp_path / "outbox"), alerts_of(alertmanager)
    box.add([news(incident(name), cloud=name) for name in HOSTILE])
    assert tell(box, sink) == {}
    found = {a["labels"]["panda_queue"] for a in alertmanager.alerts()}
    assert found == {name if len(name) <= 1000 else shown(name, 1000) for name in HOSTILE}


@needs_alertmanager
def test_an_alert_that_is_refused_holds_up_no_other(
    alertmanager: Alertmanager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def labels(made: News) -> dict[str, str]:
        return {"no label": "x"} if made.incident.value == "bad" else {"incident": made.incident.value}

    monkeypatch.setattr("qad_dl.sinks.outbox.labels_of", labels)
    box, sink = Outbox(tmp_path / "outbox"), alerts_of(alertmanager)
    box.add([news(incident(name)) for name in ("A", "bad", "B")])
    assert "400 Bad Request" in tell(box, sink)["alertmanager"]
    assert [a["labels"]["incident"] for a in alertmanager.alerts()] == ["A", "B"]
    assert [made.incident.value for made in box.waiting()] == ["bad"]


@needs_alertmanager
def test_what_two_bundles_see_in_the_same_queues_is_one_alert(alertmanager: Alertmanager, tmp_path: Path) -> None:
    box, sink = Outbox(tmp_path / "outbox"), alerts_of(alertmanager)
    one, other = news(incident()), news(incident(id="other"), label="de")
    box.add([one, other])
    for _ in range(2):
        tell(box, sink, one, other)
        assert [a["labels"]["bundle"] for a in alertmanager.alerts()] == ["de"]
        assert box.waiting() == ()
    box.add([news(closed(one.incident), 14), news(closed(other.incident), 14, label="de")])
    tell(box, sink)
    assert (alertmanager.alerts(), box.waiting()) == ([], ())


@needs_alertmanager
def test_a_trouble_is_an_alert_of_another_name(alertmanager: Alertmanager, tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox")
    box.add([trouble()])
    tell(box, alerts_of(alertmanager))
    (alert,) = alertmanager.alerts()
    assert (alert["labels"]["alertname"], alert["labels"]["trouble"]) == ("QueueAnomalyMonitor", "frozen")


# --- mail ---


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


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody but its owner trusts, and its key."""
    crt, key = tmp_path / "server.crt", tmp_path / "server.key"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run([*command.split(), "-keyout", str(key), "-out", str(crt)], check=True, capture_output=True)
    return crt, key


def test_starttls_with_a_wrong_certificate_and_a_right_one(mailbox: MailBox, certificate: tuple[Path, Path]) -> None:
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


# --- Mattermost and others ---

SECRET = "hooks/very-secret"


def mattermost(webhook: WebhookServer, channel: str = "") -> MattermostSink:
    return MattermostSink(Poster("Mattermost", f"{webhook.url}/{SECRET}"), channel)


def test_a_post(webhook: WebhookServer) -> None:
    mattermost(webhook).send(single("k", OPENED, news(incident()), "https://qad.example.org"))
    mattermost(webhook, "de-cloud").send(single("k", OPENED, news(incident())))
    (path, first), (_, second) = webhook.posts
    assert path == f"/{SECRET}"
    assert first.keys() == {"text"}
    assert second["channel"] == "de-cloud"
    assert first["text"].startswith("**\\[qad\\] `CERN-PROD_1`: `starting` at 0, `activated` high: pilots?**\n\n")
    assert "[plot](<https://qad.example.org/#queue=CERN-PROD_1&from=" in first["text"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_in_a_post(webhook: WebhookServer, name: str) -> None:
    made = group(12, value=name, queues=tuple(f"{i}{name}" for i in range(12)), worst=(f"3{name}",))
    mattermost(webhook).send(single("k", OPENED, news(made)))
    (text,) = webhook.texts
    assert len(text) <= LONGEST
    assert shown(name).replace("`", "") in text.replace("`", "")
    assert _outside_code(text).isdisjoint("@<>!")


def _outside_code(text: str) -> set[str]:
    """The characters that are in no code span (CommonMark 6.1)."""
    out, at = "", 0
    while at < len(text):
        run = len(text[at:]) - len(text[at:].lstrip("`"))
        if not run:
            out, at = out + text[at], at + 1
            continue
        fence, end = "`" * run, at + run
        while True:
            end = text.index("`", end)
            length = len(text[end:]) - len(text[end:].lstrip("`"))
            if length == len(fence):
                break
            end += length
        at = end + run
    return set(out)


def test_errors_of_a_webhook_never_show_its_address(webhook: WebhookServer) -> None:
    message = single("k", OPENED, news(incident()))
    webhook.status, webhook.answer = 403, f"no token at {webhook.url}/{SECRET}"
    with pytest.raises(SinkError, match=r"403") as refused:
        mattermost(webhook).send(message)
    assert not isinstance(refused.value, SinkDownError)
    webhook.status = 502
    with pytest.raises(SinkDownError, match=r"502") as bad:
        mattermost(webhook).send(message)
    webhook.stop()
    with pytest.raises(SinkDownError, match=r"cannot be reached") as down:
        mattermost(webhook).send(message)
    for said in (refused, bad, down):
        assert SECRET not in str(said.value)
        assert f"127.0.0.1:{webhook.port}" in str(said.value)
    assert SECRET not in repr(mattermost(webhook))


def test_a_webhook_with_a_wrong_certificate(webhook: WebhookServer, certificate: tuple[Path, Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    assert webhook.server is not None
    webhook.server.socket = context.wrap_socket(webhook.server.socket, server_side=True)
    url = f"https://127.0.0.1:{webhook.port}/{SECRET}"
    message = single("k", OPENED, news(incident()))
    with pytest.raises(SinkDownError, match=r"certificate is not trusted"):
        MattermostSink(Poster("Mattermost", url)).send(message)
    MattermostSink(Poster("Mattermost", url, ca_file=certificate[0])).send(message)
    assert len(webhook.posts) == 1


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # apprise tries it first
def test_any_other_channel_by_apprise(webhook: WebhookServer) -> None:
    address = webhook.url.replace("http", "json")
    AppriseSink((f"{address}/a", f"{address}/b")).send(single("k", OPENED, news(incident())))
    assert sorted(path for path, _ in webhook.posts) == ["/a", "/b"]
    assert webhook.posts[0][1]["title"] == "[qad] CERN-PROD_1: starting at 0, activated high: pilots?"
    webhook.status = 500
    with pytest.raises(SinkDownError, match=r"apprise"):
        AppriseSink((f"{address}/secret",)).send(single("k", OPENED, news(incident())))
    with pytest.raises(ConfigError, match=r"line 2") as unknown:
        AppriseSink((address, "nonsense://secret")).send(single("k", OPENED, news(incident())))
    assert "secret" not in str(unknown.value)
