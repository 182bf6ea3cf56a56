"""Score every tick of a range, as the collector would have.

Each row depends on the history up to its tick and on the bundle alone. Writes a Parquet file with one row per queue
and tick; with --details a second one, NAME.details.parquet, with what was observed and expected in every state.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from qad_dl.tuning.file import Tune


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("store", type=Path, metavar="STORE", help="folder of the history")
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="folder of the trained bundle")
    parser.add_argument("--start", required=True, metavar="T", help="first tick, ISO 8601, UTC if no zone is given")
    parser.add_argument("--end", required=True, metavar="T", help="one past the last tick")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="scores.parquet to write")
    add_scoring_arguments(parser)


def add_scoring_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `score` and `backtest` share."""
    parser.add_argument("--queue", action="append", default=[], metavar="NAME", help="only this queue; may be repeated")
    parser.add_argument("--budget", type=float, metavar="B", help="false alarm episodes per queue and day (0.01)")
    parser.add_argument("--details", action="store_true", help="observed, expected and contribution of every state too")


def own_thresholds(tune: Tune | None) -> str:
    """What a tuned bundle says beside its threshold."""
    own = tune.thresholds if tune else None
    return "" if own is None else f", other for {len(own.offsets)} values of {own.field}"


def run(args: argparse.Namespace) -> int:
    """Score the range and write the files."""
    from qad_dl.backtest import run_backtest
    from qad_dl.scorer import Scorer
    from qad_dl.scores_file import details_path, details_table, scores_table, write_table
    from qad_dl.store import Store
    from qad_dl.timeparse import parse_time
    from qad_dl.tuning.file import tune_of, tuned

    start, end = parse_time(args.start, "--start"), parse_time(args.end, "--end")
    scorer = Scorer.load(args.bundle)
    store, name = Store.open(args.store), scorer.bundle.name
    tune = tune_of(args.bundle, name)
    results = run_backtest(store, scorer, start, end, args.budget, args.details, args.queue)
    results = tuned(results, tune, store.metadata())
    write_table(args.out, scores_table(results, name))
    if args.details:
        write_table(details_path(args.out), details_table(results, name))
    scored, total = int((results.reason == 0).sum()), int(results.known.sum())
    print(
        f"{args.out}: {total} rows, {scored} scored, {int(results.flagged.sum())} flagged at {results.budget:g} false "
        f"alarm episodes per queue and day (score >= {results.threshold:.2f}{own_thresholds(tune)})"
    )
    return 0
