"""One visit of the doctor (`serving.doctor`): what it has with it while it looks, and what it finds."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from qad_dl.sources.http import Client
from serving.state import State

if TYPE_CHECKING:
    from pathlib import Path

    import requests

    from serving.config import Config

WELL: Final = "ok"
NOTE: Final = "note"
DOWN: Final = "down"
WRONG: Final = "WRONG"

PATIENCE_S: Final = 120.0
"""One system gets so long for all that is asked of it."""

GOES_ON: Final = "ticks go on, and tell it later"


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes:
        system: which part of the config.
        level: `WELL`, `NOTE`, `DOWN` or `WRONG`.
        text: one line.
        code: the exit code that it asks for.
    """

    system: str
    level: str
    text: str
    code: int = 0

    def line(self) -> str:
        """As it is shown."""
        return f"{self.level:<6}{self.system:<20}{' '.join(self.text.split())}"


@dataclass
class Visit:
    """One look at everything.

    Attributes:
        config: what to look at.
        now: seconds since the epoch.
        scratch: a folder of ours: files in the state that belong to another user would stop the ticks.
        queues: that the source counts jobs of.
        clocks: by how many seconds the clock of each server is ahead of ours.
    """

    config: Config
    now: float
    scratch: Path
    queues: set[str] = field(default_factory=set)
    clocks: dict[str, float] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """What the ticks have left."""
        return State(self.config.state.path)

    def client(self, session: requests.Session) -> Client:
        """Asks once, and compares clocks."""
        session.hooks["response"].append(self._look_at_clock)
        return Client(session, time.monotonic() + PATIENCE_S, tries=1)

    def _look_at_clock(self, answer: requests.Response, *_: Any, **__: Any) -> None:
        try:
            said = parsedate_to_datetime(answer.headers["Date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            return
        self.clocks[answer.url.split("/")[2].rpartition("@")[2]] = said - time.time()
