"""Made-up news for the tests of what is told."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from qad_dl.followed import CLOSED, FOLDED, OPENED, REOPENED, UPDATED, Figure, Followed, Transition
from qad_dl.sinks.news import MONITOR, News

T0 = np.datetime64("2026-01-05T03:40:00", "s")
TEN = np.timedelta64(600, "s")
HOSTILE = (
    "q\"uo'te",
    "back\\slash",
    "new\nline\r\nBcc: all@example.org",
    "';DROP TABLE jobs;--",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "@channel @all **bold** `code` [link](http://evil.example) | # ![x](http://evil.example/x.png)",
    "``` \n fence ```",
    "A" * 10_000,
    "\u202egnp.exe\u0000\x1b[31m",
    "Ω-queue_名前",
)


def incident(queue: str = "CERN-PROD_1", **changes: Any) -> Followed:
    """One queue that has been starving for twenty minutes."""
    made = Followed(
        id=f"20260105T0340-{zlib.crc32(queue.encode()):08x}",
        field="panda_queue",
        value=queue,
        queues=(queue,),
        start=T0,
        last=T0 + TEN,
        told=T0 + TEN,
        kind="pilots_starve",
        score=4.0,
        state="starting",
        direction="low",
        worst=(queue,),
        figures=(Figure("starting", 0.0, 310.2), Figure("activated", 5400.0, 1230.4)),
    )
    return made._replace(**changes)


def group(size: int = 41, of: int = 43, **changes: Any) -> Followed:
    """A harvester."""
    queues = tuple(f"Q{i:02d}" for i in range(size))
    made = incident(
        field="harvester", value="CERN_central_A", queues=queues, worst=queues[::-1][:10], of=of, kind="harvester_down"
    )
    return made._replace(**{"id": "20260105T0340-abcdef", **changes})


def news(followed: Followed, tick: int = 1, action: str = "", label: str = "queues", **record: str) -> News:
    """News of an incident; the action is what it looks like where none is given."""
    looks = FOLDED if followed.folded else OPENED if followed.open else CLOSED
    records = {queue: dict(record) for queue in followed.queues}
    return News(label, T0 + tick * TEN, Transition(action or looks, followed), records=records)


def trouble(name: str = "frozen", *, closed: bool = False, text: str = "all stock counts are those of 03:30") -> News:
    """A trouble of the collector's own."""
    made = Followed(
        id=f"20260105T0340-{name}",
        field=MONITOR,
        value=name,
        queues=(),
        start=T0,
        last=T0 + TEN,
        told=T0,
        closed=T0 + 4 * TEN if closed else None,
        kind=MONITOR,
    )
    return News(MONITOR, T0 + (4 if closed else 0) * TEN, Transition(CLOSED if closed else OPENED, made), text)


def closed(followed: Followed, ticks: int = 14) -> Followed:
    return followed._replace(closed=T0 + ticks * TEN)


__all__ = ["HOSTILE", "REOPENED", "T0", "TEN", "UPDATED", "closed", "group", "incident", "news", "trouble"]
