"""Incidents from tick to tick: opened once, grown, folded, closed, and the same however the ticks came."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.evidence import with_offset
from qad_dl.followed import CLOSED, FOLDED, OPENED, REOPENED, UPDATED, Followed, Rules
from qad_dl.incident_log import follow
from qad_dl.incidents import Values, find_incidents, to_incidents
from qad_dl.joined import joined, until
from qad_dl.results import BY_TICK, Details, Results

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qad_dl.followed import Transition

N, T = 60, 200
TEN = np.timedelta64(600, "s")
KINDS = ("harvester_down", "pilots_starve", "black_hole")
RULES = Rules()
RECORDS = [{"atlas_site": f"S{i // 3}", "harvester": f"H{i % 4}", "cloud": "DE" if i < 30 else "FR"} for i in range(N)]
VALUES = Values.of(RECORDS, [("managed",)] * N)

Spans = dict[int, list[tuple[int, int]]]


def results(flagged: Spans, height: float = 3.5, jobs: float = 100.0) -> Results:
    """A world in which some queues are flagged; at those ticks `running` is 0 where `jobs` were expected."""
    score, hot = np.full((N, T), 0.5), np.zeros((N, T), bool)
    for i, spans in flagged.items():
        for start, end in spans:
            score[i, start:end], hot[i, start:end] = height + i / 1000, True
    expected = np.full((N, T, 2), (jobs, jobs / 10), np.float32)
    observed = np.where(hot[:, :, None], np.float32([0, jobs / 10]), expected).astype(np.float32)
    share = np.broadcast_to(np.float32([0.95, 0.05]), (N, T, 2))
    return Results(
        entity=("panda_queue",),
        series=tuple((f"Q{i:02d}",) for i in range(N)),
        times=np.datetime64("2026-01-05T00:00:00", "s") + np.arange(T) * TEN,
        score=score,
        alone=score,
        flagged=hot,
        reason=np.zeros((N, T), np.int8),
        known=np.ones((N, T), bool),
        expected=np.zeros((N, T), bool),
        state=np.zeros((N, T), np.int16),
        direction=np.full((N, T), -1, np.int8),
        kind=np.full((N, T), KINDS.index("pilots_starve"), np.int8),
        states=("running", "failed"),
        kinds=KINDS,
        budget=0.01,
        threshold=3.0,
        details=Details(observed, expected, expected, expected, share),
    )


def story(
    made: Results, ticks: Iterable[int] = range(T), known: tuple[Followed, ...] = (), rules: Rules = RULES
) -> tuple[tuple[Followed, ...], list[tuple[int, Transition]]]:
    """Follow the ticks one by one."""
    told: list[tuple[int, Transition]] = []
    for t in ticks:
        known, happened = follow(known, until(made, made.times[t]), VALUES, rules, made)
        told += [(t, transition) for transition in happened]
    return known, told


def actions(told: list[tuple[int, Transition]]) -> list[tuple[int, str]]:
    return [(t, transition.action) for t, transition in told]


def test_one_queue_is_opened_at_its_second_tick_and_closed_after_the_recovery() -> None:
    (incident,), told = story(results({7: [(50, 60)]}))
    assert actions(told) == [(51, OPENED), (59 + RULES.recovery, CLOSED)]
    assert (incident.field, incident.value, incident.queues) == ("panda_queue", "Q07", ("Q07",))
    assert incident.start == np.datetime64("2026-01-05T08:20:00")
    assert incident.last == incident.start + 9 * TEN
    assert incident.told == incident.start + TEN
    assert {transition.incident.id for _, transition in told} == {incident.id}


def test_what_is_sure_is_told_at_its_first_tick() -> None:
    _, told = story(results({7: [(50, 60)]}, height=4.0))
    assert actions(told)[0] == (50, OPENED)


def test_a_single_flagged_tick_is_not_told() -> None:
    assert story(results({7: [(50, 51)], 31: [(80, 81), (84, 85)]})) == ((), [])


@pytest.mark.parametrize("told", [2.5, 3.2])  # above the level of weak evidence alone, and above the threshold
def test_what_others_have_told_a_queue_is_no_sign_of_its_own(told: float) -> None:
    made = results({7: [(50, 51)]})
    score = made.score.copy()
    score[7, 51:60] = told
    weak = replace(made, levels=((0.1, 2.0),), score=score, flagged=score >= made.threshold)
    assert story(weak) == ((), [])
    _, happened = story(replace(weak, alone=score))
    assert actions(happened)[0] == (51, OPENED)


def test_a_series_with_a_threshold_of_its_own_shows_less() -> None:
    made = results({7: [(50, 51)]})
    alone = made.alone.copy()
    alone[7, 51:60] = 2.5
    weak = replace(made, levels=((0.1, 2.0),), alone=alone)
    assert actions(story(with_offset(weak, np.zeros((N, T))))[1])[0] == (51, OPENED)
    assert story(with_offset(weak, np.full((N, T), 0.4)))[1][:1] == story(weak)[1][:1]
    assert story(with_offset(replace(weak, threshold=2.0), np.full((N, T), 1.0))) == ((), [])


def test_states_and_figures_are_weighed_by_what_each_queue_shows_by_itself() -> None:
    """One queue shows `failed` and much, two show `running` and little; by what all know they are alike."""
    made = results({i: [(50, 60)] for i in (9, 10, 11)})
    state, alone, parts = made.state.copy(), made.alone.copy(), made.details
    assert parts is not None
    share = np.array(parts.contribution)
    state[9], share[9], alone[9, 50:60] = 1, (0.0, 1.0), 9.0
    told = replace(made, state=state, details=parts._replace(contribution=share))
    of = {
        name: story(one, range(52))[1][0][1].incident for name, one in (("a", told), ("b", replace(told, alone=alone)))
    }
    assert (of["a"].state, of["a"].figures[0].state) == ("running", "running")
    assert (of["b"].state, of["b"].figures[0].state) == ("failed", "failed")


def test_the_worst_are_those_that_show_the_most_by_themselves() -> None:
    made = results({i: [(50, 60)] for i in (9, 10, 11)})
    alone = made.alone.copy()
    alone[9, 50:60] = 5.0
    _, told = story(replace(made, alone=alone), range(52))
    assert told[0][1].incident.worst == ("Q09", "Q11", "Q10")


def test_few_jobs_are_not_told() -> None:
    assert story(results({7: [(50, 60)]}, jobs=9.0)) == ((), [])
    _, told = story(results({7: [(50, 60)]}, jobs=10.0))
    assert len(told) == 2


def test_the_figures_are_those_of_the_queues_together() -> None:
    _, told = story(results({i: [(50, 60)] for i in (9, 10, 11)}), range(52))
    (figure,) = told[0][1].incident.figures  # `failed` contributes too little to be told
    assert (figure.state, figure.observed, figure.expected, figure.direction) == ("running", 0.0, 300.0, "low")
    assert told[0][1].incident.worst == ("Q11", "Q10", "Q09")
    assert told[0][1].incident.of == 3


def test_a_group_is_told_at_once_and_once() -> None:
    hit: Spans = {i: [(100, 130)] for i in range(2, N, 4)}
    (incident,), told = story(results(hit))
    assert actions(told) == [(100, OPENED), (129 + RULES.recovery, CLOSED)]
    assert (incident.field, incident.value, len(incident.queues), incident.of) == ("harvester", "H2", 15, 15)


def test_a_queue_that_turns_out_to_be_one_of_many_becomes_the_group() -> None:
    hit: Spans = {i: [(103, 130)] for i in range(2, N, 4)} | {6: [(100, 130)]}
    (incident,), told = story(results(hit))
    assert actions(told) == [(101, OPENED), (103, UPDATED), (129 + RULES.recovery, CLOSED)]
    assert told[0][1].incident.value == "Q06"
    assert (told[1][1].incident.field, told[1][1].incident.value) == ("harvester", "H2")
    assert told[0][1].incident.id == incident.id


def test_queues_that_were_told_before_are_folded_into_their_group() -> None:
    hit: Spans = {i: [(106, 140)] for i in range(0, N, 4)} | {0: [(100, 140)], 4: [(103, 140)]}
    known, told = story(results(hit), range(120))
    first, second = known
    assert (first.value, first.open, len(first.queues)) == ("H0", True, 15)
    assert (second.value, second.open, second.folded) == ("Q04", False, first.id)
    assert [t.action for _, t in told if t.incident.id == second.id] == [OPENED, FOLDED]
    assert [t.action for _, t in told].count(OPENED) == 2


def test_a_queue_broken_for_long_is_no_name_for_a_group_that_begins_now() -> None:
    hit: Spans = {i: [(120, 140)] for i in range(2, N, 4)} | {6: [(30, 190)]}
    known, told = story(results(hit))
    assert [(i.field, i.value) for i in known] == [("panda_queue", "Q06"), ("harvester", "H2")]
    assert [t.action for _, t in told].count(OPENED) == 2


def test_the_queues_of_a_group_that_falls_apart_are_not_told_again() -> None:
    hit: Spans = {i: [(100, 130)] for i in range(2, N, 4)}
    known, _ = story(results(hit), range(110))
    cut = VALUES._replace(member=np.zeros_like(VALUES.member))
    after, happened = follow(known, until(results(hit), results(hit).times[111]), cut)
    assert happened == ()
    assert [(i.field, i.value, len(i.queues)) for i in after] == [("harvester", "H2", 15)]


def test_flapping_is_one_incident_and_gets_ever_more_time() -> None:
    spans = [(20, 24), (40, 44), (75, 79)]
    (incident,), told = story(results({7: spans}))
    again = 23 + RULES.recovery
    assert actions(told) == [(21, OPENED), (again, CLOSED), (41, REOPENED), (43 + 2 * RULES.recovery, CLOSED),
                             (76, REOPENED), (78 + 36, CLOSED)]  # fmt: skip
    assert (incident.reopened, incident.start) == (2, results({}).times[20])


def test_nothing_is_over_while_nothing_is_scored() -> None:
    made = results({7: [(50, 60)]})
    made.reason[:, 62:90], made.score[:, 62:90] = 3, np.nan
    _, told = story(made)
    assert actions(told) == [(51, OPENED), (59 + RULES.recovery + 28, CLOSED)]


def test_the_same_however_the_ticks_came() -> None:
    hit: Spans = {i: [(103, 130)] for i in range(2, N, 4)} | {6: [(100, 130)], 33: [(20, 25), (50, 70)]}
    made = results(hit)
    want, told = story(made)
    half, first = story(made, range(104))
    half = tuple(Followed.from_json(incident.to_json()) for incident in half)
    once, second = story(made, [104, *range(104, T)], half)  # the tick at which it was killed is done again
    assert once == want
    assert [t for t in first + second if t in told] == told
    assert all(np.diff([0, *(t for t, _ in told)]) >= 0)


def test_a_week_that_moves_on_changes_no_name() -> None:
    hit: Spans = {i: [(60, 190)] for i in range(2, N, 4)}
    made, known, told, week = results(hit), (), [], None
    for t in range(T):
        week = joined(week, _tick(made, t), 100)
        known, happened = follow(known, week, VALUES, RULES, made)
        told += [transition.action for transition in happened]
    assert week is not None
    assert week.times[0] > made.times[60]
    assert told == [OPENED]
    assert known[0].start == made.times[60]


def _tick(made: Results, t: int) -> Results:
    arrays = {name: getattr(made, name)[:, t : t + 1] for name in BY_TICK}
    return replace(made, times=made.times[t : t + 1], details=None, **arrays)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_told_tick_by_tick_is_what_is_found_in_the_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hit: Spans = {}
    for i in rng.choice(N, 8, replace=False).tolist():  # queues alone, at any time
        start = int(rng.integers(0, T - 60))
        hit[i] = [(start, start + int(rng.integers(2, 30)))]
    harvester, site = int(rng.integers(4)), int(rng.integers(20))
    begin = int(rng.integers(20, 120))
    for i in range(N):
        if i % 4 == harvester and rng.random() < 0.9:
            hit.setdefault(i, []).append((begin + int(rng.integers(0, 6)), begin + 30))
        if i // 3 == site and i % 4 != harvester:
            hit.setdefault(i, []).append((begin + 5, begin + 20))
    made = results({i: sorted(spans) for i, spans in hit.items()})
    known, told = story(made)
    alone = {i.id: i for i in known if not i.folded}
    found = to_incidents(find_incidents(made, VALUES), made)
    assert len(alone) <= len(found)  # nothing that is one is told as two
    for whole in found:
        hits = [i for i in alone.values() if set(whole.queues) <= set(i.queues) and i.start <= whole.end]
        assert hits, whole
    opened = [transition.incident.id for _, transition in told if transition.action == OPENED]
    assert len(opened) == len(set(opened))
    assert set(opened) == {i.id for i in known}
    assert all(not i.open for i in known)


@pytest.mark.parametrize("missing", ["figures", "id"])
def test_what_was_not_written_by_us_is_refused(missing: str) -> None:
    (incident,), _ = story(results({7: [(50, 60)]}))
    data = incident.to_json()
    del data[missing]
    with pytest.raises((KeyError, TypeError)):
        Followed.from_json(data)
