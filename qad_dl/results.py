"""What scoring gives: one rectangular block of ticks, scored or with a reason. Files and frames are made from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qad_dl.schema import Times


BY_TICK: Final = ("score", "alone", "flagged", "reason", "known", "expected", "state", "direction", "kind")
"""The arrays [N, T] of results."""


class Details(NamedTuple):
    """Per state, what was seen and what was expected; all arrays [N, T, S] float32, NaN where unscored.

    Attributes:
        observed: jobs counted.
        reconstruction: jobs that the model expected.
        lower: jobs at the lower end of the 95 % band of healthy ticks.
        upper: jobs at its upper end.
        contribution: share of the state in the score of the tick, 0 to 1; the states of a tick sum to 1.
    """

    observed: NDArray[np.float32]
    reconstruction: NDArray[np.float32]
    lower: NDArray[np.float32]
    upper: NDArray[np.float32]
    contribution: NDArray[np.float32]


@dataclass(frozen=True)
class Results:
    """Scores of N series over T ticks (interfaces, section 5).

    Attributes:
        entity: names of the columns that make up a series' key.
        series: keys, [N].
        times: ticks, [T] `datetime64[s]`.
        score: [N, T] float64, -log10 p; NaN where unscored.
        alone: [N, T] float64, the score had the series nothing in common with others (`together`).
        flagged: [N, T] the decision at `budget`.
        reason: [N, T] int8 index into `schema.REASONS`.
        known: [N, T] the series was known at that tick; only these are rows of the table.
        expected: [N, T] a fall was expected.
        state: [N, T] int16 index into `states` of the largest contribution, -1 where unscored.
        direction: [N, T] int8, +1 high, -1 low, 0 where unscored.
        kind: [N, T] int8 index into `kinds` of the likeliest kind of incident by what the series shows by itself, -1
            where unscored or not told.
        states: names of the job states, [S].
        kinds: names of the kinds, [K]; empty where the bundle has no signatures.
        budget: false alarm episodes per series and day that `flagged` is set to.
        threshold: the score at which `flagged` is set.
        levels: (episodes per series and day in normal life, score) of weaker evidence; none if not given.
        details: per-state arrays, where they were asked for.
    """

    entity: tuple[str, ...]
    series: tuple[tuple[str, ...], ...]
    times: Times
    score: NDArray[np.float64]
    alone: NDArray[np.float64]
    flagged: NDArray[np.bool_]
    reason: NDArray[np.int8]
    known: NDArray[np.bool_]
    expected: NDArray[np.bool_]
    state: NDArray[np.int16]
    direction: NDArray[np.int8]
    kind: NDArray[np.int8]
    states: tuple[str, ...]
    kinds: tuple[str, ...]
    budget: float
    threshold: float
    levels: tuple[tuple[float, float], ...] = ()
    details: Details | None = None

    def of(self, series: NDArray[np.int64]) -> Results:
        """Some of the series, by their positions."""
        arrays: dict[str, Any] = {name: getattr(self, name)[series] for name in BY_TICK}
        details = self.details and Details(*(array[series] for array in self.details))
        return replace(self, series=tuple(self.series[i] for i in series.tolist()), details=details, **arrays)
