"""Score every tick of a range, as the collector would have.

Each row depends on the history up to its tick and on the bundle alone. Writes a Parquet file with one row per queue
and tick; with --details a second one, NAME.details.parquet, with what was observed and expected in every state.

  qad backtest STORE --bundle DIR --start 2026-11-01 --end 2026-11-23 --out scores.parquet
  qad backtest STORE --bundle DIR --start 2026-11-01 --end 2026-11-23 --out scores.parquet --scheduler tcp://HOST:8786
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qad_dl.cli.scheduler import add_scheduler_argument, workers_of
from qad_dl.cli.store import add_store_argument

if TYPE_CHECKING:
    import argparse

    from qad_dl.tuning.file import Tune


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_store_argument(parser)
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="folder of the trained bundle")
    parser.add_argument("--start", required=True, metavar="T", help="first tick, ISO 8601, UTC if no zone is given")
    parser.add_argument("--end", required=True, metavar="T", help="one past the last tick")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="scores.parquet to write")
    add_scoring_arguments(parser)
    add_scheduler_argument(parser)


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
    from qad_dl.backtest_parts import Asked, backtest_pieces
    from qad_dl.histories import open_history
    from qad_dl.scorer import Scorer
    from qad_dl.scores_file import details_path, details_table, joined_tables, scores_table, write_table
    from qad_dl.timeparse import parse_time
    from qad_dl.tuning.file import tune_of, tuned

    start, end = parse_time(args.start, "--start"), parse_time(args.end, "--end")
    scorer = Scorer.load(args.bundle)
    store, name = open_history(args.store), scorer.bundle.name
    tune, metadata = tune_of(args.bundle, name), store.metadata()
    asked = Asked(start, end, args.budget, args.details, tuple(args.queue))
    scores, details, scored, flagged = [], [], 0, 0
    with workers_of(args.scheduler) as workers:
        for piece in backtest_pieces(store, scorer, args.bundle, asked, workers):
            results = tuned(piece, tune, metadata)
            scores.append(scores_table(results, name))
            details += [details_table(results, name)] if args.details else []
            scored, flagged = scored + int((results.reason == 0).sum()), flagged + int(results.flagged.sum())
    table = joined_tables(scores)
    write_table(args.out, table)
    if args.details:
        write_table(details_path(args.out), joined_tables(details))
    print(
        f"{args.out}: {table.num_rows} rows, {scored} scored, {flagged} flagged at {results.budget:g} false "
        f"alarm episodes per queue and day (score >= {results.threshold:.2f}{own_thresholds(tune)})"
    )
    return 0
