"""Hold the scores of a backtest against known incidents, beside QMonit's rule.

Healthy time is all but incidents, declared downtimes (those of the store and of --downtimes) and the 24 h after either.
An episode is a run of alarm on one queue, gaps of up to 3 ticks joined, cut every 24 h; it is false if it begins in
healthy time. At each budget, one threshold for all queues lets at most that many false episodes per healthy queue-day
through; an incident is seen if an episode begins on a queue that it hits, inside it or within 1 h after it.

Only incidents that begin in the range of the scores and hit a queue of it, outside its downtimes, count as seen or not
seen. One that began earlier is left out of these, but its ticks, and the 24 h after it, are not healthy.

With --labels, the flags are also, or only, held against what reviewers said: how many of the problems that they
labelled were flagged, and how many of the flags that they judged were problems. Nobody labels everything: what is not
labelled is counted and not judged.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qad_dl.cli.scheduler import add_scheduler_argument, workers_of
from qad_dl.cli.store import add_store_argument
from qad_dl.cli.table import aligned

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from qad_dl.evaluation import Evaluation, Scope
    from qad_dl.label_evaluation import AgainstLabels
    from qad_dl.metrics.budget import AtBudget

UNDEFINED = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("scores", type=Path, metavar="scores.parquet", help="what `qad backtest` wrote")
    add_store_argument(parser, "--store")
    parser.add_argument("--incidents", type=Path, metavar="FILE", help="CSV of the incidents; this or --labels")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="labels of reviewers, as the live page keeps them")
    parser.add_argument("--downtimes", type=Path, metavar="FILE", help="CSV of downtimes, beside those in the store")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="how to print (default: table)")
    add_scheduler_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate and print."""
    from qad_dl.errors import ConfigError
    from qad_dl.evaluation import Files, evaluate_files, scope_of
    from qad_dl.evaluation_parts import evaluate_on
    from qad_dl.label_evaluation import against_labels_of_files

    if args.incidents is None and args.labels is None:
        raise ConfigError("nothing to hold the scores against: give --incidents, --labels, or both")
    if args.scheduler and args.incidents is None:
        raise ConfigError("--scheduler is for --incidents; labels are held against here: leave it out")
    data: dict[str, Any] = {}
    parts: list[str] = []
    if args.incidents is not None:
        files = (args.scores, args.store, args.incidents, args.downtimes)
        with workers_of(args.scheduler) as workers:
            if workers is None:
                result, truth = evaluate_files(*files)
                scope = scope_of(truth)
            else:
                result, scope = evaluate_on(workers, Files(*files))
        data |= result.as_json()
        parts.append(table(result, scope))
    if args.labels is not None:
        said = against_labels_of_files(args.scores, args.store, args.labels)
        data["labels"] = said.as_json()
        parts.append(labels_table(said))
    print(json.dumps(data, indent=2, allow_nan=False) if args.format == "json" else "\n\n".join(parts))
    return 0


def labels_table(said: AgainstLabels) -> str:
    """What reviewers say of the flags, for people."""
    heading = f"Labels        {said.labels} of {said.reviewers} reviewers in the range; {said.elsewhere} elsewhere"
    rows = [
        ("", "labelled", "flagged", "median delay, minutes"),
        *(
            (verdict, str(of.things), str(of.flagged), _minutes(of.median_delay_min))
            for verdict, of in said.verdicts.items()
        ),
    ]
    counts = ", ".join(f"{number} {verdict}" for verdict, number in said.episodes.items())
    flags = f"Flagged       {sum(said.episodes.values())} episodes: {counts};\n"
    flags += f"              of those called a problem or expected, {_share(said.precision)} are problems"
    return f"{heading}\n\n{aligned(rows)}\n\n{flags}"


def table(result: Evaluation, scope: Scope) -> str:
    """The figures for people: model and rule side by side, budget by budget."""
    parts = [_heading(result, scope), _areas(result), _budgets(result, scope), _realised(result), _downtime(result)]
    return "\n\n".join(parts)


def _heading(result: Evaluation, scope: Scope) -> str:
    from qad_dl.timeparse import format_time

    unscored = UNDEFINED if result.model.unscored is None else f"{100 * result.model.unscored:.2f} %"
    lines = [
        ("Scores", f"{scope.n_series} series, {format_time(scope.start)} to {format_time(scope.end)}"),
        ("Healthy time", f"{result.model.queue_days:.1f} queue-days with a score; {unscored} of the ticks have none"),
        ("Incidents", f"{result.model.incidents} that begin in the range"),
    ]
    return "\n".join(f"{name:<14}{text}" for name, text in lines)


def _areas(result: Evaluation) -> str:
    rows = [
        ("", "model", "rule"),
        ("AUC-PR", _area(result.model.auc_pr), _area(result.rule.auc_pr)),
        ("VUS-PR", _area(result.model.vus_pr), _area(result.rule.vus_pr)),
    ]
    return aligned(rows)


def _budgets(result: Evaluation, scope: Scope) -> str:
    """One column for model and rule at each budget; a last block of rows has the incidents seen by kind."""
    columns = [at for pair in zip(result.model.budgets, result.rule.budgets, strict=True) for at in pair]
    rows = [
        ("false episodes a queue-day", *(_budget(at, i) for i, at in enumerate(columns))),
        ("", *("rule" if i % 2 else "model" for i, _ in enumerate(columns))),
        _row("threshold", columns, lambda at: UNDEFINED if at.threshold is None else f"{at.threshold:.4g}"),
        _row("false episodes", columns, lambda at: UNDEFINED if at.false_episodes is None else str(at.false_episodes)),
        _row("incidents seen", columns, lambda at: _share(at.seen)),
        _row("median delay, minutes", columns, lambda at: _minutes(at.median_delay_min)),
        *((f"  {k} ({n})", *(_share(at.seen_by_kind.get(k)) for at in columns)) for k, n in scope.kinds.items()),
    ]
    return aligned(rows)


def _row(name: str, columns: Sequence[AtBudget], cell: Callable[[AtBudget], str]) -> tuple[str, ...]:
    return (name, *(cell(at) for at in columns))


def _budget(at: AtBudget, column: int) -> str:
    return "" if column % 2 else f"{at.budget:g}"


def _realised(result: Evaluation) -> str:
    budget, rate = result.realised.budget, result.realised.rate
    got = UNDEFINED if rate is None else f"{rate:.4g}"
    if budget is None:
        asked = "; the file does not name its budget"
    elif rate is None or not budget:
        asked = f"; its budget is {budget:g}"
    else:
        asked = f", {rate / budget:.2f} times its budget of {budget:g}"
    return f"Realised      {got} false episodes a queue-day by `flagged`{asked}"


def _downtime(result: Evaluation) -> str:
    """Downtimes have no target: what a detector says there is told, and left out of all of the above."""
    line = result.downtime
    model, rule = (" | ".join(UNDEFINED if n is None else str(n) for n in d.values()) for d in (line.model, line.rule))
    budgets = " | ".join(f"{b:g}" for b in line.model)
    return (
        f"Downtime      {line.queue_days:.1f} queue-days, the 24 h after included, that are in nothing above;\n"
        f"              episodes there: model {model}, rule {rule} (at {budgets}), flagged {line.flagged}"
    )


def _area(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return UNDEFINED if value is None else f"{100 * value:.0f} %"


def _minutes(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:.0f}"
