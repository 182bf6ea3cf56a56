"""Labels: what reviewers said of incidents, queues and groups.

LABELS is the file that the live page writes (`[review] labels` of the collector's config); it is made with the first
label, and may be used while the page is. A file that was exported from a page without a server is merged by event: what
is there already is passed over, so that a file may be imported twice.

  qad labels list LABELS [--all] [--format table|json]
  qad labels import LABELS FILE...
  qad labels export LABELS --out FILE
  qad labels history LABELS ID
  qad labels undo LABELS ID [--by NAME]
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    import numpy as np

    from qad_dl.labels import Event, Label, Target

SHORT_ID = 8
"""Characters of an id in a table; any beginning that only one label has names it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="list|import|export|history|undo")
    listing = commands.add_parser("list", help="the labels in force")
    listing.add_argument("--all", action="store_true", help="also those that were taken back")
    listing.add_argument("--format", choices=("table", "json"), default="table", help="how to print (default: table)")
    importing = commands.add_parser("import", help="merge exported files: each whole, or nothing of it")
    exporting = commands.add_parser("export", help="write all events as a file that can be imported")
    exporting.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write")
    history = commands.add_parser("history", help="what happened to a label")
    undo = commands.add_parser("undo", help="take a label back")
    for command in (listing, importing, exporting, history, undo):
        command.add_argument("labels", type=Path, metavar="LABELS", help="the file of labels")
    importing.add_argument("files", type=Path, nargs="+", metavar="FILE", help="what a page or `export` wrote")
    for command in (history, undo):
        command.add_argument("id", metavar="ID", help="the label, or the beginning of its id")
    undo.add_argument("--by", metavar="NAME", help="who takes it back: its author; you, if not given")


def run(args: argparse.Namespace) -> int:
    """Do what is asked for."""
    actions = {"list": _list, "import": _import, "export": _export, "history": _history, "undo": _undo}
    actions[args.action](args)
    return 0


def _list(args: argparse.Namespace) -> None:
    from qad_dl.labels import LabelLog

    labels = LabelLog(args.labels).read()
    chosen = labels.every if args.all else labels.in_force
    if args.format == "json":
        print(json.dumps({"version": labels.version, "labels": [item.to_json() for item in chosen]}, indent=1))
    elif chosen:
        print(_aligned([("label", "word", "kind", "author", "said", "on", "comment"), *map(_row, chosen)]))
    else:
        print("there are no labels")


def _import(args: argparse.Namespace) -> None:
    from qad_dl.errors import InputError
    from qad_dl.labels import LabelLog, parse_events

    log, now = LabelLog(args.labels), _now()
    for path in args.files:
        try:
            content = path.read_bytes()
        except OSError as error:
            msg = f"{path}: cannot be read ({error.strerror or error})"
            raise InputError(msg) from error
        merged = log.merge(parse_events(content, str(path)), now, str(path))
        print(
            f"{path}: {_events(merged.added)} added, {merged.known:,} known already; {log.path} has {merged.version:,}"
        )


def _export(args: argparse.Namespace) -> None:
    from qad_dl.atomic import replace_file
    from qad_dl.errors import ConfigError
    from qad_dl.labels import LabelLog, format_events

    events = LabelLog(args.labels).events()
    try:
        replace_file(args.out, format_events(events))
    except OSError as error:
        msg = f"--out: {args.out} cannot be written ({error.strerror or error})"
        raise ConfigError(msg) from error
    print(f"{args.out}: {_events(len(events))}")


def _history(args: argparse.Namespace) -> None:
    label = _find(args.labels, args.id)
    print(f"label {label.id} of {label.author}")
    print(_aligned([("said", "by", "word", "kind", "on", "comment"), *map(_happened, label.history)]))


def _undo(args: argparse.Namespace) -> None:
    import getpass
    import uuid

    from qad_dl.labels import UNDO, Event, LabelLog
    from qad_dl.labels.event import author_of

    label = _find(args.labels, args.id)
    by = author_of(args.by or getpass.getuser(), "--by")
    LabelLog(args.labels).add(Event(str(uuid.uuid4()), UNDO, label.id, by, _now()))
    print(f"{label.id[:SHORT_ID]}: {label.word} on {_target(label.target)} was taken back by {by}")


def _now() -> np.datetime64:
    import numpy as np

    return np.datetime64(datetime.now(UTC).replace(tzinfo=None), "ms")


def _find(path: Path, beginning: str) -> Label:
    """The label of an id, or of its beginning.

    Raises:
        ConfigError: there is none, or more than one.
    """
    from qad_dl.errors import ConfigError
    from qad_dl.labels import LabelLog

    found = [label for label in LabelLog(path).read().every if beginning and label.id.startswith(beginning)]
    if len(found) != 1:
        what = f"begins the ids of {len(found)} labels; give more of it" if found else "is no label's id"
        msg = f"{path}: {beginning!r} {what} (`qad labels list --all {path}` has them)"
        raise ConfigError(msg)
    return found[0]


def _row(label: Label) -> tuple[str, ...]:
    word = label.word if label.in_force else f"({label.word})"
    event = label.newest
    on = _target(label.target)
    return label.id[:SHORT_ID], word, label.kind or "-", _one_line(label.author), _said(event), on, _comment(event)


def _happened(event: Event) -> tuple[str, ...]:
    on = "" if event.target is None else _target(event.target)
    return _said(event), _one_line(event.author), event.word or "taken back", event.kind or "-", on, _comment(event)


def _said(event: Event) -> str:
    return str(event.time.astype("datetime64[m]")).replace("T", " ")


def _comment(event: Event) -> str:
    return _one_line(event.comment)[:60]


def _target(target: Target) -> str:
    from qad_dl.labels import GroupTarget, QueueTarget
    from qad_dl.timeparse import format_time

    end = "" if target.end is None else f" to {format_time(target.end)}"
    if isinstance(target, QueueTarget):
        name = target.panda_queue
    elif isinstance(target, GroupTarget):
        name = f"{target.field}={target.value}"
    else:
        shared = f"{target.field}={target.value}" if target.field else target.queues[0]
        name = f"incident {target.incident}, {shared}, {len(target.queues)} queue{'s' * (len(target.queues) != 1)}"
    return f"{_one_line(name)} from {format_time(target.start)}{end}"


def _one_line(text: str) -> str:
    """What a terminal shows as it is: names may hold anything."""
    return "".join(c if c.isprintable() else " " if c in "\n\t" else ascii(c)[1:-1] for c in text)


def _events(number: int) -> str:
    return f"{number:,} event{'' if number == 1 else 's'}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
