"""Posts to the webhooks of Mattermost, and to whatever else Apprise knows, on a real server."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from qad_dl.errors import ConfigError, SinkDownError, SinkError
from qad_dl.sinks.apprise import AppriseSink
from qad_dl.sinks.mattermost import LONGEST, MattermostSink
from qad_dl.sinks.message import OPENED, shown, single
from qad_dl.sinks.post import Poster
from tests.light.made_news import HOSTILE, group, incident, news
from tests.services.certificates import make_certificate

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.receivers import WebhookServer

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


def test_a_webhook_with_a_wrong_certificate(webhook: WebhookServer, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
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
