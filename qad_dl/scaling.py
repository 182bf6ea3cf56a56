"""Counts on one scale: a count of 3 and one of 9,000, a queue with history and one without.

`x = ln(1 + jobs)`, then per series and state `(x - loc) / scale`. Stock states are jobs at the tick; flow states are
jobs per tick. The logarithm makes a relative change of a large count equal to one of a middling count; that a small
count is noisier is left to the model, which states its own spread and is given `loc` and `scale` as inputs.

Measurements that are no counts (`Quantity.MEASUREMENTS`, of any sign and unit) are their own x.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCALE_FLOOR: Final = 0.2
"""Smallest scale in units of ln(1 + jobs): a state that never moved is not judged finer than a change of a fifth."""

SCALE_SHARE: Final = 0.1
"""Smallest scale of a measurement, which has no unit that we know: this share of the state's median scale over the
series in which it moves at all."""

CLIP: Final = 15.0
"""Standardised values beyond this are clipped: the model never saw them and cannot use their size."""


class Quantity(StrEnum):
    """What the values of a history are."""

    COUNTS = "counts"
    MEASUREMENTS = "measurements"


def to_x(values: NDArray[np.float32], quantity: Quantity) -> NDArray[np.float32]:
    """Values on the scale that is standardised: ln(1 + jobs), or measurements as they are; NaN kept."""
    return to_log(values) if quantity is Quantity.COUNTS else values


def to_values(x: NDArray[np.float32], quantity: Quantity) -> NDArray[np.float32]:
    """Inverse of `to_x`."""
    return to_jobs(x) if quantity is Quantity.COUNTS else x


def to_log(counts: NDArray[np.float32]) -> NDArray[np.float32]:
    """`ln(1 + jobs)`, float32, NaN kept: of whole numbers, as exact as `log1p` and three times as fast."""
    x: NDArray[np.float32] = np.log(counts + np.float32(1))
    return x


def to_jobs(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inverse of `to_log`, not below 0."""
    jobs: NDArray[np.float32] = np.maximum(np.expm1(x), 0).astype(np.float32)
    return jobs


class Scale(NamedTuple):
    """Location and scale of ln(1 + jobs), arrays of one shape [..., S] float32."""

    loc: NDArray[np.float32]
    scale: NDArray[np.float32]

    def apply(self, x: NDArray[np.float32], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Standardise x [N, T, S] with loc and scale [N, S]; clipped, NaN kept; into `out` where that is given."""
        standardised: NDArray[np.float32] = np.subtract(x, self.loc[:, None], out=out)
        standardised /= self.scale[:, None]
        return np.clip(standardised, -CLIP, CLIP, out=standardised)


def fit_scale(x: NDArray[np.float32], use: NDArray[np.bool_], quantity: Quantity = Quantity.COUNTS) -> Scale:
    """Robust location and scale per series and state.

    The location is the median. The scale is the largest of the interquartile range over 1.349, half the standard
    deviation (a state that is zero most of the time has no interquartile range) and `SCALE_FLOOR`, or what
    `SCALE_SHARE` says.

    Args:
        x: [N, T, S] ln(1 + jobs), or measurements.
        use: [N, T] ticks to fit on; series without any get NaN.
        quantity: which of the two.
    """
    masked = np.where(use[:, :, None], x, np.nan)
    masked.sort(axis=1)  # NaN last
    count = use.sum(axis=1)
    quarters = [_ranked(masked, count, q) for q in (0.25, 0.5, 0.75)]
    total = np.maximum(count, 1)[:, None]
    mean = np.nansum(masked, axis=1) / total
    spread = np.sqrt(np.nansum((masked - mean[:, None]) ** 2, axis=1) / total)
    scale = np.maximum((quarters[2] - quarters[0]) / 1.349, spread / 2)
    scale = np.maximum(scale, SCALE_FLOOR if quantity is Quantity.COUNTS else _floor(scale[count > 0]))
    scale[count == 0] = np.nan
    return Scale(quarters[1].astype(np.float32), scale.astype(np.float32))


def _floor(scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Smallest scale of each measurement, [S], from those of the series [N, S]; 1 for one that never moved anywhere."""
    floor = np.ones(scale.shape[1], np.float32)
    for s, own in enumerate(scale.T):
        if own.any():
            floor[s] = SCALE_SHARE * np.median(own[own > 0])
    return floor


def _ranked(ordered: NDArray[np.float32], count: NDArray[np.int64], q: float) -> NDArray[np.float32]:
    """The q-quantile of each row's first `count` values, [N, S]."""
    rank = np.maximum(np.ceil(q * count).astype(np.int64) - 1, 0)
    return np.take_along_axis(ordered, rank[:, None, None], axis=1)[:, 0]
