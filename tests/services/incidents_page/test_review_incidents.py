"""The page of incidents in a real browser: their list, groups, the way to queues and back, hostile and taught ones."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.metadata import Metadata
from qad_dl.review.page import gather, load_uplot, static_page
from qad_dl.tuning.file import Thresholds, Tune, tuned
from qad_dl.tuning.order import Order
from tests.services.incidents_page.places import heading, params, shown_incidents
from tests.services.review_pages import (
    GROUP,
    HOSTILE,
    downtimes_of,
    drawn,
    incident_of,
    incidents_of,
    metadata_of,
    names,
    reload_kept,
    row_of,
)
from tests.services.synthetic_results import make_results

if TYPE_CHECKING:
    from pathlib import Path

    from qad_dl.results import Results
    from qad_dl.review.page import Content
    from tests.services.conftest import Visit

pytestmark = pytest.mark.program("chromium")


def test_it_opens_with_the_worst_incident(visit: Visit, place: Path | str, results: Results) -> None:
    page = visit.open(place)
    ranked = sorted(incidents_of(results), key=lambda i: (-(i.severity or 0), -len(i.queues), i.start))
    assert shown_incidents(page) == [i.incident for i in ranked]
    worst = ranked[0]
    assert params(page)["incident"] == worst.incident
    assert page.get_attribute("#tab-incidents", "aria-selected") == "true"
    assert page.text_content("#tab-incidents") == f"Incidents {len(ranked)}"
    assert page.locator("#incidents .row[aria-current=true] .score").text_content() == f"{worst.severity:.1f}"
    assert page.locator("#incidents .spark").count() > 5
    assert visit.requests == []
    assert visit.complaints == []


def test_a_group_is_one_picture_of_all_its_queues(
    visit: Visit, place: Path | str, results: Results, content: Content
) -> None:
    page = visit.open(place, "#incident=I-group")
    (group,) = (i for i in incidents_of(results) if i.incident == "I-group")
    assert heading(page) == f"cloud {GROUP}"
    assert page.locator("#members a").count() == len(group.queues) == 4
    assert page.locator(".panel.members").count() == 1
    label = page.get_attribute(".panel.members .plot", "aria-label") or ""
    assert all(queue in label for queue in group.queues)
    rows = [row_of(results, content, i) for i, key in enumerate(results.series) if key[0] in group.queues]
    assert page.text_content("#headline") is not None
    # The counts are those of its queues together, at the tick that the sentence names.
    line = next(line for line in content.index["incidents"] if line["id"] == "I-group")
    assert sorted(line["q"]) == sorted(rows)
    _, _, tick, observed, expected = line["w"]
    state = results.states[line["w"][0]]
    details = results.details
    assert details is not None
    members = [results.series.index((queue,)) for queue in group.queues]
    assert observed == pytest.approx(details.observed[members, tick, line["w"][0]].sum(), abs=0.06)
    told = page.locator(".panel.state", has_text=state).first.locator("output").inner_text().replace("\u202f", "")
    found = re.search(r"(\d+) observed.*?(\d+) expected", told, re.DOTALL)
    assert found is not None
    assert float(found[1]) == pytest.approx(observed, rel=0.02, abs=1)
    assert float(found[2]) == pytest.approx(expected, rel=0.03, abs=1)


def test_from_the_incident_to_its_queues_and_back(visit: Visit, place: Path | str) -> None:
    page = visit.open(place, "#incident=I-group")
    members = page.eval_on_selector_all("#members .name", "all => all.map((e) => e.textContent)")
    page.locator("#members a").first.click()
    page.wait_for_function("(name) => document.querySelector('#name').textContent === name", arg=members[0])
    page.wait_for_selector(".panel.error")
    assert params(page)["incident"] == "I-group"
    assert params(page)["queue"] == members[0]
    assert "1 of 4 in the incident" in (page.text_content("#rank") or "")
    page.keyboard.press("j")
    page.wait_for_function("(name) => document.querySelector('#name').textContent === name", arg=members[1])
    page.keyboard.press("Escape")
    drawn(page, "I-group")
    assert "queue" not in params(page)
    page.go_back()
    page.wait_for_function("(name) => document.querySelector('#name').textContent === name", arg=members[1])


def test_a_row_of_the_heat_map_leads_to_its_queue(visit: Visit, place: Path | str) -> None:
    page = visit.open(place, "#incident=I-group")
    members = page.eval_on_selector_all("#members .name", "all => all.map((e) => e.textContent)")
    over = page.locator(".panel.members .u-over")
    box = over.bounding_box()
    assert box is not None
    over.click(position={"x": box["width"] / 2, "y": box["height"] * 2.5 / 4})
    page.wait_for_function("(name) => document.querySelector('#name').textContent === name", arg=members[2])


def test_keyboard_goes_through_incidents_and_between_the_lists(visit: Visit, place: Path | str) -> None:
    page = visit.open(place)
    order = shown_incidents(page)
    page.keyboard.press("j")
    drawn(page, order[1])
    page.keyboard.press("k")
    drawn(page, order[0])
    page.keyboard.press("q")
    assert page.locator("#list").is_visible()
    assert params(page)["tab"] == "queues"
    page.keyboard.press("i")
    assert page.locator("#incidents").is_visible()
    page.locator("#tab-incidents").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-queues"
    assert page.locator("#list").is_visible()


@pytest.mark.parametrize("order", ["newest", "size", "name", "flagged"])
def test_incidents_are_sorted(visit: Visit, place: Path | str, results: Results, order: str) -> None:
    page = visit.open(place)
    page.select_option("#sort", order)
    found = shown_incidents(page)
    known = {i.incident: i for i in incidents_of(results)}
    assert set(found) == set(known)
    values = {
        "newest": [-known[i].start.astype(int) for i in found],
        "size": [-len(known[i].queues) for i in found],
        "name": [(known[i].field != "cloud", known[i].value.lower()) for i in found],
        "flagged": [-(known[i].end - known[i].start).astype(int) for i in found],
    }[order]
    assert values == sorted(values)


def test_hostile_incidents_are_shown_literally(visit: Visit, tmp_path: Path) -> None:
    made = make_results(6, 288, names=(HOSTILE,))
    hostile = incident_of(made, [0, 3], HOSTILE, HOSTILE, HOSTILE)
    page_of = static_page(gather(made, metadata_of(made), [], HOSTILE, [hostile]), *load_uplot())
    path = tmp_path / "hostile.html"
    path.write_text(page_of.html, encoding="utf-8", newline="\n")
    page = visit.open(path)
    assert page.locator("#name").text_content() == f"{HOSTILE.replace('_', ' ')} {HOSTILE}"
    assert HOSTILE in names(page, "members")[0] + (page.text_content("#members") or "")
    page.fill("#author", HOSTILE.replace("\n", ""))
    page.locator("#author").blur()
    page.keyboard.press("p")
    assert page.locator("#label-list > li").count() == 1
    reload_kept(page)
    assert page.locator("#label-list > li").count() == 1
    page.keyboard.press("j")
    page.locator("#members a").first.click()
    page.wait_for_selector(".panel.error")
    assert page.title() != "owned"
    assert page.locator("img").count() == 0
    assert visit.requests == []
    assert visit.complaints == []


def test_a_tuned_page_has_the_taught_order_and_own_thresholds(visit: Visit, results: Results, tmp_path: Path) -> None:
    incidents = incidents_of(results)
    taught = Order(("length",), np.array([3.0]), np.array([1.0]), np.array([3.0]), 0.0)
    queue = results.series[3][0]
    own = tuned(results, Tune("b", thresholds=Thresholds("panda_queue", {queue: 0.75})), Metadata.empty())
    content = gather(own, metadata_of(results), downtimes_of(results), "tuned", incidents, taught=taught)
    assert visit.requests == []
    path = tmp_path / "tuned.html"
    path.write_text(static_page(content, *load_uplot()).html, encoding="utf-8", newline="\n")
    page = visit.open(path)
    longest = sorted(incidents, key=lambda i: i.start - i.end)
    shown = shown_incidents(page)
    assert shown == [line["id"] for line in content.index["incidents"]]
    assert shown[0] in {i.incident for i in longest[:5]}
    assert shown != [i.incident for i in sorted(incidents, key=lambda i: -(i.severity or 0))]
    assert "Reviewers called about " in (page.text_content("#headline") or "")
    assert "in the order that labels taught" in (page.text_content("#summary") or "")
    row = row_of(results, content, 3)
    page.goto(f"{page.url.partition('#')[0]}#queue={queue}")
    drawn(page, row)
    label = page.locator("#plots canvas").first.evaluate("(c) => c.closest('[aria-label]').getAttribute('aria-label')")
    assert f"threshold {results.threshold + 0.75:.1f}" in label
    assert visit.complaints == []


def test_escape_from_a_queue_that_is_still_awaited_goes_to_its_incident(
    visit: Visit, place: Path | str, results: Results
) -> None:
    queue = next(i.queues[0] for i in incidents_of(results) if i.incident == "I-group")
    visit.page.add_init_script("""
        const never = { transform: () => new Promise(() => {}) };
        window.DecompressionStream = function () { return new TransformStream(never); };
    """)
    page = visit.open(place, f"#incident=I-group&queue={queue}", wait="#name:not(:empty)")
    page.wait_for_function("(queue) => document.querySelector('#name').textContent === queue", arg=queue)
    page.keyboard.press("Escape")
    page.wait_for_function("() => !new URLSearchParams(location.hash.slice(1)).has('queue')")
    assert params(page)["incident"] == "I-group"
    assert page.text_content("#name") != queue
