"""Several parts at a time: what can be made next, and who makes it."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass
class Queue:
    """Parts that are not there yet.

    Attributes:
        needs: names of the parts that each waits for, of those that are not there; in an order in which they can be
            made one after the other.
        expected: seconds that each may take.
        in_order: make them in that order; else what most of the time waits for comes first.
        failed: what could not be made, and what needs that.
    """

    needs: Mapping[str, set[str]]
    expected: Mapping[str, float]
    in_order: bool = True
    failed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.left = dict.fromkeys(self.needs)
        self._begun: set[str] = set()
        self._chain = self._chains()

    def take(self, most: int) -> list[str]:
        """Up to `most` parts that can be made now; they count as begun."""
        ready = [n for n in self.left if n not in self._begun and not self.needs[n] & self.left.keys()]
        if not self.in_order:
            ready.sort(key=lambda n: -self._chain[n])
        taken = ready[:most]
        self._begun |= set(taken)
        return taken

    def done(self, name: str) -> None:
        """The part is there."""
        del self.left[name]

    def fail(self, name: str) -> list[str]:
        """The part cannot be made; returns the names of those that need it, which are left out."""
        lost = [name]
        for other in self.left:  # in their order: what needs it comes after it
            if self.needs[other] & set(lost):
                lost.append(other)
        for each in lost:
            del self.left[each]
        self.failed += lost
        return lost[1:]

    def place(self, name: str) -> str:
        """How far along a part is, for people."""
        return f"[{list(self.needs).index(name) + 1}/{len(self.needs)}]"

    def left_s(self) -> float:
        """Seconds that what is left may take, one after the other."""
        return sum(self.expected[n] for n in self.left)

    def _chains(self) -> dict[str, float]:
        """Seconds of the longest chain of parts that begins with each."""
        chain = dict(self.expected)
        for name in reversed(list(self.needs)):
            for need in self.needs[name]:
                chain[need] = max(chain[need], self.expected[need] + chain[name])
        return chain


class Alone(Executor):
    """Does what is submitted there and then, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call it; the future is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # whoever asks for the result gets it
            future.set_exception(error)
        return future


def crew(jobs: int) -> Executor:
    """Who makes the parts: this process, or `jobs` others that share the processors."""
    if jobs == 1:
        return Alone()
    threads = max(1, (os.cpu_count() or 1) // jobs)
    return ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_share, initargs=(threads,))


def _share(threads: int) -> None:
    """Keep this process, and those that it starts, to its share of the processors.

    Libraries read this as they are loaded: it comes before the first part, and nothing here loads them earlier.
    """
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
