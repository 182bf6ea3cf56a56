"""Runs of flagged ticks of one series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

JOIN_TICKS: Final = 3
"""Flagged ticks this far apart or nearer are one event, as in the measures (interfaces, section 8)."""


class Event(NamedTuple):
    """One run of flagged ticks of a series.

    Attributes:
        start, end: first flagged tick and the one after the last, indices into the ticks of the range.
        peak: the flagged tick with the highest score.
    """

    start: int
    end: int
    peak: int


def find_events(flagged: NDArray[np.bool_], score: NDArray[np.float64], join: int = JOIN_TICKS) -> list[Event]:
    """Join the flagged ticks of one series, both [T], into events; unflagged gaps of up to `join` are bridged."""
    ticks = np.flatnonzero(flagged)
    if ticks.size == 0:
        return []
    groups = np.split(ticks, np.flatnonzero(np.diff(ticks) > join + 1) + 1)
    heights = np.where(np.isfinite(score), score, -np.inf)
    return [Event(int(g[0]), int(g[-1]) + 1, int(g[np.argmax(heights[g])])) for g in groups]
