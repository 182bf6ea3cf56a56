"""Which part of a process takes the time, and which makes its memory grow."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Spent:
    """What one part took, what is within it and has a name of its own left out.

    Attributes:
        wall_s: seconds.
        cpu_s: of all threads.
        grown_mb: by how much the peak of the process's memory grew.
        calls: how often it was begun.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    grown_mb: float = 0.0
    calls: int = 0


@dataclass
class PartClock:
    """Adds up what parts take, each without the parts inside it."""

    spent: dict[str, Spent] = field(default_factory=dict)
    _inside: list[tuple[float, float, float]] = field(default_factory=lambda: [(0.0, 0.0, 0.0)])

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is done here belongs to the part `name`."""
        began = _now()
        self._inside.append((0.0, 0.0, 0.0))
        try:
            yield
        finally:
            took = [after - before for before, after in zip(began, _now(), strict=True)]
            inside = self._inside.pop()
            spent = self.spent.setdefault(name, Spent())
            spent.wall_s += took[0] - inside[0]
            spent.cpu_s += took[1] - inside[1]
            spent.grown_mb += took[2] - inside[2]
            spent.calls += 1
            outer = self._inside[-1]
            self._inside[-1] = (outer[0] + took[0], outer[1] + took[1], outer[2] + took[2])

    def watch(self, owner: Any, attribute: str, name: str) -> None:
        """Let every call of a function of a module or class belong to a part.

        Raises:
            AttributeError: it has no such function any more.
        """
        plain: Callable[..., Any] = getattr(owner, attribute)

        @functools.wraps(plain)
        def watched(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return plain(*args, **kwargs)

        setattr(owner, attribute, watched)

    def figures(self) -> dict[str, dict[str, float]]:
        """By part, in the order in which they ended first."""
        return {name: dict(vars(spent)) for name, spent in self.spent.items()}


def peak_mb() -> float:
    """Largest resident set of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def resident_mb() -> float:
    """Resident set of this process now, MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def forget_peak() -> None:
    """Give back what is no longer used, and let `peak_mb` count from what is resident now (Linux)."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _now() -> tuple[float, float, float]:
    return time.perf_counter(), time.process_time(), peak_mb()
