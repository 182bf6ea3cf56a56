"""The figures of one score on one world: of a model, with its decision and what it tells, or of a peer."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qad_dl.incidents import find_incidents, values_of
from qad_dl.metrics.budget import at_budgets, delays_min, false_episodes
from qad_dl.metrics.figures import BUDGETS, figures
from qad_dl.store import Store
from training.quality import scored
from training.quality.facts import CURVE
from training.quality.known import load_known
from training.quality.told import Telling, group_cases, kind_cases, told_groups

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.incidents import Found
    from qad_dl.metrics.truth import Truth
    from qad_dl.results import Results
    from training.quality.parts import Made


def measure_model(_place: Path, _inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """Figures of the scores of a bundle; `made` has the world and then the scores."""
    world, scores = made.values()
    kept = scored.load(scores.place / scored.FILE)
    results = kept.results
    known = load_known(world.place, results.series, results.times, results.known)
    values = values_of(results, Store.open(world.place / "store"))

    def tell(first: int, end: int) -> list[Found]:
        told = find_incidents(_between(results, first, end), values)
        return [f._replace(start=f.start + first, end=f.end + first) for f in told]

    telling = Telling(known, find_incidents(results, values), values, results.flagged, tell)
    return {
        **score_figures(results.score, known.truth),
        **decision_figures(results.score, kept.flags, known.truth),
        "groups": group_cases(telling),
        "told": told_groups(telling),
        "kinds": kind_cases(telling),
    }


def _between(results: Results, first: int, end: int) -> Results:
    """The ticks [first, end) of results without details."""
    arrays: dict[str, Any] = {name: array[..., first:end] for name, array in scored.arrays_of(results).items()}
    return replace(results, **arrays)


def measure_decision(_place: Path, _inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """Only how often the decision is wrong: what a world without incidents can tell."""
    world, scores = made.values()
    kept = scored.load(scores.place / scored.FILE)
    results = kept.results
    truth = load_known(world.place, results.series, results.times, results.known).truth
    return decision_figures(results.score, kept.flags, truth)


def measure_life(_place: Path, _inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """Figures of what happened to queues beside those of their ordinary life on the same queues and ticks.

    `made` has the world, the scores of what happened, and those of ordinary life.
    """
    world, happened, ordinary = made.values()
    kept, usual = (scored.load(scores.place / scored.FILE) for scores in (happened, ordinary))
    results = kept.results
    known = load_known(world.place, results.series, results.times, results.known)
    place = {key: row for row, key in enumerate(usual.results.series)}
    rows = np.array([place[key] for key in results.series])
    beside = {b: hot[rows] for b, hot in usual.flags.items()}
    score = usual.results.score[rows]
    return {
        "happened": score_figures(results.score, known.truth)
        | decision_figures(results.score, kept.flags, known.truth),
        "ordinary": score_figures(score, known.truth) | decision_figures(score, beside, known.truth),
    }


def score_figures(scores: NDArray[np.float64], truth: Truth) -> dict[str, Any]:
    """Areas, what is seen at the budgets, a curve over budgets, and the delay for each incident at 0.01.

    Args:
        scores: [N, T], NaN where unscored.
        truth: what happened, on the same grid.
    """
    of = figures(scores, truth)
    middle = next(at for at in of.budgets if at.budget == BUDGETS[1])
    hot = np.zeros(scores.shape, np.bool_) if middle.threshold is None else scores >= middle.threshold
    delays = zip(truth.windows, delays_min(hot, truth), strict=True)
    return {
        "auc_pr": of.auc_pr,
        "vus_pr": of.vus_pr,
        "queue_days": of.queue_days,
        "unscored": of.unscored,
        "budgets": {f"{at.budget:g}": asdict(at) for at in of.budgets},
        "curve": {f"{at.budget:g}": at.seen for at in at_budgets(scores, truth, CURVE)},
        "delays_min": {w.name: None if np.isnan(d) else float(d) for w, d in delays},
    }


def decision_figures(
    scores: NDArray[np.float64], flags: Mapping[float, NDArray[np.bool_]], truth: Truth
) -> dict[str, Any]:
    """False episodes of the decision at each budget, in healthy time and in downtimes, and what it sees."""
    is_scored = ~np.isnan(scores)
    healthy, down = truth.healthy & is_scored, truth.downtime & is_scored
    return {
        "realised": {
            f"{b:g}": {
                "healthy": false_episodes(hot, healthy, truth),
                "downtime": false_episodes(hot, down, truth),
                "seen": _share_seen(hot, truth),
            }
            for b, hot in flags.items()
        },
        "healthy_days": truth.queue_days(healthy),
        "downtime_days": truth.queue_days(down),
    }


def _share_seen(hot: NDArray[np.bool_], truth: Truth) -> float | None:
    """Share of the incidents that a decision sees; None without any."""
    return float(np.mean(~np.isnan(delays_min(hot, truth)))) if truth.windows else None
