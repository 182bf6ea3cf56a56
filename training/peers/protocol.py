"""What a peer is, and what all of them share: one scale, one split of the training time, one calibration.

A peer learns from one series and scores it, each tick from that tick and earlier ones. It is given ln(1 + count) (or
values as they are, where they are no counts), standardised by the training time, with what did not arrive filled by the
last that did. It learns from the oldest 70 % of the training time, and its score is divided by its own 99th percentile
in the rest, so that one threshold means the same for every series.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

HELD_OUT: Final = 0.3
"""Newest share of the training time, which calibrates: as for the models (`configs/data/history.yaml`)."""

PERCENTILE: Final = 99.0

CONSTANT: Final = 1e-6
"""A standard deviation below this is none: the state keeps the unit that it came in."""


@dataclass(frozen=True)
class Setting:
    """What a peer may know beside the values.

    Attributes:
        day: ticks in a day.
        seed: of whatever is random.
    """

    day: int
    seed: int = 1


class Fitted(Protocol):
    """A peer that has learned from a series."""

    def score(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """[T, S] standardised values without gaps to [T], higher is more anomalous; NaN before the first possible."""
        ...


class Fit(Protocol):
    """Learns from a series."""

    def __call__(self, train: NDArray[np.float64], observed: NDArray[np.bool_], setting: Setting) -> Fitted:
        """Fit.

        Args:
            train: [T, S] standardised values in the order of time, without gaps.
            observed: [T] whether the tick arrived; else it was filled.
            setting: length of the day, seed.
        """
        ...


def score_series(fit: Fit, x: NDArray[np.float64], train: NDArray[np.bool_], setting: Setting) -> NDArray[np.float64]:
    """Fit a peer to one series and score all of it, calibrated.

    Args:
        fit: the peer.
        x: [T, S], NaN where a tick did not arrive or the series had not begun.
        train: [T] the ticks to learn from.
        setting: length of the day, seed.

    Returns:
        [T], 1 where the 99th percentile of the calibration time is reached. NaN where the tick did not arrive, and all
        along where there is less than a day to learn from or to calibrate on.
    """
    observed = np.asarray(np.isfinite(x).all(axis=1), np.bool_)
    usable = np.flatnonzero(observed & train)
    out = np.full(len(x), np.nan)
    cut = int(len(usable) * (1 - HELD_OUT))
    if cut < setting.day or len(usable) - cut < setting.day:
        return out
    first, split = int(usable[0]), int(usable[cut])
    values = standardised(x, observed, usable[:cut])[first:]
    fitted = fit(values[: split - first], (observed & train)[first:split], setting)
    score = fitted.score(values)
    calibrates = score[usable[cut:] - first]
    top = float(np.nanpercentile(calibrates, PERCENTILE))
    out[first:] = np.where(observed[first:], score / (top if top > 0 else 1.0), np.nan)
    return out


def standardised(x: NDArray[np.float64], observed: NDArray[np.bool_], learn: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean 0 and deviation 1 over the positions `learn`; gaps filled with the last that arrived, [T, S]."""
    mean, deviation = x[learn].mean(axis=0), x[learn].std(axis=0)
    last = np.maximum.accumulate(np.where(observed, np.arange(len(x)), -1))
    values: NDArray[np.float64] = (x[np.maximum(last, 0)] - mean) / np.where(deviation < CONSTANT, 1.0, deviation)
    values[last < 0] = 0.0
    return values


def windows(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """The last `length` ticks at each tick from the `length`-th on, flattened, [T - length + 1, length S]."""
    view = np.lib.stride_tricks.sliding_window_view(values, length, axis=0)
    return view.reshape(len(view), -1)


def complete(observed: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
    """Whether all ticks of each window arrived, [T - length + 1]."""
    return np.asarray(np.lib.stride_tricks.sliding_window_view(observed, length).all(axis=1), np.bool_)


def at_end(scores: NDArray[np.float64], ticks: int) -> NDArray[np.float64]:
    """Scores of windows put at the tick that each ends with, [ticks]; NaN before the first."""
    return np.concatenate([np.full(ticks - len(scores), np.nan), scores])


def averaged(values: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    """Exponential average along time, [T, S], from 0; `weight` is that of the newest value."""
    out, state = np.empty_like(values), np.zeros(values.shape[1])
    for i, value in enumerate(values):
        state = state + weight * (value - state)
        out[i] = state
    return out


def root_mean_square(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over the states, [T]."""
    out: NDArray[np.float64] = np.sqrt(np.mean(values**2, axis=1))
    return out
