"""Memory that belongs to a process alone: what the system cannot get back by forgetting pages of files (Linux)."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final, Self

STATUS: Final = Path("/proc/self/status")
EVERY_S: Final = 0.01


def anonymous_mb() -> float:
    """Anonymous memory of this process that is resident now, MB."""
    line = next(line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024 / 1e6


class AnonymousPeak:
    """The most anonymous memory while it is entered, looked at a hundred times a second.

    Attributes:
        before_mb: when it was entered.
        peak_mb: the most since then.
    """

    def __init__(self) -> None:
        self.before_mb = self.peak_mb = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self.before_mb = self.peak_mb = anonymous_mb()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(EVERY_S):
            self.peak_mb = max(self.peak_mb, anonymous_mb())
