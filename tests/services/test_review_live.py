"""`python -m serving.review` as a program: what it answers, and that its data are those of a backtest."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import requests

from qad_dl.backtest import run_backtest
from qad_dl.labels import spans_of
from qad_dl.review.page import gather
from qad_dl.scorer import Scorer
from qad_dl.sinks.message import link_to
from tests.conftest import ROOT
from tests.light.made import at
from tests.light.made_labels import INCIDENT, QUEUE, new_id, put, undo
from tests.services.collector import FIRST, make_collector
from tests.services.programs import free_port
from tests.services.review_server import ReviewServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.services.conftest import Visit


def make_server(folder: Path, more: str = "", headers: dict[str, str] | None = None) -> ReviewServer:
    port = free_port()
    collector = make_collector(folder / "collector", {"review": f"port = {port}\ndays = 1\n{more}"})
    return ReviewServer(folder / "server", port, collector, headers or {})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReviewServer]:
    server = make_server(tmp_path_factory.mktemp("live")).start()
    yield server
    server.stop()


def wait_for(server: ReviewServer, what: str) -> None:
    for _ in range(1200):
        if what in server.said:
            return
        time.sleep(0.1)
    raise AssertionError(server.said)


def test_the_data_are_those_of_the_page_of_a_backtest(server: ReviewServer) -> None:
    index = server.get("/index.json")
    store, scorer = server.collector.store, Scorer.load(server.collector.folder / "bundle")
    results = run_backtest(store, scorer, at(FIRST - 144), at(FIRST), 0.01, details=True)
    content = gather(results, store.metadata().at(at(FIRST)), store.downtimes(), "title")
    found = index.json()
    mine = json.loads(content.index_json())
    for key in ("start", "ticks", "states", "series", "threshold", "budget", "fields"):
        assert found[key] == mine[key], key
    assert len(found["series"]) == 6
    assert index.headers["Content-Encoding"] == "gzip"
    plain = server.get("/index.json", **{"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert plain.json() == found
    version = index.headers["ETag"].strip('"')
    for row in range(6):
        answer = server.get(f"/queue/{row}", **{"Accept-Encoding": "identity"})
        assert answer.headers["ETag"] == f'"{version}"'
        assert answer.text == server.get(f"/queue/{row}?v={version}").text
        assert len(answer.text) > 100


def test_what_somebody_has_already_is_not_sent_again(server: ReviewServer) -> None:
    for path in ("/index.json", "/queue/0", "/labels.json"):
        tag = server.get(path).headers["ETag"]
        again = server.get(path, **{"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
        assert server.get(path, **{"If-None-Match": '"other"'}).status_code == 200


def test_every_answer_forbids_what_it_does_not_need(server: ReviewServer) -> None:
    for path in ("/", "/index.json", "/queue/0", "/labels.json", "/healthz", "/nowhere"):
        headers = server.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert ("connect-src 'self'" in policy) == (path == "/")
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers
        assert "Set-Cookie" not in headers
        assert "Server" not in headers


@pytest.mark.parametrize(
    ("path", "status"),
    [("/queue/6", 404), ("/queue/-1", 404), ("/queue/x", 404), ("/queue/0?v=gone", 410), ("/nowhere", 404)],
)
def test_what_is_not_there_is_one_line(server: ReviewServer, path: str, status: int) -> None:
    answer = server.get(path)
    assert answer.status_code == status
    assert len(answer.json()["error"].splitlines()) == 1


def test_labels_are_put_changed_and_taken_back(server: ReviewServer) -> None:
    before = server.get("/labels.json").json()
    event = put(INCIDENT, author="ada", comment="<script>alert(1)</script>")
    answer = server.post(event)
    assert answer.status_code == 200, answer.text
    label = answer.json()["label"]
    assert {**label, "time": 0, "history": 0} == {**event, "time": 0, "history": 0}
    now = np.datetime64("now", "s")
    assert abs(np.datetime64(label["time"].rstrip("Z")) - now) < np.timedelta64(60, "s")  # the server's time
    assert server.post(event).json() == answer.json()
    assert server.post({**event, "id": new_id(), "author": "bob"}).status_code == 409
    changed = server.post({**event, "id": new_id(), "word": "expected"}).json()
    assert [e["word"] for e in changed["label"]["history"]] == ["problem", "expected"]
    listed = server.get("/labels.json").json()
    assert listed["version"] == before["version"] + 2 == changed["version"]
    assert listed["labels"][-1] == changed["label"]
    assert server.post(undo(event["label"])).status_code == 200
    after = server.get("/labels.json").json()
    assert after["labels"] == before["labels"]
    (gone,) = (label for label in after["withdrawn"] if label["label"] == event["label"])
    assert [e["op"] for e in gone["history"]] == ["put", "put", "undo"]
    assert gone["word"] == "expected"
    assert server.post(undo(event["label"])).status_code == 409
    assert server.log.read().version == before["version"] + 3
    assert f'put {event["label"]} by "ada"' in server.said


def test_it_says_how_it_is(server: ReviewServer) -> None:
    health = server.get("/healthz")
    assert health.status_code == 200
    assert health.json()["status"] == "ok"
    assert health.json()["data"] == f"{at(FIRST - 1)}Z"


def test_a_signal_ends_it_in_good_order(tmp_path: Path) -> None:
    server = make_server(tmp_path).start()
    process = server.process
    assert process is not None
    server.stop()
    assert process.returncode == 0
    assert "Traceback" not in server.said


def test_another_server_on_the_same_port_says_so(server: ReviewServer) -> None:
    command = [sys.executable, "-m", "serving.review", "--config", str(server.collector.config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "is another server at work there?" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.program("chromium")
def test_after_a_tick_the_data_are_new_and_a_page_that_is_open_goes_on(tmp_path: Path, visit: Visit) -> None:
    server = make_server(tmp_path).start()
    try:
        for position in range(FIRST, FIRST + 11):
            server.collector.drop(position)
            server.collector.run(position)
        wait_for(server, f"data up to {at(FIRST + 10)}Z")
        old = server.get("/index.json").headers["ETag"].strip('"')
        block = server.get(f"/queue/0?v={old}").text
        server.collector.drop(FIRST + 11)
        server.collector.run(FIRST + 11)
        wait_for(server, f"data up to {at(FIRST + 11)}Z")
        index = server.get("/index.json")
        found = index.json()
        assert index.headers["ETag"].strip('"') != old
        assert found["start"] + found["step"] * (found["ticks"] - 1) == int(at(FIRST + 11).astype(np.int64))
        store, scorer = server.collector.store, Scorer.load(server.collector.folder / "bundle")
        start, end = at(FIRST + 12 - 144), at(FIRST + 12)
        results = run_backtest(store, scorer, start, end, 0.01, details=True)
        mine = json.loads(gather(results, store.metadata().at(end), store.downtimes(), "title").index_json())
        assert found["series"] == mine["series"]
        told = {t["incident"] for t in server.collector.told if t["bundle"] == "bundle"}
        assert told
        assert told <= {line["id"] for line in found["incidents"]}  # under the names that people were told
        assert server.get(f"/queue/0?v={old}").text == block
        alarm = next(i for i in server.collector.book.incidents["bundle"] if i.value == "Q1")
        page = visit.page
        page.goto(link_to(alarm, server.url))  # one click on what people were told
        page.wait_for_selector("#plots[data-drawn]", state="attached", timeout=30_000)
        assert "Q1" in (page.text_content("#name") or "")
        assert page.text_content("#problem") == ""
        page.fill("#author", "ada")
        page.locator("#queue").focus()
        page.keyboard.press("p")
        page.wait_for_function("() => document.getElementById('said').textContent.startsWith('Labelled problem')")
        page.wait_for_function("() => document.querySelectorAll('#label-list li').length === 1")
        for _ in range(100):
            if server.log.read().in_force:
                break
            page.wait_for_timeout(50)
        (label,) = server.log.read().in_force
        ticks = spans_of(label, store.metadata())
        assert {item.panda_queue for item in ticks} == {"Q1"}
        assert ticks[0].start <= alarm.start
        assert visit.complaints == []
    finally:
        server.stop()
    assert server.said.count("listens on") == 1
    assert "Traceback" not in server.said


def test_labels_can_be_read_and_written_while_the_data_cannot_be_made(tmp_path: Path) -> None:
    server = make_server(tmp_path)
    bundle = server.collector.folder / "bundle"
    bundle.rename(bundle.with_name("gone"))
    server.folder.mkdir()
    command = [sys.executable, "-m", "serving.review", "--config", str(server.collector.config)]
    server.launch(command, "/labels.json", 200)
    try:
        wait_for(server, "there is no bundle")
        health = server.get("/healthz")
        assert (health.status_code, health.json()["status"]) == (503, "trouble")
        for path in ("/index.json", "/queue/0", "/"):
            answer = server.get(path)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        bundle.with_name("gone").rename(bundle)
        wait_for(server, "all is well again")
        event = put(QUEUE)
        assert server.post(event).status_code == 200
        lines = server.labels.read_bytes()
        server.labels.write_bytes(lines.replace(b'"put"', b'"putt"'))
        answer = server.get("/labels.json")
        assert (answer.status_code, answer.json()["error"]) == (
            503,
            "the labels cannot be read or written now; the server's log says why",
        )
        assert server.post(put(QUEUE)).status_code == 503
        assert "labels.jsonl, line " in server.said
        server.stop()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert "line 2: op: 'putt' is not one of" in done.stderr
    finally:
        server.stop()


# --- in a browser ---


@pytest.mark.program("chromium")
def test_what_a_reviewer_writes_is_text_in_the_other_s_page(server: ReviewServer, visit: Visit) -> None:
    hostile = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    event = put({**QUEUE, "panda_queue": "Q0", "start": "2026-01-05T00:00:00Z", "end": "2026-01-09T00:00:00Z"})
    label = server.post({**event, "comment": hostile, "author": "<b>eve</b>"}).json()["label"]
    page = visit.page
    page.goto(f"{server.url}/#queue=Q0")
    page.wait_for_selector("#plots[data-drawn]", state="attached", timeout=30_000)
    item = page.locator(f'#label-list [data-label="{label["label"]}"]')
    assert item.locator("q").text_content() == hostile
    assert "<b>eve</b>" in (item.locator(".by").text_content() or "")
    assert page.title().startswith("Q0")
    page.fill("#author", "ada")
    page.locator("#queue").focus()
    page.keyboard.press("x")
    for _ in range(100):
        mine = [found for found in server.log.read().in_force if found.author == "ada" and found.word == "expected"]
        if mine:
            break
        page.wait_for_timeout(50)
    assert [found.target.to_json()["panda_queue"] for found in mine] == ["Q0"]
    assert {address.split("/")[2] for address in visit.requests} == {f"127.0.0.1:{server.port}"}
    assert visit.complaints == []


# --- behind a proxy that names its users ---


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReviewServer]:
    more = 'user_header = "X-Remote-User"\norigins = ["https://qad.example.org"]\n'
    server = make_server(tmp_path_factory.mktemp("proxied"), more, {"Host": "qad.example.org"}).start(503)
    server.headers["X-Remote-User"] = "ada@example.org"
    wait_for(server, "data up to")
    yield server
    server.stop()


def through(server: ReviewServer, event: Any, **headers: str | None) -> requests.Response:
    return server.post(event, **{"Origin": "https://qad.example.org", **headers})


def test_the_proxy_s_word_counts_and_not_the_page_s(proxied: ReviewServer) -> None:
    event = put(author="somebody else")
    label = through(proxied, event).json()["label"]
    assert label["author"] == "ada@example.org"
    without = {key: value for key, value in put().items() if key not in {"author", "time"}}
    assert through(proxied, without).json()["label"]["author"] == "ada@example.org"
    assert '<meta name="qad-author" content="ada@example.org">' in proxied.get("/").text
    hostile = proxied.get("/", **{"X-Remote-User": '"><script>x</script>'}).text
    assert "<script>x" not in hostile
    assert "&lt;script&gt;x" in hostile


def test_without_a_name_there_is_no_writing(proxied: ReviewServer) -> None:
    before = proxied.log.read()
    nobody = {"X-Remote-User": ""}
    assert proxied.get("/labels.json", **nobody).status_code == 200
    token = proxied.token()
    for name, status in (("", 401), ("ada, eve", 401), ("bob", 403), ("\xff", 401)):  # the token is ada's
        answer = through(proxied, put(), X_Remote_User=name, X_QAD_CSRF=token)
        assert answer.status_code in {status, 403}, answer.text
    assert through(proxied, put(), Origin=proxied.url).status_code == 403
    assert proxied.log.read() == before


def test_only_the_proxy_is_answered(tmp_path: Path) -> None:
    more = 'user_header = "X-Remote-User"\nproxies = ["192.0.2.7"]\norigins = ["https://qad.example.org"]\n'
    server = make_server(tmp_path, more, {"X-Remote-User": "ada"}).start(503)
    try:
        for path in ("/", "/index.json", "/labels.json", "/queue/0"):
            answer = server.get(path)
            assert (answer.status_code, answer.json()["error"]) == (
                403,
                "this server is reached through its proxy only",
            )
        assert requests.post(f"{server.url}/labels", json=put(), timeout=10).status_code == 403
        assert server.get("/healthz").status_code in {200, 503}
    finally:
        server.stop()
