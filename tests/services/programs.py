"""Servers that tests start: on a loopback port, stopped by their pid, started again with the data that they had."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import requests

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CHANCE = random.SystemRandom()  # two test runs on one machine must not look at the same ports in the same order
WORKERS = 8


def free_port() -> int:
    """A loopback port that nothing listens on, and that nothing takes before a server of ours does.

    It lies below the ports that systems give to outgoing connections, so that it stays free while a server is stopped
    and started again. Each worker of pytest-xdist has ports of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = CHANCE.randrange(11_000, 32_000, WORKERS) + worker % WORKERS
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


@dataclass
class Program:
    """A server of our own. It keeps its port and its data when it is stopped and started again.

    Attributes:
        folder: its configuration, data and log.
        port: of its HTTP door.
    """

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def launch(self, command: Sequence[str], ready: str, status: int) -> None:
        """Start it and wait until its page `ready` answers with `status`."""
        with (self.folder / "log").open("ab") as log:
            environment = {**os.environ, "GOMAXPROCS": "2"}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        for _ in range(300):
            if self.process.poll() is not None:
                break
            try:
                if requests.get(f"{self.url}{ready}", timeout=5).status_code == status:
                    return
            except requests.ConnectionError:
                pass
            time.sleep(0.1)
        raise RuntimeError((self.folder / "log").read_text()[-2000:])

    def stop(self) -> None:
        """Stop it by its pid."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None
