"""A real InfluxDB for tests: Debian's influxd on a free loopback port, its data in a temporary folder."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from qad_dl.influx.client import Influx, identifier
from tests.services.programs import Program, free_port

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


@dataclass
class Influxd(Program):
    """An InfluxDB of our own."""

    def start(self, *, auth: bool = False) -> Influxd:
        """Start it and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "influx.conf"
        words = {"folder": self.folder, "port": self.port, "rpc": free_port(), "auth": str(auth).lower()}
        config.write_text(CONFIG.format(**words))
        command = ["influxd", "run", "-config", str(config), "-pidfile", str(self.folder / "influx.pid")]
        self.launch(command, "/ping", 204)
        return self

    def database(self, name: str | None = None) -> Influx:
        """A client of a database that no other test uses; it is not created yet."""
        return Influx(self.url, name or f"test_{next(_NUMBERS)}", pause=lambda _: None)

    def created(self) -> Influx:
        """A client of a fresh database with its default policy `autogen`."""
        influx = self.database()
        influx.query(f"CREATE DATABASE {identifier(influx.database)}")
        return influx
