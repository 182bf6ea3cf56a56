"""The life of bundles: which there are, which one is in use, whether another should be, and back again.

  qad bundles list FOLDER                 all bundles of a folder, with their figures; * is in use
  qad bundles show FOLDER [NAME] [--card] one of them; as a model card in Markdown
  qad bundles compare CHAMPION CHALLENGER STORE --start T --end T
                                          both on time that neither was trained on; says who should be in use
  qad bundles promote FOLDER NAME         take it into use: it must have won against the one in use, or --force
  qad bundles rollback FOLDER             take the one before into use again

The collector's config names FOLDER/current, which is replaced in one step: the next tick scores with the other bundle.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qad_dl.cli.store import add_store_argument
from qad_dl.cli.table import aligned

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from qad_dl.bundles import Listed, Promotion
    from qad_dl.compare import Comparison

NONE = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the commands and their arguments."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = commands.add_parser("list", help="all bundles of a folder, with their figures")
    show = commands.add_parser("show", help="one bundle, or its card")
    compare = commands.add_parser("compare", help="champion against challenger on the same held-out time")
    promote = commands.add_parser("promote", help="take a bundle into use")
    rollback = commands.add_parser("rollback", help="take the one before into use again")
    for part in (listing, show, promote, rollback):
        part.add_argument("folder", type=Path, metavar="FOLDER", help="folder of bundles")
    show.add_argument("name", nargs="?", metavar="NAME", help="of the bundle; the one in use if not given")
    show.add_argument("--card", action="store_true", help="the model card, Markdown")
    promote.add_argument("name", metavar="NAME", help="of the bundle")
    promote.add_argument("--force", action="store_true", help="although it has not won; needs --reason")
    for part in (promote, rollback):
        part.add_argument("--reason", default="", metavar="TEXT", help="why, for whoever looks later")
    compare.add_argument("champion", type=Path, metavar="CHAMPION", help="the bundle in use")
    compare.add_argument("challenger", type=Path, metavar="CHALLENGER", help="the one that may replace it")
    add_store_argument(compare)
    compare.add_argument("--start", required=True, metavar="T", help="first tick, after both trainings")
    compare.add_argument("--end", required=True, metavar="T", help="one past the last")
    compare.add_argument("--incidents", type=Path, metavar="FILE", help="CSV of known incidents")
    compare.add_argument("--labels", type=Path, metavar="FILE", help="labels of reviewers, as the live page keeps them")
    compare.add_argument("--budget", type=float, metavar="B", help="false alarm episodes per queue and day (0.01)")
    compare.add_argument("--keep", action="store_true", help="keep the report beside the challenger, for `promote`")
    for part in (listing, show, compare):
        part.add_argument("--format", choices=("table", "json"), default="table", help="how to print (default: table)")


def run(args: argparse.Namespace) -> int:
    """Do what was asked."""
    actions = {"list": _list, "show": _show, "compare": _compare, "promote": _promote, "rollback": _rollback}
    return actions[args.action](args)


def _list(args: argparse.Namespace) -> int:
    from qad_dl.bundles import Bundles

    folder = Bundles.open(args.folder)
    found = folder.listed()
    if args.format == "json":
        entries = [entry._asdict() for entry in folder.promotions()]
        document = {"current": folder.current(), "bundles": [_listed_json(one) for one in found], "promotions": entries}
        print(json.dumps(document, indent=1, allow_nan=False))
    else:
        print(table([_row(one) for one in found]))
    return 0


def table(rows: list[tuple[str, ...]]) -> str:
    """The bundles for people."""
    head = ("", "name", "bundle", "trained on", "model", "series", "states", "bulk", "flags", "seen", "against it", "")
    return aligned([head, *rows], left=5) if rows else "no bundles"


def _row(one: Listed) -> tuple[str, ...]:
    mark = "*" if one.current else ""
    if one.bundle is None:
        return (mark, one.name, "broken", *([""] * 8), one.trouble)
    manifest, preprocess = one.bundle.manifest, one.bundle.preprocess
    training = manifest.get("training", {})
    period = f"{training.get('start', '?')[:10]} to {training.get('end', '?')[:10]}"
    model = str(manifest.get("config", {}).get("model", {}).get("encoder", "?"))
    figures = [NONE] * 4
    if one.report is not None:
        new, old = one.report["challenger"], one.report["champion"]
        figures = [_number(new["bulk"]), _number(new["flags"]), _seen(one.report, new), _seen(one.report, old)]
    series, states = str(len(preprocess.vocabularies[0]) - 1), str(len(preprocess.states))
    won = "" if one.report is None else f"{one.report['verdict']['winner']} won"
    return (mark, one.name, one.bundle.name, period, model, series, states, *figures, won)


def _seen(report: Mapping[str, Any], side: Mapping[str, Any]) -> str:
    share = side["rates"]["0.1"][f"seen_{report['verdict']['measure']}"]
    return NONE if share is None else f"{100 * share:.1f} %"


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def _listed_json(one: Listed) -> dict[str, Any]:
    return {
        "name": one.name,
        "current": one.current,
        "bundle": None if one.bundle is None else one.bundle.name,
        "trouble": one.trouble or None,
        "training": None if one.bundle is None else dict(one.bundle.manifest.get("training", {})),
        "series": None if one.bundle is None else len(one.bundle.preprocess.vocabularies[0]) - 1,
        "states": None if one.bundle is None else list(one.bundle.preprocess.states),
        "report": None if one.report is None else dict(one.report),
    }


def _show(args: argparse.Namespace) -> int:
    from qad_dl.bundle import read_bundle
    from qad_dl.bundles import Bundles
    from qad_dl.card import card
    from qad_dl.errors import ConfigError

    folder = Bundles.open(args.folder)
    name = args.name or folder.current()
    if name is None or name not in folder.names():
        msg = f"{args.folder}: has no bundle {name or 'in use'}; it has {', '.join(folder.names()) or 'none'}"
        raise ConfigError(msg)
    bundle = read_bundle(args.folder / name)
    if args.card:
        print(card(name, bundle, folder.report(name)), end="")
        return 0
    one = folder.one(name, folder.current())
    document = _listed_json(one) | {
        "promotions": [p._asdict() for p in folder.promotions() if name in (p.name, p.before)]
    }
    if args.format == "json":
        print(json.dumps(document, indent=1, allow_nan=False))
    else:
        print(table([_row(one)]))
        for entry in document["promotions"]:
            print(f"{entry['time']}  {_said(entry)}: {entry['reason']}")
    return 0


def _said(entry: Mapping[str, Any]) -> str:
    return f"{entry['action']} {entry['name']}" + (f" after {entry['before']}" if entry["before"] else "")


def _compare(args: argparse.Namespace) -> int:
    from qad_dl.bundles import Bundles
    from qad_dl.compare import compare
    from qad_dl.histories import open_history
    from qad_dl.incidents_file import read_incidents
    from qad_dl.labelled import Labelled, labelled, labels_in_force
    from qad_dl.scorer import Scorer
    from qad_dl.timeparse import parse_time

    start, end = parse_time(args.start, "--start"), parse_time(args.end, "--end")
    store = open_history(args.store)
    incidents = list(read_incidents(args.incidents)) if args.incidents else []
    said = labelled(labels_in_force(args.labels), store.metadata()) if args.labels else Labelled()
    champion, challenger = (Scorer.load(path.resolve()) for path in (args.champion, args.challenger))
    known = [*incidents, *said.incidents]
    done = compare(store, champion, challenger, start, end, known, said.aside, args.budget)
    if args.keep:
        where = args.challenger.resolve()
        Bundles.open(where.parent).keep(where.name, done.as_json())
    print(json.dumps(done.as_json(), indent=1, allow_nan=False) if args.format == "json" else comparison_table(done))
    return 0


def comparison_table(done: Comparison) -> str:
    """Both side by side, and who won."""
    report = done.as_json()
    sides = (report["champion"], report["challenger"])
    rows = [
        ("", "champion", "challenger"),
        ("bundle", *(side["bundle"] for side in sides)),
        ("trained to", *(str(side["trained"].get("end", "?"))[:10] for side in sides)),
        ("queues that it does not know", *(f"{100 * side['unknown_share']:.1f} %" for side in sides)),
        ("episodes of normal life, times promised", *(_number(side["bulk"]) for side in sides)),
        ("flags, times the budget", *(_number(side["flags"]) for side in sides)),
        ("calibrated", *("yes" if side["calibrated"] else "no" for side in sides)),
    ]
    for rate in sides[0]["rates"]:
        at = [side["rates"][rate] for side in sides]
        rows.append((f"at {rate} alarms a queue-day", "", ""))
        rows += [
            (f"  {what.replace('_', ' ')}", *(NONE if a[what] is None else f"{100 * a[what]:.1f} %" for a in at))
            for what in ("seen_injected", "seen_known")
        ]
    head = (
        f"{report['start']} to {report['end']}: {report['queue_days']:g} quiet queue-days, "
        f"{report['injected']} incidents put in, {report['known']} known"
    )
    verdict = report["verdict"]
    return f"{head}\n\n{aligned(rows)}\n\nThe {verdict['winner']} wins: {verdict['why']}"


def _promote(args: argparse.Namespace) -> int:
    from qad_dl.bundles import Bundles

    done = Bundles.open(args.folder).promote(args.name, _now(), args.reason, force=args.force)
    print(_told(args.folder, done))
    return 0


def _rollback(args: argparse.Namespace) -> int:
    from qad_dl.bundles import Bundles

    print(_told(args.folder, Bundles.open(args.folder).rollback(_now(), args.reason)))
    return 0


def _told(folder: Path, done: Promotion) -> str:
    return f"{folder / 'current'} is {done.name} now: {done.reason}"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
