"""What an incident looks like in numbers, and that labels chosen by what they teach do teach more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qad_dl.incident_features import MOST, NOTABLE, in_notable_units, incident_features
from tests.light.teach_oracle import design, learned, teach_order
from tests.light.test_review_data import small_results


def features(*arguments, **more) -> dict[str, float]:
    return dict(zip(NOTABLE, incident_features(*arguments, **more), strict=True))


def test_the_features_are_what_they_say() -> None:
    results = small_results([[0, 4, 5, 0], [0, 3, np.nan, 0], [9, 9, 9, 9]])
    details = results.details
    assert details is not None
    details.observed[:2, 1:3, 1] = [[40, 90], [20, np.nan]]
    details.reconstruction[:2, 1:3, 1] = [[10, 10], [10, np.nan]]
    results.expected[0, 1] = True
    found = features(results, (0, 1), 1, 3, of=8)
    assert found == pytest.approx(
        {
            "excess": 2.0,
            "queues": 1.0,
            "share": 0.25,
            "length": 1.0,
            "jobs": np.log10(91),
            "change": np.log(91 / 11),
            "expected": 0.25,
            "flagged": 0.75,
        }
    )


def test_what_is_not_known_is_a_number_all_the_same() -> None:
    results = small_results([[np.nan, np.nan]])
    nothing = replace(results, direction=np.zeros((1, 2), np.int8), details=None)
    for one in (nothing, replace(small_results([[4.0, 5.0]]), details=None)):
        found = incident_features(one, (0,), 0, 2)
        assert np.isfinite(found).all()
    assert features(nothing, (0,), 0, 2)["excess"] == 0.0
    assert features(nothing, (0,), 0, 2, of=0)["share"] == 1.0


def test_units_do_not_depend_on_what_else_is_shown() -> None:
    rows = np.array([[1.0, 2, 0.5, 2, 1, 1.5, 0.5, 0.5], [99.0, 0, 0, 0, 0, -99, 0, 0]])
    units = in_notable_units(rows)
    np.testing.assert_allclose(units[0], 1.0)
    assert units[1, 0] == MOST
    assert units[1, 5] == -MOST
    np.testing.assert_array_equal(in_notable_units(rows[:1])[0], units[0])


# --- what labels teach ---

KINDS = ("site_down", "black_hole", "frontier")


def world(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Design rows of incidents, and which are problems: their score says little, their kind and their look say more."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, len(KINDS), 110)
    z = rng.normal(0, 1, (len(kind), len(NOTABLE))) + rng.normal(0, 0.8, (len(KINDS), len(NOTABLE)))[kind]
    z[:, 0] = rng.exponential(0.7, len(kind))
    weights, bias = rng.normal(0, 1, len(NOTABLE)), rng.normal(0, 1.5, len(KINDS))
    chance = 1 / (1 + np.exp(-(z @ weights + bias[kind])))
    return design(z, [KINDS[k] for k in kind], KINDS), (rng.random(len(kind)) < chance).astype(int)


def loss(x: np.ndarray, problem: np.ndarray, labelled: list[int], unseen: slice) -> float:
    """Mean of -ln of the chance that what was learned gives to the truth, of incidents that nobody was asked about."""
    w, _ = learned(x[labelled], problem[labelled].tolist())
    return float(np.log1p(np.exp(-(2 * problem[unseen] - 1) * (x[unseen] @ w))).mean())


def test_labels_chosen_by_what_they_teach_teach_more_than_those_of_the_worst_or_of_any() -> None:
    pool, unseen, labels = 60, slice(60, 110), 12
    losses: dict[str, list[float]] = {"teach": [], "worst": [], "any": []}
    for seed in range(8):
        x, problem = world(seed)
        said: dict[int, int] = {}
        while len(said) < labels:
            (best,) = teach_order(x[:pool], said, 1)
            said[best] = int(problem[best])
        chosen = {
            "teach": list(said),
            "worst": np.argsort(-x[:pool, 1])[:labels].tolist(),
            "any": np.random.default_rng(seed).permutation(pool)[:labels].tolist(),
        }
        for how, rows in chosen.items():
            losses[how].append(loss(x, problem, rows, unseen))
    means = {how: float(np.mean(found)) for how, found in losses.items()}
    assert means["teach"] < means["any"] - 0.02, means
    assert means["teach"] < means["worst"] - 0.02, means
