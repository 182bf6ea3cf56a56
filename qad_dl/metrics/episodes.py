"""Episodes of alarm: hot ticks of one series, gaps of up to 3 ticks joined, cut every 24 h (interfaces, section 8).

An episode starts at a hot tick. A run of hot ticks that are joined is cut where 24 h have passed since the start of its
last episode: the next one starts at the first hot tick from there on.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from qad_dl.scratch import IN_MEMORY, Scratch

if TYPE_CHECKING:
    from numpy.typing import NDArray

JOIN_TICKS: Final = 3
"""Cold ticks between two hot ones that do not end an episode."""

REACH: Final = JOIN_TICKS + 1
"""Two hot ticks at most this far apart belong together."""

CHUNK: Final = 1 << 20
"""Thresholds looked at at once; bounds the memory, not the result."""

BLOCK: Final = 1 << 18
"""(series, tick) pairs counted at once; bounds the memory, not the result."""


def episode_begins(hot: NDArray[np.bool_], cut: int) -> NDArray[np.bool_]:
    """Where an episode begins, [N, T] bool.

    Args:
        hot: [N, T] bool, ticks at or above the threshold; a tick without a score is not hot.
        cut: ticks in 24 h.
    """
    begins = np.zeros(hot.shape, np.bool_)
    rows, columns = np.nonzero(hot)
    # One number per hot tick, ascending; series are kept so far apart that no gap or cut reaches across.
    stride = hot.shape[1] + REACH + cut
    key = rows * stride + columns
    first = np.flatnonzero(np.diff(key, prepend=-stride) > REACH)
    last = np.append(first[1:], len(key))[: len(first)] - 1
    while first.size:
        begins[rows[first], columns[first]] = True
        first = np.searchsorted(key, key[first] + cut)
        inside = first <= last
        first, last = first[inside], last[inside]
    return begins


class Counts(NamedTuple):
    """How many episodes begin in a mask at each threshold that makes a difference.

    Attributes:
        threshold: the distinct positive scores, descending, [K] float64.
        episodes: episodes that begin in the mask with the threshold there, [K] int64.
    """

    threshold: NDArray[np.float64]
    episodes: NDArray[np.int64]

    def lowest(self, allowed: float) -> int | None:
        """Index of the lowest threshold with at most `allowed` episodes; None where every threshold has more."""
        # The slack is for a product such as 0.1 * 30 days, which is not 3 in floating point.
        within = np.flatnonzero(self.episodes <= allowed + 1e-9)
        return int(within[-1]) if within.size else None

    def above(self, value: float) -> int:
        """How many of the thresholds are above a value."""
        return bisect.bisect_left(range(len(self.threshold)), -value, key=lambda i: -self.threshold[i])

    def lowest_rate(self, days: float, most: float) -> int | None:
        """Index of the lowest threshold with at most so many episodes per day, down to where they are most."""
        end = int(np.argmax(self.episodes)) + 1
        for low in range((end - 1) // CHUNK * CHUNK, -1, -CHUNK):
            within = np.flatnonzero(self.episodes[low : min(low + CHUNK, end)] / days <= most)
            if within.size:
                return low + int(within[-1])
        return None

    def moved(self, by: float) -> Counts:
        """The same of scores that are larger by so much; the thresholds are changed in their place."""
        for low in range(0, len(self.threshold), CHUNK):
            self.threshold[low : low + CHUNK] += by
        return self


def count_episodes(
    scores: NDArray[np.float64], where: NDArray[np.bool_], cut: int, scratch: Scratch = IN_MEMORY
) -> Counts:
    """Count the episodes that begin in a mask, exactly and for every threshold at once.

    The number is not monotone in the threshold (a lower one joins episodes and moves cuts), so every distinct score has
    to be looked at. The total is a sum over ticks: as the threshold sinks to a tick's score, that tick turns hot, and
    only the run that it extends or joins changes. Runs before and after are found for all ticks at once.

    Args:
        scores: [N, T] float64; NaN is never hot, and neither is a score of 0.
        where: [N, T] bool, the episodes counted begin here.
        cut: ticks in 24 h.
        scratch: room for as many thresholds as there are ticks.
    """
    n, t = scores.shape
    step = max(1, BLOCK // max(1, t))
    blocks = [slice(i, i + step) for i in range(0, n, step)]
    # The score is the real part and the change the imaginary one: so they are sorted together, in their place.
    hot = scratch.empty((sum(int((scores[rows] > 0).sum()) for rows in blocks),), np.complex128)
    at = 0
    for rows in blocks:
        value, change = _changes(scores[rows], where[rows], cut)
        hot.real[at : at + len(value)], hot.imag[at : at + len(value)] = -value, change
        at += len(value)
    hot.sort()
    return _totals(hot, scores.dtype, scratch)


def _totals(hot: NDArray[np.complex128], kind: np.dtype[Any], scratch: Scratch) -> Counts:
    """The distinct scores and the sums of the changes down to each, of scores and changes in order."""
    threshold, episodes = scratch.empty(hot.shape, kind), scratch.empty(hot.shape, np.int64)
    found, total = 0, 0
    for low in range(0, len(hot), CHUNK):
        value = hot.real[low : low + CHUNK + 1]
        chunk = value[:CHUNK]
        final = np.flatnonzero(np.diff(value, append=np.inf)[: len(chunk)] != 0)
        totals = total + np.cumsum(hot.imag[low : low + CHUNK].astype(np.int64))
        threshold[found : found + len(final)], episodes[found : found + len(final)] = -chunk[final], totals[final]
        found, total = found + len(final), int(totals[-1])
    return Counts(threshold[:found], episodes[:found])


def _changes(
    scores: NDArray[np.float64], where: NDArray[np.bool_], cut: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Per tick with a positive score: the score, and by how much the count changes when that tick turns hot."""
    runs = _Runs(scores, where, cut)
    row, at = np.nonzero(scores > 0)
    level = runs.rank[row, at + REACH]
    back, ahead = runs.neighbour(row, at, level, -1), runs.neighbour(row, at, level, 1)
    start, end = runs.edge(row, at, level, -1), runs.edge(row, at, level, 1)
    change = runs.begins(row, start, end, level)
    # Before, the tick was a gap inside one run, or up to two runs ended within reach of it.
    inside = (back > 0) & (ahead > 0) & (back + ahead <= REACH)
    change[inside] -= runs.begins(row[inside], start[inside], end[inside], level[inside] + 1)
    left = (back > 0) & ~inside
    change[left] -= runs.begins(row[left], start[left], (at - back)[left], level[left] + 1)
    right = (ahead > 0) & ~inside
    change[right] -= runs.begins(row[right], (at + ahead)[right], end[right], level[right] + 1)
    return scores[row, at], change


class _Runs:
    """Runs of hot ticks at any level, where ranks within a series stand for scores, so that no two are equal.

    Equal scores are ranked in any order: the count after the last of them does not depend on it.
    """

    def __init__(self, scores: NDArray[np.float64], where: NDArray[np.bool_], cut: int) -> None:
        n, t = scores.shape
        order = np.argsort(scores, axis=1, kind="stable")
        rank = np.empty((n, t), np.int32)
        np.put_along_axis(rank, order, np.broadcast_to(np.arange(t, dtype=np.int32), (n, t)), axis=1)
        self.rank = np.full((n, t + 2 * REACH), -1, np.int32)
        self.rank[:, REACH : REACH + t] = np.where(scores > 0, rank, -1)
        self._where = where
        self._cut = cut
        self._lowest = {side: _minima(self._loudest(side, t), side) for side in (-1, 1)}

    def _loudest(self, side: int, t: int) -> NDArray[np.int32]:
        """The highest rank within reach on one side of each tick, [N, T]: below it the run ends there."""
        views = [self.rank[:, REACH + side * d : REACH + side * d + t] for d in range(1, REACH + 1)]
        loudest: NDArray[np.int32] = np.maximum.reduce(views)
        return loudest

    def neighbour(
        self, row: NDArray[np.int64], at: NDArray[np.int64], level: NDArray[np.int32], side: int
    ) -> NDArray[np.int64]:
        """Distance to the nearest tick above `level` on one side; 0 where none is within reach."""
        distance = np.zeros(len(at), np.int64)
        for d in range(REACH, 0, -1):
            distance[self.rank[row, at + REACH + side * d] > level] = d
        return distance

    def edge(
        self, row: NDArray[np.int64], at: NDArray[np.int64], level: NDArray[np.int32], side: int
    ) -> NDArray[np.int64]:
        """The last tick, from `at` to one side, of the run that is hot at `level`.

        It is the nearest tick with nothing hot within reach on that side, found by halving over a table of minima.
        """
        place = at.copy()
        table = self._lowest[side]
        for power in range(len(table) - 1, -1, -1):
            place += np.where(table[power][row, place] >= level, side << power, 0)
        return place

    def begins(
        self, row: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64], level: NDArray[np.int32]
    ) -> NDArray[np.int64]:
        """Episodes of the run [start, end] of ticks ranked `level` or higher that begin in the mask."""
        count = self._where[row, start].astype(np.int64)
        place = start + self._cut
        left = np.flatnonzero(place <= end)
        while left.size:
            place[left] += self._gap(row[left], place[left], level[left])
            count[left] += self._where[row[left], place[left]]
            place[left] += self._cut
            left = left[place[left] <= end[left]]
        return count

    def _gap(self, row: NDArray[np.int64], at: NDArray[np.int64], level: NDArray[np.int32]) -> NDArray[np.int64]:
        """Ticks from `at`, inside a run, to the first hot one; at most `JOIN_TICKS`."""
        gap = np.zeros(len(at), np.int64)
        for d in range(JOIN_TICKS, -1, -1):
            gap[self.rank[row, at + REACH + d] >= level] = d
        return gap


def _minima(values: NDArray[np.int32], side: int) -> list[NDArray[np.int32]]:
    """Minimum over the 2^k ticks from each tick to one side, for every k; beyond the edge of the grid it is -1."""
    table = [values]
    width = 1
    while width < values.shape[1]:
        last = table[-1]
        shifted = np.full_like(last, -1)
        if side < 0:
            shifted[:, width:] = last[:, :-width]
        else:
            shifted[:, :-width] = last[:, width:]
        table.append(np.minimum(last, shifted))
        width *= 2
    return table
