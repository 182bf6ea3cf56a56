"""Silence what somebody knows about already, for a while and with a reason.

    python -m serving.silence --config FILE add --match atlas_site=DESY-HH --for 3h --reason "storage is moved"
    python -m serving.silence --config FILE list
    python -m serving.silence --config FILE expire NAME

`--match` takes metadata, or panda_queue, kind, bundle, incident, and trouble for the collector's own; given several
times, all must hold, and for all queues of an incident. What is silenced waits: what still goes on at the end of the
silence is told then.
"""

from __future__ import annotations

import argparse
import getpass
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.cli import guarded
from qad_dl.errors import ConfigError
from qad_dl.sinks.silences import Silence, Silences
from qad_dl.timeparse import format_time, parse_time
from serving.config import read_config
from serving.state import State

if TYPE_CHECKING:
    from collections.abc import Sequence

UNITS: Final = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def main(argv: Sequence[str] | None = None) -> int:
    """Read the arguments, do it, give the exit code."""
    parser = argparse.ArgumentParser(
        prog="serving.silence", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the collector's config, TOML")
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add", help="silence something")
    add.add_argument(
        "--match", action="append", required=True, metavar="NAME=VALUE", help="what; all of them must hold"
    )
    add.add_argument("--reason", required=True, help="why")
    add.add_argument("--by", default="", metavar="NAME", help="who; you, if not given")
    end = add.add_mutually_exclusive_group(required=True)
    end.add_argument("--until", metavar="T", help="its end (ISO 8601, UTC if no zone is given)")
    end.add_argument("--for", dest="length", metavar="LENGTH", help="its length: 30m, 3h, 2d, 1w")
    commands.add_parser("list", help="what is silenced, and what was in the last month")
    expire = commands.add_parser("expire", help="end a silence now")
    expire.add_argument("name", metavar="NAME", help="as `list` shows it")
    args = parser.parse_args(argv)
    now = np.datetime64(int(datetime.now(UTC).timestamp()), "s")
    return guarded(lambda: run(args, now), "serving.silence")


def run(args: argparse.Namespace, now: np.datetime64) -> int:
    """Do what is asked for."""
    silences = Silences(State(read_config(args.config).state.path).silences)
    if args.command == "add":
        end = parse_time(args.until, "--until") if args.until else now + _length(args.length)
        match = dict(_pair(text) for text in args.match)
        print(describe(silences.add(match, args.reason, args.by or getpass.getuser(), now, end), now))
    elif args.command == "expire":
        print(describe(silences.expire(args.name, now), now))
    else:
        found = silences.read()
        print("\n".join(describe(silence, now) for silence in found) or "nothing is silenced")
    return 0


def describe(silence: Silence, now: np.datetime64) -> str:
    """One line."""
    state = "over" if silence.end <= now else "in force"
    match = ", ".join(f"{name}={value}" for name, value in silence.match.items())
    who = f"{silence.author}: {silence.reason}"
    return f"{silence.id}  {state:8}  until {format_time(silence.end)}  {match}  ({' '.join(who.split())})"


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name.strip() and sign and value.strip()):
        msg = f"--match {text!r} is not NAME=VALUE, like cloud=DE"
        raise ConfigError(msg)
    return name.strip(), value.strip()


def _length(text: str) -> np.timedelta64:
    found = re.fullmatch(r"(\d{1,4})([mhdw])", text.strip())
    if found is None:
        msg = f"--for {text!r} is no length; write 30m, 3h, 2d or 1w"
        raise ConfigError(msg)
    return np.timedelta64(int(found[1]) * UNITS[found[2]], "s")


if __name__ == "__main__":
    sys.exit(main())
