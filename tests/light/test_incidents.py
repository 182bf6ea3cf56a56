"""Flags told as incidents: alone, or with what the queues share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.errors import InputError
from qad_dl.incidents import FLAP_TICKS, TOGETHER_TICKS, Found, Values, find_incidents, to_incidents, values_among
from qad_dl.incidents_file import read_incidents, write_incidents
from qad_dl.results import Results
from qad_dl.scores_file import check_bundle, scores_table, write_table

if TYPE_CHECKING:
    from pathlib import Path

N, T = 60, 300
KINDS = ("harvester_down", "pilots_starve", "storage_writes", "black_hole", "rollout", "frontier")
LEVELS = ((0.3, 1.5), (0.1, 2.0), (0.03, 2.5))
RECORDS = [
    {
        "atlas_site": f"S{i // 3}",
        "harvester": f"H{i % 4}",
        "cloud": "DE" if i < 30 else "FR",
        "write_storage": f"D{i // 3}",
    }
    for i in range(N)
]
SOURCES = [("managed",) if i % 2 else ("managed", "user") for i in range(N)]


def results(flagged: dict[int, list[tuple[int, int]]], kind: str = "pilots_starve") -> Results:
    score, code = np.full((N, T), 0.5), np.full((N, T), KINDS.index(kind), np.int8)
    hot = np.zeros((N, T), bool)
    for i, spans in flagged.items():
        for start, end in spans:
            score[i, start:end], hot[i, start:end] = 5.0 + i / 100, True
    return Results(
        entity=("panda_queue",),
        series=tuple((f"Q{i:02d}",) for i in range(N)),
        times=np.datetime64("2026-01-05T00:00:00", "s") + np.arange(T) * np.timedelta64(600, "s"),
        score=score,
        alone=score,
        flagged=hot,
        reason=np.zeros((N, T), np.int8),
        known=np.ones((N, T), bool),
        expected=np.zeros((N, T), bool),
        state=np.zeros((N, T), np.int16),
        direction=np.ones((N, T), np.int8),
        kind=code,
        states=("running",),
        kinds=KINDS,
        budget=0.01,
        threshold=3.0,
    )


@pytest.fixture(scope="module")
def values() -> Values:
    return Values.of(RECORDS, SOURCES)


def test_one_queue_is_an_incident_of_its_own(values: Values) -> None:
    (found,) = find_incidents(results({7: [(50, 60)]}), values)
    assert found == Found("panda_queue", "", (7,), 50, 60, "pilots_starve", pytest.approx(5.07))


def test_a_harvester_that_dies_is_told_once_by_its_name(values: Values) -> None:
    hit = {i: [(100 + i % 5, 160)] for i in range(2, N, 4) if i != 14}
    (found,) = find_incidents(results(hit, "harvester_down"), values)
    assert (found.field, found.value, found.kind) == ("harvester", "H2", "harvester_down")
    assert found.series == tuple(sorted(hit))
    assert (found.start, found.end) == (100, 160)


def test_a_site_is_told_rather_than_the_cloud_that_holds_it(values: Values) -> None:
    (found,) = find_incidents(results({i: [(100, 130)] for i in (9, 10, 11)}), values)
    assert (found.field, found.value) == ("atlas_site", "S3")


def test_the_kind_decides_between_fields_that_fit_alike(values: Values) -> None:
    (found,) = find_incidents(results({i: [(100, 130)] for i in (9, 10, 11)}, "storage_writes"), values)
    assert (found.field, found.value) == ("write_storage", "D3")


def test_a_value_that_cannot_cause_what_is_seen_is_told_where_no_other_can(values: Values) -> None:
    """Of a storage's five queues four go wrong; the site of all nine explains it a little less well."""
    records = [{"atlas_site": "S", "write_storage": "D" if i < 5 else ""} if i < 9 else RECORDS[i] for i in range(N)]
    own, hit = Values.of(records, SOURCES), {i: [(100, 150)] for i in range(4)}
    told = {kind: find_incidents(results(hit, kind), own) for kind in ("storage_writes", "black_hole", "pilots_starve")}
    assert [(f.field, f.kind) for f in told["storage_writes"]] == [("write_storage", "storage_writes")]
    assert [(f.field, f.kind) for f in told["black_hole"]] == [("atlas_site", "frontier")]
    assert [f.field for f in told["pilots_starve"]] == ["atlas_site"]
    alone = Values.of([{"write_storage": r.get("write_storage", "")} for r in records], SOURCES)
    assert [f.field for f in find_incidents(results(hit, "black_hole"), alone)] == ["write_storage"]


@pytest.mark.parametrize("shown", [0.2, 1.7])
def test_who_is_flagged_for_what_others_show_does_not_say_who_is_hit(shown: float) -> None:
    """A site of three and its storage of five: all are flagged, and the site's queues show it by themselves."""
    records = [{"atlas_site": f"S{int(i > 2)}", "write_storage": "D"} if i < 5 else RECORDS[i] for i in range(N)]
    made = replace(results({i: [(100, 150)] for i in range(5)}), levels=LEVELS)
    alone = made.score.copy()
    alone[3:5] = shown  # with a little more than usual life has, they too are of the storage
    (found,) = find_incidents(replace(made, alone=alone), Values.of(records, SOURCES))
    assert (found.field, found.value) == (("atlas_site", "S0") if shown < LEVELS[0][1] else ("write_storage", "D"))


def test_the_kind_is_what_queues_show_by_themselves() -> None:
    made = results({i: [(100, 150)] for i in (9, 10, 11)}, "pilots_starve")
    made.kind[11] = KINDS.index("storage_writes")
    alone = np.minimum(made.score, 1.0)
    alone[11] = made.score[11]
    (found,) = find_incidents(replace(made, alone=alone), Values.of(RECORDS, SOURCES))
    assert found.kind == "storage_writes"


def test_what_the_very_same_queues_have_is_tried_once() -> None:
    """Five names for one set of queues are no five chances to be wrong."""
    names = ("atlas_site", "write_storage", "frontier", "nucleus", "cloud")
    hit = {i: [(100, 140)] for i in (0, 1, 30)}
    for fields in (names[:1], names):
        once = Values.of([dict.fromkeys(fields, f"S{i // 3}") for i in range(N)], [()] * N)
        found = find_incidents(results(hit), once)
        assert [(f.field, f.series) for f in found] == [("atlas_site", (0, 1)), ("panda_queue", (30,))]


def test_queues_without_anything_in_common_are_told_apart(values: Values) -> None:
    found = find_incidents(results({0: [(100, 110)], 34: [(104, 112)], 45: [(109, 120)]}), values)
    assert [f.series for f in found] == [(0,), (34,), (45,)]


def test_where_nothing_is_known_of_the_queues_each_is_told_alone() -> None:
    made = results({4: [(100, 130)], 7: [(101, 130)]})
    assert [f.series for f in find_incidents(made, values_among(made, {}, []))] == [(4,), (7,)]


def test_a_second_cause_at_the_same_time_stays_apart(values: Values) -> None:
    hit = {i: [(100, 160)] for i in range(2, N, 4)} | {51: [(103, 120)], 52: [(103, 120)], 53: [(104, 120)]}
    found = find_incidents(results(hit), values)
    assert {(f.field, f.value) for f in found} == {("harvester", "H2"), ("atlas_site", "S17")}


def test_a_late_member_joins_while_the_incident_lasts_and_not_a_day_later(values: Values) -> None:
    hit = {i: [(50, 120)] for i in range(2, N - 4, 4)} | {58: [(110, 130)]}
    (found,) = find_incidents(results(hit), values)
    assert 58 in found.series
    hit[58] = [(120 + TOGETHER_TICKS, 200)]
    assert [len(f.series) for f in find_incidents(results(hit), values)] == [14, 1]


@pytest.mark.parametrize(("begin", "end", "joins"), [(83, 140, True), (83, 100, False), (75, 140, False)])
def test_one_that_was_flagged_before_the_others_and_still_is_was_the_first_of_the_group(
    values: Values, begin: int, end: int, joins: bool
) -> None:
    found = find_incidents(results({9: [(begin, end)], 10: [(100, 140)], 11: [(104, 140)]}), values)
    assert ("atlas_site", "S3", (9, 10, 11) if joins else (10, 11)) in [(f.field, f.value, f.series) for f in found]
    assert len(found) == (1 if joins else 2)


def test_those_who_join_late_do_not_make_it_last_until_the_next_cause(values: Values) -> None:
    harvester = {i: [(50, 120)] for i in range(2, 42, 4)}
    late = {42: [(110, 180)], 46: [(170, 225)]}  # each begins before the one before it has ended
    site = {i: [(220, 260)] for i in (48, 49, 50)}  # 50 is of the harvester too
    found = find_incidents(results(harvester | late | site), values)
    assert [(f.field, f.value, f.series) for f in found] == [
        ("harvester", "H2", (*range(2, 42, 4), 42)),
        ("panda_queue", "", (46,)),
        ("atlas_site", "S16", (48, 49, 50)),
    ]


def test_a_harvester_is_told_by_the_third_of_its_queues_that_has_jobs(values: Values) -> None:
    hit = {i: [(100 + i % 5, 160)] for i in range(2, 26, 4)}  # of 15
    (found,) = find_incidents(results(hit, "harvester_down"), values)
    assert (found.field, found.value, found.series) == ("harvester", "H2", tuple(hit))


def test_flapping_is_one_incident(values: Values) -> None:
    spans = [(50, 55), (70, 72), (72 + FLAP_TICKS, 120)]
    (found,) = find_incidents(results({7: spans}), values)
    assert (found.start, found.end) == (50, 120)
    spans[2] = (72 + FLAP_TICKS + 1, 120)
    assert len(find_incidents(results({7: spans}), values)) == 2


def weak(spans: dict[int, tuple[int, int]], height: float, kind: str = "pilots_starve") -> Results:
    """Scores that stay below the flag."""
    made = results({}, kind)
    for i, (start, end) in spans.items():
        made.score[i, start:end] = height
    return replace(made, levels=LEVELS)


def test_weak_evidence_in_many_queues_of_one_harvester_is_told(values: Values) -> None:
    (found,) = find_incidents(weak({i: (100 + i % 5, 130) for i in range(2, N, 4)}, 1.7), values)
    assert (found.field, found.value, found.kind) == ("harvester", "H2", "harvester_down")
    assert (found.start, found.end, len(found.series)) == (100, 130, 15)


def test_weak_evidence_in_a_few_queues_of_one_harvester_is_not(values: Values) -> None:
    assert find_incidents(weak(dict.fromkeys((2, 6, 10, 14), (100, 130)), 1.7), values) == []


def test_weak_evidence_everywhere_is_no_group(values: Values) -> None:
    assert find_incidents(weak(dict.fromkeys(range(N), (100, 130)), 2.7), values) == []


def test_weak_evidence_joins_a_flagged_queue_of_its_site(values: Values) -> None:
    made = replace(results({9: [(100, 130)]}), levels=LEVELS)
    made.score[10:12, 104:120] = 2.7
    (found,) = find_incidents(made, values)
    assert (found.field, found.value, found.series) == ("atlas_site", "S3", (9, 10, 11))
    made.score[10:12, 104:120] = 1.7  # one queue in three of a site has as much in two hours every few days
    made.score[11, 104:120] = 0.5
    assert [f.series for f in find_incidents(made, values)] == [(9,)]


def test_what_queues_share_decides_between_kinds_that_look_alike(values: Values) -> None:
    failing = {i: [(100, 130)] for i in (9, 10, 11)}
    assert find_incidents(results(failing, "black_hole"), values)[0].kind == "frontier"
    assert find_incidents(results({9: [(100, 130)]}, "black_hole"), values)[0].kind == "black_hole"


def test_a_group_that_comes_back_is_the_same_incident(values: Values) -> None:
    late = 130 + FLAP_TICKS - 5
    hit = {i: [(100, 130), (late, late + 10)] for i in (9, 10)} | {11: [(late, late + 10)]}
    (found,) = find_incidents(results(hit), values)
    assert (found.start, found.end, found.series) == (100, late + 10, (9, 10, 11))


def test_nothing_flagged_is_no_incident(values: Values) -> None:
    assert find_incidents(results({}), values) == []


def test_they_are_read_back_from_the_file(values: Values, tmp_path: Path) -> None:
    hit = {i: [(100, 160)] for i in range(2, N, 4)} | {7: [(30, 40)]}
    made = results(hit)
    incidents = to_incidents(find_incidents(made, values), made)
    write_incidents(tmp_path / "incidents.csv", incidents)
    assert read_incidents(tmp_path / "incidents.csv") == incidents
    assert (incidents[0].field, incidents[0].value) == ("panda_queue", "Q07")
    assert str(incidents[1].end) == "2026-01-06T02:40:00"


def test_scores_of_another_bundle_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    write_table(path, scores_table(results({}), "abc"))
    check_bundle(path, "abc", tmp_path)
    with pytest.raises(InputError, match="scored with bundle abc"):
        check_bundle(path, "def", tmp_path)
