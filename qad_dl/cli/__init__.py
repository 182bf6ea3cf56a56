"""The command `qad`: one module per subcommand, imported only when it is called.

Exit codes: 0 done, 2 bad arguments, input or config (one line on standard error), 1 a fault of the program.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from qad_dl import __version__
from qad_dl.errors import QadError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMANDS = {
    "simulate": "write a labelled grid of queues with incidents",
    "import": "read job history, metadata and downtimes into a store",
    "score": "score one tick of a store",
    "backtest": "score every tick of a range, as the collector would have",
    "evaluate": "how good the alarms are, beside QMonit's rule",
    "incidents": "tell flags as incidents, those with one cause once",
    "preview": "what any budget, rules and routes would have told, and whom",
    "drift": "whether the queues still look like the time that a bundle was trained on",
    "bundles": "which bundles there are, which one is in use, and whether another should be",
    "review": "build the page on which people look at the queues",
    "tune": "thresholds of groups and an order of incidents from labels, and what they would change",
    "labels": "what reviewers said: list, merge, take back",
}
"""Name and one-line help of each subcommand; `qad NAME` runs `qad_dl.cli.cmd_NAME`."""


def build_parser() -> argparse.ArgumentParser:
    """The top-level parser; it knows the names of the commands, and each command its own arguments."""
    listing = "\n".join(f"  {name:<10} {text}" for name, text in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="qad",
        description="Queue anomaly detection by deep learning.",
        epilog=f"commands:\n{listing}\n\n`qad COMMAND --help` says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"qad-dl {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = build_parser().parse_args(arguments[:1])
    module = importlib.import_module(f"qad_dl.cli.cmd_{args.command}")
    parser = argparse.ArgumentParser(
        prog=f"qad {args.command}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(parser)
    return guarded(lambda: int(module.run(parser.parse_args(arguments[1:]))), f"qad {args.command}")


def command() -> NoReturn:
    """The script `qad`."""
    leave(main())


def leave(code: int) -> NoReturn:
    """End the process at once: what is to stay is on the disk, and to take memory apart takes a tenth of a tick."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
    os._exit(code)


def guarded(work: Callable[[], int], name: str) -> int:
    """Run `work`; turn an error of the user's into one line on standard error and its exit code.

    A closed pipe (`qad score ... | head`) ends quietly. Any other exception is a fault of the program: it is
    left to Python, which shows the traceback and exits with 1.
    """
    try:
        return work()
    except QadError as error:
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
