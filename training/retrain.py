"""Train a challenger on the last weeks, hold it against the bundle in use, and promote it if it wins.

    python -m training.retrain --store STORE --bundles FOLDER [--weeks 4] [--held-out-days 7] [trainer=cpu ...]

The newest days are kept from the training: on them both are compared (`qad bundles compare`). Labels are for both: a
problem is not trained on, and counts as a known incident of the comparison. A challenger is named after its newest
tick. What came of it is in FOLDER/reports: NAME.json the comparison, NAME.md the model card. Words with `=` go to
`training.train`. `serving/systemd/qad-retrain.timer` starts this once a week.

Exit code 0 whoever wins, 2 on bad arguments, input or config, 1 where training fails.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.atomic import replace_file
from qad_dl.backtest import newest_tick
from qad_dl.bundle import read_bundle
from qad_dl.bundles import CURRENT, REPORTS, Bundles
from qad_dl.card import card
from qad_dl.cli import guarded
from qad_dl.compare import compare
from qad_dl.errors import ConfigError
from qad_dl.histories import open_history
from qad_dl.incidents_file import read_incidents
from qad_dl.labelled import Labelled, labelled, labels_in_force
from qad_dl.objects import absolute
from qad_dl.scorer import Scorer
from qad_dl.timeparse import format_time, parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qad_dl.histories import History

ROOT: Final = Path(__file__).resolve().parent.parent

LEAST_TRAINING_DAYS: Final = 4.0
"""`training.train` splits what it gets, and wants two days to learn from and one to hold out."""


@dataclass(frozen=True)
class Times:
    """What is trained on and what is compared on, half open, one after the other.

    Attributes:
        start: of the training.
        split: its end, and the start of the comparison.
        end: of the comparison.
    """

    start: np.datetime64
    split: np.datetime64
    end: np.datetime64

    @property
    def name(self) -> str:
        """What a challenger that is trained so is called."""
        return format_time(self.end).replace("-", "").replace(":", "").removesuffix("00Z")


def main(argv: Sequence[str] | None = None) -> int:
    """Read the arguments, do it, give the exit code."""
    parser = argparse.ArgumentParser(
        prog="training.retrain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--store", required=True, metavar="STORE", help="the history: a folder, or an address (docs/storage.md)"
    )
    parser.add_argument(
        "--bundles", type=Path, required=True, metavar="FOLDER", help="folder of bundles; made if need be"
    )
    parser.add_argument("--weeks", type=float, default=4.0, metavar="N", help="weeks to train on (default: 4)")
    parser.add_argument("--held-out-days", type=float, default=7.0, metavar="N", help="newest days, for the comparison")
    parser.add_argument(
        "--at", metavar="T", help="take this for now (ISO 8601) instead of the newest tick of the store"
    )
    parser.add_argument("--incidents", type=Path, metavar="FILE", help="CSV of known incidents, for the comparison")
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="labels as the live page keeps them, for the training and the comparison",
    )
    parser.add_argument("--dry-run", action="store_true", help="compare and report; promote nothing")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="for training.train")
    args = parser.parse_intermixed_args(argv)
    return guarded(lambda: run(args), "training.retrain")


def run(args: argparse.Namespace) -> int:
    """Train, compare, promote or not, report."""
    store = open_history(args.store)
    times = times_of(store, args)
    args.bundles.mkdir(parents=True, exist_ok=True)
    folder = Bundles.open(args.bundles)
    with _alone(args.bundles) as alone:
        if not alone:
            print(f"training.retrain: another one is at work on {args.bundles}; nothing was done")
            return 0
        champion = folder.current()
        _check_champion(folder, champion, times)
        code = train(args, times)
        if code:
            return code
        report = None if champion is None else hold_against(args, store, folder, champion, times)
        path = args.bundles / REPORTS / f"{times.name}.md"
        path.parent.mkdir(exist_ok=True)
        replace_file(path, card(times.name, read_bundle(args.bundles / times.name), report).encode())
        print(said(args, folder, times.name, report))
        print(f"the card is {path}")
    return 0


def times_of(store: History, args: argparse.Namespace) -> Times:
    """What to train on and what to compare on.

    Raises:
        ConfigError: there is too little of either.
        InputError: the store has no history.
    """
    newest = newest_tick(store)
    oldest = (store.span() or (newest, newest))[0]
    last = min(newest, store.tick.floor(parse_time(args.at, "--at"))) if args.at else newest
    end = last + store.tick.delta
    split = store.tick.ceil(end - _days(args.held_out_days))
    start = max(oldest, store.tick.ceil(split - _days(7 * args.weeks)))
    trained = (split - start) / np.timedelta64(1, "D")
    if args.held_out_days < 2 or trained < LEAST_TRAINING_DAYS:
        msg = (
            f"{args.store}: {max(trained, 0):.1f} days to train on and {args.held_out_days:g} to compare on are too "
            f"few; give at least {LEAST_TRAINING_DAYS:g} and 2 (--weeks, --held-out-days)"
        )
        raise ConfigError(msg)
    return Times(start, split, end)


def _days(days: float) -> np.timedelta64:
    return np.timedelta64(round(days * 86400), "s")


def _check_champion(folder: Bundles, champion: str | None, times: Times) -> None:
    """Say before hours of training that the two could not be compared after it."""
    if champion is None:
        return
    if champion == times.name:
        msg = f"{folder.path / champion}: was trained up to the same tick and is in use; wait for new ticks"
        raise ConfigError(msg)
    end = read_bundle(folder.path / champion).manifest.get("training", {}).get("end")
    if end is not None and parse_time(end) > times.split:
        msg = (
            f"{folder.path / champion}: was trained on time up to {end}, and would be compared from "
            f"{format_time(times.split)} on; wait, or give fewer --held-out-days"
        )
        raise ConfigError(msg)


def train(args: argparse.Namespace, times: Times) -> int:
    """`training.train` as a process of its own; its exit code."""
    bundle = args.bundles.resolve() / times.name
    given = [f"store={absolute(args.store)}", f"bundle={bundle}"]
    given += [f"data.start={format_time(times.start)}", f"data.end={format_time(times.split)}"]
    given += [] if args.labels is None else [f"labels={args.labels.resolve()}"]
    given += args.overrides
    done = subprocess.run([sys.executable, "-m", "training.train", *given], cwd=ROOT, check=False)
    if done.returncode == 0:
        shutil.rmtree(f"{bundle}.run", ignore_errors=True)  # checkpoints, to go on from had it been killed
    return 0 if done.returncode == 0 else (2 if done.returncode == 2 else 1)


def hold_against(
    args: argparse.Namespace, store: History, folder: Bundles, champion: str, times: Times
) -> dict[str, Any]:
    """Compare the challenger with the bundle in use and keep the report."""
    incidents = list(read_incidents(args.incidents)) if args.incidents else []
    said = labelled(labels_in_force(args.labels), store.metadata()) if args.labels else Labelled()
    old, new = (Scorer.load(folder.path / name) for name in (champion, times.name))
    known = [*incidents, *said.incidents]
    report = compare(store, old, new, times.split, times.end, known, said.aside).as_json()
    folder.keep(times.name, report)
    return report


def said(args: argparse.Namespace, folder: Bundles, name: str, report: dict[str, Any] | None) -> str:
    """Promote it if it has won; what came of it, in one line."""
    if report is not None and report["verdict"]["winner"] != "challenger":
        return f"{folder.path / CURRENT} stays {folder.current()}: {report['verdict']['why']}"
    if args.dry_run:
        return f"{name} would be promoted" + (f": {report['verdict']['why']}" if report else ": it is the first one")
    done = folder.promote(name, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "")
    return f"{folder.path / CURRENT} is {done.name} now: {done.reason}"


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether nobody else trains for the folder; the kernel frees the lock of a process that dies."""
    with (folder / ".retrain").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


if __name__ == "__main__":
    sys.exit(main())
