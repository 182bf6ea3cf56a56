"""One tick at a time: a lock that the kernel frees when its holder dies, and that is taken from one that hangs.

`flock` on a file of the state folder. The file says who holds it; a holder that has outlived its deadline is killed,
but only if it is still the very process that took the lock: a process id alone may belong to another by then.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO

PROC: Final = Path("/proc")

GRACE_S: Final = 60.0
"""A holder gets this long after its deadline to end by itself."""

DEATH_S: Final = 10.0
"""A killed process is gone after this long, unless it waits for a disk."""


class Holder(NamedTuple):
    """Who holds the lock.

    Attributes:
        pid: its process id.
        began: when that process began, in the kernel's clock ticks since the boot: no two of one pid are equal.
        boot: the boot that `began` and `since` count from.
        since: when it took the lock, seconds since the boot, which no change of the wall clock moves.
        deadline_s: how long it may take.
        tick: the tick that it works on.
    """

    pid: int
    began: str
    boot: str
    since: float
    deadline_s: float
    tick: str

    @property
    def age_s(self) -> float:
        """How long it has held the lock."""
        return since_boot() - self.since

    @property
    def alive(self) -> bool:
        """Whether the process that took the lock still runs."""
        return self.boot == boot_id() and self.began == process_start(self.pid)


class Held(NamedTuple):
    """The lock was taken.

    Attributes:
        took_over: the process that hung and was killed for it.
    """

    took_over: Holder | None = None


@contextlib.contextmanager
def locked(path: Path, tick: str, deadline_s: float) -> Iterator[Held | Holder]:
    """Hold the lock for the block; where somebody else is at work give the `Holder` instead, without waiting.

    Args:
        path: the lock's file, on a local file system.
        tick: what the lock is taken for; told to whoever finds it held.
        deadline_s: after this long and `GRACE_S` the next one kills us.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+", buffering=0) as file:
        took_over = None
        if not _try(file):
            holder = read_holder(path)
            took_over = holder if holder is not None and _end(holder) and _wait(file) else None
            if took_over is None:
                yield holder or Holder(0, "", "", since_boot(), deadline_s, "?")
                return
        _sign(file, Holder(os.getpid(), process_start(os.getpid()), boot_id(), since_boot(), deadline_s, tick))
        yield Held(took_over)


def read_holder(path: Path) -> Holder | None:
    """What the lock's file says; None where it says nothing that can be read."""
    try:
        return Holder(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def boot_id() -> str:
    """Names the boot of this machine."""
    return (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def since_boot() -> float:
    """Seconds since the boot, those asleep included; the same for all processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def process_start(pid: int) -> str:
    """When a process began, in clock ticks since the boot; '' where it has gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, *fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return "" if state == "Z" else fields[18]


def _try(file: FileIO) -> bool:
    """Take the lock if it is free."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _end(holder: Holder) -> bool:
    """Kill a holder that hangs; whether it was one."""
    if not holder.alive or holder.age_s < holder.deadline_s + GRACE_S:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(holder.pid, signal.SIGKILL)
    return True


def _wait(file: FileIO) -> bool:
    """Take the lock once the kernel has freed it; whether it has."""
    until = time.monotonic() + DEATH_S
    while not _try(file):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def _sign(file: FileIO, holder: Holder) -> None:
    """Write who holds it. In place: another name for the file would be another lock."""
    file.truncate(0)
    file.write(json.dumps(holder._asdict()).encode())
