"""How one gets to a view of the page of incidents: filters, search, addresses, buttons, the theme."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.services.incidents_page.places import heading, params, shown_incidents
from tests.services.review_pages import GROUP, incidents_of, names, reload_kept

if TYPE_CHECKING:
    from pathlib import Path

    from qad_dl.results import Results
    from tests.services.conftest import Visit

pytestmark = pytest.mark.program("chromium")


def test_filters_hold_for_incidents_too(visit: Visit, place: Path | str, results: Results) -> None:
    page = visit.open(place)
    everything = shown_incidents(page)
    page.select_option("#kind", "bad_task")
    assert shown_incidents(page) == ["I-group"]
    page.reload()
    page.wait_for_selector("#plots[data-drawn]", state="attached")
    assert shown_incidents(page) == ["I-group"]
    assert params(page)["kind"] == "bad_task"
    page.click("#clear")
    page.locator("#filters label", has_text="cloud").locator("select").select_option(label="FR (10)")
    assert 0 < len(shown_incidents(page)) < len(everything)
    assert "I-group" not in shown_incidents(page)
    page.click("#clear")
    page.select_option("#time", "day")
    page.wait_for_timeout(100)
    since = results.times[-1] - np.timedelta64(1, "D")
    late = {i.incident for i in incidents_of(results) if i.end > since + np.timedelta64(600, "s")}
    assert set(shown_incidents(page)) == late
    page.click("#clear")
    page.select_option("#blamed", "now")
    end = results.times[-1] + np.timedelta64(600, "s")
    assert set(shown_incidents(page)) == {i.incident for i in incidents_of(results) if i.end >= end}


def test_time_filter_follows_the_plots(visit: Visit, place: Path | str, results: Results) -> None:
    page = visit.open(place, "#tab=queues&time=shown&queue=SITE-0003_MCORE&from=2026-01-07T00:00Z&to=2026-01-08T00:00Z")
    page.wait_for_timeout(300)
    lo, hi = (int(np.searchsorted(results.times, np.datetime64(t))) for t in ("2026-01-07T00:00", "2026-01-08T00:00"))
    few = len(names(page))
    assert int(results.flagged[:, lo:hi].any(axis=1).sum()) <= few < int(results.flagged.any(axis=1).sum())
    page.keyboard.press("0")
    page.wait_for_timeout(400)
    assert len(names(page)) == int(results.flagged.any(axis=1).sum())


def test_queues_are_filtered_by_their_status(visit: Visit, place: Path | str, results: Results) -> None:
    page = visit.open(place, "#tab=queues")
    every, blamed = {key[0] for key in results.series}, results.states.index("failed")
    flagged = {key[0] for key, f in zip(results.series, results.flagged, strict=True) if f.any()}
    wanted = {
        "none": every - flagged,
        "now": {key[0] for key, f in zip(results.series, results.flagged, strict=True) if f[-1]},
        "quiet": {key[0] for key, calm in zip(results.series, results.expected, strict=True) if calm.any()},
        "unscored": set(),
    }
    for choice, left in wanted.items():
        page.select_option("#blamed", choice)
        assert set(names(page)) == left, choice
    page.select_option("#blamed", str(blamed))
    assert set(names(page)) <= flagged
    page.select_option("#blamed", "any")
    page.select_option("#kind", "bad_task")
    members = {queue for i in incidents_of(results) if i.kind == "bad_task" for queue in i.queues}
    assert set(names(page)) == members


def test_search_looks_through_all_metadata(visit: Visit, place: Path | str) -> None:
    page = visit.open(place, "#tab=queues")
    page.fill("#search", "one-17")  # a field with a value for each queue, which is no filter
    page.wait_for_function("() => document.querySelectorAll('#list li:not([hidden])').length === 1")
    assert names(page) == ["SITE-0017_MCORE"]
    page.fill("#search", "DE harvester-0 0004")
    page.wait_for_function("() => document.querySelectorAll('#list li:not([hidden])').length === 1")
    page.keyboard.press("Escape")
    page.click("#tab-incidents")
    page.fill("#search", "site-0012")
    assert shown_incidents(page) == ["I-group"]


def test_an_alarm_links_to_the_incident_or_to_its_worst_queue(visit: Visit, place: Path | str) -> None:
    time = "&from=2026-01-07T00:00:00Z&to=2026-01-08T00:00:00Z"
    page = visit.open(place, f"#incident=I-group&worst=SITE-0004_MCORE{time}")
    assert heading(page) == f"cloud {GROUP}"
    assert params(page)["from"] == "2026-01-07T00:00Z"
    page.goto("about:blank")
    page = visit.open(place, f"#incident=of-another-page&worst=SITE-0004_MCORE{time}")
    assert heading(page) == "SITE-0004_MCORE"
    page.goto("about:blank")
    page = visit.open(place, "#incident=of-another-page", wait="#problem:not([hidden])")
    assert "no incident of-another-page" in (page.text_content("#problem") or "")
    assert visit.complaints == []


def test_every_view_has_an_address(visit: Visit, place: Path | str) -> None:
    wanted = {
        "queue": "SITE-0004_MCORE",
        "from": "2026-01-07T00:00Z",
        "to": "2026-01-09T00:00Z",
        "show": "1h,week",
        "compare": "harvester",
        "cell": "failed",
        "tab": "queues",
        "find": "site harvester-0",
        "sort": "name",
        "flagged": "any",
        "kind": "bad_task",
        "label": "none",
        "time": "3days",
        "is.cloud": "DE",
        "is.field_6": "v4",
    }
    page = visit.open(place, "#" + "&".join(f"{name}={value}" for name, value in wanted.items()))
    page.wait_for_selector("#others[data-drawn]")
    boxes = {"#search": "find", "#sort": "sort", "#kind": "kind", "#labelled": "label", "#time": "time"}
    for _ in range(2):
        assert params(page) == wanted
        assert {name: page.input_value(box) for box, name in boxes.items()} == {
            name: wanted[name] for name in boxes.values()
        }
        assert page.locator("#more").get_attribute("open") is not None
        page.keyboard.press("1")  # no key of ours
        page.reload()
        page.wait_for_selector("#others[data-drawn]")
    assert visit.complaints == []


def test_every_button_does_what_its_key_does(visit: Visit, place: Path | str) -> None:
    page = visit.open(place, "#queue=SITE-0003_MCORE&tab=queues")
    order = names(page, "list")
    here = order.index("SITE-0003_MCORE")
    page.click("#next")
    page.wait_for_function("(name) => document.querySelector('#name').textContent === name", arg=order[here + 1])
    page.click("#previous")
    page.wait_for_function("(name) => document.querySelector('#name').textContent === name", arg=order[here])
    page.wait_for_selector("#events button")
    page.locator("#events button").first.click()
    event = params(page)
    page.click("#closer")
    closer = params(page)
    assert event["from"] < closer["from"] < closer["to"] < event["to"]
    page.click("#later")
    assert params(page)["from"] > closer["from"]
    page.click("#earlier")
    page.click("#wider")
    assert params(page) == event  # there and back
    page.click("#last-day")
    assert params(page)["from"] >= "2026-01-10T23:50Z"
    page.click("#to-event")  # the next one
    second = params(page)
    page.click("#all")
    page.locator("#events button").nth(1).click()
    assert params(page) == second
    page.locator("#plots .u-over").first.dblclick()
    assert "from" not in params(page)
    page.click("#help-open")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    page.locator("#skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "queue"
    assert visit.complaints == []


def test_theme_can_be_chosen_and_is_kept(visit: Visit, place: Path | str) -> None:
    page = visit.open(place)
    shade = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(shade) == "rgb(255, 255, 255)"
    page.click("#theme")
    page.click("#theme")
    assert page.text_content("#theme") == "dark"
    assert page.evaluate(shade) == "rgb(20, 23, 27)"
    reload_kept(page)
    assert page.evaluate(shade) == "rgb(20, 23, 27)"
