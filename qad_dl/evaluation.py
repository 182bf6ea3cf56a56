"""How good the alarms are: one score beside QMonit's rule, against incidents that are known (interfaces, section 8).

`evaluate` works on arrays, so that a notebook can hold any [N, T] score against a `Truth`; `evaluate_files` is the
command `qad evaluate`. Everything undefined is None, never a made-up number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.baseline.rule import rule_counts, rule_of_counts
from qad_dl.downtimes import read_downtimes
from qad_dl.errors import InputError
from qad_dl.grid import build_grid
from qad_dl.histories import open_history
from qad_dl.incidents_file import read_incidents
from qad_dl.metrics.budget import false_episodes
from qad_dl.metrics.figures import BUDGETS, figures
from qad_dl.metrics.hits import downtime_windows, incident_windows
from qad_dl.metrics.scores import read_scores
from qad_dl.metrics.truth import Truth, build_truth
from qad_dl.progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.metrics.budget import AtBudget
    from qad_dl.metrics.figures import Figures
    from qad_dl.metrics.scores import Scores
    from qad_dl.schema import Tick

END_OF_TIME: Final = np.datetime64("9999-01-01", "s")


@dataclass(frozen=True)
class Realised:
    """How often `flagged` really raises a false episode.

    Attributes:
        budget: that it was set to, per healthy queue-day; None where the file does not say.
        rate: false episodes per healthy queue-day; None without healthy time.
    """

    budget: float | None
    rate: float | None


@dataclass(frozen=True)
class DowntimeLine:
    """What happens in downtimes and the 24 h after them, outside incidents and the 24 h after those.

    Attributes:
        queue_days: that time with a score, in days of series.
        model: episodes that begin there, per budget, at the threshold of the main figures; None where there is none.
        rule: the same for QMonit's rule.
        flagged: episodes of `flagged` that begin there.
    """

    queue_days: float
    model: dict[float, int | None]
    rule: dict[float, int | None]
    flagged: int


@dataclass(frozen=True)
class Evaluation:
    """All that `qad evaluate` says."""

    model: Figures
    rule: Figures
    realised: Realised
    downtime: DowntimeLine

    def as_json(self) -> dict[str, Any]:
        """The object of `qad evaluate --format json`."""
        return {
            "queue_days": self.model.queue_days,
            "unscored": self.model.unscored,
            "model": _figures_json(self.model),
            "rule": _figures_json(self.rule),
            "realised": {"budget": self.realised.budget, "rate": self.realised.rate},
            "downtime": {
                "queue_days": self.downtime.queue_days,
                "model": {budget_key(b): n for b, n in self.downtime.model.items()},
                "rule": {budget_key(b): n for b, n in self.downtime.rule.items()},
                "flagged": self.downtime.flagged,
            },
        }


def evaluate(
    scores: NDArray[np.float64],
    flagged: NDArray[np.bool_],
    rule: NDArray[np.float64],
    truth: Truth,
    budget: float | None,
    budgets: Sequence[float] = BUDGETS,
) -> Evaluation:
    """Hold a score, its decision and the rule against what happened.

    The rule is held against the healthy time in which the model has a score, so that both have the same denominator.

    Args:
        scores: [N, T] float64, NaN where unscored.
        flagged: [N, T] bool, the decision.
        rule: [N, T] float64, NaN where unscored.
        truth: what happened, on the same grid.
        budget: that `flagged` was set to.
        budgets: false episodes per healthy queue-day at which model and rule are compared.
    """
    model_figures = figures(scores, truth, budgets)
    rule_figures = figures(rule, rule_truth(scores, truth), budgets)
    return evaluation_of(scores, flagged, rule, truth, budget, (model_figures, rule_figures))


def rule_truth(scores: NDArray[np.float64], truth: Truth) -> Truth:
    """What the rule is held against: healthy time in which the model has a score."""
    return replace(truth, healthy=truth.healthy & ~np.isnan(scores))


def evaluation_of(
    scores: NDArray[np.float64],
    flagged: NDArray[np.bool_],
    rule: NDArray[np.float64],
    truth: Truth,
    budget: float | None,
    of: tuple[Figures, Figures],
) -> Evaluation:
    """As `evaluate`, from the figures of model and rule."""
    model_figures, rule_figures = of
    scored = ~np.isnan(scores)
    healthy, down = truth.healthy & scored, truth.downtime & scored
    days = truth.queue_days(healthy)
    return Evaluation(
        model=model_figures,
        rule=rule_figures,
        realised=Realised(budget, false_episodes(flagged, healthy, truth) / days if days else None),
        downtime=DowntimeLine(
            queue_days=truth.queue_days(down),
            model=_episodes_in(scores, down, truth, model_figures),
            rule=_episodes_in(rule, down, truth, rule_figures),
            flagged=false_episodes(flagged, down, truth),
        ),
    )


@dataclass(frozen=True)
class Files:
    """What is evaluated.

    Attributes:
        scores: as `qad backtest` writes it.
        store: the history that was backtested, by its address.
        incidents: CSV of incidents.
        downtimes: CSV of downtimes, beside those in the store.
    """

    scores: Path
    store: str | Path
    incidents: Path
    downtimes: Path | None = None


@dataclass(frozen=True)
class Case:
    """What the files say.

    Attributes:
        scored: the scores.
        truth: what they are held against.
    """

    scored: Scores
    truth: Truth


@dataclass(frozen=True)
class Scope:
    """What an evaluation is about.

    Attributes:
        n_series: number of series.
        start: first tick of the scores.
        end: first moment after them.
        kinds: number of the incidents that can be seen, by their kind.
    """

    n_series: int
    start: np.datetime64
    end: np.datetime64
    kinds: dict[str, int]


def scope_of(truth: Truth) -> Scope:
    """What scores that are held against `truth` are about."""
    kinds = sorted(window.kind for window in truth.windows)
    number = {kind: kinds.count(kind) for kind in kinds}
    return Scope(len(truth.healthy), truth.times[0], truth.times[-1] + truth.tick.delta, number)


def evaluate_files(
    scores: Path, store: str | Path, incidents: Path, downtimes: Path | None = None
) -> tuple[Evaluation, Truth]:
    """Evaluate a scores file against an incidents file, with the history and downtimes of a store.

    Args:
        scores: as `qad backtest` writes it.
        store: the history that was backtested, by its address.
        incidents: CSV of incidents.
        downtimes: CSV of downtimes, beside those in the store.

    Returns:
        The evaluation, and what it was held against.

    Raises:
        InputError: a file is refused, or names queues or fields that the store does not have.
        StoreError: the store cannot be opened or is damaged.
    """
    files = Files(scores, store, incidents, downtimes)
    steps = iter(progress(("scores", "history", "figures"), "evaluate", unit="step"))
    next(steps)
    case = read_case(files)
    next(steps)
    rule = rule_of(files, case.scored)
    next(steps)
    scored = case.scored
    result = evaluate(scored.score, scored.flagged, rule, case.truth, scored.budget)
    next(steps, None)
    return result, case.truth


def read_case(files: Files) -> Case:
    """Read the scores, and what they are held against; raises as `evaluate_files`."""
    history = open_history(files.store)
    scored = read_scores(files.scores, history.tick)
    listed = read_incidents(files.incidents)
    declared = [*history.downtimes(), *(read_downtimes(files.downtimes) if files.downtimes else ())]
    metadata = history.metadata()
    queues = {key[0] for key in history.known_series(END_OF_TIME)} | {name for dump in metadata.dumps for name in dump}
    end = scored.times[-1] + history.tick.delta
    hits = incident_windows(listed, scored.entity, scored.series, metadata, queues, (scored.times[0], end))
    down = downtime_windows(declared, scored.entity, scored.series)
    truth = build_truth(scored.times, history.tick, len(scored.series), hits, down, scored.present)
    return Case(scored, truth)


def budget_key(budget: float) -> str:
    """The name of a budget in JSON: 0.1, 0.01, 0.001."""
    return f"{budget:g}"


@dataclass(frozen=True)
class RuleCounts:
    """What QMonit's rule looks at in some days of the history.

    Attributes:
        counts: [N, t, 4] float32 jobs in `baseline.rule.RULE_STATES`, 0 where there is no row.
        has_row: [N, t] whether the series has any row.
        arrived: [t] whether the tick arrived.
        there: [N] whether the store knows the series.
    """

    counts: NDArray[np.float32]
    has_row: NDArray[np.bool_]
    arrived: NDArray[np.bool_]
    there: NDArray[np.bool_]


def rule_of(files: Files, scored: Scores) -> NDArray[np.float64]:
    """QMonit's rule for the series and ticks of a scores file, [N, T], from the history with the day before it.

    Raises:
        InputError: a series is not in the store.
    """
    tick = open_history(files.store).tick
    return rule_from(files, scored, tick, [read_counts(files, scored, *rule_range(scored, tick))])


def rule_range(scored: Scores, tick: Tick) -> tuple[np.datetime64, np.datetime64]:
    """From when to when, exclusively, the history is read for the rule."""
    return scored.times[0] - np.timedelta64(24, "h"), scored.times[-1] + tick.delta


def read_counts(files: Files, scored: Scores, start: np.datetime64, end: np.datetime64) -> RuleCounts:
    """Read the history of [start, end) for the series of a scores file."""
    history = open_history(files.store)
    times, known = history.tick.range(start, end), history.known_series(END_OF_TIME)
    rows = history.pieces(times[0], end)
    grid = build_grid(rows, times, history.tick, history.metadata(), scored.entity, known=known)
    place = {key: row for row, key in enumerate(grid.series)}
    at = np.array([place.get(key, -1) for key in scored.series], np.int64)
    there = at >= 0
    counts, has_row = np.nan_to_num(rule_counts(grid)[at], copy=False), grid.quiet[at] == 0
    counts[~there], has_row[~there] = 0, False
    return RuleCounts(counts, has_row, grid.arrived, there)


def rule_from(files: Files, scored: Scores, tick: Tick, parts: Sequence[RuleCounts]) -> NDArray[np.float64]:
    """As `rule_of`, from the counts of parts of the range in their order, cut anywhere."""
    there = np.any([part.there for part in parts], axis=0)
    if not there.all():
        name = f"{'/'.join(scored.entity)} {'/'.join(scored.series[int(there.argmin())])!r}"
        msg = f"{files.scores}: {name} is not in the store; give the one backtested"
        raise InputError(msg)
    counts, has_row = (np.concatenate([getattr(p, name) for p in parts], axis=1) for name in ("counts", "has_row"))
    arrived = np.concatenate([part.arrived for part in parts])
    observed = np.logical_or.accumulate(has_row, axis=1) & arrived
    return rule_of_counts(counts, observed, tick.per_day)[:, -len(scored.times) :]


def _episodes_in(
    scores: NDArray[np.float64], where: NDArray[np.bool_], truth: Truth, figures_: Figures
) -> dict[float, int | None]:
    """Episodes that begin in a mask at the threshold of each budget; 0 where no threshold keeps it."""
    counts: dict[float, int | None] = {}
    for at in figures_.budgets:
        if at.false_episodes is None:
            counts[at.budget] = None
        else:
            hot = scores >= (np.inf if at.threshold is None else at.threshold)
            counts[at.budget] = false_episodes(hot, where, truth)
    return counts


def _figures_json(figures_: Figures) -> dict[str, Any]:
    budgets = {budget_key(at.budget): _budget_json(at) for at in figures_.budgets}
    return {"auc_pr": figures_.auc_pr, "vus_pr": figures_.vus_pr, "budgets": budgets}


def _budget_json(at: AtBudget) -> dict[str, Any]:
    return {
        "threshold": at.threshold,
        "false_episodes": at.false_episodes,
        "seen": at.seen,
        "seen_by_kind": at.seen_by_kind,
        "median_delay_min": at.median_delay_min,
    }
