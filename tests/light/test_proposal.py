"""What labels propose: thresholds of the group that cries wolf, an order where the score misleads, and else nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qad_dl.errors import ConfigError
from qad_dl.incidents import find_incidents
from qad_dl.label_evaluation import judged_things
from qad_dl.proposal.marked import marked, weak_runs
from qad_dl.proposal.offsets import Aim, Groups, Labelling
from qad_dl.proposal.propose import Proposal, propose_from
from qad_dl.proposal.ranking import known_incidents, propose_order
from qad_dl.proposal.thresholds import propose_thresholds
from qad_dl.tuning.file import Tune, tuned
from tests.light.made_tuning import (
    BUNDLE,
    CLOUDS,
    METADATA,
    QUEUES,
    WOLF,
    World,
    labelled,
    misleading,
    overlooked,
    values,
    wolf,
)

CLOUD = Groups.by("cloud", [CLOUDS[i % 4] for i in range(QUEUES)])
TIER = Groups.by("tier", [str(1 + i % 3) for i in range(QUEUES)])


def proposed(world: World, labels: object = None, **how: object) -> Proposal:
    said = world.labels() if labels is None else labels
    return propose_from(world.results(), values(), said, METADATA, BUNDLE, **how)  # type: ignore[arg-type]


def labelling_of(world: World) -> Labelling:
    results = world.results()
    things = judged_things(world.labels(), results, METADATA)
    return Labelling(tuple(marked(things, results)), weak_runs(things, results))


@pytest.fixture(scope="module")
def wolves() -> World:
    return wolf()


@pytest.fixture(scope="module")
def made(wolves: World) -> Proposal:
    return proposed(wolves)


def test_the_cloud_that_cries_wolf_is_raised_and_no_problem_lost(wolves: World, made: Proposal) -> None:
    assert made.thresholds.field == "cloud"
    assert max(made.thresholds.offsets, key=lambda value: made.thresholds.offsets[value]) == WOLF
    assert made.trade.lost == ()
    assert made.trade.all.problems[1] == made.trade.all.problems[0] == made.trade.all.problems_of
    assert made.trade.all.expected[1] < 0.3 * made.trade.all.expected[0]
    assert made.trade.all.episodes[1] < 0.6 * made.trade.all.episodes[0]
    assert made.trade.incidents[1] < made.trade.incidents[0]
    checked = made.thresholds.checked
    assert checked is not None
    assert checked.lost == 0
    assert checked.silenced > 10
    then = tuned(wolves.results(), made.tune, METADATA)
    np.testing.assert_array_equal(then.score, wolves.results().score)
    assert len(find_incidents(then, values())) == made.trade.incidents[1]


def test_no_label_proposes_nothing(wolves: World) -> None:
    nothing = proposed(wolves, ())
    assert nothing.empty
    assert nothing.thresholds.why.startswith("not enough labels: 0 problem, 0 expected among what is flagged, wanted")
    assert nothing.order.why.startswith("not enough labels: 0 problem, 0 expected incidents, wanted 20 of each")
    assert nothing.trade.all.episodes[0] == nothing.trade.all.episodes[1]


def test_unsure_and_disputed_words_do_not_count(wolves: World) -> None:
    said = [(q, at, n, "unsure") for q, at, n, word in wolves.words if word]
    unsure = proposed(wolves, labelled(said))
    assert unsure.empty
    assert unsure.things["unsure"] > 100
    twice = [(q, at, n, word) for q, at, n, _ in wolves.words for word in ("problem", "expected")]
    assert proposed(wolves, labelled(twice)).empty


def test_labels_of_the_wrong_things_win_no_more_often_than_accident(wolves: World) -> None:
    labelling, wins = labelling_of(wolves), 0
    assert propose_thresholds(labelling, [CLOUD, TIER], Aim()).offsets
    for seed in range(40):
        words = np.random.default_rng(seed).permutation([m.problem for m in labelling.marked])
        mixed = tuple(replace(m, problem=bool(word)) for m, word in zip(labelling.marked, words, strict=True))
        wins += bool(propose_thresholds(Labelling(mixed, labelling.weak), [CLOUD, TIER], Aim(may_lose=99)).offsets)
    assert wins <= 5


def test_an_order_by_labels_of_the_wrong_incidents_wins_no_more_often_than_accident() -> None:
    world = misleading()
    results = world.results()
    found, things = find_incidents(results, values()), judged_things(world.labels(), results, METADATA)
    known = known_incidents(found, things, results)
    assert propose_order(known).order is not None
    rng = np.random.default_rng(4)
    wins = sum(
        propose_order(replace(known, problem=rng.permutation(known.problem))).order is not None for _ in range(60)
    )
    assert wins <= 7


def test_the_order_of_labels_does_not_matter_and_a_proposal_comes_again(wolves: World, made: Proposal) -> None:
    labels = list(wolves.labels())
    shuffled = [labels[k] for k in np.random.default_rng(2).permutation(len(labels))]
    assert proposed(wolves, shuffled).tune.to_json() == made.tune.to_json()
    assert proposed(wolves).tune.name == made.tune.name


def test_a_handful_of_labels_in_one_group_does_not_swing_it() -> None:
    world, rng = World(28), np.random.default_rng(8)
    for n in range(80):  # all clouds alike: three problems of four, whatever the score
        word = "problem" if rng.random() < 0.75 else "expected"
        world.bump(n % QUEUES, int(rng.integers(4000)), float(rng.exponential(1.0)), 6, word)
    for at in (300, 900, 1500):  # and three more false alarms in one of them
        world.bump(1, at, 0.5, 3, "expected")
    assert proposed(world).tune.thresholds is None


def test_a_problem_is_given_up_only_where_that_is_allowed_and_said() -> None:
    world = wolf(3)
    free = (at for at in range(300, 4000) if world.bump(1, at, 0.12, 6, "problem", low=True))
    assert next(free) < next(free)  # in the cloud that cries wolf, just above the threshold
    strict = proposed(world)
    assert strict.trade.lost == ()
    assert strict.thresholds.offsets.get(WOLF, 0.0) <= 0.1
    lax = proposed(world, aim=Aim(may_lose=2))
    assert lax.thresholds.offsets[WOLF] > 0.3
    assert len(lax.trade.lost) in (1, 2)
    assert all(name.startswith("Q01, ") for name in lax.trade.lost)
    assert lax.as_json()["trade"]["lost"] == list(lax.trade.lost)


def test_problems_that_were_missed_lower_the_threshold_of_their_group() -> None:
    made = proposed(overlooked(2))
    assert made.thresholds.field == "cloud"
    assert set(made.thresholds.offsets) == {WOLF}
    assert -1.0 <= made.thresholds.offsets[WOLF] < -0.2
    assert len(made.trade.caught) > 20
    assert made.trade.all.problems[1] > made.trade.all.problems[0]
    assert made.trade.lost == ()


def test_where_all_groups_are_alike_a_smaller_budget_is_named() -> None:
    world, rng = World(28), np.random.default_rng(6)
    for _ in range(60):
        world.bump(int(rng.integers(QUEUES)), int(rng.integers(4000)), float(rng.uniform(0, 0.5)), 4, "expected")
        world.bump(int(rng.integers(QUEUES)), int(rng.integers(4000)), float(rng.uniform(1.5, 3)), 8, "problem")
    alike = proposed(world)
    assert alike.tune.thresholds is None
    assert alike.thresholds.why.endswith("try a smaller budget (`qad preview --budget`)")


def test_an_order_is_proposed_where_the_score_misleads() -> None:
    made = proposed(misleading())
    assert made.order.order is not None
    assert made.order.new is not None
    assert made.order.old is not None
    assert made.order.new > made.order.old + 0.3
    words = {what: weight for what, weight, *_ in made.order.coefficients}
    assert words["share of what its queues show by what is low"] > 0.5
    assert words["highest score above the threshold"] < 0


def test_an_order_that_is_no_better_than_the_score_is_not_proposed() -> None:
    world, rng = World(28), np.random.default_rng(9)
    for n in range(120):
        word = "problem" if n % 2 else "expected"
        world.bump(int(rng.integers(QUEUES)), int(rng.integers(4000)), 0.2 + (n % 2) * 1.5 + rng.random(), 6, word)
    assert proposed(world).order.why.startswith(("does not win: of the later labels", "not enough labels"))
    results = world.results()
    things = judged_things(world.labels(), results, METADATA)
    plain = propose_order(known_incidents(find_incidents(results, values()), things, results))
    assert plain.order is None
    assert plain.why.startswith("does not win: of the later labels a problem comes before an expected incident in ")


def test_a_field_that_divides_nothing_is_refused(wolves: World) -> None:
    with pytest.raises(ConfigError, match="--field 'harvester': the queues have fewer than 2 values of it"):
        proposed(wolves, fields=("harvester",))
    assert proposed(wolves, fields=("tier",)).thresholds.field in ("", "tier")


def test_a_proposal_names_its_bundle_and_range(made: Proposal) -> None:
    assert isinstance(made.tune, Tune)
    assert (made.tune.bundle, made.tune.start, made.tune.end) == (
        BUNDLE,
        "2026-01-05T00:00:00Z",
        "2026-02-02T00:00:00Z",
    )
    assert made.tune.report["trade"]["all"]["problems"]["now"] == made.trade.all.problems[0]
