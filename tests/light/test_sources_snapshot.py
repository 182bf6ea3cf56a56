"""A snapshot is judged before it counts; what it was is kept."""

from __future__ import annotations

import numpy as np
import pytest

from qad_dl.rows import merge_rows
from qad_dl.sources.log import KEPT, Fetched, SourceLog
from qad_dl.sources.panda import LONGEST_MINUTES, Counts, window
from qad_dl.sources.snapshot import COUNTS, judge_snapshot
from tests.light.made import at, history

QUEUES = [f"Q{i}" for i in range(10)]
LAST = history([(0, queue, state, 5 + i) for i, queue in enumerate(QUEUES) for state in ("running", "finished")])


def grid(jobs: float = 6.0, queues: list[str] = QUEUES, state: str = "running"):
    return history([(1, queue, state, jobs) for queue in queues])


@pytest.mark.parametrize(
    ("rows", "passed", "name"),
    [
        (grid(), 600.0, "ok"),
        (grid(), None, "ok"),
        (grid(), 1800.0, "late"),
        (grid(), 20.0, "early"),
        (grid(0.0), 600.0, "all_zero"),
        (merge_rows([]), 600.0, "all_zero"),
        (grid(queues=QUEUES[:6]), 600.0, "ok"),
        (grid(queues=QUEUES[:5]), 600.0, "partial"),
        (grid(queues=[f"new{i}" for i in range(10)]), 600.0, "partial"),
    ],
)
def test_each_has_a_name_and_one_line(rows, passed: float | None, name: str) -> None:
    verdict = judge_snapshot(rows, LAST, passed)
    assert verdict.name == name
    assert (verdict.text == "") == (name == "ok")
    assert "\n" not in verdict.text
    assert verdict.counts == (name in COUNTS) == (name in {"ok", "late", "early"})


@pytest.mark.parametrize("finished", [3, 5, 0])
def test_stocks_that_stand_still_are_frozen_whether_flows_move_or_not(finished: int) -> None:
    rows = [(1, queue, "running", 5 + i) for i, queue in enumerate(QUEUES)]
    now = history([*rows, *((1, queue, "finished", finished) for queue in QUEUES)])
    assert judge_snapshot(now, LAST, 600.0).name == "frozen"
    assert judge_snapshot(now, LAST, 86400.0).name == "frozen"  # and not late
    moved = history([*rows[1:], (1, "Q0", "running", 6)])
    assert judge_snapshot(moved, LAST, 600.0).name == "ok"


def test_a_source_of_flows_alone_is_not_frozen() -> None:
    flows = grid(state="finished")
    assert judge_snapshot(flows, grid(5.0, state="finished"), 600.0).name == "ok"


def test_few_queues_may_be_without_jobs() -> None:
    assert judge_snapshot(grid(queues=["Q9"]), grid(5.0, queues=["Q1", "Q2", "Q3"]), 600.0).name == "ok"


def test_the_window_is_the_true_time_since_the_last_good_fetch() -> None:
    asked = [window(s) for s in (None, 30, 600, 720, 721, 1800, 1e7)]
    assert asked == [10, 10, 10, 10, 13, 30, LONGEST_MINUTES]


def test_flows_of_another_window_are_scaled_and_stocks_are_not() -> None:
    cells = (("Q", "managed", "MCORE", "finished", 30.0), ("Q", "managed", "MCORE", "running", 7.0))
    rows = Counts(cells, 30).rows(at(3)).to_pylist()
    assert [(row["job_status"], row["jobs"]) for row in rows] == [("finished", 10.0), ("running", 7.0)]
    assert {row["site_state"] for row in rows} == {None}


@pytest.mark.parametrize("name", ['a"b\\c', "a\nb", "';DROP SERIES--", "<b>", "x" * 10_000, "null", "ü\u2028"])
def test_hostile_names_are_kept_as_they_are(name: str) -> None:
    (row,) = Counts(((name, name, name, name, 1.0),), 10).rows(at(0)).to_pylist()
    assert [row[key] for key in ("panda_queue", "prod_source", "resource", "job_status")] == [name] * 4


# --- the log ---


def fetched(position: int, verdict: str = "ok", text: str = "") -> Fetched:
    return Fetched(at(position), verdict, text, 10, 1.5e9, 0.0)


def test_what_was_fetched_is_kept_by_tick(tmp_path) -> None:
    log = SourceLog(tmp_path / "source")
    assert log.read(at(0), at(1000)) == []
    told = [fetched(i, "frozen", f'line {i} "\n\u2028é') for i in range(140, 150)]  # over midnight
    for entry in reversed(told):
        log.add(entry)
    assert log.read(at(0), at(1000)) == told
    assert log.read(at(142), at(145)) == told[2:5]


def test_a_tick_that_is_done_twice_has_one_line(tmp_path) -> None:
    log = SourceLog(tmp_path)
    log.add(fetched(3, "failed"))
    log.add(fetched(3))
    assert log.read(at(0), at(10)) == [fetched(3)]


def test_days_that_are_too_old_go(tmp_path) -> None:
    log = SourceLog(tmp_path)
    log.add(fetched(0))
    later = Fetched(at(0) + KEPT, "ok", "", 1, 0.0)
    log.add(later)
    assert log.read(at(0), at(1)) == [fetched(0)]
    log.add(Fetched(at(0) + KEPT + np.timedelta64(1, "D"), "ok", "", 1, 0.0))
    assert log.read(at(0), at(1)) == []


def test_a_damaged_line_is_passed_over(tmp_path) -> None:
    log = SourceLog(tmp_path)
    log.add(fetched(1))
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text() + '{"half\n[]\n{"tick": "2026-01-05T00:10:00Z", "new": 1}\n')
    assert log.read(at(0), at(10)) == [fetched(1)]
    log.add(fetched(2))
    assert log.read(at(0), at(10)) == [fetched(1), fetched(2)]
