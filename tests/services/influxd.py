"""A real InfluxDB for tests: Debian's influxd on a free loopback port, its data in a temporary folder."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import requests

from qad_dl.influx.client import Influx, identifier

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
  auth-enabled = {auth}
"""

_NUMBERS = itertools.count(1)


def free_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Influxd:
    """A server of our own. It keeps its port and its data when it is stopped and started again.

    Attributes:
        folder: its configuration, data and log.
        port: of its HTTP door.
    """

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, auth: bool = False) -> Influxd:
        """Start it and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "influx.conf"
        words = {"folder": self.folder, "port": self.port, "rpc": free_port(), "auth": str(auth).lower()}
        config.write_text(CONFIG.format(**words))
        with (self.folder / "log").open("ab") as log:
            command = ["influxd", "run", "-config", str(config), "-pidfile", str(self.folder / "influx.pid")]
            environment = {**os.environ, "GOMAXPROCS": "2"}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        self._wait()
        return self

    def stop(self) -> None:
        """Stop it by its pid."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def database(self, name: str | None = None) -> Influx:
        """A client of a database that no other test uses; it is not created yet."""
        return Influx(self.url, name or f"test_{next(_NUMBERS)}", pause=lambda _: None)

    def created(self) -> Influx:
        """A client of a fresh database with its default policy `autogen`."""
        influx = self.database()
        influx.query(f"CREATE DATABASE {identifier(influx.database)}")
        return influx

    def _wait(self) -> None:
        for _ in range(300):
            if self.process is None or self.process.poll() is not None:
                break
            try:
                if requests.get(f"{self.url}/ping", timeout=5).status_code == 204:
                    return
            except requests.ConnectionError:
                time.sleep(0.1)
        raise RuntimeError((self.folder / "log").read_text()[-2000:])
