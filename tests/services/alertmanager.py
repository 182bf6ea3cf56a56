"""A real Alertmanager for tests: Debian's, on free loopback ports, telling a receiver of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import requests

from tests.services.programs import Program

CONFIG = """
route:
  receiver: us
  group_by: [incident]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 4h
receivers:
  - name: us
    webhook_configs:
      - url: {receiver}
        send_resolved: true
"""


@dataclass
class Alertmanager(Program):
    """An Alertmanager of our own.

    Attributes:
        receiver: address that it tells of alerts.
    """

    receiver: str

    def start(self) -> Alertmanager:
        """Start it and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.yml").write_text(CONFIG.format(receiver=self.receiver))
        command = [
            "prometheus-alertmanager",
            f"--config.file={self.folder / 'config.yml'}",
            f"--storage.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]
        self.launch(command, "/-/ready", 200)
        return self

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that are active, by incident."""
        found: list[dict[str, Any]] = requests.get(f"{self.url}/api/v2/alerts", timeout=5).json()
        return sorted(found, key=lambda alert: alert["labels"]["incident"])
