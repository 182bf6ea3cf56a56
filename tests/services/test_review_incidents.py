"""The page of incidents in a real browser: lists, filters, addresses, groups, comparisons, and what else plots show."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.metadata import Metadata
from qad_dl.review.page import gather, load_uplot, static_page
from qad_dl.tuning.file import Thresholds, Tune, tuned
from qad_dl.tuning.order import Order
from tests.services.review_live import LiveServer
from tests.services.review_pages import (
    GROUP,
    HOSTILE,
    content_of,
    downtimes_of,
    drawn,
    incident_of,
    incidents_of,
    metadata_of,
    names,
    past_of,
    reload_kept,
    row_of,
    write_page,
)
from tests.services.synthetic_results import THRESHOLD, make_results

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Locator, Page

    from qad_dl.results import Results
    from qad_dl.review.page import Content
    from tests.services.conftest import Visit

pytestmark = pytest.mark.program("chromium")

QUEUES, TICKS = 40, 1008


@pytest.fixture(scope="session")
def results() -> Results:
    return make_results(QUEUES, TICKS)


@pytest.fixture(scope="session")
def content(results: Results) -> Content:
    return content_of(results)


@pytest.fixture(scope="module", params=["file", "server"])
def place(
    request: pytest.FixtureRequest, results: Results, content: Content, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path | str]:
    """The page as a file, and as a server gives it: everything works in both."""
    folder = tmp_path_factory.mktemp("page")
    if request.param == "file":
        yield write_page(folder / "review.html", results, incidents=True)
        return
    server = LiveServer(content, folder).start()
    yield server.url
    server.stop()


def params(page: Page) -> dict[str, str]:
    page.wait_for_timeout(250)
    found: dict[str, str] = page.evaluate("Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")
    return found


def shown_incidents(page: Page) -> list[str]:
    found: list[str] = page.eval_on_selector_all(
        "#incidents li:not([hidden]) a", "all => all.map((e) => e.dataset.incident)"
    )
    return found


def heading(page: Page) -> str:
    return page.text_content("#name") or ""


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


def test_without_a_week_before_it_says_so(visit: Visit, results: Results, tmp_path: Path) -> None:
    page = visit.open(write_page(tmp_path / "alone.html", results))
    page.keyboard.press("w")
    assert "nothing of this queue for the week before" in (page.text_content("#said") or "")
    assert f"{THRESHOLD}" in (page.text_content("#summary") or "")


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
