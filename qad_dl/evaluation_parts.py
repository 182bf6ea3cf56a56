"""An evaluation in parts: the history by days for QMonit's rule, and of model and rule the figures that take long.

Counts are put together in the order of time before the rule looks at them, and what is cut by series in their order
before it is averaged, so that every figure is the same number as on one core.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, TypeAlias

from qad_dl.backtest_parts import cut_days
from qad_dl.cluster import PARTS_PER_THREAD, kept
from qad_dl.evaluation import (
    Evaluation,
    Files,
    Scope,
    evaluation_of,
    read_case,
    read_counts,
    rule_from,
    rule_range,
    rule_truth,
    scope_of,
)
from qad_dl.histories import open_history
from qad_dl.metrics.budget import at_budgets
from qad_dl.metrics.figures import BUDGETS, Figures, area_of, figures_of, incident_rows, volumes_of
from qad_dl.objects import absolute

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from qad_dl.cluster import Workers
    from qad_dl.evaluation import Case, RuleCounts
    from qad_dl.metrics.truth import Truth

Measure: TypeAlias = tuple[str, int, int]
"""`area` or `budgets`, or `volumes` with the number of the share and how many there are."""

Made: TypeAlias = "Mapping[Measure, Any]"
"""What each measure gave."""


def evaluate_on(workers: Workers, files: Files) -> tuple[Evaluation, Scope]:
    """As `evaluation.evaluate_files`, by workers; gives what it was about in place of what it was held against.

    Raises:
        ClusterError: see `cluster.Workers.run`; else as `evaluation.evaluate_files`.
    """
    downtimes = files.downtimes and files.downtimes.absolute()
    there = Files(files.scores.absolute(), absolute(files.store), files.incidents.absolute(), downtimes)
    see = [path for path in (there.scores, there.store, there.incidents, there.downtimes) if path]
    shares = workers.threads * PARTS_PER_THREAD
    days = ceil(shares / 2)  # fewer: each lists all days of the store
    counts = [workers.submit(counts_part, (there, i, days), see, "counts", i) for i in range(days)]
    rule = workers.submit(rule_part, (there, counts), see, "rule")
    measures: list[Measure] = [("budgets", 0, 1), ("area", 0, 1), *(("volumes", i, shares) for i in range(shares))]
    parts = [(there, measure, of) for of in (None, rule) for measure in measures]
    made = dict(workers.run(figure_part, parts, see, "figures"))
    values = [made[number] for number in range(len(parts))]
    of = [dict(zip(measures, values[i : i + len(measures)], strict=True)) for i in (0, len(measures))]
    [(_, whole)] = workers.run(whole_part, [(there, of, rule)], see, "evaluation")
    return whole


def counts_part(files: Files, share: int, shares: int) -> RuleCounts | None:
    """On a worker: what the rule looks at in a share of the days; None where there are fewer days than shares."""
    scored = _case(files).scored
    days = cut_days(*rule_range(scored, open_history(files.store).tick), shares)
    return read_counts(files, scored, *days[share]) if share < len(days) else None


def rule_part(files: Files, counts: Sequence[RuleCounts | None]) -> NDArray[np.float64]:
    """On a worker: what QMonit's rule says, [N, T], of the counts of all shares."""
    there = [part for part in counts if part is not None]
    return rule_from(files, _case(files).scored, open_history(files.store).tick, there)


def figure_part(files: Files, measure: Measure, rule: NDArray[np.float64] | None) -> Any:
    """On a worker: one measure of the model, or of the rule if that is given."""
    case = _case(files)
    scores, truth = case.scored.score, case.truth
    if rule is not None:
        scores, truth = rule, rule_truth(scores, truth)
    name, share, shares = measure
    if name == "budgets":
        return at_budgets(scores, truth, BUDGETS)
    return area_of(scores, truth) if name == "area" else volumes_of(scores, truth, incident_rows(truth)[share::shares])


def whole_part(files: Files, made: Sequence[Made], rule: NDArray[np.float64]) -> tuple[Evaluation, Scope]:
    """On a worker: the evaluation out of the measures of model and rule."""
    case = _case(files)
    scored, truth = case.scored, case.truth
    by_model = _figures(scored.score, truth, made[0])
    by_rule = _figures(rule, rule_truth(scored.score, truth), made[1])
    result = evaluation_of(scored.score, scored.flagged, rule, truth, scored.budget, (by_model, by_rule))
    return result, scope_of(truth)


def _case(files: Files) -> Case:
    return kept("case", files, lambda: read_case(files))


def _figures(scores: NDArray[np.float64], truth: Truth, made: Made) -> Figures:
    """The figures out of what the parts gave."""
    shares = [value for (name, _, _), value in made.items() if name == "volumes"]
    volumes: list[float | None] = [None] * len(incident_rows(truth))
    for share, values in enumerate(shares):
        volumes[share :: len(shares)] = values
    return figures_of(scores, truth, made["area", 0, 1], volumes, made["budgets", 0, 1])
