"""The live page for tests: `python -m serving.review` over a collector of the test's own, on a free loopback port."""

from __future__ import annotations

import re
import signal
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests

from qad_dl.labels import LabelLog
from tests.services.programs import Program

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.collector import Collector


@dataclass
class ReviewServer(Program):
    """A server of the live page.

    Attributes:
        collector: whose data it shows; its config has the server's port.
        headers: of every request.
    """

    collector: Collector
    headers: dict[str, str] = field(default_factory=dict)

    def start(self, ready: int = 200) -> ReviewServer:
        """Start it, and wait until its page answers with `ready`; 503 while the queues are still being scored."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "serving.review", "--config", str(self.collector.config)]
        self.launch(command, "/" if ready == 200 else "/healthz", 200)
        return self

    def kill(self) -> None:
        """Kill it as nothing but the kernel can."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)
        self.process = None

    @property
    def labels(self) -> Path:
        return self.collector.folder / "labels.jsonl"

    @property
    def log(self) -> LabelLog:
        return LabelLog(self.labels)

    @property
    def said(self) -> str:
        """What it logged."""
        return (self.folder / "log").read_text()

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(f"{self.url}{path}", headers={**self.headers, **headers}, timeout=30)

    def token(self) -> str:
        """The token of its page."""
        (found,) = re.findall(r'<meta name="qad-csrf" content="(\w+)">', self.get("/").text)
        return str(found)

    def post(self, event: Any, **headers: str | None) -> requests.Response:
        """Send an event as the page does; headers that are None are left out."""
        usual = {"X-QAD-CSRF": self.token(), "Origin": self.url, **self.headers}
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        asked = {name: value for name, value in {**usual, **sent}.items() if value is not None}
        return requests.post(f"{self.url}/labels", json=event, headers=asked, timeout=30)
