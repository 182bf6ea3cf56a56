"""What a Dask cluster gains: import, backtest and evaluation on one core, by one worker, by two, and with one killed.

    python -m training.scaling --bundle checkpoints/demo/bundle

Simulates a history, starts a scheduler and workers with one thread each on loopback ports, runs the very commands that
people run, and prints seconds, how many times as fast as on one core that is, and whether the result is the same bytes.
Workers have loaded their libraries before, as on a cluster that is up; the commands start anew each time.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

START: Final = np.datetime64("2026-01-05", "D")
UNSCORED_DAYS: Final = 7
ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
UP_S: Final = 60.0

ONE: Final = "one core"
WAYS: Final = {"1 worker": (1, False), "2 workers": (2, False), "1 of 2 killed": (2, True)}
"""How many workers, and whether the last of them is killed when about half of the time has gone."""


@dataclass(frozen=True)
class World:
    """Where everything is.

    Attributes:
        work: folder of all that is made.
        bundle: folder of a bundle.
        days: length of the history.
    """

    work: Path
    bundle: Path
    days: int

    def command(self, step: str, way: str) -> list[str]:
        """The words of a command; what it makes is `made`."""
        files, store, scores = self.work / "world", self.made("import", ONE), self.made("backtest", ONE)
        if step == "import":
            words = ["--jobs", files / "jobs.parquet", "--cric", files / "cric.json"]
            return _texts("import", self.made(step, way), *words)
        if step == "backtest":
            between = ["--start", START + UNSCORED_DAYS, "--end", START + self.days]
            return _texts("backtest", store, "--bundle", self.bundle, *between, "--out", self.made(step, way))
        against = ["--store", store, "--incidents", files / "incidents.csv", "--format", "json"]
        return _texts("evaluate", scores, *against)

    def made(self, step: str, way: str) -> Path:
        """The store, the scores, or what was printed."""
        return (
            self.work / {"import": "stores", "backtest": "scores", "evaluate": "figures"}[step] / way.replace(" ", "-")
        )


@dataclass
class Cluster:
    """A scheduler and workers without nannies, as processes."""

    work: Path
    n_workers: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    address: str = ""

    def __enter__(self) -> Cluster:
        """Start them, and wait until all are up and warm."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        port = self.address.rpartition(":")[2]
        self._launch("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")
        for _ in range(self.n_workers):
            words = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(self.work)]
            self._launch("worker", self.address, "--host", "127.0.0.1", *words)
        self._warm()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them by their pids."""
        for process in self.processes:
            process.kill()
            process.wait()

    def kill_a_worker(self) -> None:
        """What a power cut does to the last of them."""
        os.kill(self.processes[-1].pid, signal.SIGKILL)

    def _launch(self, program: str, *words: str) -> None:
        command = [sys.executable, "-m", f"distributed.cli.dask_{program}", *words]
        with (self.work / "dask.log").open("ab") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | ONE_THREAD))

    def _warm(self) -> None:
        from distributed import Client

        with Client(self.address, timeout=UP_S, set_as_default=False) as client:
            client.wait_for_workers(self.n_workers, timeout=UP_S)
            client.run(_imports)


def _imports() -> None:
    """What a worker imports for its first part."""
    import onnxruntime  # noqa: F401

    import qad_dl.evaluation_parts
    import qad_dl.import_parts  # noqa: F401


def main() -> None:
    """Measure and print."""
    args = _arguments()
    with tempfile.TemporaryDirectory(prefix="scaling-", dir=args.work) as work:
        world = World(Path(work).absolute(), args.bundle.absolute(), args.days)
        sizes = ("--queues", args.queues, "--days", args.days, "--start", START)
        subprocess.run(_qad(_texts("simulate", world.work / "world", *sizes)), check=True)
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")
        print(f"{'':<10}{ONE:>10}{'all cores':>18}" + "".join(f"{way:>18}" for way in WAYS))
        for step in ("import", "backtest", "evaluate"):
            _row(world, step)
        print(f"load {os.getloadavg()[0]:.1f} after. In brackets: how many times as fast as on one core")


def _arguments() -> argparse.Namespace:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m training.scaling", description=__doc__, formatter_class=plain)
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="a trained bundle")
    parser.add_argument("--queues", type=int, default=300, help="of the simulated history (default: %(default)s)")
    parser.add_argument("--days", type=int, default=35, help="of it; the first 7 are not scored (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=Path("checkpoints"), help="where to put what is removed again")
    return parser.parse_args()


def _row(world: World, step: str) -> None:
    """One command in all ways."""
    one = _timed(world, step, ONE)
    print(f"{step:<10}{one:>8.1f} s", end="", flush=True)
    before = 0.0
    for way, (n_workers, killed) in {"all cores": (0, False), **WAYS}.items():
        if n_workers:
            with Cluster(world.work, n_workers) as cluster:
                took = _timed(world, step, way, cluster, before / 2 if killed else None)
        else:
            took = _timed(world, step, way)
        other = "" if _same(world.made(step, ONE), world.made(step, way)) else " OTHER BYTES"
        print(f"{took:>9.1f} s ({one / took:.2f}){other}", end="", flush=True)
        before = took
    print()


def _timed(world: World, step: str, way: str, cluster: Cluster | None = None, kill_after: float | None = None) -> float:
    """Seconds of a command; a worker is killed so many seconds after its begin."""
    words = [*world.command(step, way), *([] if cluster is None else ["--scheduler", cluster.address])]
    said = world.made(step, way) if step == "evaluate" else world.work / "said"
    said.parent.mkdir(exist_ok=True)
    cores = os.sched_getaffinity(0)
    begun = time.monotonic()
    with said.open("wb") as out:
        if way == ONE:
            os.sched_setaffinity(0, {min(cores)})  # what is started now has no more than this one
        process = subprocess.Popen(_qad(words), env=os.environ | ONE_THREAD, stdout=out)
        os.sched_setaffinity(0, cores)
        if cluster is not None and kill_after is not None:
            time.sleep(kill_after)
            cluster.kill_a_worker()
        if process.wait():
            raise SystemExit(process.returncode)
    return time.monotonic() - begun


def _same(one: Path, other: Path) -> bool:
    """Whether two files, or all files of two folders, are the same bytes."""
    if one.is_file():
        return filecmp.cmp(one, other, shallow=False)
    files, others = (sorted(str(p.relative_to(at)) for p in at.rglob("*") if p.is_file()) for at in (one, other))
    return files == others and filecmp.cmpfiles(one, other, files, shallow=False)[1:] == ([], [])


def _qad(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "qad_dl.cli", *words]


def _texts(*words: object) -> list[str]:
    return [str(word) for word in words]


if __name__ == "__main__":
    main()
