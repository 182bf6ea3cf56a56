"""The review page in a real browser: what is drawn, how one moves about, that it keeps to itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.results import BY_TICK, Details
from tests.services.review_live import LiveServer
from tests.services.review_pages import HOSTILE, census, content_of, drawn, names, write_page
from tests.services.synthetic_results import DETAILS, MISSING, make_results

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from qad_dl.results import Results
    from tests.services.conftest import Visit

pytestmark = pytest.mark.program("chromium")

QUEUES, TICKS = 40, 1008
FIRST_STATE = 3
"""The panels are the score, the parts of the states in it, their errors, and then the states."""

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="session")
def results() -> Results:
    """A small grid with a queue of a hostile name."""
    return make_results(QUEUES, TICKS, names=(HOSTILE,))


@pytest.fixture(scope="module", params=["file", "server"])
def place(
    request: pytest.FixtureRequest, results: Results, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path | str]:
    """Its page as a file, and as a server gives it; without incidents, so that it opens with the queues."""
    folder = tmp_path_factory.mktemp("page")
    if request.param == "file":
        yield write_page(folder / "review.html", results, title=f"grid {HOSTILE}")
        return
    server = LiveServer(content_of(results, f"grid {HOSTILE}", incidents=False), folder).start()
    yield server.url
    server.stop()


def current(page: Page) -> str:
    """The name of the queue on screen."""
    return page.text_content("#name") or ""


def shown_range(page: Page) -> tuple[str | None, str | None]:
    """Start and end of the zoom, as the address has them; None for the whole range."""
    page.wait_for_timeout(300)
    found = page.evaluate(
        "() => { const p = new URLSearchParams(location.hash.slice(1)); return [p.get('from'), p.get('to')]; }"
    )
    return found[0], found[1]


def test_it_opens_from_a_file_draws_and_keeps_to_itself(visit: Visit, place: Path | str, results: Results) -> None:
    page = visit.open(place)
    assert page.locator("#plots canvas").count() == FIRST_STATE + len(results.states)
    for panel in range(FIRST_STATE + len(results.states)):
        assert census(page, panel)["any"] > 500, f"plot {panel} is blank"
        if panel not in {1, 2}:  # parts and errors of the states have no line
            assert census(page, panel)["ink"] > 500, f"the line of plot {panel} is not in its range"
    for row in range(1, 12):
        page.keyboard.press("j")
        drawn(page, row)
    assert visit.requests == []
    assert visit.complaints == []


def test_the_page_forbids_itself_the_network(visit: Visit, place: Path | str) -> None:
    page = visit.open(place)
    blocked = page.evaluate("() => fetch('http://127.0.0.1:9/').then(() => 'sent', (error) => String(error))")
    assert "Failed to fetch" in blocked
    assert any("Content Security Policy" in text for text in visit.complaints)


def test_queues_are_ranked_by_their_highest_score(visit: Visit, place: Path | str, results: Results) -> None:
    page = visit.open(place)
    scores = [float(text) for text in page.eval_on_selector_all("#list .score", "all => all.map((e) => e.textContent)")]
    assert scores == sorted(scores, reverse=True)
    best = int(np.nanargmax(np.nanmax(results.score, axis=1)))
    assert scores[0] == pytest.approx(np.nanmax(results.score), abs=0.06)
    assert np.nanmax(results.score[best]) == np.nanmax(results.score)
    assert page.locator("#list .row[aria-current=true]").count() == 1
    page.select_option("#sort", "flagged")
    ticks = page.eval_on_selector_all("#list .ticks", "all => all.map((e) => parseInt(e.textContent || '0'))")
    assert ticks == sorted(ticks, reverse=True)
    assert ticks[0] == int(results.flagged.sum(axis=1).max())


def test_the_headline_says_what_is_high_or_low_against_what_and_when(
    visit: Visit, place: Path | str, results: Results
) -> None:
    page = visit.open(place)
    i = [key[0] for key in results.series].index(current(page))
    peak = int(np.nanargmax(np.where(results.flagged[i], results.score[i], -1)))
    state = int(results.state[i, peak])
    text = page.text_content("#headline") or ""
    sense = "high" if results.direction[i, peak] > 0 else "low"
    assert results.states[state] in text
    assert sense in text
    details = results.details
    assert details is not None
    digits = text.replace("\u202f", "")
    assert f"{round(float(details.observed[i, peak, state]))} job" in digits
    assert "expected" in digits
    assert "UTC" in digits


def test_filters_reduce_the_list_and_go_into_the_address(visit: Visit, place: Path | str) -> None:
    page = visit.open(place)
    assert len(names(page)) == QUEUES
    page.locator("#filters label", has_text="cloud").locator("select").select_option(label="DE (10)")
    assert len(names(page)) == 10
    page.locator("#filters label", has_text="harvester").locator("select").select_option(label="harvester-0 (20)")
    assert len(names(page)) == 10
    page.locator("#more summary").click()
    page.locator("#more-boxes label", has_text="field 6").locator("select").select_option(label="v0 (5)")
    left = names(page)
    assert 0 < len(left) < 10
    assert "10 of" not in (page.text_content("#count") or "")
    assert "is.cloud=DE" in page.url
    page.reload()
    page.wait_for_selector("#plots[data-drawn]", state="attached")
    assert names(page) == left
    page.click("#clear")
    page.wait_for_timeout(100)
    assert len(names(page)) == QUEUES


def test_a_field_with_a_value_for_each_queue_is_shown_but_no_filter(visit: Visit, place: Path | str) -> None:
    page = visit.open(place)
    page.click("#more summary")
    assert page.locator("#filters label", has_text="nickname").count() == 0
    page.click("#about summary")
    assert "one-" in (page.text_content("#metadata") or "")


def test_flagged_filter(visit: Visit, place: Path | str, results: Results) -> None:
    page = visit.open(place)
    page.select_option("#blamed", "any")
    assert len(names(page)) == int(results.flagged.any(axis=1).sum())


def test_search(visit: Visit, place: Path | str) -> None:
    page = visit.open(place)
    page.keyboard.press("/")
    page.keyboard.type("0017")
    assert names(page) == ["SITE-0017_MCORE"]
    page.keyboard.press("Escape")
    page.fill("#search", "no such queue")
    assert names(page) == []


@pytest.mark.parametrize(("forth", "back"), [("j", "k"), ("ArrowRight", "ArrowLeft")])
def test_keyboard_moves_through_the_list(visit: Visit, place: Path | str, forth: str, back: str) -> None:
    page = visit.open(place)
    order = names(page)
    page.keyboard.press(forth)
    drawn(page, 1)
    assert current(page) == order[1]
    assert f"queue={order[1]}" in page.url
    page.keyboard.press(back)
    drawn(page, 0)
    assert current(page) == order[0]


def test_arrows_in_the_list_move_the_focus_along(visit: Visit, place: Path | str) -> None:
    page = visit.open(place)
    page.locator("#list .row[aria-current=true]").focus()
    page.keyboard.press("ArrowDown")
    drawn(page, 1)
    assert page.evaluate("document.activeElement.dataset.row") == "1"


def test_keys_step_only_through_what_the_filters_leave(visit: Visit, place: Path | str) -> None:
    page = visit.open(place)
    page.select_option("#blamed", "any")
    left = names(page)
    page.locator("#name").click()
    for _ in range(len(left) + 3):
        page.keyboard.press("j")
    page.wait_for_function("(name) => document.querySelector('#name').textContent === name", arg=left[-1])


def test_an_address_opens_its_queue_and_its_time(visit: Visit, place: Path | str) -> None:
    page = visit.open(place, "#queue=SITE-0017_MCORE&from=2026-01-07T00:00Z&to=2026-01-08T00:00Z")
    assert current(page) == "SITE-0017_MCORE"
    assert shown_range(page) == ("2026-01-07T00:00Z", "2026-01-08T00:00Z")
    page.goto(visit.address + "#queue=SITE-0005_MCORE")
    page.wait_for_function("() => document.querySelector('#name').textContent === 'SITE-0005_MCORE'")
    page.go_back()
    page.wait_for_function("() => document.querySelector('#name').textContent === 'SITE-0017_MCORE'")


NEVER_UNPACKED = """() => {  // what is not unpacked by now never will be
    const never = { transform: () => new Promise(() => {}) };
    window.DecompressionStream = function () { return new TransformStream(never); };
}"""


def test_back_from_a_queue_that_is_still_awaited_names_the_one_that_is_drawn(visit: Visit, place: Path | str) -> None:
    page = visit.open(place, "#queue=SITE-0017_MCORE")
    page.evaluate(NEVER_UNPACKED)
    page.goto(visit.address + "#queue=SITE-0005_MCORE")
    page.wait_for_function("() => document.querySelector('#name').textContent === 'SITE-0005_MCORE'")
    page.go_back()
    page.wait_for_function("() => document.querySelector('#name').textContent === 'SITE-0017_MCORE'")
    assert current(page) == "SITE-0017_MCORE"
    assert visit.complaints == []


def test_an_address_just_entered_is_not_written_over(visit: Visit, place: Path | str) -> None:
    page = visit.open(place, "#queue=SITE-0017_MCORE")
    page.evaluate("""() => {  // a filter changes before the browser says that the address has
        location.hash = '#queue=SITE-0005_MCORE';
        document.getElementById('filters').dispatchEvent(new Event('input'));
    }""")
    page.wait_for_function("() => document.querySelector('#name').textContent === 'SITE-0005_MCORE'")
    assert current(page) == "SITE-0005_MCORE"
    assert visit.complaints == []


def test_the_address_is_that_of_the_queue_still_awaited(visit: Visit, place: Path | str) -> None:
    page = visit.open(place, "#queue=SITE-0017_MCORE")
    page.evaluate(NEVER_UNPACKED)
    page.keyboard.press("+")  # its time goes into the address a moment later
    page.goto(visit.address + "#queue=SITE-0005_MCORE")
    page.wait_for_timeout(400)
    assert "queue=SITE-0005_MCORE" in page.url
    page.select_option("#sort", "name")
    assert "queue=SITE-0005_MCORE" in page.url
    assert visit.complaints == []


def test_back_from_an_unknown_queue_takes_its_complaint_away(visit: Visit, place: Path | str) -> None:
    page = visit.open(place, "#queue=SITE-0017_MCORE")
    page.goto(visit.address + "#queue=nowhere")
    page.wait_for_selector("#problem:not([hidden])")
    page.go_back()
    page.wait_for_selector("#problem", state="hidden")
    assert current(page) == "SITE-0017_MCORE"


def test_an_address_of_an_unknown_queue_says_so(visit: Visit, place: Path | str) -> None:
    page = visit.open(place, "#queue=nowhere", wait="#problem:not([hidden])")
    assert "nowhere" in (page.text_content("#problem") or "")
    assert visit.complaints == []


def test_all_plots_share_zoom_and_cursor(visit: Visit, place: Path | str) -> None:
    page = visit.open(place)
    box = page.locator("#plots .u-over").nth(FIRST_STATE).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 20, steps=4)
    page.mouse.up()
    start, end = shown_range(page)
    assert start is not None
    assert end is not None
    hours = (np.datetime64(end[:-1]) - np.datetime64(start[:-1])) / np.timedelta64(1, "h")
    assert hours == pytest.approx(0.2 * 168, rel=0.05)
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 20)
    lines = page.eval_on_selector_all("#plots .u-cursor-x", "all => all.map((e) => e.style.transform)")
    assert len(lines) == 11
    assert len(set(lines)) == 1
    assert "observed" in page.locator(".panel.state output").nth(5).inner_text()
    page.keyboard.press("0")
    assert shown_range(page) == (None, None)


def test_zoom_by_keys_and_to_the_event(visit: Visit, place: Path | str) -> None:
    page = visit.open(place)
    page.keyboard.press("e")
    start, end = shown_range(page)
    assert start is not None
    page.keyboard.press("Shift+ArrowLeft")
    earlier, _ = shown_range(page)
    assert earlier is not None
    assert earlier < start
    page.keyboard.press("-")
    wider, later = shown_range(page)
    assert wider is None or wider <= earlier
    assert later is None or end is None or later >= earlier


def test_missing_ticks_are_gaps_and_not_lines(visit: Visit, place: Path | str) -> None:
    page = visit.open(place)
    first, last = MISSING.start / TICKS, MISSING.stop / TICKS
    inside = (first + 0.1 / TICKS, last - 0.9 / TICKS)
    for panel in (0, FIRST_STATE, FIRST_STATE + 3):
        assert census(page, panel, inside)["ink"] == 0, f"plot {panel} has a line where no tick arrived"
        assert census(page, panel, (first - 0.03, first - 0.01))["ink"] > 0
    assert "12 ticks of 1008 without a score: tick did not arrive" in (page.text_content("#notes") or "")


def test_a_tick_alone_between_gaps_is_a_dot(visit: Visit, tmp_path: Path) -> None:
    made = make_results(2, 60)
    score = made.score.copy()
    score[:, 20:30] = np.nan
    score[:, 25] = 2.0
    page = visit.open(write_page(tmp_path / "dot.html", replace(made, score=score)))
    assert census(page, 0, (25.1 / 60, 25.9 / 60))["ink"] > 3
    assert census(page, 0, (21 / 60, 24.5 / 60))["ink"] == 0


@pytest.mark.parametrize("ticks", [1, 2, 7])
def test_a_range_of_few_ticks_is_drawn(visit: Visit, tmp_path: Path, ticks: int) -> None:
    made = make_results(3, 60)
    few = {name: getattr(made, name)[:, 20 : 20 + ticks] for name in BY_TICK}
    parts = {name: getattr(made.details, name)[:, 20 : 20 + ticks] for name in DETAILS}
    cut = replace(made, times=made.times[20 : 20 + ticks], details=Details(**parts), **few)
    page = visit.open(write_page(tmp_path / "few.html", cut))
    assert census(page, 0)["ink"] > 3
    assert visit.complaints == []


def test_the_cursor_tells_why_a_tick_has_no_score(visit: Visit, place: Path | str) -> None:
    page = visit.open(place)
    box = page.locator("#plots .u-over").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + (MISSING.start + 6) / TICKS * box["width"], box["y"] + 20)
    assert page.locator(".panel.score output").inner_text() == "not scored: tick did not arrive"
    assert "no count" in page.locator(".panel.state output").first.inner_text()


def test_hostile_names_are_shown_literally(visit: Visit, place: Path | str, results: Results) -> None:
    page = visit.open(place)
    assert HOSTILE in names(page)
    row = names(page).index(HOSTILE)
    page.locator("#list .row").nth(row).click()
    drawn(page, row)
    assert current(page) == HOSTILE
    assert page.title().startswith("</script>")
    assert "owned" not in {page.title()}
    assert page.locator("img").count() == 0
    page.reload()
    page.wait_for_selector("#plots[data-drawn]", state="attached")
    assert current(page) == HOSTILE
    assert visit.complaints == []


@pytest.mark.parametrize("visit", [{"color_scheme": "dark"}], indirect=True)
def test_dark(visit: Visit, place: Path | str) -> None:
    page = visit.open(place)
    shade = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(part) for part in shade.removeprefix("rgb(").removesuffix(")").split(",")) < 60
    assert census(page, FIRST_STATE)["chalk"] > 100
    page.emulate_media(color_scheme="light")
    page.wait_for_timeout(200)
    assert census(page, FIRST_STATE)["ink"] > 100
    assert visit.complaints == []


@pytest.mark.parametrize("visit", [PHONE], indirect=True)
def test_phone_shows_the_list_and_then_one_queue(visit: Visit, place: Path | str) -> None:
    page = visit.open(place, wait="#list li")
    assert page.locator("#queue").is_hidden()
    page.locator("#list .row").nth(3).tap()
    drawn(page, 3)
    assert page.locator(".side").is_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#back").tap()
    assert page.locator("#list").is_visible()
    assert visit.complaints == []


def test_names_roles_and_focus(visit: Visit, place: Path | str) -> None:
    page = visit.open(place)
    nameless = page.evaluate("""() => [...document.querySelectorAll('button, input, select, a[href]')].filter((e) => !(
        e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length)).map((e) => e.outerHTML)""")
    assert nameless == []
    assert page.locator("#list [tabindex='0']").count() == 1
    assert page.locator("h1").count() == 1
    assert page.get_by_role("main").count() == 1
    assert page.get_by_role("navigation").count() == 1
    labels = page.eval_on_selector_all(".plot[role=img]", "all => all.map((e) => e.getAttribute('aria-label'))")
    assert len(labels) == 11
    assert all(labels)
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog").is_hidden()
