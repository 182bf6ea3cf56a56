"""Which part of a process takes the time, and which makes its memory grow."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import inspect
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from training.bench.hooks import Hooks


class HookGoneError(RuntimeError):
    """A function whose time was measured is no longer where it was."""


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

    def watch(self, hooks: Hooks) -> None:
        """Let every call of functions belong to their parts; of a generator, the making of every piece.

        Raises:
            HookGoneError: one is not there any more.
        """
        for (owner, attribute), (_, name) in zip([find(hook) for hook, _ in hooks], hooks, strict=True):
            plain: Callable[..., Any] = getattr(owner, attribute)
            setattr(owner, attribute, self._watched(plain, name))

    def _watched(self, plain: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(plain)
        def whole(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return plain(*args, **kwargs)

        @functools.wraps(plain)
        def piecewise(*args: Any, **kwargs: Any) -> Iterator[Any]:
            pieces = plain(*args, **kwargs)
            while True:
                with self.part(name):
                    try:
                        piece = next(pieces)
                    except StopIteration:
                        return
                yield piece
                del piece  # what uses it may want its memory back

        return piecewise if inspect.isgeneratorfunction(plain) else whole

    def figures(self) -> dict[str, dict[str, float]]:
        """By part, in the order in which they ended first."""
        return {name: dict(vars(spent)) for name, spent in self.spent.items()}


def find(hook: str) -> tuple[Any, str]:
    """The module or class that holds a function, and its name there.

    Args:
        hook: module:function or module:Class.function.

    Raises:
        HookGoneError: it is not there.
    """
    module, _, path = hook.partition(":")
    *classes, attribute = path.split(".")
    try:
        owner: Any = functools.reduce(getattr, classes, importlib.import_module(module))
        getattr(owner, attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        msg = f"{hook} has gone, so its time cannot be measured: name what took its place in training/bench/hooks.py"
        raise HookGoneError(msg) from error
    return owner, attribute


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
