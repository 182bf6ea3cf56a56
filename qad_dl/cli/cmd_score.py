"""Score one tick of a store: the newest, or the one of --at.

Every known queue comes back, scored or with the reason why not; the most suspicious first. Queues that the bundle was
not trained on are scored as their group is, from their first quarter of a day on, and are named; so are states that it
does not know, which have no say.

With --state what the next tick needs is kept in a folder, as the collector does: a tick takes a fraction then.
--out writes a table, as `qad backtest` does.

  qad score STORE --bundle DIR
  qad score STORE --bundle DIR --state kept --out scores/now.parquet      # every ten minutes
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qad_dl.cli.cmd_backtest import add_scoring_arguments, own_thresholds
from qad_dl.cli.store import add_store_argument

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    import pandas as pd

    from qad_dl.histories import History
    from qad_dl.metadata import Metadata
    from qad_dl.novel import Novel
    from qad_dl.results import Results
    from qad_dl.scorer import Scorer

NAMED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_store_argument(parser)
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="folder of the trained bundle")
    parser.add_argument("--at", metavar="T", help="the tick, ISO 8601, floored; the newest of the store if not given")
    parser.add_argument("--format", choices=["table", "json"], default="table", help="how to print (table)")
    parser.add_argument("--state", type=Path, metavar="FOLDER", help="what is kept from tick to tick, for any bundle")
    parser.add_argument("--out", type=Path, metavar="FILE", help="scores.parquet to write, in place of printing")
    add_scoring_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Score the tick, and print it or write it down."""
    from qad_dl.arrow import save_memory
    from qad_dl.histories import open_history
    from qad_dl.scorer import Scorer
    from qad_dl.tuning.file import tune_of, tuned

    save_memory()
    scorer, store = Scorer.load(args.bundle), open_history(args.store)
    tune = tune_of(args.bundle, scorer.bundle.name)
    results, metadata, new = _scored(args, store, scorer)
    results = tuned(results, tune, metadata)
    if args.out:
        _write(args, results, scorer.bundle.name, own_thresholds(tune))
    elif args.format == "json":
        rows, details = _frames(results, scorer.bundle.name, args.details)
        document = _document(rows, details) | {"unknown": {"queues": new.series, "states": new.states}}
        print(json.dumps(document, indent=1, allow_nan=False))
        return 0
    else:
        _print(results, scorer.bundle.name, own_thresholds(tune), args.details)
    for line in _said(new):
        print(line)
    return 0


def _scored(args: argparse.Namespace, store: History, scorer: Scorer) -> tuple[Results, Metadata, Novel]:
    """The results of the queues that are asked for, what holds in their lookback, and what is new in them."""
    from qad_dl.backtest import chosen_series, newest_tick, score_tick
    from qad_dl.errors import ConfigError
    from qad_dl.novel import novel
    from qad_dl.one_tick import alone, score_kept
    from qad_dl.store import Store
    from qad_dl.timeparse import parse_time

    at = parse_time(args.at, "--at") if args.at else None
    if not args.state:
        results = score_tick(store, scorer, at, args.budget, args.details, args.queue)
        return results, store.metadata(), novel(scorer.bundle, results, store)
    if not isinstance(store, Store):
        msg = f"--state: keeps what it knows of the files of a store, and {store.name} is none; leave it out"
        raise ConfigError(msg)
    tick = newest_tick(store) if at is None else store.tick.floor(at)
    with alone(args.state):
        one = score_kept(args.state / scorer.bundle.name, store, scorer, tick, args.budget, off_history=False)
    results = one.results if not args.queue else one.results.of(chosen_series(one.results, args.queue))
    return results, one.metadata, one.unknown


def _write(args: argparse.Namespace, results: Results, bundle: str, more: str) -> None:
    from qad_dl.scores_file import details_path, details_table, scores_table, write_table

    write_table(args.out, scores_table(results, bundle))
    if args.details:
        write_table(details_path(args.out), details_table(results, bundle))
    scored, known, flagged = int((results.reason == 0).sum()), int(results.known.sum()), int(results.flagged.sum())
    print(f"{args.out}: {_tick(results)}  {known} rows, {scored} scored, {flagged} {_flagged(results)}{more}")


def _print(results: Results, bundle: str, more: str, with_details: bool) -> None:
    rows, details = _frames(results, bundle, with_details)
    print(f"{_tick(results)}  {_flagged(results)}{more}")
    print(_table(rows.drop(columns="time")))
    if details is not None:
        print(_table(details.drop(columns="time")))


def _tick(results: Results) -> str:
    from qad_dl.timeparse import format_time

    return format_time(results.times[0])


def _flagged(results: Results) -> str:
    return f"budget {results.budget:g}: flagged from a score of {results.threshold:.2f}"


def _frames(results: Results, bundle: str, with_details: bool) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Rows of the scores, the most suspicious first, and of the details where they are wanted."""
    from qad_dl.scores_file import details_table, scores_table

    rows = scores_table(results, bundle).to_pandas()
    rows = rows.sort_values("score", ascending=False, na_position="last", kind="stable")
    return rows, details_table(results, bundle).to_pandas() if with_details else None


def _said(new: Novel) -> Iterator[str]:
    """What the bundle was not trained on, in words."""
    if new.series:
        more = f" and {len(new.series) - NAMED} more" if len(new.series) > NAMED else ""
        names = ", ".join(new.series[:NAMED])
        yield f"{len(new.series)} not known to the bundle, scored as their group is: {names}{more}"
    if new.states:
        yield f"states not known to the bundle, without a say in any score: {', '.join(new.states)}"


def _table(frame: pd.DataFrame) -> str:
    text: str = frame.to_string(index=False, na_rep="", float_format="{:.2f}".format)
    return text


def _document(rows: pd.DataFrame, details: pd.DataFrame | None) -> dict[str, Any]:
    document = {"scores": _records(rows)}
    if details is not None:
        document["details"] = _records(details)
    return document


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain JSON values; missing ones are null, never 0."""
    records: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", date_format="iso", double_precision=10))
    return records
