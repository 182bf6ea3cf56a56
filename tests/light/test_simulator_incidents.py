"""Each kind of incident, by its signature in the counts of the queues that it hits.

Every world is compared with its twin: the same seed, the same normal life draw by draw, no incidents.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.schema import INCIDENT_KINDS
from qad_dl.simulator import WorldParams
from qad_dl.simulator.incidents import GROUP_FIELDS
from qad_dl.simulator.mechanism import REPORTED
from qad_dl.simulator.params import GROUP_KINDS, SINGLE_KINDS
from qad_dl.simulator.run import Run, run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qad_dl.simulator.incidents import Told

KINDS = INCIDENT_KINDS[:-1]
HOUR = 6
EARLY, MIDDLE, LATE = (0, 2 * HOUR), (2 * HOUR, 5 * HOUR), (5 * HOUR, 10 * HOUR)
LAST = (10 * HOUR, 22 * HOUR)
NONE, MANY = 0.0, np.inf

SIGNS: dict[str, list[tuple[str, tuple[int, int], float, float]]] = {
    # state, when, at least, at most: counts of the hit groups over those of the twin
    "site_down": [
        ("finished", EARLY, NONE, 0.05),
        ("finished", LATE, NONE, 0.05),
        ("running", EARLY, 0.85, 1.2),
        ("running", MIDDLE, NONE, 0.6),
        ("running", LATE, NONE, 0.05),
        ("failed", EARLY, NONE, 0.1),
        ("failed", MIDDLE, 4.0, MANY),
        ("failed", LATE, NONE, 0.1),
    ],
    "pilots_starve": [
        ("activated", EARLY, 1.0, MANY),
        ("activated", LATE, 1.0, MANY),
        ("starting", EARLY, NONE, 0.6),
        ("starting", LATE, NONE, 0.05),
        ("running", EARLY, 0.7, 1.0),
        ("running", MIDDLE, NONE, 0.85),
        ("running", LATE, NONE, 0.7),
        ("failed", LATE, NONE, 1.0),
    ],
    "harvester_down": [
        ("activated", LATE, 1.0, MANY),
        ("running", EARLY, NONE, 0.9),
        ("running", LATE, NONE, 0.4),
        ("finished", LATE, NONE, 0.4),
        ("failed", LATE, NONE, 1.0),
    ],
    "black_hole": [
        ("failed", EARLY, 5.0, MANY),
        ("failed", LATE, 5.0, MANY),
        ("finished", LATE, NONE, 0.8),
        ("activated", MIDDLE, NONE, 0.6),
        ("running", EARLY, 0.8, 1.25),
        ("running", MIDDLE, 0.6, 1.25),
    ],
    "bad_task": [("failed", EARLY, 4.0, MANY), ("failed", LATE, 4.0, MANY), ("finished", LATE, NONE, 0.7)],
    "storage_writes": [
        ("holding+transferring", EARLY, 1.1, MANY),
        ("holding+transferring", LATE, 1.5, MANY),
        ("finished", EARLY, NONE, 0.7),
        ("finished", LATE, NONE, 0.4),
        ("running", LATE, 0.95, 1.05),
        ("failed", EARLY, 0.9, 1.1),
        ("failed", MIDDLE, 3.0, MANY),
    ],
    "transfer_backlog": [
        ("transferring", EARLY, 1.5, MANY),
        ("transferring", LAST, 8.0, MANY),
        ("defined", EARLY, 0.9, 1.1),
        ("defined", LAST, NONE, 0.9),
        ("finished", EARLY, NONE, 0.8),
        ("failed", LAST, NONE, 1.1),
    ],
    "input_stuck": [
        ("assigned", EARLY, 1.5, MANY),
        ("assigned", LATE, 2.5, MANY),
        ("activated", MIDDLE, NONE, 0.75),
        ("activated", LATE, NONE, 0.4),
        ("running", EARLY, 0.9, 1.05),
        ("running", LATE, NONE, 0.9),
        ("failed", LATE, NONE, 1.0),
    ],
    "frontier": [("failed", EARLY, 5.0, MANY), ("starting", MIDDLE, 1.05, MANY), ("running", MIDDLE, NONE, 0.85)],
    "brokerage_stop": [
        ("assigned", EARLY, NONE, 0.7),
        ("activated", EARLY, 0.8, 1.0),
        ("running", EARLY, 0.95, 1.05),
        ("assigned", LATE, NONE, 0.1),
        ("activated", LATE, NONE, 0.5),
        ("running", LATE, NONE, 0.9),
        ("failed", EARLY, NONE, 1.1),
        ("failed", LATE, NONE, 1.0),
    ],
    "slots_lost": [("activated", MIDDLE, 1.0, MANY), ("starting", LATE, NONE, 0.1), ("running", LATE, NONE, 0.6)],
    "central": [("assigned", LATE, NONE, 0.2), ("running", LATE, NONE, 0.5), ("finished", EARLY, NONE, 0.7)],
    "rollout": [("failed", EARLY, 4.0, MANY), ("failed", LATE, 4.0, MANY), ("finished", LATE, NONE, 0.6)],
}


def params(kind: str | None, seed: int = 8) -> WorldParams:
    """Four days of 40 queues; incidents of one kind, each 10 hours long (22 where a backlog must reach its limit)."""
    alone, many = kind in SINGLE_KINDS, kind in GROUP_KINDS
    return WorldParams(
        days=4,
        queues=40,
        seed=seed,
        incidents=kind is not None,
        quiet_days=1.0,
        duration_median=22.0 if kind == "transfer_backlog" else 10.0,
        duration_sigma=0.0,
        severity_low=0.9,
        group_share=0.5 if alone else 1.0,
        single_kinds={kind: 1.0} if kind and alone else {},
        group_kinds={kind: 1.0} if kind and many else {},
    )


@cache
def world(kind: str | None, seed: int = 8) -> Run:
    return run(params(kind, seed))


def queues_of(made: Run) -> NDArray[np.str_]:
    """The name of the queue of each group."""
    return np.array(made.world.names)[made.world.layout.queue]


def hit(made: Run, told: Told, *, other_source: bool = False) -> NDArray[np.bool_]:
    """The groups that an incident hits; or, of one by prod_source, those beside them in the same queues."""
    mine = np.isin(queues_of(made), told.queues)
    if told.field != "prod_source":
        return mine
    same = np.array(made.world.source) == told.value
    return np.asarray(mine & (same != other_source))


def ratio(kind: str, states: str, when: tuple[int, int], *, seed: int = 8, other_source: bool = False) -> float:
    """Jobs in `states` of the hit groups, over those of the twin: summed over all incidents, ticks and groups."""
    made, twin = world(kind, seed), world(None, seed)
    axis = [REPORTED.index(state) for state in states.split("+")]
    with_it = without = 0
    for told in made.told:
        window = slice(told.begin + when[0], min(told.begin + when[1], told.end))
        groups = hit(made, told, other_source=other_source)
        with_it += made.counts[window][:, groups][:, :, axis].sum()
        without += twin.counts[window][:, groups][:, :, axis].sum()
    assert without > 0, f"the twin has no {states} jobs: choose another seed"
    return float(with_it / without)


def test_every_kind_has_a_signature() -> None:
    assert set(SIGNS) == set(KINDS) == set(SINGLE_KINDS) | set(GROUP_KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_signature(kind: str) -> None:
    assert len(world(kind).told) >= 3
    seen = [(state, when, ratio(kind, state, when), low, high) for state, when, low, high in SIGNS[kind]]
    assert not [sign for sign in seen if not sign[3] <= sign[2] <= sign[4]]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_else_differs_from_the_twin(kind: str) -> None:
    made, twin = world(kind), world(None)
    first = dict.fromkeys(made.world.names, made.params.ticks)
    for told in reversed(made.told):
        first |= dict.fromkeys(told.queues, told.begin)
    for name in made.world.names:
        mine = queues_of(made) == name
        same = slice(0, first[name])
        np.testing.assert_array_equal(made.counts[same][:, mine], twin.counts[same][:, mine])
    assert (made.counts != twin.counts).any()
    np.testing.assert_array_equal(made.life.status, twin.life.status)
    assert made.world.records == twin.world.records
    assert not twin.told


@pytest.mark.parametrize("kind", KINDS)
def test_incidents_are_told_as_they_are(kind: str) -> None:
    made = world(kind)
    for told in made.told:
        assert told.kind == kind
        assert 144 <= told.begin < told.end <= made.params.ticks
        assert 0.9 <= told.severity <= 1.0
        assert set(told.queues) <= set(made.world.names)
        at_work = [made.life.status[told.begin, made.world.names.index(name)] == 0 for name in told.queues]
        assert all(at_work), "only queues that are online are hit"


@pytest.mark.parametrize("kind", sorted(GROUP_KINDS))
def test_a_group_shares_what_explains_it(kind: str) -> None:
    made = world(kind)
    groups = [told for told in made.told if told.field != "panda_queue"]
    assert groups
    assert all(len(told.queues) >= 2 for told in groups)
    facts = {fact["panda_queue"]: fact for fact in made.world.facts}
    for told in groups:
        if kind in GROUP_FIELDS:
            assert told.field in GROUP_FIELDS[kind]
            assert {facts[name][told.field] for name in told.queues} == {told.value}
        else:
            assert told.field == "prod_source"
            named = zip(queues_of(made), made.world.source, strict=True)
            assert set(told.queues) <= {str(queue) for queue, source in named if source == told.value}


def test_about_a_third_of_the_incidents_hit_groups() -> None:
    told = run(WorldParams(days=8, queues=40, seed=2, quiet_days=0.0, duration_median=2.0)).told
    share = np.mean([item.field != "panda_queue" for item in told])
    assert 0.15 <= share <= 0.5
    assert len({item.kind for item in told}) >= 4


def test_a_bad_task_spares_the_other_source() -> None:
    failed, running = (ratio("bad_task", state, LATE, seed=9, other_source=True) for state in ("failed", "running"))
    assert failed < 2.0 * running, "it gets more of the slots, and fails as often as before"
    assert ratio("bad_task", "failed", LATE, seed=9) > 5.0 * ratio("bad_task", "running", LATE, seed=9)


def test_central_services_hit_many_queues_at_once() -> None:
    for told in world("central").told:
        assert told.field == "vo_name"
        assert len(told.queues) >= 20


def test_the_brokerage_stops_at_the_limit_of_transfers() -> None:
    made = world("transfer_backlog")
    layout, arrivals = made.world.layout, made.life.arrivals.astype(float)
    full = made.counts[:, :, REPORTED.index("transferring")] >= layout.transfer_limit
    into = (full[:-1] & full[1:]) & (arrivals[1:] > 0)
    assert into.sum() > 20
    defined = made.counts[:, :, REPORTED.index("defined")]
    assert (defined[1:][into] <= defined[:-1][into]).all()


@pytest.mark.parametrize(("severity", "low", "high"), [(0.5, 0.3, 0.8), (1.0, 0.0, 0.2)])
def test_severity_says_how_much_is_lost(severity: float, low: float, high: float) -> None:
    base = params("brokerage_stop")
    mild = WorldParams(
        **{**vars(base), "severity_low": severity, "severity_high": severity, "group_kinds": {}, "group_share": 0.0}
    )
    made, twin = run(mild), world(None)
    state = REPORTED.index("defined")
    jobs = np.zeros(2)
    for told in made.told:
        window = slice(told.begin + HOUR, told.begin + 2 * HOUR)
        groups = hit(made, told)
        jobs += [part.counts[window][:, groups, state].sum() for part in (made, twin)]
    assert low <= jobs[0] / jobs[1] <= high
