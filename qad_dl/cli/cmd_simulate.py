"""Write a labelled grid of queues: jobs.parquet, cric.json, incidents.csv and downtimes.csv in OUT.

Jobs flow by PanDA's mechanism; incidents act on it (pilots stop, a storage refuses writes, ...), never on the counts.
The same options give the same files, byte for byte.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `qad simulate`."""
    parser.add_argument("out", type=Path, metavar="OUT", help="directory for the four files; created if need be")
    parser.add_argument("--days", type=int, default=35, help="length in days (default %(default)s)")
    parser.add_argument("--queues", type=int, default=300, help="number of queues (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="fixes everything (default %(default)s)")
    parser.add_argument("--start", metavar="T", help="first tick, ISO 8601, floored to 10 minutes (default 2026-01-05)")
    parser.add_argument(
        "--cric", type=Path, metavar="FILE", help="take the queues from a CRIC dump (.json or .json.gz)"
    )
    parser.add_argument("--incidents", choices=["none"], help="'none': the same normal life without incidents")


def run(args: argparse.Namespace) -> int:
    """Simulate, and say what was written."""
    from qad_dl.schema import Tick
    from qad_dl.simulator import WorldParams, simulate
    from qad_dl.simulator.params import DEFAULT_START
    from qad_dl.timeparse import parse_time

    params = WorldParams(
        days=args.days,
        queues=args.queues,
        seed=args.seed,
        start=Tick().floor(parse_time(args.start, "--start")) if args.start else DEFAULT_START,
        cric=args.cric,
        incidents=args.incidents is None,
    )
    written = simulate(params, args.out)
    print(f"{args.out}: " + ", ".join(f"{number} {what}" for what, number in written.items()))
    return 0
