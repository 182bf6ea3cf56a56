"""Incidents as alerts of a real Alertmanager, and what it tells of them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qad_dl.sinks.alertmanager import AlertmanagerSink
from qad_dl.sinks.message import shown
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
    from tests.services.receivers import WebhookServer

NOW = float(T0.astype(np.int64)) + 1200
needs_alertmanager = pytest.mark.program("prometheus-alertmanager")
ALERTS = Channel("alertmanager")


def eventually(held: Callable[[], Any], seconds: float = 15.0) -> Any:
    """What is true at last."""
    until = time.monotonic() + seconds
    while not (found := held()) and time.monotonic() < until:
        time.sleep(0.1)
    return found


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
