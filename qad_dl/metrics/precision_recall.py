"""Area under the precision-recall curve, step-wise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def average_precision(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> float | None:
    """Sum over distinct thresholds of (recall gained) x precision; equal scores are one threshold.

    The same number as `sklearn.metrics.average_precision_score`: no interpolation between points.

    Args:
        labels: [K] bool.
        scores: [K] float64, higher is more anomalous; no NaN.

    Returns:
        The average precision, 0 to 1; None where the labels are all alike.
    """
    positives = int(np.count_nonzero(labels))
    if positives in (0, len(labels)):
        return None
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order])
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    gained = np.diff(hits[last], prepend=0)
    return float(np.sum(gained * (hits[last] / (last + 1))) / positives)
