"""From reconstructions to what is calibrated: errors, evidence over time, and three statistics of a tick.

errors      z = (x - reconstruction) / spread, clipped, one per horizon and state
doubts      d = ln(spread that the network states / spread of its linear part), read as they are beside the errors
evidence    e = sum over k < K of w (1 - w)^k z at t - k, with its sign: a small error that stays adds up, a noisy
            one cancels; several weights w, fast for big deviations and patient for small ones
signature   L, how much more likely the evidence is under an incident than in normal life (`signatures`)
deviation   max over (horizon, weight) pairs of R / (the 99th percentile of R in the series' own healthy time), with
            R = sqrt(mean over states of (e / its own spread)^2): odd in whatever way
stop        the fall of ln(1 + running) in one tick that jobs which finished do not explain
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from qad_dl.schema import ENDED_BY_OTHERS, FAILURE_STATES, GOOD_STATES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

STOP_LEAST: Final = 4.5
"""Fewer running jobs than this cannot stop: they end together by chance. Half a job below 5, for rounding."""

TOGETHER: Final = 24
"""Ticks that are averaged by one product: fewer are too many products, more are mostly products with zeros."""

DIGITS: Final = 6
"""Of averages, after the point: fewer would turn a last bit of an error into a step that a score shows."""

ERROR_CLIP: Final = 8.0
"""Errors beyond this are clipped: one wild tick must not outweigh a steady deviation of an hour."""


class Channel(NamedTuple):
    """One way of accumulating evidence.

    Attributes:
        horizon: index of what the model gives: its horizons, after them those in its own spread, and after these the
            doubts.
        weight: share of the newest error in the exponential average.
        doubt: whether it is a doubt (`doubts_of`) and no error.
    """

    horizon: int
    weight: float
    doubt: bool = False


class Evidence(NamedTuple):
    """How errors become evidence.

    Attributes:
        channels: P ways of accumulating.
        ticks: K, errors older than this have no influence.
        doubts: of each doubt what the model gives in the linear part's spread, and the same in its own, by index.
    """

    channels: tuple[Channel, ...]
    ticks: int
    doubts: tuple[tuple[int, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; `from_json` is the inverse."""
        channels = [[c.horizon, c.weight, *([True] if c.doubt else [])] for c in self.channels]
        return {"channels": channels, "ticks": self.ticks, "doubts": [list(pair) for pair in self.doubts]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evidence:
        """Read what `to_json` wrote; the first bundles had no doubts."""
        channels = tuple(Channel(int(h), float(w), *map(bool, doubt)) for h, w, *doubt in data["channels"])
        return cls(channels, int(data["ticks"]), tuple((int(a), int(b)) for a, b in data.get("doubts", [])))


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
    z: NDArray[np.float32] = values[:, :, None] - reconstruction
    z /= spread
    np.clip(z, -ERROR_CLIP, ERROR_CLIP, out=z)
    np.copyto(z, np.float32(0), where=np.isnan(z))
    return z


def doubts_of(spread: NDArray[np.float32], of: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
    """How unsure the network is of a tick beside what its linear part always is: ln of the ratio of their spreads.

    Args:
        spread: [N, T, H, S] > 0.
        of: D pairs of indices, of what is in the linear part's spread and of the same in the network's own.

    Returns:
        [N, T, D, S] float32, within the limits of errors.
    """
    wide, own = ([pair[k] for pair in of] for k in (0, 1))
    ratio: NDArray[np.float32] = np.log(spread[:, :, own] / spread[:, :, wide])
    return np.clip(ratio, -ERROR_CLIP, ERROR_CLIP, out=ratio)


def accumulate(z: NDArray[np.float32], how: Evidence, since: int = 0) -> NDArray[np.float32]:
    """Signed exponential averages over the last K errors, as matrix products of some ticks at a time.

    The same number whichever tick it began at, as long as K ticks are given before the first one that is used: the last
    bits, which depend on it, are left out, and with that ties between states fall alike everywhere.

    Args:
        z: [N, T, H, S] errors.
        how: the channels; an error that is lost in the last digit of an average has no influence, see `_heard`.
        since: the first tick whose averages are wanted.

    Returns:
        [N, T - since, P, S] float32, tick by tick in memory.
    """
    n, ticks, _, s = z.shape
    out = np.empty((ticks - since, n, len(how.channels), s), np.float32)
    of_weight: dict[float, list[int]] = {}
    for p, channel in enumerate(how.channels):
        of_weight.setdefault(channel.weight, []).append(p)
    for weight, places in of_weight.items():
        mine, heard = [how.channels[p].horizon for p in places], _heard(weight, how.ticks)
        oldest = max(0, since - heard + 1)
        seen = z[:, oldest:, _evenly(mine)]
        exact = seen.swapaxes(0, 1).astype(np.float64, order="C")
        if weight == 1:
            out[:, :, places] = np.round(exact, DIGITS)
            continue
        for averages, at in _averaged(exact.reshape(len(exact), -1), weight, heard, since - oldest):
            out[at, :, places] = averages.reshape(-1, n, len(places), s)
    return out.swapaxes(0, 1)


def _averaged(
    z: NDArray[np.float64], weight: float, ticks: int, since: int
) -> Iterator[tuple[NDArray[np.float64], slice]]:
    """Averages of the last `ticks` of z [T, C], rounded, some ticks at a time, and which of those from `since` on."""
    weights = _weights(weight, ticks)
    for low in range(since, len(z), TOGETHER):
        high, first = min(low + TOGETHER, len(z)), max(0, low - ticks + 1)
        averages = weights[: high - low, first - (low - ticks + 1) :][:, : high - first] @ z[first:high]
        np.rint(averages, out=averages)
        averages *= 10.0**-DIGITS
        yield averages, slice(low - since, high - since)


def _evenly(places: list[int]) -> slice | list[int]:
    """Ascending places that are equally far apart as a slice, which copies nothing."""
    steps = {b - a for a, b in pairwise(places)} or {1}
    return slice(places[0], places[-1] + 1, steps.pop()) if len(steps) == 1 and min(steps) > 0 else places


@cache
def _heard(weight: float, ticks: int) -> int:
    """The newest errors that have a say in an average: what is left of the others is less than half its last digit."""
    if weight == 1:
        return 1
    return min(ticks, int(np.ceil(np.log(10.0**-DIGITS / 2 / ERROR_CLIP) / np.log1p(-weight))))


@cache
def _weights(weight: float, ticks: int) -> NDArray[np.float64]:
    """Of `ticks - 1` errors and `TOGETHER` more in the averages of the latter, in units of the last digit."""
    age = np.arange(TOGETHER)[:, None] + ticks - 1 - np.arange(TOGETHER + ticks - 1)
    return np.where((age >= 0) & (age < ticks), 10.0**DIGITS * weight * (1 - weight) ** np.maximum(age, 0), 0.0)


def allow_expected(
    evidence: NDArray[np.float32], expected: NDArray[np.bool_], states: Sequence[str]
) -> NDArray[np.float32]:
    """Where a fall is expected, keep only rises of failures: a drain and the ramp-up after it are no anomaly.

    Args:
        evidence: [N, T, P, S].
        expected: [N, T].
        states: names, [S].
    """
    some = np.flatnonzero(expected.any(axis=1))
    if not some.size:
        return evidence
    bad, out = np.array([s in FAILURE_STATES for s in states]), evidence.copy()
    kept = np.where(bad, np.maximum(evidence[some], 0), np.float32(0))
    out[some] = np.where(expected[some][:, :, None, None], kept, evidence[some])
    return out


def bad_news(evidence: NDArray[np.float32], states: Sequence[str]) -> NDArray[np.float32]:
    """Leave out what is no bad news whatever its size, [N, T, P, S].

    Fewer failed jobs and more finished, running or starting ones than expected are good news, and jobs that users or
    the brokerage end say nothing of a queue.
    """
    low = [0.0 if s in FAILURE_STATES or s in ENDED_BY_OTHERS else -np.inf for s in states]
    high = [0.0 if s in GOOD_STATES or s in ENDED_BY_OTHERS else np.inf for s in states]
    bad: NDArray[np.float32] = np.clip(evidence, np.array(low, np.float32), np.array(high, np.float32))
    return bad


def unexplained_stop(x: NDArray[np.float32], states: Sequence[str]) -> NDArray[np.float32]:
    """How far running fell in one tick beyond what finished: ln(1 + before) - ln(1 + now + finished), at least 0.

    The linear and the deep model see a fall of running as a residual like any other, and clip it; that nothing finished
    meanwhile is what tells a queue that was stopped from a task that ended.

    Args:
        x: [N, T, S] ln(1 + jobs), NaN where not counted.
        states: names, [S].

    Returns:
        [N, T] float32; 0 where either tick was not counted, where fewer than `STOP_LEAST` jobs ran before, and where
        running or finished is no state of the data.
    """
    out = np.zeros(x.shape[:2], np.float32)
    if "running" not in states or "finished" not in states:
        return out
    running, finished = (np.expm1(x[:, :, states.index(s)]) for s in ("running", "finished"))
    fall = np.log1p(running[:, :-1]) - np.log1p(running[:, 1:] + finished[:, 1:])
    counted = np.isfinite(fall) & (running[:, :-1] >= STOP_LEAST)
    out[:, 1:] = np.where(counted, np.maximum(fall, 0), 0)
    return out


def whitened(scaled: NDArray[np.float32], factors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scaled evidence [N, T, P, S] times factors [N, P, S, S]: [N, T, P, S] float32."""
    product: NDArray[np.float32] = (scaled.swapaxes(1, 2) @ factors).swapaxes(1, 2)
    return product


def statistic(scaled: NDArray[np.float32]) -> NDArray[np.float32]:
    """Root mean square over states of evidence [N, T, P, S] in units of its own healthy spread: [N, T, P] float32."""
    root: NDArray[np.float32] = np.sqrt(np.mean(scaled**2, axis=3))
    return root
