"""From reconstructions to one number per tick: errors, evidence over time, the statistic that is calibrated.

errors      z = (x - reconstruction) / spread, clipped, one per horizon and state
evidence    e = sum over k < K of w (1 - w)^k z at t - k, with its sign: a small error that stays adds up, a noisy
            one cancels; several weights w, fast for big deviations and patient for small ones
statistic   R = sqrt(mean over states of (e / its own spread)^2), one per (horizon, weight) pair
ratio       r = max over pairs of R / (the 99th percentile of R in the series' own healthy time)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.schema import ENDED_BY_OTHERS, FAILURE_STATES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

ERROR_CLIP: Final = 8.0
"""Errors beyond this are clipped: one wild tick must not outweigh a steady deviation of an hour."""


@dataclass(frozen=True)
class Channel:
    """One way of accumulating evidence.

    Attributes:
        horizon: index of the model's horizon.
        weight: share of the newest error in the exponential average.
    """

    horizon: int
    weight: float


@dataclass(frozen=True)
class Evidence:
    """How errors become evidence.

    Attributes:
        channels: P ways of accumulating.
        ticks: K, errors older than this have no influence.
    """

    channels: tuple[Channel, ...]
    ticks: int

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; `from_json` is the inverse."""
        return {"channels": [[c.horizon, c.weight] for c in self.channels], "ticks": self.ticks}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evidence:
        """Read what `to_json` wrote."""
        return cls(tuple(Channel(int(h), float(w)) for h, w in data["channels"]), int(data["ticks"]))


def errors(
    values: NDArray[np.float32], reconstruction: NDArray[np.float32], spread: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Clipped errors in units of the model's own spread.

    Args:
        values: [N, T, S] standardised ln(1 + jobs), NaN where there is none.
        reconstruction: [N, T, H, S].
        spread: [N, T, H, S] > 0.

    Returns:
        [N, T, H, S] float32, 0 where there is no value: no error, and none made up.
    """
    z = np.clip((values[:, :, None] - reconstruction) / spread, -ERROR_CLIP, ERROR_CLIP)
    return np.where(np.isfinite(z), z, np.float32(0))


def accumulate(z: NDArray[np.float32], how: Evidence) -> NDArray[np.float32]:
    """Signed exponential averages over the last K errors.

    A recursion that also takes out what is K ticks old: the same number whichever tick it began at, as long as K
    ticks are given before the first one that is used.

    Args:
        z: [N, T, H, S] errors.
        how: the channels.

    Returns:
        [N, T, P, S] float32.
    """
    weight = np.array([c.weight for c in how.channels])[None, :, None]
    horizon = [c.horizon for c in how.channels]
    oldest = weight * (1 - weight) ** how.ticks
    n, t, _, s = z.shape
    out = np.empty((n, t, len(horizon), s), np.float32)
    state = np.zeros((n, len(horizon), s))
    for i in range(t):
        state = (1 - weight) * state + weight * z[:, i, horizon]
        if i >= how.ticks:
            state -= oldest * z[:, i - how.ticks, horizon]
        out[:, i] = state
    return out


def allow_expected(
    evidence: NDArray[np.float32], expected: NDArray[np.bool_], states: Sequence[str]
) -> NDArray[np.float32]:
    """Where a fall is expected, keep only rises of failures: a drain and the ramp-up after it are no anomaly.

    Fewer failed jobs than expected are good news at any time, and jobs that users or the brokerage end say nothing of a
    queue: neither is ever evidence.

    Args:
        evidence: [N, T, P, S].
        expected: [N, T].
        states: names, [S].
    """
    bad = np.array([s in FAILURE_STATES for s in states])
    ended = np.array([s in ENDED_BY_OTHERS for s in states])
    evidence = np.where(ended, np.float32(0), np.where(bad, np.maximum(evidence, 0), evidence))
    if not expected.any():
        return evidence
    kept = np.where(bad, np.maximum(evidence, 0), np.float32(0))
    return np.where(expected[:, :, None, None], kept, evidence)


def statistic(evidence: NDArray[np.float32], spread: NDArray[np.float32]) -> NDArray[np.float32]:
    """Root mean square over states of evidence in units of its own healthy spread.

    Args:
        evidence: [N, T, P, S].
        spread: [N, P, S].

    Returns:
        [N, T, P] float32.
    """
    scaled = evidence / spread[:, None]
    root: NDArray[np.float32] = np.sqrt(np.mean(scaled**2, axis=3))
    return root
