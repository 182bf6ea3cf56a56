"""What the page asks to be labelled, and why; labels that were taken back; large groups; what is new to the bundle."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.novel import Novel
from qad_dl.review.page import gather, load_uplot, static_page
from qad_dl.schema import INCIDENT_KINDS
from tests.light.teach_oracle import EXPECTED, PROBLEM, design, teach_order
from tests.services.review_live import LiveServer
from tests.services.review_pages import (
    downtimes_of,
    drawn,
    incident_of,
    incidents_of,
    metadata_of,
    names,
    past_of,
    reload_kept,
    row_of,
)
from tests.services.synthetic_results import make_results

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from qad_dl.results import Results
    from qad_dl.review.page import Content
    from tests.services.conftest import Visit

pytestmark = pytest.mark.program("chromium")

QUEUES, TICKS = 48, 144
NEW, NEW_STATE = "SITE-0003_MCORE", "merging"


@pytest.fixture(scope="module")
def results() -> Results:
    return make_results(QUEUES, TICKS)


@pytest.fixture(scope="module")
def content(results: Results) -> Content:
    """Incidents of many kinds, one of them of all queues; a queue and a state that the bundle does not know."""
    everybody = incident_of(results, list(range(QUEUES)), "I-all", "vo_name", "atlas")
    found = [i._replace(kind=INCIDENT_KINDS[k % 5]) for k, i in enumerate(incidents_of(results))]
    unknown = Novel(((NEW,),), {NEW_STATE: (NEW, "SITE-0004_MCORE")})
    more = (downtimes_of(results), "test page", [everybody, *found], past_of(results))
    return gather(results, metadata_of(results), *more, unknown=unknown)


@pytest.fixture(scope="module")
def page_file(content: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "review.html"
    path.write_text(static_page(content, *load_uplot()).html, encoding="utf-8", newline="\n")
    return path


@pytest.fixture(params=["file", "server"])
def place(request: pytest.FixtureRequest, content: Content, page_file: Path, tmp_path: Path) -> Iterator[Path | str]:
    """The page as a file, and as a server gives it: with no label yet."""
    if request.param == "file":
        yield page_file
        return
    server = LiveServer(content, tmp_path).start()
    yield server.url
    server.stop()


def as_author(page: Page, name: str = "ada") -> None:
    page.fill("#author", name)
    page.locator("#author").blur()


def listed(page: Page) -> list[str]:
    """The incidents of the list, in its order."""
    found: list[str] = page.eval_on_selector_all(
        "#incidents li:not([hidden]) a", "all => all.map((e) => e.dataset.incident)"
    )
    return found


def why(page: Page, incident: str) -> str:
    """What its row says."""
    return page.text_content(f'#incidents [data-incident="{incident}"] .words') or ""


def asked_for(content: Content, said: dict[str, int]) -> list[str]:
    """Which incidents are to be labelled next, as the plain computation has it."""
    lines = content.index["incidents"]
    ids = [line["id"] for line in lines]
    x = design(np.array([line["z"] for line in lines]), [line["k"] for line in lines], INCIDENT_KINDS)
    return [ids[i] for i in teach_order(x, {ids.index(i): word for i, word in said.items()}, len(lines))]


def settled(page: Page) -> None:
    """Wait until a live page has sent what was said."""
    page.wait_for_function(
        "() => /^\\d+ labels?(, \\d+ not exported)?$/.test(document.querySelector('#sync').textContent)"
    )


def test_the_incidents_whose_label_teaches_most_come_first(visit: Visit, place: Path | str, content: Content) -> None:
    page = visit.open(place, "#sort=teach")
    as_author(page)
    first = asked_for(content, {})
    assert listed(page) == first
    assert "A label here would teach most: " in (page.text_content("#teach") or "")
    page.keyboard.press("p")
    page.keyboard.press("z")
    assert listed(page) == first  # what is taken back is asked for again
    page.keyboard.press("p")
    after = asked_for(content, {first[0]: PROBLEM})
    assert listed(page) == [*after, first[0]]  # what is labelled comes last, and all the others anew
    assert page.locator("#teach").is_hidden()
    assert "label yet" not in why(page, first[0])
    page.keyboard.press("j")  # on to what is asked for next
    drawn(page, after[0])
    page.keyboard.press("x")
    third = asked_for(content, {first[0]: PROBLEM, after[0]: EXPECTED})
    assert set(listed(page)[: len(third)]) == set(third)
    assert listed(page)[: len(third)] == third
    settled(page)
    reload_kept(page)
    page.wait_for_function("(id) => document.querySelector('#incidents a').dataset.incident === id", arg=third[0])
    assert page.input_value("#sort") == "teach"
    assert "sort=teach" in page.url
    page.keyboard.press("z")  # a page knows what was done since it was opened
    assert "Nothing of yours to undo" in (page.text_content("#said") or "")
    assert visit.requests == []
    assert visit.complaints == []


def test_a_key_and_a_button_lead_to_what_teaches_most(visit: Visit, place: Path | str, content: Content) -> None:
    page = visit.open(place, "#incident=I-all")
    order = asked_for(content, {})
    best = [incident for incident in order if incident != "I-all"]
    page.keyboard.press("t")
    drawn(page, best[0])
    page.click("#teach-next")
    drawn(page, order[1] if order[0] == best[0] else order[0])
    page.select_option("#labelled", "teach")
    assert set(listed(page)) == set(order[:10])
    assert "label=teach" in page.url
    page.click("#tab-queues")
    queues = {q for line in content.index["incidents"] if line["id"] in order[:10] for q in line["q"]}
    assert page.locator("#list li:not([hidden])").count() == len(queues)


def test_it_says_why(visit: Visit, place: Path | str, content: Content) -> None:
    page = visit.open(place, "#sort=teach&incident=I-group")
    said = [why(page, incident) for incident in listed(page)]
    kinds = {line["id"]: line["k"] for line in content.index["incidents"]}
    assert sum("site down has a label yet" in text for text in said) == 1  # only the first of a kind
    assert {kinds[i] for i in listed(page)} == set(INCIDENT_KINDS[:5]) | {"bad_task"}
    assert "no cloud" in why(page, "I-group")
    near = {line["id"] for line in content.index["incidents"] if abs(line["z"][0]) < 0.5}
    assert {i for i in listed(page) if "close to the threshold" in why(page, i)} == near
    as_author(page)
    page.keyboard.press("u")
    assert listed(page)[-1] == "I-group"
    as_author(page, "bob")  # what somebody could not tell is asked of the others
    assert listed(page)[-1] != "I-group"
    assert "ada could not tell" in why(page, "I-group")
    for author, key in (("ada", "p"), ("bob", "x")):
        as_author(page, author)
        page.keyboard.press(key)
    assert "disputed: ada says problem, bob says expected" in why(page, "I-group")
    page.keyboard.press("p")  # bob comes round
    assert "disputed" not in why(page, "I-group")
    assert listed(page)[-1] == "I-group"
    assert any("by the labels so far" in why(page, i) or "unlike anything" in why(page, i) for i in listed(page))


def test_what_was_taken_back_is_shown_with_its_history(visit: Visit, place: Path | str) -> None:
    page = visit.open(place, "#incident=I-group")
    as_author(page)
    assert page.locator("#gone").is_hidden()
    page.keyboard.press("l")
    page.select_option("#label-kind", "frontier")
    page.fill("#label-comment", "<b>squid</b> was down")
    page.click("#label-save")
    page.get_by_role("button", name="take back").click()
    assert page.locator("#label-list > li").count() == 0
    assert page.text_content("#gone-count") == "1 label was taken back"
    settled(page)
    reload_kept(page)  # a server gives them too, and a file has kept them
    page.wait_for_selector("#gone:not([hidden])")
    page.click("#gone summary")
    history = page.eval_on_selector_all("#gone ol li", "all => all.map((e) => e.textContent)")
    assert len(history) == 2
    assert "ada: problem, frontier or CVMFS, \u201c<b>squid</b> was down\u201d" in history[0]
    assert "ada: taken back" in history[1]
    assert page.locator("#incidents .mark").count() == 0
    as_author(page, "bob")
    assert page.locator("#gone button").count() == 0  # it is ada's
    as_author(page, "ada")
    page.get_by_role("button", name="bring back").click()
    assert page.locator("#gone").is_hidden()
    assert "squid" in page.locator("#label-list q").inner_text()
    assert "3 entries" in page.inner_text("#label-list")
    page.keyboard.press("z")
    assert page.locator("#label-list > li").count() == 0
    assert visit.complaints == []


def test_a_large_group_shows_all_its_queues(
    visit: Visit, place: Path | str, results: Results, content: Content
) -> None:
    page = visit.open(place, "#incident=I-all")
    page.wait_for_function(
        f"() => document.querySelector('#notes').textContent.includes('its {QUEUES} queues together')"
    )
    assert page.locator("#members a").count() == QUEUES
    details = results.details
    assert details is not None
    s = results.states.index("running")
    told = page.locator(".panel.state").nth(s).locator("output").inner_text().replace("\u202f", "")
    (line,) = (line for line in content.index["incidents"] if line["id"] == "I-all")
    found = re.search(r"(\d+) observed", told)
    assert found is not None
    assert float(found[1]) == pytest.approx(details.observed[:, line["w"][2], s].sum(), rel=0.01)
    pages = page.locator(".pager")
    assert pages.locator("output").inner_text() == f"1\u201340 of {QUEUES}"
    assert f"of {QUEUES} flagged" in page.locator(".panel.members figcaption > output").inner_text()
    pages.get_by_role("button", name="Queues with lower scores").click()
    assert pages.locator("output").inner_text() == f"41\u2013{QUEUES} of {QUEUES}"
    assert pages.get_by_role("button", name="Queues with lower scores").is_disabled()
    over = page.locator(".panel.members .u-over")
    over.click(position={"x": 300, "y": 15 * 2 + 8})  # the third row of the second page
    wanted = content.index["series"][line["q"][42]]["n"]
    page.wait_for_function("(name) => document.querySelector('#name').textContent === name", arg=wanted)
    page.keyboard.press("Escape")
    drawn(page, "I-all")
    assert page.locator(".pager output").inner_text() == f"41\u2013{QUEUES} of {QUEUES}"
    assert visit.complaints == []


def test_a_large_group_whose_end_cannot_be_had_says_so(visit: Visit, content: Content, tmp_path: Path) -> None:
    server = LiveServer(content, tmp_path).start()
    last = content.index["incidents"][0]["q"][-1]
    visit.page.route(f"**/queue/{last}?*", lambda route: route.fulfill(status=503, body=json.dumps({"error": "no"})))
    page = visit.open(server.url, "#incident=I-all")
    page.wait_for_function("() => document.querySelector('#notes').textContent.startsWith('Only 40 of 48 queues')")
    server.stop()


def test_what_is_new_to_the_bundle_says_so(visit: Visit, place: Path | str, results: Results, content: Content) -> None:
    page = visit.open(place, f"#queue={NEW}&tab=queues")
    notes = page.text_content("#notes") or ""
    assert "New to the bundle: it is scored as its group is, which is less sure." in notes
    assert f"without a say in the score: jobs in state {NEW_STATE}." in notes
    assert page.locator(f'#list [data-row="{row_of(results, content, 3)}"] .new').inner_text() == "new"
    page.select_option("#blamed", "new")
    assert names(page) == [NEW]
    page.click("#clear")
    page.wait_for_timeout(100)
    page.goto(f"{visit.address}#queue=SITE-0004_MCORE&tab=queues")
    drawn(page, row_of(results, content, 4))
    assert "scored as its group" not in (page.text_content("#notes") or "")
    assert f"jobs in state {NEW_STATE}" in (page.text_content("#notes") or "")
    page.goto(f"{visit.address}#incident=I-all&flagged=new")
    drawn(page, "I-all")
    page.wait_for_function(
        "() => document.querySelector('#notes').textContent.includes('New to the bundle, and scored')"
    )
    assert f"scored as their group is: {NEW}." in (page.text_content("#notes") or "")
    assert page.locator("#members .new").count() == 1
    assert "I-all" in listed(page)
    assert "I-group" not in listed(page)
