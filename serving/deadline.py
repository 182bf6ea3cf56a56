"""A deadline for the whole tick, by the kernel's timer: it also ends what waits for an answer that never comes."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qad_dl.errors import QadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


class DeadlineError(QadError):
    """The tick takes longer than it may. What it has kept, the next one goes on with."""

    exit_code = 1


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise `DeadlineError` in the block once `seconds` have passed; only in the main thread.

    Whatever the block raises after the alarm is of its making: a library that is interrupted may say something else.
    """
    rung = False
    msg = f"the tick took longer than {seconds:.0f} s and was ended; what it has kept, the next one goes on with"

    def ring(_signal: int, _frame: FrameType | None) -> None:
        nonlocal rung
        rung = True
        raise DeadlineError(msg)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except Exception as error:
        if rung and not isinstance(error, DeadlineError):
            raise DeadlineError(msg) from error
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
