"""From the config to people: routes, secrets, silences, outages, and a dry run that tells nobody."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.sinks.silences import Silences
from serving.config import read_config
from serving.follow import Book, follow_troubles
from serving.state import State
from serving.telling import Telling, queue
from tests.light.made_news import T0, TEN, UPDATED, closed, group, incident, news
from tests.services.collector import FIRST, make_collector

if TYPE_CHECKING:
    from pathlib import Path

    from qad_dl.sinks.outbox import Delivered
    from tests.services.alertmanager import Alertmanager
    from tests.services.receivers import MailBox, WebhookServer

# What apprise does when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

NOW = float(T0.astype(np.int64)) + 1200

CONFIG = """
store = "store"
bundles = ["queues"]
[source]
kind = "files"
url = "in"
[sink.jsonl]
path = "told.jsonl"
[sink.alertmanager]
url = "{alertmanager}"
[sink.mail]
host = "127.0.0.1"
port = {mail}
sender = "qad@example.org"
to = ["ops@example.org", "night@example.org"]
[sink.mattermost]
url_file = "hook"
[sink.apprise]
urls_env = "QAD_APPRISE"
[[route]]
sink = "mail"
[[route]]
sink = "mail"
match = {{ cloud = "DE" }}
to = ["de@example.org", "ops@example.org"]
[[route]]
sink = "apprise"
match = {{ kind = "site_down" }}
[quiet]
start = "22:00"
end = "03:00"
[cap]
per_hour = 5
[message]
review_url = "https://qad.example.org"
"""


@dataclass
class Told:
    telling: Telling
    book: Book

    def deliver(self, **but: set[str]) -> Delivered:
        return self.telling.deliver(self.book, time.monotonic() + 60, **but)


@pytest.fixture
def told(
    tmp_path: Path,
    alertmanager: Alertmanager,
    mailbox: MailBox,
    webhook: WebhookServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Told:
    monkeypatch.setenv("QAD_APPRISE", webhook.url.replace("http", "json") + "/apprise")
    (tmp_path / "hook").write_text(f"{webhook.url}/mattermost\n")
    (tmp_path / "hook").chmod(0o600)
    path = tmp_path / "collector.toml"
    path.write_text(CONFIG.format(alertmanager=alertmanager.url, mail=mailbox.port))
    config = read_config(path)
    return Told(Telling(config, State(config.state.path), NOW), Book())


def recipients(mailbox: MailBox) -> list[str]:
    return sorted(to[0] for to, _ in mailbox.letters)


@pytest.mark.program("prometheus-alertmanager")
def test_everybody_is_told_what_their_routes_say(
    told: Told, alertmanager: Alertmanager, mailbox: MailBox, webhook: WebhookServer
) -> None:
    french = news(group(), cloud="FR", tier="1")
    queue(told.telling.state, [french])
    for _ in range(2):
        made = told.deliver()
        assert (set(made.pending.values()), made.troubles, made.held) == ({0}, {}, dict.fromkeys(made.held, 0))
    assert recipients(mailbox) == ["night@example.org", "ops@example.org"]
    assert [path for path, _ in webhook.posts if path != "/alerts"] == ["/mattermost"]
    assert [a["labels"]["cloud"] for a in alertmanager.alerts()] == ["FR"]
    german = news(incident("G", kind="site_down"), cloud="DE")
    queue(told.telling.state, [german])
    told.deliver()
    assert recipients(mailbox)[:1] == ["de@example.org"]
    assert len(mailbox.letters) == 5  # ops is named by two routes, and told once
    assert [path for path, _ in webhook.posts if path != "/alerts"] == ["/mattermost", "/mattermost", "/apprise"]
    assert len((told.telling.config.path.parent / "told.jsonl").read_text().splitlines()) == 2


@pytest.mark.program("prometheus-alertmanager")
def test_outages_of_every_sink_are_troubles_and_lose_nothing(
    told: Told, alertmanager: Alertmanager, mailbox: MailBox, webhook: WebhookServer
) -> None:
    mailbox.stop()
    webhook.stop()
    alertmanager.stop()
    state = told.telling.state
    queue(state, [news(group(), cloud="FR")])
    made = told.deliver()
    assert made.pending == {"jsonl": 0, "alertmanager": 1, "mail": 2, "mattermost": 1, "apprise": 0}
    assert made.troubles.keys() == {"alertmanager", "mail", "mattermost"}
    told.book, self_alerts = follow_troubles(told.book, made.troubles, T0 + 2 * TEN, over=True)
    queue(state, self_alerts)
    made = told.deliver(but=set(made.troubles))
    assert (made.pending["jsonl"], made.pending["mail"], made.troubles.keys()) == (0, 8, {"apprise"})
    mailbox.start()
    webhook.start()
    alertmanager.start()
    made = told.deliver()
    assert (set(made.pending.values()), made.troubles) == ({0}, {})
    assert len(alertmanager.alerts()) == 4
    before = (len(mailbox.letters), len(webhook.texts_of("/mattermost")))
    told.deliver()
    assert (len(mailbox.letters), len(webhook.texts_of("/mattermost"))) == before == (8, 4)
    assert not list((state.outbox / "news").iterdir())


@pytest.mark.program("prometheus-alertmanager")
def test_a_silence_holds_back_and_the_night_too(told: Told, mailbox: MailBox, alertmanager: Alertmanager) -> None:
    state = told.telling.state
    Silences(state.silences).add({"panda_queue": "CERN-PROD_1"}, "known", "ada", T0, T0 + 6 * TEN)
    queue(state, [news(incident())])
    made = told.deliver()
    assert (mailbox.letters, alertmanager.alerts()) == ([], [])
    assert made.held == {"jsonl": 0, "alertmanager": 1, "mail": 2, "mattermost": 1, "apprise": 0}
    told.telling = Telling(told.telling.config, state, NOW + 3600)
    told.deliver()
    assert len(mailbox.letters) == 2
    night = Telling(told.telling.config, state, NOW + 19 * 3600)  # 23:00
    queue(state, [news(incident("B"), 120), news(incident("C", score=9.0), 120), news(incident("D"), 120)])
    told.telling = night
    told.deliver()
    assert sorted(mailbox.subjects[2:]) == ["[qad] C: starting at 0, activated high: pilots?"] * 2
    told.telling = Telling(told.telling.config, state, NOW + 24 * 3600)
    told.deliver()
    assert mailbox.subjects[4:] == ["[qad] 2 incidents: 2 going on, 0 over"] * 2


@pytest.mark.program("prometheus-alertmanager")
def test_one_queue_that_becomes_a_group_and_is_over_is_one_thread(told: Told, mailbox: MailBox) -> None:
    state = told.telling.state
    first = news(incident("Q00", id=group().id))
    for made in (first, news(group(5), 2, UPDATED), news(group(6), 3, UPDATED), news(closed(group(6)), 20)):
        queue(state, [made])
        told.deliver()
    mine = [letter for to, letter in mailbox.letters if to == ("ops@example.org",)]
    assert [letter["Subject"].split(":")[0] for letter in mine] == ["[qad] Q00", "[qad] Now", "[qad] Over"]
    assert [letter["References"] for letter in mine] == [None, *[mine[0]["Message-ID"]] * 2]


def test_a_dry_run_says_what_it_would_tell_and_tells_nobody(tmp_path: Path, mailbox: MailBox) -> None:
    mail = f'host = "127.0.0.1"\nport = {mailbox.port}\nsender = "qad@example.org"\nto = ["ops@example.org"]'
    collector = make_collector(tmp_path / "collector", {"sink.mail": mail})
    queue(State(collector.folder / "state"), [news(incident())])
    process = collector.start(FIRST, "--dry-run")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "To mail ops@example.org: [qad] CERN-PROD_1: starting at 0, activated high: pilots?" in out
    assert out.splitlines()[-1].startswith("{")
    assert (mailbox.letters, collector.told) == ([], [])
    assert len(list((collector.folder / "state" / "outbox" / "news").iterdir())) == 1
