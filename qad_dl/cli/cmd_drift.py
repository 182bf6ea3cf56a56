"""Say whether the queues still look like the time that a bundle was trained on.

Looks at new and gone queues, new values of metadata, states that are new, gone or renamed, levels that have moved, and
at whether scores are spread as the bundle promises. Each sign has its number, the bounds it stays in while nothing
changes, and one line what to do.

Exit codes are those of diff: 0 nothing has drifted, 1 something has, 2 trouble. (A fault of the program is 1 too, with
a traceback on standard error and nothing on standard output.)
"""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qad_dl.cli.store import add_store_argument
from qad_dl.cli.table import aligned

if TYPE_CHECKING:
    import argparse

    from qad_dl.drift import Drift, Sign

LISTED: Final = 10
DRIFTED: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_store_argument(parser)
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="folder of the trained bundle")
    parser.add_argument("--at", metavar="T", help="the last tick, ISO 8601; the newest of the store if not given")
    parser.add_argument(
        "--days",
        type=float,
        default=7.0,
        metavar="N",
        help="days up to it (default: 7, for which the bounds were measured)",
    )
    parser.add_argument("--budget", type=float, metavar="B", help="false alarm episodes per queue and day (0.01)")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="how to print (default: table)")


def run(args: argparse.Namespace) -> int:
    """Look, print, and say by the exit code whether anything has drifted."""
    from qad_dl.drift import drift
    from qad_dl.errors import ConfigError
    from qad_dl.histories import open_history
    from qad_dl.scorer import Scorer
    from qad_dl.timeparse import parse_time

    if not 1 <= args.days <= 60:
        msg = f"--days {args.days:g}: give 1 to 60"
        raise ConfigError(msg)
    at = parse_time(args.at, "--at") if args.at else None
    found = drift(open_history(args.store), Scorer.load(args.bundle.resolve()), at, args.days, args.budget)
    print(json.dumps(found.as_json(), indent=1, allow_nan=False) if args.format == "json" else table(found))
    return DRIFTED if found.drifted else 0


def table(found: Drift) -> str:
    """For people: what has drifted first, with what to do; then the rest."""
    from qad_dl.timeparse import format_time

    drifted = [sign for sign in found.signs if sign.drifted]
    trained = f"{found.trained.get('start', '?')} to {found.trained.get('end', '?')}"
    parts = [
        f"{format_time(found.start)} to {format_time(found.end)}, bundle {found.bundle} trained on {trained}\n"
        + (f"{len(drifted)} signs of drift" if drifted else "no sign of drift"),
    ]
    for (_, advice), alike in groupby(drifted, lambda sign: (sign.name, sign.advice)):
        lines = [f"{sign.text} ({_value(sign)}, bounds {_bounds(sign)})" for sign in alike]
        parts.append("\n".join([*lines, f"  -> {advice}"]))
    for name, names in found.lists.items():
        if any(sign.name == name and sign.drifted for sign in found.signs):
            more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
            parts.append(f"{name}: {', '.join(names[:LISTED])}{more}")
    rows = [("sign", "of", "value", "bounds", "")]
    rows += [(s.name, s.of, _value(s), _bounds(s), "DRIFT" if s.drifted else "") for s in found.signs]
    return "\n\n".join([*parts, aligned(rows, left=2)])


def _value(sign: Sign) -> str:
    return "-" if sign.value != sign.value else f"{sign.value:.3g}"


def _bounds(sign: Sign) -> str:
    return f"{sign.low:.3g} to {sign.high:.3g}"
