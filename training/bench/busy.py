"""How busy an NVIDIA accelerator is while something runs, by the driver's own count."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

ASK: Final = (
    "nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=500", "--id=0",
)  # fmt: skip


class AcceleratorBusy:
    """While it is open, the driver is asked twice a second in which share of the time a kernel ran."""

    def __init__(self, *, watched: bool, ask: tuple[str, ...] = ASK) -> None:
        """Ask nobody where nothing is to be watched.

        Args:
            watched: there is an accelerator.
            ask: a program that prints a percentage a line until it is ended.
        """
        self.share: float | None = None
        self._ask = ask if watched else ()

    def __enter__(self) -> Self:
        """Begin.

        Raises:
            FileNotFoundError: the driver's program is not there.
        """
        self._out = tempfile.NamedTemporaryFile("w", encoding="ascii")
        self._asking: subprocess.Popen[Any] | None = (
            subprocess.Popen(self._ask, stdout=self._out) if self._ask else None
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, and take the mean."""
        with self._out:
            if self._asking is None:
                return
            self._asking.terminate()
            self._asking.wait()
            said = self.said()
            self.share = statistics.mean(said) / 100 if said else None

    def said(self) -> list[float]:
        """The percentages so far."""
        return [float(line) for line in Path(self._out.name).read_text(encoding="ascii").split()]
