"""A Dask scheduler and workers without nannies: processes on loopback ports, each stopped by its pid."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from distributed import Client

from tests.conftest import ROOT
from tests.services.programs import free_port

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = {
    # A worker is given no part before it has done the one it has: what was begun is then what was assigned.
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0",
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass
class Dask:
    """A scheduler with its workers.

    Attributes:
        folder: for its file and logs.
        workers: processes by name.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    scheduler: subprocess.Popen[bytes] = field(init=False)
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def file(self) -> Path:
        return self.folder / "scheduler.json"

    def start(self) -> None:
        words = ["--host", "127.0.0.1", "--port", str(self.port), "--scheduler-file", str(self.file), "--no-dashboard"]
        self.scheduler = self._launch("scheduler", words)
        self.wait_for(lambda client: True)

    def add(self, name: str, first_on_the_path: Path | None = None) -> None:
        """Start a worker with one thread, and wait until the scheduler knows it."""
        words = [self.address, "--name", name, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        folder = ["--local-directory", str(self.folder)]
        self.workers[name] = self._launch("worker", [*words, *folder, "--host", "127.0.0.1"], first_on_the_path)
        self.wait_for(lambda client: name in names(client))

    def kill(self, name: str) -> None:
        """What a power cut does."""
        os.kill(self.workers[name].pid, signal.SIGKILL)
        self.workers.pop(name).wait(30)

    def stop(self) -> None:
        for process in (*self.workers.values(), self.scheduler):
            process.kill()
            process.wait(30)

    def wait_for(self, what: Any, seconds: float = 60) -> None:
        """Until something is so of what a client sees."""
        end = time.monotonic() + seconds
        while True:
            try:
                with Client(self.address, timeout=2, set_as_default=False) as client:
                    while time.monotonic() < end:
                        if what(client):
                            return
                        time.sleep(0.005)
            except OSError:
                if time.monotonic() > end:
                    raise
            assert time.monotonic() < end, f"waited for {seconds} s"

    def begun(self, prefix: str) -> dict[str, list[str]]:
        """The workers that each part was given to, by the name of the part."""
        with Client(self.address, set_as_default=False) as client:
            return client.run_on_scheduler(given, prefix)

    def _launch(self, program: str, words: list[str], first: Path | None = None) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            **SETTINGS,
            "PYTHONPATH": os.pathsep.join(map(str, [*([first] if first else []), ROOT])),
        }
        with (self.folder / "log").open("ab") as log:
            command = [sys.executable, "-m", "distributed.cli.dask_" + program, *words]
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=self.folder)


def names(client: Client) -> dict[str, list[str]]:
    """The parts that each worker is at, by the names of the workers."""
    return client.run_on_scheduler(at_work)


def at_work(dask_scheduler: Any) -> dict[str, list[str]]:
    return {str(w.name): [str(task.key) for task in w.processing] for w in dask_scheduler.workers.values()}


def given(prefix: str, dask_scheduler: Any) -> dict[str, list[str]]:
    """From the scheduler's own log: each time that a part went to a worker."""
    found: dict[str, list[str]] = {}
    for key, _, finish, *_ in dask_scheduler.transition_log:
        if str(key).startswith(prefix) and finish == "processing":
            found.setdefault(str(key).rpartition("-")[0], []).append(finish)
    return found
