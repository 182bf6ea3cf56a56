"""Sparklines: the score of a range in a few letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPARK_BUCKETS: Final = 84
SPARK_TOP: Final = 30
"""A sparkline's height at the threshold, and half its full height; flagged buckets are above it, others are not."""

ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def sparkline(score: NDArray[np.float64], flagged: NDArray[np.bool_], threshold: float) -> str:
    """The score of one series, [T], in at most `SPARK_BUCKETS` base 64 digits: 0 is unscored, else 1 + height."""
    width = -(-score.size // SPARK_BUCKETS)
    padding = -score.size % width
    scores = np.append(np.where(np.isfinite(score), score, -1.0), np.full(padding, -1.0)).reshape(-1, width).max(axis=1)
    alarms = np.append(flagged, np.zeros(padding, dtype=bool)).reshape(-1, width).any(axis=1)
    height = np.rint(np.clip(scores / max(threshold, 1e-9), 0.0, 2.0) * SPARK_TOP)
    height = np.where(alarms, np.maximum(height, SPARK_TOP + 1), np.minimum(height, SPARK_TOP))
    return "".join(ALPHABET[int(h)] for h in np.where(scores < 0, 0, 1 + height))
