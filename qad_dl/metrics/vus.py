"""VUS-PR: the volume under the range precision-recall surface.

Paparrizos, Boniol, Palpanas, Tsay, Elmore and Franklin, "Volume Under the Surface", PVLDB 15(11), 2022. Where the paper
leaves a choice, the authors' own program decides, so that figures can be compared: buffers of floor(l/2) samples before
an anomaly and floor(l/2) - 1 after it, thresholds at the scores of 250 linearly spaced ranks, trapezoids between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BUFFER: Final = 24
"""Longest buffer in samples (interfaces, section 8); the volume is the mean over 0, 1, ..., 24."""

THRESHOLDS: Final = 250


def vus_pr(
    labels: NDArray[np.bool_],
    scores: NDArray[np.float64],
    keep: NDArray[np.bool_] | None = None,
    buffer: int = BUFFER,
    thresholds: int = THRESHOLDS,
) -> float | None:
    """Mean over the buffers of the area under the range precision-recall curve of one series.

    Args:
        labels: [T] bool, the anomalous samples.
        scores: [T] float64, higher is more anomalous; no NaN where kept.
        keep: [T] bool, the samples that count. The buffers are laid before the others are dropped.
        buffer: longest buffer in samples.
        thresholds: number of thresholds.

    Returns:
        The volume, 0 to 1; None where no kept sample is anomalous, or all are.
    """
    kept = np.ones(len(labels), np.bool_) if keep is None else keep
    positives = int(np.count_nonzero(labels & kept))
    if positives in (0, int(np.count_nonzero(kept))):
        return None
    order = np.argsort(-scores[kept], kind="stable")
    ranked = scores[kept][order]
    chosen = ranked[np.linspace(0, len(ranked) - 1, thresholds).astype(np.int64)]
    predicted = np.searchsorted(-ranked, -chosen, side="right")
    areas = [
        _area(extended[kept], _segments(extended)[kept], scores[kept], order, chosen, predicted, positives)
        for extended in (extend(labels, length) for length in range(buffer + 1))
    ]
    return float(np.mean(areas))


def extend(labels: NDArray[np.bool_], length: int) -> NDArray[np.float64]:
    """Labels with a buffer of `length`: 1 inside, sqrt(1 - distance / length) beside, summed and clipped at 1; [T]."""
    extended = labels.astype(np.float64)
    half = length // 2
    if half == 0:
        return extended
    edges = np.diff(labels.astype(np.int8), prepend=0, append=0)
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    distance = np.arange(1, half + 1)
    weight = np.sqrt(1 - distance / length)
    before = starts[:, None] - distance
    after = ends[:, None] + distance[:-1]
    for place, share in ((before, weight), (after, weight[:-1])):
        inside = (place >= 0) & (place < len(labels))
        np.add.at(extended, place[inside], np.broadcast_to(share, place.shape)[inside])
    return np.minimum(extended, 1.0)


def _segments(extended: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number of the run of positive labels that each sample is in, from 1; 0 outside; [T]."""
    positive = extended > 0
    begins = positive & ~np.concatenate(([False], positive[:-1]))
    return np.where(positive, np.cumsum(begins), 0)


def _area(
    label: NDArray[np.float64],
    segment: NDArray[np.int64],
    scores: NDArray[np.float64],
    order: NDArray[np.int64],
    chosen: NDArray[np.float64],
    predicted: NDArray[np.int64],
    positives: int,
) -> float:
    """Area under the range precision-recall curve for one buffer.

    Recall is TP over the mean of the plain and the extended number of positives, at most 1, times the share of
    anomalies of which any sample is predicted; precision is TP over the number predicted, with TP = sum of the
    extended labels predicted.
    """
    true = np.cumsum(label[order])[predicted - 1]
    recall = np.minimum(true / ((positives + label.sum()) / 2), 1.0) * _existence(segment, scores, chosen)
    precision = true / predicted
    heights = np.append(1.0, precision)
    return float(np.sum(np.diff(recall, prepend=0.0) * (heights[1:] + heights[:-1]) / 2))


def _existence(
    segment: NDArray[np.int64], scores: NDArray[np.float64], chosen: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share of the anomalies with any sample at or above each threshold."""
    inside = np.flatnonzero(segment)
    first = np.flatnonzero(np.diff(segment[inside], prepend=0))
    peaks = np.sort(np.maximum.reduceat(scores[inside], first))
    return (len(peaks) - np.searchsorted(peaks, chosen, side="left")) / len(peaks)
