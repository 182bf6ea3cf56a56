"""Labels in the page as a file: said with a key or in detail, kept, undone, exported, imported, and drawn."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qad_dl.labels import GroupTarget, IncidentTarget, LabelLog, QueueTarget, labels_of, parse_events
from tests.services.review_live import LiveServer
from tests.services.review_pages import HOSTILE, content_of, drawn, incidents_of, names, reload_kept, write_page
from tests.services.synthetic_results import make_results

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from qad_dl.labels import Event
    from qad_dl.results import Results
    from tests.services.conftest import Visit

pytestmark = pytest.mark.program("chromium")


@pytest.fixture(scope="session")
def results() -> Results:
    return make_results(40, 1008)


@pytest.fixture(params=["file", "server"])
def place(request: pytest.FixtureRequest, results: Results, page_file: Path, tmp_path: Path) -> Iterator[Path | str]:
    """The page as a file, and as a server gives it: with no label yet."""
    if request.param == "file":
        yield page_file
        return
    server = LiveServer(content_of(results), tmp_path).start()
    yield server.url
    server.stop()


@pytest.fixture(scope="module")
def page_file(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(tmp_path_factory.mktemp("page") / "review.html", results, incidents=True)


def as_author(page: Page, name: str = "ada") -> None:
    page.fill("#author", name)
    page.locator("#author").blur()


def said(page: Page) -> list[str]:
    """The labels on what is shown, as text."""
    found: list[str] = page.eval_on_selector_all("#label-list > li", "all => all.map((e) => e.innerText)")
    return found


def exported(page: Page, folder: Path) -> tuple[list[Event], dict[str, Any]]:
    """What the page saves as a file, read by the library."""
    with page.expect_download() as waiting:
        page.click("#export")
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    assert path.name.startswith("qad-labels-")
    return parse_events(path.read_bytes(), path.name), json.loads(path.read_text(encoding="utf-8"))


def give(page: Page, file: dict[str, Any] | str) -> None:
    """Import a file."""
    text = file if isinstance(file, str) else json.dumps(file)
    page.set_input_files(
        "#import-file", {"name": "labels.json", "mimeType": "application/json", "buffer": text.encode()}
    )
    page.wait_for_function("() => document.querySelector('#said').textContent !== ''")


def test_one_key_labels_the_incident(visit: Visit, place: Path | str, results: Results, tmp_path: Path) -> None:
    page = visit.open(place, "#incident=I-group")
    as_author(page)
    page.keyboard.press("p")
    assert len(said(page)) == 1
    assert "problem, bad task" in said(page)[0]
    assert "ada" in said(page)[0]
    (event,), _ = exported(page, tmp_path)
    (group,) = (i for i in incidents_of(results) if i.incident == "I-group")
    assert event.target == IncidentTarget(
        "I-group", "cloud", "DE", group.queues, group.start, None if group.end > results.times[-1] else group.end
    )
    assert (event.word, event.kind, event.author, event.comment) == ("problem", "bad_task", "ada", "")
    assert visit.requests == []
    assert visit.complaints == []


def test_another_word_changes_ones_own_label(visit: Visit, place: Path | str, tmp_path: Path) -> None:
    page = visit.open(place, "#incident=I-group")
    as_author(page)
    for key in "pxu":
        page.keyboard.press(key)
    assert len(said(page)) == 1
    assert "unsure" in said(page)[0]
    assert "3 entries" in said(page)[0]
    page.locator("#label-list summary").click()
    assert "problem" in page.locator("#label-list ol").inner_text()
    events, _ = exported(page, tmp_path)
    assert [e.word for e in events] == ["problem", "expected", "unsure"]
    assert len(labels_of(events).in_force) == 1
    # Undo goes back through all of it, to no label at all; and nothing of it is lost.
    for left in ("expected", "problem"):
        page.keyboard.press("z")
        assert left in said(page)[0]
    page.keyboard.press("z")
    assert said(page) == []
    page.keyboard.press("z")
    assert "Nothing of yours to undo" in (page.text_content("#said") or "")
    events, _ = exported(page, tmp_path)
    assert labels_of(events).in_force == ()
    assert len(events) == 6
    if isinstance(place, str):  # and its log has them all
        page.wait_for_function("() => document.querySelector('#sync').textContent === '0 labels'")
        assert len(LabelLog(tmp_path / "labels.jsonl").events()) == 6


def test_without_a_name_there_is_no_label(visit: Visit, place: Path | str) -> None:
    page = visit.open(place)
    page.keyboard.press("p")
    assert "name first" in (page.text_content("#said") or "")
    assert page.evaluate("document.activeElement.id") == "author"
    assert said(page) == []


def test_a_queue_is_labelled_over_its_event(visit: Visit, place: Path | str, results: Results, tmp_path: Path) -> None:
    page = visit.open(place, "#queue=SITE-0003_MCORE&tab=queues")
    as_author(page)
    page.keyboard.press("e")
    page.keyboard.press("x")
    (event,), _ = exported(page, tmp_path)
    ticks = np.flatnonzero(results.flagged[results.series.index(("SITE-0003_MCORE",))])
    assert isinstance(event.target, QueueTarget)
    assert event.target.start == results.times[ticks[0]]
    assert event.target.end > results.times[ticks[0]]
    assert event.word == "expected"
    assert page.locator(".panel.lanes").count() == 1
    assert "expected, ada" in (page.get_attribute(".panel.lanes .plot", "aria-label") or "")


def test_the_form_labels_a_range_with_kind_and_comment(visit: Visit, place: Path | str, tmp_path: Path) -> None:
    page = visit.open(place, "#queue=SITE-0005_MCORE&tab=queues")
    as_author(page)
    page.keyboard.press("l")
    page.fill("#label-from", "2026-01-08T12:00")
    page.fill("#label-to", "2026-01-08T11:00")
    page.select_option("#label-word", "problem")
    page.select_option("#label-kind", "storage_writes")
    page.fill("#label-comment", HOSTILE)
    page.click("#label-save")
    assert "ends before it begins" in (page.text_content("#label-problem") or "")
    page.fill("#label-to", "2026-01-08T18:00")
    page.click("#label-save")
    assert page.locator("#label-form").is_hidden()
    (event,), _ = exported(page, tmp_path)
    assert event.target == QueueTarget(
        "SITE-0005_MCORE", np.datetime64("2026-01-08T12:00:00"), np.datetime64("2026-01-08T18:00:00")
    )
    assert (event.kind, event.comment) == ("storage_writes", HOSTILE)
    assert HOSTILE.strip() in (page.text_content("#label-list q") or "")
    assert page.title() != "owned"
    page.locator("#label-list button", has_text="change").click()
    page.select_option("#label-word", "unsure")
    page.click("#label-save")
    events, _ = exported(page, tmp_path)
    assert [e.word for e in events] == ["problem", "unsure"]
    assert len({e.label for e in events}) == 1
    assert visit.complaints == []


def test_the_form_changes_ones_own_label_on_the_same(visit: Visit, place: Path | str, tmp_path: Path) -> None:
    page = visit.open(place, "#incident=I-group")
    as_author(page)
    page.keyboard.press("u")
    page.keyboard.press("l")
    assert page.input_value("#label-word") == "unsure"
    page.fill("#label-comment", "asked the site")
    page.click("#label-save")
    assert len(said(page)) == 1
    assert "asked the site" in said(page)[0]
    page.keyboard.press("p")  # another word with a key keeps what was written
    events, _ = exported(page, tmp_path)
    assert [(e.word, e.comment) for e in events] == [
        ("unsure", ""),
        ("unsure", "asked the site"),
        ("problem", "asked the site"),
    ]
    assert len({e.label for e in events}) == 1


def test_the_form_labels_a_group(visit: Visit, place: Path | str, tmp_path: Path) -> None:
    page = visit.open(place, "#queue=SITE-0004_MCORE&tab=queues")
    as_author(page)
    page.click("#label-open")
    page.locator("#label-target").select_option(label="all queues with harvester harvester-0")
    page.select_option("#label-word", "expected")
    page.click("#label-save")
    (event,), _ = exported(page, tmp_path)
    assert isinstance(event.target, GroupTarget)
    assert (event.target.field, event.target.value) == ("harvester", "harvester-0")
    page.select_option("#labelled", "expected")
    assert len(names(page)) == 20
    page.select_option("#labelled", "none")
    assert len(names(page)) == 20
    assert page.locator("#list li:not([hidden]) .mark").count() == 0


def test_labels_outlive_the_page_and_mark_the_lists(visit: Visit, page_file: Path) -> None:
    page = visit.open(page_file, "#incident=I-group")
    as_author(page)
    page.keyboard.press("p")
    reload_kept(page)
    assert len(said(page)) == 1
    assert page.input_value("#author") == "ada"
    assert page.locator("#incidents .mark.problem").count() == 1
    assert "1 not exported" in (page.text_content("#sync") or "")
    page.select_option("#labelled", "problem")
    assert page.locator("#incidents li:not([hidden])").count() == 1
    page.select_option("#labelled", "mine")
    assert page.locator("#incidents li:not([hidden])").count() == 1
    assert "label=mine" in page.url
    page.click("#tab-queues")
    assert page.locator("#list li:not([hidden])").count() == 4


def test_a_file_goes_from_one_reviewer_to_the_other(
    visit: Visit, page_file: Path, tmp_path: Path, browser: Any
) -> None:
    first = visit.open(page_file, "#incident=I-group")
    as_author(first)
    first.keyboard.press("p")
    _, file = exported(first, tmp_path)
    context = browser.new_context()
    try:
        second = context.new_page()
        second.goto(page_file.as_uri() + "#incident=I-group")
        drawn(second, "I-group")
        as_author(second, "bob")
        second.keyboard.press("x")
        give(second, file)
        assert "1 new event of 1" in (second.text_content("#said") or "")
        assert len(said(second)) == 2  # nobody overwrites another's word
        assert second.locator("#label-list button").count() == 2  # and only one's own can be changed
        give(second, file)
        assert len(said(second)) == 2
        events, _ = exported(second, tmp_path)
        assert {label.author for label in labels_of(events).in_force} == {"ada", "bob"}
    finally:
        context.close()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": "other"}, "no file of labels"),
        ({"version": 2}, "no file of labels"),
        ({"events": [{"op": "put"}]}, "event 1 has no id or no label"),
        ({"word": "fine"}, 'event 1 has the unknown word "fine"'),
        ({"kind": "weather"}, 'event 1 has the unknown kind "weather"'),
        ({"author": " "}, "event 1 has no author"),
        ({"target": {"type": "planet"}}, "event 1 has a target that cannot be understood"),
        ({"op": "drop"}, 'event 1 has the unknown op "drop"'),
    ],
)
def test_a_file_that_is_not_understood_is_refused_whole(
    visit: Visit, page_file: Path, change: dict[str, Any], reason: str
) -> None:
    page = visit.open(page_file)
    event = {
        "id": "00000000-0000-4000-8000-000000000001",
        "op": "put",
        "label": "00000000-0000-4000-8000-000000000002",
        "target": {
            "type": "queue",
            "panda_queue": "SITE-0003_MCORE",
            "start": "2026-01-08T00:00:00Z",
            "end": "2026-01-08T01:00:00Z",
        },
        "word": "problem",
        "kind": None,
        "comment": "",
        "author": "ada",
        "time": "2026-01-12T08:00:00.000Z",
    }
    file = {"format": "qad-labels", "version": 1, "events": [event]}
    if change.keys() & file.keys():
        file.update(change)
    else:
        event.update(change)
    give(page, file)
    assert reason in (page.text_content("#said") or "")
    assert "Nothing of it was taken" in (page.text_content("#said") or "")
    assert (page.text_content("#sync") or "").startswith("0 labels")


def test_what_is_no_json_is_refused(visit: Visit, page_file: Path) -> None:
    page = visit.open(page_file)
    give(page, "{")
    assert "is no JSON" in (page.text_content("#said") or "")


def test_labels_come_with_the_page(visit: Visit, results: Results, tmp_path: Path) -> None:
    from dataclasses import replace

    from qad_dl.review.page import load_uplot, static_page

    page = visit.open(write_page(tmp_path / "first.html", results, incidents=True), "#incident=I-group")
    as_author(page)
    page.keyboard.press("p")
    _, file = exported(page, tmp_path)
    page.evaluate("localStorage.clear()")
    content = content_of(results)
    whole = replace(content, index={**content.index, "labels": file["events"]})
    path = tmp_path / "second.html"
    path.write_text(static_page(whole, *load_uplot()).html, encoding="utf-8", newline="\n")
    page = visit.open(path, "#incident=I-group")
    assert len(said(page)) == 1


def test_the_word_on_an_incident_is_found_again_in_another_range(
    visit: Visit, page_file: Path, results: Results, tmp_path: Path
) -> None:
    page = visit.open(page_file, "#incident=I-group")
    as_author(page)
    page.keyboard.press("p")
    _, file = exported(page, tmp_path)
    page.evaluate("localStorage.clear()")
    page.reload()
    drawn(page, "I-group")
    file["events"][0]["target"]["incident"] = "20260101T0000-abcdef"
    give(page, file)
    assert len(said(page)) == 1
    assert page.locator("#incidents .mark.problem").count() == 1
