"""Labelled things as thresholds see them: how far each queue's highest score lies above the threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.events import find_events
from qad_dl.incidents_file import QUEUE_FIELD
from qad_dl.labels import EXPECTED, PROBLEM
from qad_dl.metrics.budget import GRACE
from qad_dl.metrics.truth import span
from qad_dl.timeparse import format_time
from qad_dl.tuning.file import LOWEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from qad_dl.label_evaluation import Judged
    from qad_dl.results import Results


@dataclass(frozen=True)
class Marked:
    """A thing that reviewers called a problem, or expected, and do not dispute.

    Attributes:
        name: what people call it.
        problem: which of the two.
        start: when it begins, UTC `datetime64[s]`.
        rows: its series, [R].
        heights: by how much the highest score of each, to an hour after its end, is above the threshold, [R]; below it
            where negative, -inf where it has no score.
    """

    name: str
    problem: bool
    start: np.datetime64
    rows: NDArray[np.int64]
    heights: NDArray[np.float64]

    def height(self, offset: NDArray[np.float64] | None = None) -> float:
        """The highest of them, where the thresholds of the series, [N], are higher by `offset`."""
        return float((self.heights - (0.0 if offset is None else offset[self.rows])).max())

    def flagged(self, offset: NDArray[np.float64] | None = None) -> bool:
        """Whether any of its series is flagged in it."""
        return self.height(offset) >= 0


@dataclass(frozen=True)
class Weak:
    """Runs of scores that come near the threshold and stay below it, and that nobody called anything, [E] each.

    Attributes:
        rows: series.
        starts: when they begin, UTC `datetime64[s]`.
        heights: highest score over the threshold, below 0.
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.datetime64]
    heights: NDArray[np.float64]

    def only(self, on: NDArray[np.bool_]) -> Weak:
        """Some of them."""
        return Weak(self.rows[on], self.starts[on], self.heights[on])


def marked(things: Iterable[Judged], results: Results) -> list[Marked]:
    """The things that count for thresholds.

    Args:
        things: what was labelled.
        results: not tuned.
    """
    return [_marked(thing, results) for thing in things if thing.verdict in (PROBLEM, EXPECTED)]


def weak_runs(things: Iterable[Judged], results: Results) -> Weak:
    """What comes near the threshold outside of all that was labelled."""
    near = results.score >= results.threshold + LOWEST
    for thing in things:
        near[list(thing.rows), span(results.times, thing.start, thing.end + GRACE)] = False
    runs = [(i, event) for i in np.flatnonzero(near.any(axis=1)) for event in find_events(near[i], results.score[i])]
    heights = np.array([results.score[i, event.peak] for i, event in runs], np.float64) - results.threshold
    below = heights < 0
    rows = np.array([i for i, _ in runs], np.int64)
    starts = results.times[np.array([event.start for _, event in runs], np.int64)]
    return Weak(rows[below], starts[below], heights[below])


def _marked(thing: Judged, results: Results) -> Marked:
    rows, ticks = np.array(thing.rows, np.int64), span(results.times, thing.start, thing.end + GRACE)
    heights = np.nan_to_num(results.score[rows, ticks], nan=-np.inf).max(axis=1, initial=-np.inf) - results.threshold
    return Marked(_name(thing, results), thing.verdict == PROBLEM, thing.start, rows, heights)


def _name(thing: Judged, results: Results) -> str:
    at = results.entity.index(QUEUE_FIELD)
    queues: Sequence[str] = sorted({results.series[row][at] for row in thing.rows})
    more = f" and {len(queues) - 1} more" if len(queues) > 1 else ""
    return f"{queues[0]}{more}, {format_time(thing.start)}"
