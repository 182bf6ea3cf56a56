"""The page for everybody: axe-core over every view, light and dark, wide and narrow; keyboard alone; without colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.services.review_live import LiveServer
from tests.services.review_pages import content_of, drawn, write_page
from tests.services.synthetic_results import make_results

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.services.conftest import Visit

pytestmark = pytest.mark.program("chromium")

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
WIDE = {"viewport": {"width": 1440, "height": 1000}}
LOOKS = [{**size, "color_scheme": scheme} for size in (WIDE, PHONE) for scheme in ("light", "dark")]
VIEWS = {
    "incidents": "",
    "group": "#incident=I-group",
    "queue": "#queue=SITE-0004_MCORE&compare=cloud&show=errors,1h,6h,24h,week",
    "queues": "#tab=queues&is.field_5=v1",
}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(tmp_path_factory.mktemp("page") / "review.html", make_results(40, 288), incidents=True)


def violations(page: Page) -> list[str]:
    """What axe-core finds, whatever its impact, as text."""
    found = Axe().run(page).response["violations"]
    return [f"{v['impact']}: {v['id']}: {n['html'][:150]} {n['failureSummary']}" for v in found for n in v["nodes"]]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("visit", LOOKS, indirect=True, ids=["wide", "wide-dark", "phone", "phone-dark"])
def test_axe_finds_nothing(visit: Visit, page_file: Path, view: str) -> None:
    listed = {"incidents": "#incidents li", "queues": "#list li"}
    page = visit.open(page_file, VIEWS[view], wait=listed.get(view, "#plots[data-drawn]"))
    page.wait_for_timeout(300)
    assert violations(page) == []
    assert visit.complaints == []


def test_axe_finds_nothing_in_the_live_page(visit: Visit, tmp_path: Path) -> None:
    server = LiveServer(content_of(make_results(48, 144)), tmp_path).start()
    page = visit.open(server.url, "#incident=I-group&sort=teach")
    page.fill("#author", "ada")
    page.locator("#author").blur()
    page.keyboard.press("p")
    page.keyboard.press("z")
    page.click("#gone summary")
    page.wait_for_function("() => document.querySelector('#sync').textContent === '0 labels'")
    assert violations(page) == []
    page.goto(f"{server.url}/{VIEWS['queue']}")
    page.wait_for_selector("#others[data-drawn]")
    assert violations(page) == []
    assert visit.requests == []
    assert visit.complaints == []
    server.stop()


@pytest.mark.parametrize("visit", LOOKS, indirect=True, ids=["wide", "wide-dark", "phone", "phone-dark"])
def test_axe_finds_nothing_in_what_opens(visit: Visit, page_file: Path) -> None:
    page = visit.open(page_file, "#incident=I-group")
    page.fill("#author", "ada")
    page.locator("#author").blur()
    page.keyboard.press("p")
    page.keyboard.press("x")
    page.keyboard.press("l")
    page.locator("#label-list summary").click()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="take back").click()
    page.locator("#gone summary").click()
    assert violations(page) == []
    page.keyboard.press("?")
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.goto(f"{page.url.split('#')[0]}#incident=nowhere")
    page.wait_for_selector("#problem:not([hidden])")
    assert violations(page) == []


@pytest.mark.parametrize("visit", [PHONE], indirect=True)
def test_a_phone_has_no_sideways_scrolling_and_large_enough_targets(visit: Visit, page_file: Path) -> None:
    page = visit.open(page_file, wait="#incidents li")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#incidents .row").first.tap()
    page.wait_for_selector("#plots[data-drawn]", state="attached")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#members a").first.tap()
    page.wait_for_selector(".panel.error")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    small = page.evaluate(
        """() => [...document.querySelectorAll('#queue button, #queue a, #queue select')].filter((e) => e.offsetParent)
        .map((e) => [e.outerHTML.slice(0, 90), e.getBoundingClientRect()])
        .filter(([, box]) => box.height < 24).map(([html, box]) => `${html} ${box.height}`)
        .filter((text) => !text.startsWith('<a href'))"""
    )
    assert small == []
    page.locator("#back").tap()
    drawn(page, "I-group")
    page.locator("#back").tap()
    assert page.locator("#incidents").is_visible()


def test_everything_is_reached_by_keyboard_alone(visit: Visit, page_file: Path) -> None:
    page = visit.open(page_file, "#incident=I-group")
    page.evaluate("document.body.focus()")
    reached = set()
    for _ in range(90):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
    wanted = {
        "search",
        "sort",
        "kind",
        "labelled",
        "time",
        "row",
        "member",
        "label-open",
        "author",
        "next",
        "export",
        "all",
    }
    assert wanted <= reached, wanted - reached
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    page.keyboard.type("0012")
    page.keyboard.press("Escape")
    page.keyboard.press("q")
    page.keyboard.press("ArrowDown")
    page.wait_for_function("() => document.activeElement.matches('#list .row')")


def test_what_is_said_is_said_aloud(visit: Visit, page_file: Path) -> None:
    page = visit.open(page_file, "#incident=I-group")
    assert page.get_attribute("#said", "role") == "status"
    assert page.get_attribute("#headline", "aria-live") == "polite"
    page.fill("#author", "ada")
    page.locator("#author").blur()
    page.keyboard.press("p")
    assert "Labelled problem" in page.get_by_role("status").filter(has_text="Labelled").inner_text()
    assert "labelled problem" in (page.locator("#incidents .row[aria-current]").text_content() or "")


LUMINANCE = """
(names) => {
  const probe = document.createElement('i');
  document.body.append(probe);
  const style = getComputedStyle(document.documentElement);
  const found = names.map((name) => {
    probe.style.color = style.getPropertyValue(`--${name}`);
    return getComputedStyle(probe).color.match(/\\d+/g).slice(0, 3).map(Number);
  });
  probe.remove();
  return found;
}
"""


def seen_by(rgb: list[int], kind: str) -> tuple[float, float, float]:
    """A colour as somebody sees it who lacks one kind of cones (Vienot, Brettel and Mollon 1999)."""
    linear = [(c / 255) ** 2.2 for c in rgb]
    long, medium, short = (
        sum(w * c for w, c in zip(row, linear, strict=True))
        for row in ((17.8824, 43.5161, 4.11935), (3.45565, 27.1554, 3.86714), (0.0299566, 0.184309, 1.46709))
    )
    if kind == "protan":
        long = 2.02344 * medium - 2.52581 * short
    elif kind == "deutan":
        medium = 0.494207 * long + 1.24827 * short
    return long, medium, short


@pytest.mark.parametrize("visit", LOOKS[:2], indirect=True, ids=["light", "dark"])
@pytest.mark.parametrize("kind", ["protan", "deutan"])
def test_high_and_low_are_told_apart_by_colour_blind_people(visit: Visit, page_file: Path, kind: str) -> None:
    page = visit.open(page_file)
    flag, low, ink = (seen_by(c, kind) for c in page.evaluate(LUMINANCE, ["flag", "low", "ink"]))

    def apart(a: tuple[float, ...], b: tuple[float, ...]) -> float:
        return float(max(abs(x - y) / max(x, y, 1e-6) for x, y in zip(a, b, strict=True)))

    assert apart(flag, low) > 0.4
    assert apart(flag, ink) > 0.3
    assert apart(low, ink) > 0.3
