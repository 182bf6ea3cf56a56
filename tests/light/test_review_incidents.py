"""Incidents, the week before and the live form of the review page: what goes into it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.cli import main
from qad_dl.grid import build_grid
from qad_dl.incidents_file import Incident
from qad_dl.metadata import Metadata
from qad_dl.review import incidents, page, past
from qad_dl.store import Store
from tests.light.made import TICK, at, history
from tests.light.test_review_data import HOSTILE, small_results

if TYPE_CHECKING:
    from pathlib import Path

T0 = np.datetime64("2026-01-01T00:00:00", "s")


def incident(start: int, end: int, queues: tuple[str, ...] = (), field: str = "cloud", value: str = "DE") -> Incident:
    """Between two ticks of `small_results`."""
    ticks = [T0 + k * np.timedelta64(600, "s") for k in (start, end)]
    return Incident("I1", "site_down", field, value, ticks[0], ticks[1], 5.0, queues)


def test_incidents_are_placed_by_ticks_and_ranked() -> None:
    results = small_results([[0, 4, 5, 0], [0, 3, 6, 0], [0, 0, 0, 0]])
    worse = incident(0, 2, ("Q2",))._replace(incident="I2", severity=9.0)
    outside = incident(7, 9, ("Q0",))
    unknown = incident(1, 3, ("elsewhere",))
    found = incidents.place([incident(1, 3, ("Q0", "Q1")), worse, outside, unknown], results, {})
    assert [(p.incident.incident, p.series, p.start, p.end) for p in found] == [
        ("I2", (2,), 0, 2),
        ("I1", (1, 0), 1, 3),
    ]


def test_an_incident_without_a_list_hits_the_queues_of_its_value() -> None:
    results = small_results([[4.0], [4.0]])
    (found,) = incidents.place([incident(0, 1)], results, {"Q1": {"cloud": "DE"}, "Q0": {"cloud": "FR"}})
    assert found.series == (1,)
    (found,) = incidents.place([incident(0, 1, (), "panda_queue", "Q0")], results, {})
    assert found.series == (0,)


def test_an_incident_tells_its_queues_together() -> None:
    results = small_results([[0, 4, 5, 0], [0, 3, np.nan, 0], [9, 9, 9, 9]])
    details = results.details
    assert details is not None
    details.observed[:2, 1:3, 1] = [[40, 90], [20, np.nan]]
    details.reconstruction[:2, 1:3, 1] = [[10, 10], [10, np.nan]]
    (placed,) = incidents.place([incident(1, 3, ("Q0", "Q1"))], results, {})
    line = incidents.incident_line(placed, results, details, {0: 7, 1: 8, 2: 0}, 5)
    assert line["q"] == [7, 8]
    assert (line["a"], line["b"], line["of"], line["top"]) == (1, 3, 5, 5.0)
    # `failed` is to blame; together they are farthest off at the tick where one of them alone has 90 of 10.
    assert line["w"] == [1, 1, 2, 90.0, 10.0]
    assert len(line["s"]) == 4
    json.dumps(line, allow_nan=False)


def test_an_incident_without_any_score_has_no_leader() -> None:
    results = small_results([[np.nan, np.nan]])
    results = replace(results, direction=np.zeros((1, 2), np.int8))
    details = results.details
    assert details is not None
    (placed,) = incidents.place([incident(0, 2, ("Q0",))._replace(severity=None)], results, {})
    line = incidents.incident_line(placed, results, details, {0: 0}, 0)
    assert line["w"] == [-1, 0, 0, None, None]
    assert line["top"] == 0.0


def test_names_say_what_an_incident_is_and_not_which_number_it_has() -> None:
    first, second = incident(1, 3, ("Q0", "Q1")), incident(1, 3, ("Q0", "Q1"))._replace(incident="I7")
    assert incidents.incident_name(first) == incidents.incident_name(second)
    assert re.fullmatch(r"20260101T0010-[0-9a-f]{6}", incidents.incident_name(first))
    assert incidents.incident_name(first) != incidents.incident_name(incident(1, 3, ("Q0",)))
    assert incidents.named([first])[0].incident == incidents.incident_name(first)


def test_hours_are_means_of_what_is_known() -> None:
    counts = np.array([[[0], [2], [np.nan], [4], [np.nan], [np.nan], [7]]], np.float32)
    np.testing.assert_array_equal(past.hourly(counts, 3)[0, :, 0], [1, 4, 7])
    np.testing.assert_array_equal(past.hourly(counts[:, 4:6], 2)[0, :, 0], [np.nan])


def test_the_week_before_is_that_of_the_same_queue_and_state(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    week = 7 * TICK.per_day
    store.put(history([(t, "Q1", "running", t % 6) for t in range(12)] + [(week + 12, "Q0", "failed", 1)]))
    results = small_results([[1.0] * 12, [2.0] * 12], names=("Q0", "Q1"))
    results = replace(results, times=np.array([at(week + t) for t in range(12)]))

    class Plan:
        entity, select = ("panda_queue",), {}

    found = past.week_before(store, Plan(), results)  # type: ignore[arg-type]
    assert found.shape == (2, 2, 2)
    np.testing.assert_allclose(found[1, :, 0], [2.5, 2.5])  # running
    assert (np.nan_to_num(found[1, :, 1]) == 0).all()  # failed: counted, and none
    assert np.isnan(found[0]).all()  # was not there yet


def test_a_store_that_does_not_reach_back_knows_nothing_of_the_week_before() -> None:
    grid = build_grid(history([(0, "Q0", "running", 3)]), np.array([at(0)]), TICK, Metadata.empty())
    other = small_results([[1.0]], names=("elsewhere",))
    assert np.isnan(past.like(grid, other)).all()


def test_a_live_page_holds_no_data_and_asks_its_own_server_only() -> None:
    document = page.live_page(HOSTILE, "var uPlot;", "", csrf='to"ken', author=HOSTILE)
    assert "connect-src 'self'" in document.policy
    assert "default-src 'none'" in document.policy
    assert f'content="{document.policy}"' in document.html
    assert 'id="index"' not in document.html
    assert 'name="qad-csrf" content="to&quot;ken"' in document.html
    assert "<script>alert(1)" not in document.html
    assert "@@" not in document.html


def test_a_static_page_asks_nobody() -> None:
    content = page.gather(small_results([[4.0]]), {}, [], "t")
    document = page.static_page(content, "var uPlot;", "")
    assert "connect-src 'none'" in document.policy
    assert 'qad-csrf"' not in document.html.replace('meta[name="qad-csrf"]', "")


def test_another_content_is_another_version() -> None:
    first, same, other = (page.gather(small_results([[s]]), {}, [], "t").version() for s in (4.0, 4.0, 4.5))
    assert first == same != other


def test_the_index_names_kinds_rest_and_what_is_not_scored_at_the_end() -> None:
    results = small_results([[4.0, np.nan], [1.0, 2.0]])
    results = replace(results, expected=np.array([[False, False], [True, False]]))
    index = page.gather(results, {}, [], "t", [incident(0, 1, ("Q0",))]).index
    first, second = index["series"]
    assert first["u"] > 0
    assert "u" not in second
    assert second["x"] == 1
    assert index["kinds"][0] == "site_down"
    assert [line["id"] for line in index["incidents"]] == ["I1"]


@pytest.mark.parametrize(("text", "reason"), [("{", "is no JSON"), ('{"format": "x"}', "no file of labels")])
def test_labels_that_are_none_are_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, reason: str
) -> None:
    (tmp_path / "labels.json").write_text(text)
    arguments = ["--bundle", "b", "--start", "2026-01-01", "--end", "2026-01-02", "--out", str(tmp_path / "r.html")]
    assert main(["review", str(tmp_path), *arguments, "--labels", str(tmp_path / "labels.json")]) == 2
    assert reason in capsys.readouterr().err
