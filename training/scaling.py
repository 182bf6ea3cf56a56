"""What a Dask cluster gains: import, backtest and evaluation on one core, by one worker, by two, and with one killed.

    python -m training.scaling --bundle checkpoints/demo/bundle

Simulates a history, starts a scheduler and workers with one thread each on loopback ports, and runs the very commands
that people run, in turns, so that what else the machine does hits all alike. Prints medians of whole commands, from the
start of Python to its end, and whether what they made is the same bytes each time. Workers have loaded their libraries
before, as on a cluster that is up.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.bundle import read_bundle
from qad_dl.errors import BundleError
from qad_dl.progress import progress
from training.bench.clock import peak_mb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

START: Final = np.datetime64("2026-01-05", "D")
UNSCORED_DAYS: Final = 7
ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
UP_S: Final = 60.0

STEPS: Final = ("import", "backtest", "evaluate")
ONE: Final = "one core"
KILLED: Final = "1 of 2 killed"
N_WORKERS: Final = {ONE: 0, "all cores": 0, "1 worker": 1, "2 workers": 2, KILLED: 2}
"""The ways to run a command; a worker is killed when half of the time has gone that two took just before."""


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

    def command(self, step: str, out: Path) -> list[str]:
        """The words of a command that makes `out`, or prints it."""
        files, store, scores = self.work / "world", self.first("import"), self.first("backtest")
        if step == "import":
            return _texts("import", out, "--jobs", files / "jobs.parquet", "--cric", files / "cric.json")
        if step == "backtest":
            between = ["--start", START + UNSCORED_DAYS, "--end", START + self.days]
            return _texts("backtest", store, "--bundle", self.bundle, *between, "--out", out)
        against = ["--store", store, "--incidents", files / "incidents.csv", "--format", "json"]
        return _texts("evaluate", scores, *against)

    def first(self, step: str) -> Path:
        """What the first run made: the next steps begin with it, and all others have to make the same."""
        return self.work / "first" / step


@dataclass(frozen=True)
class Run:
    """One run of a command.

    Attributes:
        seconds: from its start to its end.
        same: what it made is what the first one made.
        worker_mb: largest resident set of a worker; 0 without one.
    """

    seconds: float
    same: bool
    worker_mb: float


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
        try:
            self._launch("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")
            for _ in range(self.n_workers):
                words = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(self.work)]
                self._launch("worker", self.address, "--host", "127.0.0.1", *words)
            self._warm()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them by their pids."""
        for process in self.processes:
            process.kill()
            process.wait()

    def kill_a_worker(self) -> None:
        """What a power cut does to the last of them."""
        os.kill(self.processes[-1].pid, signal.SIGKILL)

    def largest_mb(self) -> float:
        """Largest resident set of a worker that lives, MB."""
        from distributed import Client

        with Client(self.address, timeout=UP_S, set_as_default=False) as client:
            peaks: dict[str, float] = client.run(peak_mb)
        return max(peaks.values())

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
    """Measure and print; exit code 1 if something was made that is not the same."""
    args = _arguments()
    with tempfile.TemporaryDirectory(prefix="scaling-", dir=args.work) as work:
        world = World(Path(work).absolute(), args.bundle.absolute(), args.days)
        sizes = ("--queues", args.queues, "--days", args.days, "--start", START)
        _run_to_its_end(_qad(_texts("simulate", world.work / "world", *sizes)))
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before; medians of {args.repeat}\n")
        columns = ("", *N_WORKERS, "2 workers to one core", "to 1 worker", "a worker", "made")
        print(f"| {' | '.join(columns)} |\n| {' | '.join(['---'] * len(columns))} |")
        measured = {}
        for step in STEPS:
            measured[step] = _measure(world, step, args.repeat)
            print(f"| {' | '.join(_row(step, measured[step]))} |", flush=True)
        print(f"\nload {os.getloadavg()[0]:.1f} after")
    if not all(run.same for by_way in measured.values() for runs in by_way.values() for run in runs):
        raise SystemExit(1)


def _arguments() -> argparse.Namespace:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m training.scaling", description=__doc__, formatter_class=plain)
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="a trained bundle")
    parser.add_argument("--queues", type=int, default=300, help="of the simulated history (default: %(default)s)")
    parser.add_argument("--days", type=int, default=63, help="of it; the first 7 are not scored (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each command in each way (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=Path("checkpoints"), help="where to put what is removed again")
    args = parser.parse_args()
    if args.days <= UNSCORED_DAYS or args.repeat < 1 or not args.work.is_dir():
        parser.error(f"--days is more than {UNSCORED_DAYS}, --repeat at least 1, and --work a folder that is there")
    if find_spec("distributed") is None:
        parser.error("needs Dask: pip install -c constraints.txt -e '.[dask]'")
    try:
        read_bundle(args.bundle)
    except BundleError as error:
        parser.error(str(error))
    return args


def _measure(world: World, step: str, repeat: int) -> dict[str, list[Run]]:
    """One command in all ways, in turns."""
    runs: dict[str, list[Run]] = {way: [] for way in N_WORKERS}
    for way in progress([*N_WORKERS] * repeat, step, unit="run"):
        kill_after = runs["2 workers"][-1].seconds / 2 if way == KILLED else None
        runs[way].append(_run(world, step, way, kill_after))
    return runs


def _row(step: str, runs: Mapping[str, Sequence[Run]]) -> list[str]:
    """A row of the table: median seconds in each way, what two workers gain, memory, and whether all is the same."""
    seconds = {way: median(run.seconds for run in of) for way, of in runs.items()}
    gains = [f"{seconds[way] / seconds['2 workers']:.2f}" for way in (ONE, "1 worker")]
    largest = max(run.worker_mb for of in runs.values() for run in of)
    other = [way for way, of in runs.items() if not all(run.same for run in of)]
    made = f"OTHER BYTES: {', '.join(other)}" if other else "the same bytes"
    return [step, *(f"{s:.1f} s" for s in seconds.values()), *gains, f"{largest:.0f} MB", made]


def _run(world: World, step: str, way: str, kill_after: float | None) -> Run:
    """Run a command one way; a worker is killed so many seconds after its begin."""
    first = world.first(step)
    out = world.work / "again" if first.exists() else first
    out.parent.mkdir(exist_ok=True)
    words, n_workers = world.command(step, out), N_WORKERS[way]
    said = out if step == "evaluate" else world.work / "said"
    with Cluster(world.work, n_workers) if n_workers else contextlib.nullcontext() as cluster:
        words += ["--scheduler", cluster.address] if cluster else []
        begun = time.monotonic()
        with said.open("wb") as file, _cores(1 if way == ONE else None):
            process = subprocess.Popen(_qad(words), env=os.environ | ONE_THREAD, stdout=file)
        if cluster and kill_after is not None:
            time.sleep(kill_after)
            cluster.kill_a_worker()
        _check(process.wait())
        seconds = time.monotonic() - begun
        largest = cluster.largest_mb() if cluster else 0.0
    same = _same(first, out)
    if out != first:
        shutil.rmtree(out) if out.is_dir() else out.unlink()
    return Run(seconds, same, largest)


@contextlib.contextmanager
def _cores(number: int | None) -> Iterator[None]:
    """Let what is started in the block have no more than so many cores."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(cores)[:number]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _same(one: Path, other: Path) -> bool:
    """Whether two files, or all files of two folders, are the same bytes."""
    if one.is_file():
        return filecmp.cmp(one, other, shallow=False)
    files, others = (sorted(str(p.relative_to(at)) for p in at.rglob("*") if p.is_file()) for at in (one, other))
    return files == others and filecmp.cmpfiles(one, other, files, shallow=False)[1:] == ([], [])


def _run_to_its_end(words: Sequence[str]) -> None:
    _check(subprocess.run(words, check=False).returncode)


def _check(code: int) -> None:
    """End as a command ended that failed; it has said why."""
    if code:
        raise SystemExit(code)


def _qad(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "qad_dl.cli", *words]


def _texts(*words: object) -> list[str]:
    return [str(word) for word in words]


if __name__ == "__main__":
    main()
