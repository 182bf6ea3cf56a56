"""Servers that tests start: on a loopback port, stopped by their pid, started again with the data that they had."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import requests

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def free_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


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
