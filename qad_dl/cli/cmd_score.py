"""Score one tick of a store: the newest, or the one of --at.

Every known queue comes back, scored or with the reason why not; the most suspicious first. Queues that the bundle was
not trained on are scored as their group is, from their first quarter of a day on, and are named; so are states that it
does not know, which have no say.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qad_dl.cli.cmd_backtest import add_scoring_arguments, own_thresholds

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    import pandas as pd

    from qad_dl.novel import Novel

NAMED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("store", type=Path, metavar="STORE", help="folder of the history")
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="folder of the trained bundle")
    parser.add_argument("--at", metavar="T", help="the tick, ISO 8601, floored; the newest of the store if not given")
    parser.add_argument("--format", choices=["table", "json"], default="table", help="how to print (table)")
    add_scoring_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Score the tick and print it."""
    from qad_dl.arrow import save_memory
    from qad_dl.backtest import score_tick
    from qad_dl.novel import novel
    from qad_dl.scorer import Scorer
    from qad_dl.scores_file import details_table, scores_table
    from qad_dl.store import Store
    from qad_dl.timeparse import format_time, parse_time
    from qad_dl.tuning.file import tune_of, tuned

    at = parse_time(args.at, "--at") if args.at else None
    save_memory()
    scorer = Scorer.load(args.bundle)
    store = Store.open(args.store)
    tune = tune_of(args.bundle, scorer.bundle.name)
    results = score_tick(store, scorer, at, args.budget, args.details, args.queue)
    results = tuned(results, tune, store.metadata())
    rows = scores_table(results, scorer.bundle.name).to_pandas()
    rows = rows.sort_values("score", ascending=False, na_position="last", kind="stable")
    new = novel(scorer.bundle, results, store)
    details = details_table(results, scorer.bundle.name).to_pandas() if args.details else None
    if args.format == "json":
        print(
            json.dumps(
                _document(rows, details) | {"unknown": {"queues": new.series, "states": new.states}},
                indent=1,
                allow_nan=False,
            )
        )
        return 0
    print(
        f"{format_time(results.times[0])}  budget {results.budget:g}: flagged from a score of {results.threshold:.2f}"
        f"{own_thresholds(tune)}"
    )
    print(_table(rows.drop(columns="time")))
    if details is not None:
        print(_table(details.drop(columns="time")))
    for line in _said(new):
        print(line)
    return 0


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
