"""A real Alertmanager for tests: Debian's, on free loopback ports, telling a receiver of ours."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from pathlib import Path

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
class Alertmanager:
    """A server of our own. It keeps its port and its data when it is stopped and started again.

    Attributes:
        folder: its configuration, data and log.
        port: of its HTTP door.
        receiver: address that it tells of alerts.
    """

    folder: Path
    port: int
    receiver: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Alertmanager:
        """Start it and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.yml").write_text(CONFIG.format(receiver=self.receiver))
        with (self.folder / "log").open("ab") as log:
            command = [
                "prometheus-alertmanager",
                f"--config.file={self.folder / 'config.yml'}",
                f"--storage.path={self.folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--cluster.listen-address=",
            ]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self._wait()
        return self

    def stop(self) -> None:
        """Stop it by its pid."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that are active, by incident."""
        found: list[dict[str, Any]] = requests.get(f"{self.url}/api/v2/alerts", timeout=5).json()
        return sorted(found, key=lambda alert: alert["labels"]["incident"])

    def _wait(self) -> None:
        for _ in range(300):
            if self.process is None or self.process.poll() is not None:
                break
            try:
                if requests.get(f"{self.url}/-/ready", timeout=5).ok:
                    return
            except requests.ConnectionError:
                pass
            time.sleep(0.1)
        raise RuntimeError((self.folder / "log").read_text()[-2000:])
