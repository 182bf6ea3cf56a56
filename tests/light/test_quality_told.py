"""What is told of incidents, beside what they were: by hand."""

from __future__ import annotations

import numpy as np
import pytest

from qad_dl.incidents import Found, Values
from qad_dl.incidents_file import Incident
from qad_dl.metrics.truth import Window, build_truth
from qad_dl.schema import Tick
from training.quality.known import Known
from training.quality.told import Telling, confusion, group_cases, kind_cases, told_groups

TICK = Tick()
TIMES = TICK.range(np.datetime64("2026-01-05", "s"), np.datetime64("2026-01-08", "s"))
N = 6
RECORDS = [{"atlas_site": f"S{i // 3}", "write_storage": f"D{i // 3}", "cloud": "DE"} for i in range(N)]
VALUES = Values.of(RECORDS, [()] * N)


def incident(name: str, first: int, last: int, *rows: int, field: str = "atlas_site", value: str = "S0") -> tuple:
    start, end = TIMES[first], TIMES[0] + last * TICK.delta
    window = Window(start, end, rows, "site_down", name)
    return window, Incident(name, "site_down", field, value, start, end)


def found(first: int, last: int, *rows: int, name: tuple[str, str] = ("atlas_site", "S0"), kind: str = "site_down"):
    return Found(*name, rows, first, last, kind, 5.0)


def telling(incidents: list, told: list[Found], flags: list[tuple[int, int, int]], downtimes: tuple = ()) -> Telling:
    flagged = np.zeros((N, len(TIMES)), np.bool_)
    for row, first, last in flags:
        flagged[row, first:last] = True
    truth = build_truth(TIMES, TICK, N, [w for w, _ in incidents], downtimes)

    def tell(first: int, end: int) -> list[Found]:
        """A group is told once it has lasted four ticks; a queue alone at once."""
        return [f for f in told if first <= f.start and f.start + 4 * (len(f.series) > 1) < end]

    return Telling(Known(truth, {i.incident: i for _, i in incidents}), told, VALUES, flagged, tell)


SITE = incident("a", 100, 130, 0, 1, 2)
FLAGS = [(0, 104, 120), (1, 103, 120)]


def test_told_once_with_its_value() -> None:
    (case,) = group_cases(telling([SITE], [found(103, 120, 0, 1)], FLAGS))
    assert case["seen"] == 2
    assert (case["right"], case["one"]) == (True, True)
    assert (case["alone_ticks"], case["told_ticks"], case["named_ticks"]) == (3, 7, 7)


def test_told_before_any_queue_is_flagged() -> None:
    (case,) = group_cases(telling([SITE], [found(95, 120, 0, 1)], FLAGS))
    assert (case["one"], case["alone_ticks"], case["told_ticks"]) == (True, 3, 0)
    (case,) = group_cases(telling([SITE], [found(100, 120, 0, 1)], []))
    assert (case["one"], case["seen"], case["alone_ticks"], case["named_ticks"]) == (True, 0, None, 4)


def test_told_as_a_queue_first_and_named_later() -> None:
    (case,) = group_cases(telling([SITE], [found(110, 120, 0, 1), found(103, 108, 2, name=("panda_queue", ""))], FLAGS))
    assert (case["right"], case["one"]) == (True, False)
    assert (case["told_ticks"], case["named_ticks"]) == (3, 14)


def test_evidence_long_before_is_of_something_else() -> None:
    (case,) = group_cases(telling([SITE], [found(87, 120, 0, 1)], FLAGS))
    assert (case["told"], case["right"]) == (0, False)


def test_another_value_that_the_same_queues_have_is_as_right() -> None:
    (case,) = group_cases(telling([SITE], [found(103, 120, 0, 1, name=("write_storage", "D0"))], FLAGS))
    assert case["one"]


def test_a_value_that_more_queues_have_is_wrong() -> None:
    (case,) = group_cases(telling([SITE], [found(103, 120, 0, 1, name=("cloud", "DE"))], FLAGS))
    assert (case["told"], case["right"], case["one"], case["named_ticks"]) == (1, False, False, None)


def test_told_in_pieces_is_not_told_as_one() -> None:
    alone = found(110, 120, 2, name=("panda_queue", ""))
    (case,) = group_cases(telling([SITE], [found(103, 120, 0, 1), alone], FLAGS))
    assert (case["told"], case["right"], case["one"]) == (2, True, False)


def test_what_is_told_long_after_or_of_others_does_not_count() -> None:
    late, others = found(140, 150, 0, 1), found(103, 120, 3, 4)
    (case,) = group_cases(telling([SITE], [late, others], []))
    assert (case["seen"], case["told"], case["right"]) == (0, 0, False)


def test_an_incident_of_one_queue_is_no_group() -> None:
    assert not group_cases(telling([incident("b", 10, 20, 4, field="panda_queue", value="Q4")], [], []))


@pytest.mark.parametrize(
    ("told", "true"),
    [
        (found(103, 120, 0, 1), True),
        (found(103, 120, 0, 1, name=("write_storage", "D0")), True),
        (found(103, 120, 0, 1, name=("cloud", "DE")), False),
        (found(103, 120, 3, 4, name=("atlas_site", "S1")), False),
        (found(130 + 140, 290, 0, 1), True),
        (found(130 + 144, 290, 0, 1), False),
        (found(80, 95, 0, 1), False),
    ],
)
def test_groups_told_with_a_value_that_an_incident_has(told: Found, true: bool) -> None:
    (case,) = told_groups(telling([SITE], [told], []))
    assert case["true"] is true


def test_groups_in_downtimes_and_queues_alone_are_left_out() -> None:
    down = Window(TIMES[200], TIMES[220], (0, 1))
    told = [found(205, 210, 0, 1), found(50, 60, 2, name=("panda_queue", ""))]
    assert not told_groups(telling([SITE], told, [], (down,)))


def test_the_kind_is_that_of_the_earliest_episode() -> None:
    told = [found(104, 120, 0, kind="black_hole"), found(103, 120, 1, kind="site_down")]
    (case,) = kind_cases(telling([SITE], told, FLAGS))
    assert case == {"name": "a", "kind": "site_down", "told": "site_down"}


def test_an_incident_that_is_not_seen_has_no_kind_told() -> None:
    assert not kind_cases(telling([SITE], [found(103, 120, 1)], []))


def test_confusion() -> None:
    cases = [("a", "a"), ("a", "b"), ("a", "a"), ("b", None)]
    table = confusion([{"kind": kind, "told": told} for kind, told in cases])
    assert table == {"a": {"a": 2, "b": 1}, "b": {"nothing": 1}}
