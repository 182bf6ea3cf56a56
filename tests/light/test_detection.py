"""The one knob: how many false alarms."""

from __future__ import annotations

import json

import numpy as np
import pytest

from qad_dl.detection import DEFAULT_BUDGET, Detection, fit_detection
from qad_dl.errors import ConfigError
from qad_dl.metrics.episodes import count_episodes

DAY = 144


def law(n: int, days: int, seed: int) -> np.ndarray:
    """-log10 p of a slowly moving statistic: what healthy scores look like."""
    rng = np.random.default_rng(seed)
    steps = rng.standard_normal((n, days * DAY + 60))
    kernel = 0.8 ** np.arange(30)
    moved = np.stack([np.convolve(row, kernel, "valid") for row in steps])[:, : days * DAY]
    rank = moved.ravel().argsort().argsort().reshape(moved.shape)
    return -np.log10(1 - (rank + 0.5) / rank.size)


@pytest.fixture(scope="module")
def detection() -> Detection:
    score = law(60, 14, seed=1)
    return fit_detection(score, np.ones(score.shape, bool), DAY)


@pytest.mark.parametrize("budget", [0.3, 0.1, 0.03, DEFAULT_BUDGET])
def test_other_time_of_the_same_law_gives_about_the_rate(detection: Detection, budget: float) -> None:
    score = law(200, 14, seed=2)
    use = np.ones(score.shape, bool)
    threshold = detection.threshold(budget)
    counts = count_episodes(score, use, DAY)
    at = np.searchsorted(-counts.threshold, -threshold, side="right") - 1
    rate = counts.episodes[at] / (use.sum() / DAY)
    assert budget / 2 <= rate <= budget * 2


def test_a_smaller_budget_is_a_higher_threshold(detection: Detection) -> None:
    thresholds = [detection.threshold(b) for b in np.geomspace(10, 1e-6, 60)]
    assert (np.diff(thresholds) >= 0).all()
    assert detection.threshold(0.001) > detection.threshold(0.01) > detection.threshold(0.1) > 0


@pytest.mark.parametrize("budget", [0, -1, 1e-9, 100, float("nan"), float("inf")])
def test_a_budget_that_makes_no_sense_is_refused(detection: Detection, budget: float) -> None:
    with pytest.raises(ConfigError, match="budget"):
        detection.threshold(budget)


def test_unscored_ticks_do_not_count(detection: Detection) -> None:
    score = law(60, 14, seed=1)
    use = np.ones(score.shape, bool)
    score[:, :100] = np.nan
    use[:, :100] = False
    assert fit_detection(score, use, DAY).threshold(0.1) == pytest.approx(detection.threshold(0.1), abs=0.2)


def test_few_ticks_still_give_a_threshold() -> None:
    score = law(3, 1, seed=4)
    few = fit_detection(score, np.ones(score.shape, bool), DAY)
    assert np.isfinite([few.threshold(b) for b in (0.1, 0.01, 0.001)]).all()


def test_json(detection: Detection) -> None:
    again = Detection.from_json(json.loads(json.dumps(detection.to_json(), allow_nan=False)))
    assert [again.threshold(b) for b in (1, 0.01, 1e-5)] == [detection.threshold(b) for b in (1, 0.01, 1e-5)]
