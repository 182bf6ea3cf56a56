"""What a Dask cluster gains: import, backtest and evaluation on one core, by one worker, by two, and with one killed.

    python -m training.scaling bundle=checkpoints/demo/bundle [queues=300] [days=35] [work=checkpoints/scaling]

Simulates a history, starts a scheduler and workers with one thread each on loopback ports, runs the very commands that
people run, and prints seconds, how many times as fast as one core that is, and whether the result is the same bytes.
Workers have done a small piece of work before, as on a cluster that is up; the commands start anew each time.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

START, SCORED = "2026-01-05", "2026-01-12"
ONE_THREAD: Final = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
UP_S: Final = 60.0


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

    def imported(self, name: str) -> list[str]:
        """The command that imports into a store."""
        files = self.work / "world"
        return ["import", str(self.work / f"store-{name}"), "--jobs", str(files / "jobs.parquet"), "--cric", str(files / "cric.json")]

    def backtested(self, name: str) -> list[str]:
        """The command that scores all but the first week."""
        words = ["--bundle", str(self.bundle), "--start", SCORED, "--end", _day(self.days), "--out", str(self.work / f"scores-{name}.parquet")]
        return ["backtest", str(self.work / "store-one core"), *words]

    def evaluated(self, _: str) -> list[str]:
        """The command that evaluates the scores of one core."""
        files = ["--store", str(self.work / "store-one core"), "--incidents", str(self.work / "world" / "incidents.csv")]
        return ["evaluate", str(self.work / "scores-one core.parquet"), *files, "--format", "json"]


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
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    work = Path(given.get("work", "checkpoints/scaling")).absolute()
    world = World(work, Path(given["bundle"]).absolute(), int(given.get("days", "35")))
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    _run(["simulate", str(work / "world"), "--queues", given.get("queues", "300"), "--days", given.get("days", "35"), "--start", START])
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before\n")
    print(f"{'':<12}{'one core':>16}{'1 worker':>16}{'2 workers':>16}{'one of 2 killed':>18}")
    for name, command, made in (
        ("import", world.imported, lambda n: work / f"store-{n}"),
        ("backtest", world.backtested, lambda n: work / f"scores-{n}.parquet"),
        ("evaluate", world.evaluated, lambda n: work / f"figures-{n}"),
    ):
        _row(name, command, made, work)
    print(f"\nload {os.getloadavg()[0]:.1f} after")


def _row(name: str, command: Callable[[str], list[str]], made: Callable[[str], Path], work: Path) -> None:
    """One command in all four ways."""
    one = _timed(command, made, "one core")
    cells, seconds = [f"{one:9.1f} s     "], one
    for way, n_workers, killed in (("1 worker", 1, False), ("2 workers", 2, False), ("one of 2 killed", 2, True)):
        with ExitStack() as stack:
            cluster = stack.enter_context(Cluster(work, n_workers))
            kill = cluster.kill_a_worker if killed else None
            took = _timed(command, made, way, cluster.address, kill, seconds / 2)
        seconds = took
        same = _same(made("one core"), made(way))
        cells.append(f"{took:7.1f} s {one / took:4.2f}{' ' if same else '!'}")
    print(f"{name:<12}{cells[0]:>16}" + "".join(f"{cell:>16}" for cell in cells[1:]) + ("" if "!" not in "".join(cells) else "   ! OTHER BYTES"), flush=True)


def _timed(
    command: Callable[[str], list[str]],
    made: Callable[[str], Path],
    way: str,
    scheduler: str = "",
    kill: Callable[[], None] | None = None,
    after: float = 0.0,
) -> float:
    """Seconds of a command; with `kill` a worker is killed so many seconds after its begin."""
    words = [*command(way), *(["--scheduler", scheduler] if scheduler else [])]
    begun = time.monotonic()
    process = subprocess.Popen(_qad(words), env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, preexec_fn=None if scheduler else _on_one_core)
    if kill is not None:
        time.sleep(after)
        kill()
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(process.returncode)
    took = time.monotonic() - begun
    if command.__name__ == "evaluated":
        made(way).write_bytes(out)
    return took


def _on_one_core() -> None:
    """Stay on one of the cores that there are."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _same(one: Path, other: Path) -> bool:
    """Whether two files, or all files of two folders, are the same bytes."""
    if one.is_file():
        return filecmp.cmp(one, other, shallow=False)
    files = sorted(str(p.relative_to(one)) for p in one.rglob("*") if p.is_file())
    others = sorted(str(p.relative_to(other)) for p in other.rglob("*") if p.is_file())
    return files == others and filecmp.cmpfiles(one, other, files, shallow=False)[1:] == ([], [])


def _qad(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "qad_dl.cli", *words]


def _run(words: Sequence[str]) -> None:
    subprocess.run(_qad(words), check=True)


def _day(days: int) -> str:
    import numpy as np

    return str(np.datetime64(START, "D") + days)


if __name__ == "__main__":
    main()
