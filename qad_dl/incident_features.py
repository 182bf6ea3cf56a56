"""What an incident looks like, as a few numbers: what a label on one incident says of others is said through these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.results import Details, Results

HIGH_AND_LOW: Final = (1, -1)

NOTABLE: Final[Mapping[str, float]] = {
    "excess": 1.0,
    "queues": 2.0,
    "share": 0.5,
    "length": 2.0,
    "jobs": 1.0,
    "change": 1.5,
    "expected": 0.5,
    "flagged": 0.5,
}
"""Feature -> a difference that people would notice: ten times less likely, four times as many queues or as long, half
of the value's queues, ten times the jobs, about five times what was expected, half of the time."""

MOST: Final = 4.0
"""No feature counts for more than so many notable differences."""


def incident_features(
    results: Results, series: Sequence[int], start: int, end: int, of: int = 0
) -> NDArray[np.float64]:
    """The features of one incident, [F] in the order of `NOTABLE`, finite.

    - excess: highest score above the threshold, in powers of ten; 0 at the threshold.
    - queues: log2 of how many series it has.
    - share: of the series that have its value, how many it has; 1 where that is not known.
    - length: log2 of its ticks.
    - jobs: log10 of 1 + the jobs, seen or expected, of the state that leads, where it is farthest off; 0 if not known.
    - change: ln of how many times as many jobs were seen there as were expected, negative for fewer; 0 if not known.
    - expected: share of its time in which a fall was expected.
    - flagged: share of its time that is flagged.

    Args:
        results: with details.
        series: indices of its series.
        start: its first tick.
        end: one past its last.
        of: how many series have the value that names it; 0 where that is not known.
    """
    ticks, rows = slice(start, end), list(series)
    score = results.score[rows, ticks]
    highest = float(np.nanmax(score)) if np.isfinite(score).any() else results.threshold
    state, direction = leader(results, rows, ticks)
    observed = expected = 0.0
    if results.details is not None:
        _, seen, wanted = figures(results.details, rows, ticks, state, direction)
        observed, expected = (0.0, 0.0) if seen is None or wanted is None else (seen, wanted)
    return np.array(
        [
            highest - results.threshold,
            np.log2(len(rows)),
            len(rows) / of if of >= len(rows) else 1.0,
            np.log2(end - start),
            np.log10(1 + max(observed, expected)),
            np.log1p(observed) - np.log1p(expected),
            results.expected[rows, ticks].mean(),
            results.flagged[rows, ticks].mean(),
        ]
    )


def in_notable_units(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Features [..., F] in units of `NOTABLE`, within +-`MOST`: the same for an incident whatever else is shown."""
    units: NDArray[np.float64] = np.clip(features / np.array(list(NOTABLE.values())), -MOST, MOST)
    return units


def leader(results: Results, series: Sequence[int], ticks: slice) -> tuple[int, int]:
    """The state and direction with the most behind them; -1 and 0 where nothing is scored.

    Of what each shows by itself: what others have told a queue says nothing of its states.
    """
    rows = list(series)
    score = np.nan_to_num(results.alone[rows, ticks])
    state, direction = results.state[rows, ticks], results.direction[rows, ticks]
    weights = {
        (s, d): float(score[(state == s) & (direction == d)].sum())
        for s in np.unique(state[state >= 0]).tolist()
        for d in HIGH_AND_LOW
    }
    return max(weights, key=lambda key: weights[key]) if any(weights.values()) else (-1, 0)


def figures(
    details: Details, series: Sequence[int], ticks: slice, state: int, direction: int
) -> tuple[int, float | None, float | None]:
    """(tick, observed, expected) of the queues together, where the state is farthest off to its side."""
    if state < 0:
        return ticks.start, None, None
    observed, expected = (together(array[series, ticks, state]) for array in (details.observed, details.reconstruction))
    distance = direction * (np.log1p(observed) - np.log1p(expected))
    if not np.isfinite(distance).any():
        return ticks.start, None, None
    worst = int(np.nanargmax(distance))
    return ticks.start + worst, round(float(observed[worst]), 1), round(float(expected[worst]), 1)


def together(counts: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum over queues, [Q, T] to [T]; NaN where none is known."""
    known = np.isfinite(counts)
    return np.where(known.any(axis=0), np.where(known, counts, 0.0).sum(axis=0, dtype=np.float64), np.nan)
