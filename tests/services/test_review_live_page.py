"""The live page in a browser: two reviewers, a server that goes away, newer data, and whose name it is."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from serving.review.data import KEPT
from tests.services.review_live import LiveServer
from tests.services.review_pages import content_of, drawn
from tests.services.synthetic_results import make_results
from tests.services.test_review_live import make_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from qad_dl.results import Results
    from tests.services.conftest import Visit

pytestmark = pytest.mark.program("chromium")


@pytest.fixture(scope="module")
def results() -> Results:
    return make_results(40, 288)


@pytest.fixture
def server(results: Results, tmp_path: Path) -> Iterator[LiveServer]:
    server = LiveServer(content_of(results), tmp_path).start()
    yield server
    server.stop()


@pytest.fixture
def second(browser: Browser) -> Iterator[Page]:
    """Another reviewer's browser."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


def as_author(page: Page, name: str) -> None:
    page.fill("#author", name)
    page.locator("#author").blur()


def sent(page: Page) -> None:
    """Wait until nothing is left to send."""
    page.wait_for_function("() => /^\\d+ labels?$/.test(document.querySelector('#sync').textContent)")


def test_two_reviewers_see_each_others_words(visit: Visit, server: LiveServer, second: Page) -> None:
    first = visit.open(server.url, "#incident=I-group")
    assert first.locator("#import").is_hidden()
    as_author(first, "ada")
    first.keyboard.press("p")
    sent(first)
    second.goto(f"{server.url}/#incident=I-group")
    drawn(second, "I-group")
    second.wait_for_selector("#label-list li")
    assert "ada" in second.inner_text("#label-list")
    assert second.locator("#label-list button").count() == 0
    as_author(second, "bob")
    second.keyboard.press("x")
    sent(second)
    labels = server.log.read().in_force
    assert {(label.author, label.word) for label in labels} == {("ada", "problem"), ("bob", "expected")}
    first.reload()
    first.wait_for_selector("#label-list li")
    first.wait_for_function("() => document.querySelectorAll('#label-list > li').length === 2")
    first.keyboard.press("u")
    sent(first)
    first.keyboard.press("z")
    sent(first)
    words = {label.author: [e.word for e in label.history] for label in server.log.read().in_force}
    assert words == {"ada": ["problem", "unsure", "problem"], "bob": ["expected"]}
    assert visit.requests == []
    assert visit.complaints == []


def test_what_is_unfolded_and_the_focus_stay_when_the_server_answers(visit: Visit, server: LiveServer) -> None:
    page = visit.open(server.url, "#incident=I-group")
    as_author(page, "ada")
    for key in "px":
        page.keyboard.press(key)
        sent(page)
    page.locator("#label-list summary").click()
    page.keyboard.press("u")
    sent(page)
    assert "unsure" in page.locator("#label-list details[open] ol").inner_text()
    assert page.evaluate("() => document.activeElement.closest('#label-list summary')?.textContent") == "3 entries"


def test_it_asks_its_own_server_for_what_it_shows_and_nobody_else(visit: Visit, server: LiveServer) -> None:
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))
    page = visit.open(server.url, "#queue=SITE-0003_MCORE&compare=cloud")
    page.wait_for_selector("#others[data-drawn]")
    assert all(url.startswith((f"{server.url}/", "data:")) for url in asked)
    assert any(url.endswith("/index.json") for url in asked)
    assert sum("/queue/" in url for url in asked) >= 10
    assert all("?v=" in url for url in asked if "/queue/" in url)
    blocked = page.evaluate("() => fetch('http://127.0.0.1:9/').then(() => 'sent', (error) => String(error))")
    assert "Failed to fetch" in blocked


def test_words_wait_for_a_server_that_is_away(visit: Visit, tmp_path: Path) -> None:
    server = make_server(tmp_path).start()
    try:
        page = visit.open(server.url)
        as_author(page, "ada")
        server.kill()
        page.keyboard.press("p")
        page.wait_for_function("() => document.querySelector('#sync').textContent.startsWith('Not sent yet')")
        assert page.locator("#label-list li").count() == 1
        server.start()
        sent(page)
        (label,) = server.log.read().in_force
        assert (label.author, label.word) == ("ada", "problem")
        server.kill()
        page.keyboard.press("x")
        page.wait_for_function("() => document.querySelector('#sync').textContent.startsWith('Not sent yet')")
        page.goto("about:blank")  # the page is closed before the server is back
        server.start()
        page = visit.open(server.url)
        sent(page)
        (label,) = server.log.read().in_force
        assert [e.word for e in label.history] == ["problem", "expected"]
    finally:
        server.stop()


def test_what_the_server_refuses_is_told(visit: Visit, server: LiveServer) -> None:
    page = visit.open(server.url, "#incident=I-group")
    as_author(page, "ada")
    page.route("**/labels", lambda route: route.fulfill(status=409, body=json.dumps({"error": "is bob's"})))
    page.keyboard.press("p")
    page.wait_for_function("() => document.querySelector('#sync').textContent.includes(\"is bob's\")")
    assert page.locator("#label-list li").count() == 0
    assert server.log.read().in_force == ()


def test_a_token_that_is_no_longer_good_is_fetched_anew(visit: Visit, server: LiveServer) -> None:
    page = visit.open(server.url, "#incident=I-group")
    as_author(page, "ada")
    seen: list[int] = []

    def once(route: Any) -> None:
        seen.append(1)
        if len(seen) == 1:
            route.fulfill(status=403, body=json.dumps({"error": "load the page again"}))
        else:
            route.continue_()

    page.route("**/labels", once)
    page.keyboard.press("p")
    sent(page)
    assert len(server.log.read().in_force) == 1


@pytest.mark.parametrize("visit", [{"extra_http_headers": {"X-User": "juergen"}}], indirect=True)
def test_the_name_is_the_single_sign_ons(visit: Visit, results: Results, tmp_path: Path) -> None:
    server = LiveServer(content_of(results), tmp_path, user_header="X-User").start()
    try:
        page = visit.open(server.url, "#incident=I-group")
        assert page.input_value("#author") == "juergen"
        assert page.locator("#author").is_disabled()
        page.keyboard.press("p")
        sent(page)
        (label,) = server.log.read().in_force
        assert label.author == "juergen"
    finally:
        server.stop()


def test_data_that_are_no_longer_kept_load_the_page_again(visit: Visit, server: LiveServer, results: Results) -> None:
    page = visit.open(server.url, "#tab=queues")
    content = content_of(results)
    for n in range(KEPT + 1):
        server.renew(replace(content, index={**content.index, "title": f"tick {n}"}))
    page.locator("#list .row").nth(30).click()
    page.wait_for_function("(n) => document.querySelector('#title').textContent === `tick ${n}`", arg=KEPT)
    drawn(page, 30)
    assert f"queue={content.index['series'][30]['n']}" in page.url


def test_the_rows_of_the_version_that_was_opened_are_shown(visit: Visit, server: LiveServer, results: Results) -> None:
    page = visit.open(server.url, "#tab=queues")
    content = content_of(results)
    server.renew(replace(content, index={**content.index, "title": "newer"}, blocks=content.blocks[::-1]))
    page.locator("#list .row").nth(30).click()
    drawn(page, 30)
    assert page.text_content("#title") == "test page"
    assert page.text_content("#name") == content.index["series"][30]["n"]
    assert visit.complaints == []


def test_a_server_that_is_away_is_told_and_what_was_seen_stays(visit: Visit, server: LiveServer) -> None:
    page = visit.open(server.url, "#tab=queues")
    page.wait_for_timeout(500)  # what is next is fetched ahead
    page.route("**/queue/**", lambda route: route.abort())
    page.locator("#list .row").nth(30).click()
    page.wait_for_selector("#problem:not([hidden])")
    assert "cannot be reached" in (page.text_content("#problem") or "")
    page.keyboard.press("k")
    page.locator("#list .row").first.click()
    drawn(page, 0)
    assert page.locator("#problem").is_hidden()
