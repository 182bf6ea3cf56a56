"""An evaluation in parts: QMonit's rule, and of model and rule the figures that take long, some series at a time.

What is cut by series is put together in their order and averaged as one process does it, so that every figure is the
same number. The rule is one part: from when on a series has had rows is known only when all of the range was read.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, TypeAlias

from qad_dl.cluster import PARTS_PER_THREAD, kept
from qad_dl.evaluation import Evaluation, Files, evaluation_of, read_case, rule_of, rule_truth
from qad_dl.metrics.budget import at_budgets
from qad_dl.metrics.figures import BUDGETS, Figures, area_of, figures_of, incident_rows, volumes_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from qad_dl.cluster import Workers
    from qad_dl.evaluation import Case
    from qad_dl.metrics.truth import Truth

Measure: TypeAlias = tuple[str, int, int]
"""`area` or `budgets`, or `volumes` with the number of the share and how many there are."""


def evaluate_on(workers: Workers, files: Files) -> tuple[Evaluation, Truth]:
    """As `evaluation.evaluate_files`, by workers.

    Raises:
        ClusterError: see `cluster.Workers.run`; else as `evaluation.evaluate_files`.
    """
    paths = [path.absolute() for path in (files.scores, files.store, files.incidents, files.downtimes) if path]
    there = Files(*paths)
    rule = workers.submit(rule_part, (there,), paths, "rule")
    shares = ceil(workers.threads * PARTS_PER_THREAD / 2)
    measures: list[Measure] = [("budgets", 0, 1), ("area", 0, 1), *(("volumes", i, shares) for i in range(shares))]
    parts = [(there, measure, of) for of in (None, rule) for measure in measures]
    results = workers.run(figure_part, parts, paths, "figures")
    case = read_case(files)  # while they work
    made = [value for _, value in sorted(results, key=lambda result: result[0])]
    [(_, by_rule)] = workers.collect([rule], "rule")
    truths = (case.truth, rule_truth(case.scored.score, case.truth))
    of = [
        _figures(scores, truth, dict(zip(measures, made[i * len(measures) :], strict=False)))
        for i, (scores, truth) in enumerate(zip((case.scored.score, by_rule), truths, strict=True))
    ]
    scored = case.scored
    result = evaluation_of(scored.score, scored.flagged, by_rule, case.truth, scored.budget, (of[0], of[1]))
    return result, case.truth


def rule_part(files: Files) -> NDArray[np.float64]:
    """On a worker: what QMonit's rule says, [N, T]."""
    return rule_of(files, _case(files).scored)


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


def _case(files: Files) -> Case:
    return kept("case", files, lambda: read_case(files))


def _figures(scores: NDArray[np.float64], truth: Truth, made: Mapping[Measure, Any]) -> Figures:
    """The figures out of what the parts gave."""
    shares = [value for (name, _, _), value in made.items() if name == "volumes"]
    volumes: list[float | None] = [None] * len(incident_rows(truth))
    for share, values in enumerate(shares):
        volumes[share :: len(shares)] = values
    return figures_of(scores, truth, made["area", 0, 1], volumes, made["budgets", 0, 1])
