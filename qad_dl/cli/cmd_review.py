"""Build the page on which people look at the queues: one HTML file that needs no server and asks nobody for anything.

Scores every tick of the range as the collector would have, ranks the incidents and the queues, and draws for each what
was observed, what the model expected, what each state adds to the score, and the score. Labels that are given in the
page are kept by the browser and exported as a file. Open the page in any browser of 2023 or newer.

  qad review STORE --bundle DIR --start 2026-01-05 --end 2026-01-12 --out review.html
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qad_dl.cli.store import add_store_argument

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `qad review`."""
    add_store_argument(parser)
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="the trained bundle")
    parser.add_argument("--start", required=True, metavar="T", help="first tick (ISO 8601, UTC if no zone is given)")
    parser.add_argument("--end", required=True, metavar="T", help="end of the range, which is not part of it")
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="labels to show: what the page or `qad labels` exported"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the page to write: review.html")


def run(args: argparse.Namespace) -> int:
    """Score the range, build the page, write it whole or not at all."""
    from qad_dl.atomic import replace_file
    from qad_dl.backtest import run_backtest
    from qad_dl.histories import open_history
    from qad_dl.incidents import find_incidents, to_incidents, values_of
    from qad_dl.novel import novel
    from qad_dl.review.incidents import named
    from qad_dl.review.page import gather, load_uplot, static_page
    from qad_dl.review.past import week_before
    from qad_dl.scorer import Scorer
    from qad_dl.timeparse import parse_time
    from qad_dl.tuning.file import tune_of, tuned

    start, end = parse_time(args.start, "--start"), parse_time(args.end, "--end")
    _check_out(args.out)
    labels = _labels(args.labels)
    uplot = load_uplot()  # before the work of minutes, since the extra may be missing
    store = open_history(args.store)
    scorer = Scorer.load(args.bundle.resolve())
    tune = tune_of(args.bundle, scorer.bundle.name)
    results = tuned(run_backtest(store, scorer, start, end, details=True), tune, store.metadata())
    incidents = named(to_incidents(find_incidents(results, values_of(results, store)), results))
    past = week_before(store, scorer.bundle.preprocess, results)
    title = "qad review · " + title_of(store.address)
    records, taught, unknown = (
        store.metadata().at(end),
        tune.order if tune else None,
        novel(scorer.bundle, results, store),
    )
    content = gather(results, records, store.downtimes(), title, incidents, past, labels, unknown, taught)
    page = static_page(content, *uplot).html.encode("utf-8")
    replace_file(args.out, page)
    flagged = int(results.flagged.any(axis=1).sum())
    told = f"{len(results.series):,} queues, {flagged:,} flagged, {len(incidents):,} incidents"
    print(f"{args.out}: {told}, {len(page) / 1e6:.1f} MB")
    return 0


def title_of(address: str) -> str:
    """The last two parts of an address."""
    return "/".join([part for part in address.split("/") if part][-2:])


def _labels(path: Path | None) -> list[dict[str, Any]]:
    """The events of a file of labels; none where there is no file."""
    from qad_dl.errors import InputError
    from qad_dl.labels import parse_events

    if path is None:
        return []
    try:
        content = path.read_bytes()
    except OSError as error:
        msg = f"--labels: {path}: cannot be read ({error.strerror or error})"
        raise InputError(msg) from error
    return [event.to_json() for event in parse_events(content, str(path))]


def _check_out(path: Path) -> None:
    """Refuse a page that could not be written, before the work and not after it."""
    from qad_dl.errors import ConfigError

    if path.is_dir() or not path.resolve().parent.is_dir():
        msg = f"--out: {path} is a folder, or its folder does not exist; give the name of a file in a folder that does"
        raise ConfigError(msg)
