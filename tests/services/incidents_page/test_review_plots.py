"""What the plots show on request or under the cursor: averages, last week, errors, other queues, bands, downtimes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.services.incidents_page.places import QUEUES, TICKS, params
from tests.services.review_pages import GROUP, past_of, reload_kept, row_of, write_page
from tests.services.synthetic_results import THRESHOLD

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Locator, Page

    from qad_dl.results import Results
    from qad_dl.review.page import Content
    from tests.services.conftest import Visit

pytestmark = pytest.mark.program("chromium")


def hover(page: Page, panel: Locator, tick: int) -> None:
    """Put the cursor on a tick; the whole range is in sight."""
    panel.scroll_into_view_if_needed()
    box = panel.locator(".u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + (tick + 0.5) / TICKS * box["width"], box["y"] + 15)


def test_averages_and_last_week_are_what_they_say(visit: Visit, place: Path | str, results: Results) -> None:
    page = visit.open(place, "#queue=SITE-0004_MCORE")
    assert page.get_attribute('[data-show="6h"]', "aria-pressed") == "false"
    for name in ("1h", "6h", "24h"):
        page.click(f'[data-show="{name}"]')
    page.keyboard.press("w")
    assert params(page)["show"] == "errors,1h,6h,24h,week"
    i, tick, s = results.series.index(("SITE-0004_MCORE",)), 700, results.states.index("running")
    panel = page.locator(".panel.state").nth(s)
    hover(page, panel, tick)
    told = panel.locator("output").inner_text().replace("\u202f", "")
    details = results.details
    assert details is not None
    counts = details.observed[i, :, s]
    for words, ticks in (("1 h mean", 6), ("6 h mean", 36), ("24 h mean", 144)):
        found = re.search(rf"{words} (\d+)", told)
        assert found is not None, told
        assert float(found[1]) == pytest.approx(np.nanmean(counts[tick - ticks + 1 : tick + 1]), rel=0.03)
    week = re.search(r"last week (\d+)", told)
    assert week is not None
    assert float(week[1]) == pytest.approx(past_of(results)[i, tick // 6, s], rel=0.05, abs=1)
    reload_kept(page)
    assert page.get_attribute('[data-show="week"]', "aria-pressed") == "true"
    assert "6 h mean" in page.inner_text("#legend")
    page.click('[data-show="errors"]')
    assert page.locator(".panel.error").count() == 0
    assert visit.complaints == []


def test_averages_do_not_know_the_future(visit: Visit, place: Path | str, results: Results) -> None:
    page = visit.open(place, "#queue=SITE-0004_MCORE&show=24h")
    hover(page, page.locator(".panel.state").first, 40)
    assert "24 h mean \u2013" in page.locator(".panel.state").first.locator("output").inner_text()


def test_errors_tell_how_far_each_state_is_outside_its_band(visit: Visit, place: Path | str, results: Results) -> None:
    page = visit.open(place, "#queue=SITE-0003_MCORE")
    i, s = results.series.index(("SITE-0003_MCORE",)), results.states.index("failed")
    tick = int(np.nanargmax(np.where(results.flagged[i], results.score[i], -1)))
    hover(page, page.locator(".panel.error"), tick)
    details = results.details
    assert details is not None
    seen, middle, upper = (np.log1p(a[i, tick, s]) for a in (details.observed, details.reconstruction, details.upper))
    told = page.locator(".panel.error output").inner_text()
    found = re.search(r"failed ▲ ([\d.]+) \u00d7 band", told)
    assert found is not None, told
    assert float(found[1]) == pytest.approx((seen - middle) / (upper - middle), rel=0.1)


def test_a_queue_is_compared_with_others_of_its_cloud(
    visit: Visit, place: Path | str, results: Results, content: Content
) -> None:
    page = visit.open(place, "#queue=SITE-0004_MCORE&tab=queues")
    assert page.locator("#others").is_hidden()
    page.locator("#compare").select_option(label=f"cloud {GROUP} (9 more)")
    row = row_of(results, content, 4)
    page.wait_for_selector(f'#others[data-drawn="{row} cloud score"]')
    assert params(page)["compare"] == "cloud"
    same = {f"SITE-{i:04d}_MCORE" for i in range(0, QUEUES, 4)} - {"SITE-0004_MCORE"}
    assert set(page.eval_on_selector_all("#others-list a", "all => all.map((e) => e.textContent)")) == same
    page.select_option("#cell", "failed")
    page.wait_for_selector(f'#others[data-drawn="{row} cloud failed"]')
    assert page.locator("#others .plot").get_attribute("aria-label") is not None
    # One cursor and one range with the plots above.
    page.keyboard.press("e")
    page.wait_for_timeout(200)
    assert page.locator("#others-plot .u-over").count() == 1
    page.locator("#others").scroll_into_view_if_needed()
    box = page.locator("#others-plot .u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 5)
    lines = page.eval_on_selector_all(".panel .u-cursor-x", "all => all.map((e) => e.style.transform)")
    assert len(set(lines)) == 1
    page.reload()
    page.wait_for_selector(f'#others[data-drawn="{row} cloud failed"]')
    page.locator("#others-list a").first.click()
    page.wait_for_function("() => document.querySelector('#name').textContent !== 'SITE-0004_MCORE'")
    assert visit.complaints == []


def test_harvester_and_every_other_field_can_be_compared(visit: Visit, place: Path | str) -> None:
    page = visit.open(place, "#queue=SITE-0004_MCORE&compare=harvester")
    page.wait_for_selector("#others[data-drawn]")
    assert "harvester-0" in (page.text_content("#others-title") or "")
    options = page.eval_on_selector_all("#compare option", "all => all.map((e) => e.value)")
    assert options[:3] == ["", "cloud", "harvester"]
    assert "field_3" in options


def test_the_cursor_tells_the_band_the_threshold_and_what_was_declared(
    visit: Visit, place: Path | str, results: Results
) -> None:
    page = visit.open(place, "#queue=SITE-0008_MCORE")  # it has a downtime
    i = results.series.index(("SITE-0008_MCORE",))
    tick, s = int(np.flatnonzero(results.expected[i])[3]), results.states.index("running")
    panel = page.locator(".panel.state").nth(s)
    hover(page, panel, tick)
    told = panel.locator("output").inner_text().replace("\u202f", "")
    found = re.search(r"([\d.]+) expected \(([\d.]+)\u2013([\d.]+)\)", told)
    assert found is not None, told
    details = results.details
    assert details is not None
    wanted = [a[i, tick, s] for a in (details.reconstruction, details.lower, details.upper)]
    assert [float(n) for n in found.groups()] == pytest.approx(wanted, rel=0.1, abs=0.6)
    said = page.locator(".panel.score output").inner_text()
    assert "downtime: offline" in said
    assert f"threshold {THRESHOLD}" in said or "flagged: " in said
    assert "Downtime: offline, " in (page.text_content("#notes") or "")
    hover(page, panel, int(np.flatnonzero(results.expected[i])[0]) - 20)
    assert "downtime" not in page.locator(".panel.score output").inner_text()


def test_without_a_week_before_it_says_so(visit: Visit, results: Results, tmp_path: Path) -> None:
    page = visit.open(write_page(tmp_path / "alone.html", results))
    page.keyboard.press("w")
    assert "nothing of this queue for the week before" in (page.text_content("#said") or "")
    assert f"{THRESHOLD}" in (page.text_content("#summary") or "")
