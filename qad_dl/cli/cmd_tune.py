"""Thresholds of groups and an order of incidents from labels, with what they would change. Nothing is, until --apply.

Scores the range by the bundle alone and holds it against the labels. Where what is flagged in a group of queues was
mostly called expected its threshold is raised, where labelled problems were not flagged it is lowered; a small model
orders incidents by how likely reviewers call them a problem. Both are learned from the earlier labels and proposed only
where they win on the later ones. A score never changes, and no labelled problem is lost unless --may-lose says so.

  qad tune STORE --bundle DIR --labels labels.jsonl --start 2026-01-05 --end 2026-02-02
  qad tune ... --apply            write BUNDLE.tune.json beside the bundle: the collector, preview and review heed it
  rm BUNDLE.tune.json             as it was before
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qad_dl.cli.store import add_store_argument
from qad_dl.cli.table import aligned

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    import numpy as np

    from qad_dl.histories import History
    from qad_dl.preview import Side
    from qad_dl.proposal.propose import Proposal
    from qad_dl.proposal.trade import Line
    from qad_dl.scorer import Scorer
    from qad_dl.tuning.file import Tune

NAMED = 10
"""So many things are named of each kind; --format json has all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_store_argument(parser)
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="folder of the trained bundle")
    parser.add_argument("--labels", type=Path, required=True, metavar="LABELS", help="the file of labels")
    parser.add_argument("--start", required=True, metavar="T", help="first tick, ISO 8601, UTC if no zone is given")
    parser.add_argument("--end", required=True, metavar="T", help="one past the last tick")
    parser.add_argument(
        "--scores", type=Path, metavar="FILE", help="what `qad backtest` wrote of the range: its budget is taken"
    )
    parser.add_argument("--budget", type=float, metavar="B", help="false alarm episodes per queue and day (0.01)")
    parser.add_argument(
        "--field",
        action="append",
        default=[],
        metavar="NAME",
        help="metadata that groups may go by, or panda_queue; may be repeated (the usual ones)",
    )
    parser.add_argument(
        "--worth", type=float, default=10.0, metavar="N", help="one problem told is worth N false alarms (10)"
    )
    parser.add_argument(
        "--may-lose", type=int, default=0, metavar="N", help="labelled problems that may be lost for it (0)"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="the collector's config, or a part of one: count messages by it"
    )
    parser.add_argument("--no-messages", action="store_true", help="do not replay the collector to count messages")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the proposal there: tune.json")
    parser.add_argument("--apply", action="store_true", help="put it beside the bundle, where it is heeded")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="how to print (default: table)")


def run(args: argparse.Namespace) -> int:
    """Propose, show the trade, and write what was asked for."""
    from datetime import UTC, datetime

    from qad_dl.histories import open_history
    from qad_dl.labelled import labels_in_force
    from qad_dl.proposal.offsets import Aim
    from qad_dl.proposal.propose import propose
    from qad_dl.scorer import Scorer
    from qad_dl.timeparse import parse_time
    from qad_dl.tuning.file import tune_path, write_tune

    start, end = parse_time(args.start, "--start"), parse_time(args.end, "--end")
    _check(args)
    labels = labels_in_force(args.labels)
    store, scorer = open_history(args.store), Scorer.load(args.bundle.resolve())
    budget = _budget(args, store, scorer)
    aim = Aim(args.worth, args.may_lose)
    found = propose(store, scorer, labels, start, end, budget, args.field, aim)
    sides = [] if found.empty or args.no_messages else _sides(args, store, scorer, found.tune, (start, end))
    written = []
    if not found.empty:
        tune = replace(found.tune, made=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        for path in ([args.out] if args.out else []) + ([tune_path(args.bundle)] if args.apply else []):
            write_tune(path, tune)
            written.append(path)
    if args.format == "json":
        print(json.dumps(_document(found, sides, written), indent=1, allow_nan=False))
    else:
        print("\n\n".join([*_tables(found, sides), _said(found, written, args)]))
    return 0


def _check(args: argparse.Namespace) -> None:
    from math import isfinite

    from qad_dl.errors import ConfigError

    if not (isfinite(args.worth) and args.worth > 0):
        msg = f"--worth {args.worth}: give how many false alarms one problem is worth, above 0, for example 10"
        raise ConfigError(msg)
    if args.may_lose < 0:
        msg = f"--may-lose {args.may_lose}: give a number of problems, 0 or more"
        raise ConfigError(msg)
    if args.scores and args.budget is not None:
        raise ConfigError("--budget: --scores brings its own; give one of them")


def _budget(args: argparse.Namespace, store: History, scorer: Scorer) -> float | None:
    """The budget that is asked for, that of the scores, that of the config, or none."""
    from qad_dl.metrics.scores import read_scores
    from qad_dl.scores_file import check_bundle
    from qad_dl.sinks.policy import read_policy

    if args.scores:
        check_bundle(args.scores, scorer.bundle.name, args.bundle)
        return read_scores(args.scores, store.tick).budget
    if args.budget is None and args.config:
        return read_policy(args.config).budget
    wanted: float | None = args.budget
    return wanted


def _sides(
    args: argparse.Namespace, store: History, scorer: Scorer, tune: Tune, span: tuple[np.datetime64, np.datetime64]
) -> Sequence[Side]:
    """What the collector would have told, now and then."""
    from qad_dl.bundles import label_of
    from qad_dl.preview import Setting, preview
    from qad_dl.sinks.policy import Policy, read_policy
    from qad_dl.sinks.routing import Channel

    everybody = (Channel("everybody"),)
    policy = read_policy(args.config) if args.config else Policy(everybody)
    policy = replace(policy, channels=policy.channels or everybody, budget=tune.budget)
    label = label_of(args.bundle)
    settings = [Setting(policy), Setting(policy, {label: tune})]
    return preview(store, {label: scorer}, settings, *span).sides


def _document(found: Proposal, sides: Sequence[Side], written: Sequence[Path]) -> dict[str, Any]:
    """The object of `--format json`."""
    tune = found.tune
    messages = {name: len(side.messages) for name, side in zip(("now", "then"), sides, strict=False)} or None
    about = {"bundle": tune.bundle, "start": tune.start, "end": tune.end, "budget": tune.budget}
    return {**about, **found.as_json(), "messages": messages, "written": [str(path) for path in written]}


def _tables(found: Proposal, sides: Sequence[Side]) -> list[str]:
    """For people: what was labelled and what is proposed, the trade, the order, and the names."""
    tune, things = found.tune, found.things
    said = ", ".join(f"{count} {verdict}" for verdict, count in things.items())
    parts = [
        f"{tune.start} to {tune.end}, {found.trade.days:.1f} days, budget {tune.budget:g}\nlabelled things: {said}",
        f"thresholds  {found.thresholds.why}\norder       {found.order.why}",
    ]
    if not found.empty:
        parts.append(_trade(found, sides))
    if found.order.order is not None:
        rows = [("what orders incidents", "weight", "usual", "spread")]
        rows += [(w, f"{a:+.2f}", f"{b:.2f}", f"{c:.2f}") for w, a, b, c in found.order.coefficients]
        parts.append(aligned(rows))
    if found.thresholds.offsets:
        parts.append("\n".join(_names(found)))
    return parts


def _trade(found: Proposal, sides: Sequence[Side]) -> str:
    """Now and then, over all and by group."""
    trade = found.trade
    days = trade.days
    rows: list[tuple[str, ...]] = [("", "now", "then")]
    if sides:
        rows.append(("messages a day", *(f"{len(side.messages) / days:.1f}" for side in sides)))
    rows.append(("incidents a day", *(f"{n / days:.1f}" for n in trade.incidents)))
    rows.append(("flagged episodes a day", *(f"{n / days:.1f}" for n in trade.all.episodes)))
    rows.append((f"labelled problems flagged, of {trade.all.problems_of}", *map(str, trade.all.problems)))
    rows.append((f"labelled expected flagged, of {trade.all.expected_of}", *map(str, trade.all.expected)))
    whole = aligned(rows)
    if not trade.groups:
        return whole
    head = (found.thresholds.field, "queues", "flagged from", "episodes a day", "problems", "expected")
    return whole + "\n\n" + aligned([head, *(_group(line, days) for line in trade.groups)])


def _group(line: Line, days: float) -> tuple[str, ...]:
    return (
        line.value,
        str(line.series),
        f"{line.threshold[0]:.2f} > {line.threshold[1]:.2f}",
        f"{line.episodes[0] / days:.2f} > {line.episodes[1] / days:.2f}",
        f"{line.problems[0]} > {line.problems[1]} of {line.problems_of}",
        f"{line.expected[0]} > {line.expected[1]} of {line.expected_of}",
    )


def _names(found: Proposal) -> list[str]:
    """What is lost, caught and silenced, by name."""
    trade = found.trade
    lost = f"LOST, {len(trade.lost)} labelled problems would not be flagged any more" if trade.lost else ""
    lines = [f"{lost}: {_listed(trade.lost)}" if lost else "no labelled problem is lost"]
    if trade.caught:
        lines.append(f"flagged only then, {len(trade.caught)} labelled problems: {_listed(trade.caught)}")
    if trade.silenced:
        lines.append(f"silenced, {len(trade.silenced)} things called expected: {_listed(trade.silenced)}")
    return lines


def _listed(names: Sequence[str]) -> str:
    more = f"; and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return "; ".join(names[:NAMED]) + more


def _said(found: Proposal, written: Sequence[Path], args: argparse.Namespace) -> str:
    """What was done."""
    if found.empty:
        return "nothing is proposed" + ("; nothing was written" if args.out or args.apply else "")
    lines = [f"{path}: written" for path in written]
    if args.apply:
        lines.append("it is heeded from now on; remove the file to have all as before")
    return "\n".join(lines or ["nothing was changed; --apply puts this beside the bundle"])
