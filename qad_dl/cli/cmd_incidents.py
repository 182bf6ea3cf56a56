"""Tell the flags of a backtest as incidents: events of one queue, and queues that alarm together with what they share.

Scores the range of the scores file again, at its budget, since a scores file does not say what an incident looks like.
Writes CSV (interfaces, section 3) and prints the worst.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from qad_dl.cli.store import add_store_argument

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from qad_dl.incidents_file import Incident

SHOWN: Final = 15


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("scores", type=Path, metavar="scores.parquet", help="what `qad backtest` wrote")
    add_store_argument(parser, "--store")
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="the bundle it was scored with")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="incidents.csv to write")


def run(args: argparse.Namespace) -> int:
    """Find the incidents, write them, print the worst."""
    from qad_dl.backtest import run_backtest
    from qad_dl.histories import open_history
    from qad_dl.incidents import find_incidents, to_incidents, values_of
    from qad_dl.incidents_file import write_incidents
    from qad_dl.metrics.scores import read_scores
    from qad_dl.scorer import Scorer
    from qad_dl.scores_file import check_bundle
    from qad_dl.tuning.file import tune_of, tuned

    store, scorer = open_history(args.store), Scorer.load(args.bundle)
    check_bundle(args.scores, scorer.bundle.name, args.bundle)
    scores = read_scores(args.scores, store.tick)
    results = run_backtest(store, scorer, scores.times[0], scores.times[-1] + store.tick.delta, scores.budget)
    results = tuned(results, tune_of(args.bundle, scorer.bundle.name), store.metadata())
    incidents = to_incidents(find_incidents(results, values_of(results, store)), results)
    write_incidents(args.out, incidents)
    print(table(incidents))
    groups = sum(len(incident.queues) > 1 for incident in incidents)
    print(f"\n{args.out}: {len(incidents)} incidents, {groups} of them of several queues")
    return 0


def table(incidents: Sequence[Incident]) -> str:
    """The worst incidents for people, worst first."""
    from qad_dl.timeparse import format_time

    worst = sorted(incidents, key=lambda i: -(i.severity or 0))[:SHOWN]
    rows = [("score", "start", "end", "kind", "what", "queues")]
    rows += [
        (
            f"{i.severity:.1f}",
            format_time(i.start),
            format_time(i.end),
            i.kind,
            f"{i.field}={i.value}" if len(i.queues) > 1 else i.value,
            str(len(i.queues)),
        )
        for i in worst
    ]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
