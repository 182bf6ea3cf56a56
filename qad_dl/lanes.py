"""What was made of earlier ticks and is read again by later ones."""

from __future__ import annotations

from typing import NamedTuple


class Lane(NamedTuple):
    """Numbers of each series and tick that later ticks read.

    Attributes:
        width: how many.
        lags: how many ticks before a tick it reads them, descending.
    """

    width: int
    lags: tuple[int, ...]

    @property
    def ticks(self) -> int:
        """Ticks before a tick of which some are read."""
        return max(self.lags, default=0)

    @property
    def whole(self) -> bool:
        """Whether all of them are read."""
        return len(self.lags) == self.ticks

    @classmethod
    def of_all(cls, width: int, ticks: int) -> Lane:
        """All of so many ticks are read."""
        return cls(width, tuple(range(ticks, 0, -1)))
