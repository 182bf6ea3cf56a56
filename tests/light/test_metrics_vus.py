"""VUS-PR against a slow reading of its definition, and what it must do whatever the definition's details."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qad_dl.metrics.vus import BUFFER, THRESHOLDS, extend, vus_pr


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of each run."""
    found, start = [], None
    for i, on in enumerate([*mask, False]):
        if on and start is None:
            start = i
        elif not on and start is not None:
            found.append((start, i - 1))
            start = None
    return found


def slow_extend(labels: np.ndarray, length: int) -> np.ndarray:
    extended = labels.astype(float)
    for first, last in runs(labels):
        for i in range(len(labels)):
            if first - length // 2 <= i < first:
                extended[i] += np.sqrt(1 - (first - i) / length)
            if last < i < last + length // 2:
                extended[i] += np.sqrt(1 - (i - last) / length)
    return np.minimum(extended, 1)


def slow_vus(labels: np.ndarray, scores: np.ndarray, buffer: int) -> float:
    """Every buffer, every threshold, every anomaly, one by one."""
    ranked = sorted(scores, reverse=True)
    areas = []
    for length in range(buffer + 1):
        extended = slow_extend(labels, length)
        points = [(0.0, 1.0)]
        for rank in np.linspace(0, len(scores) - 1, THRESHOLDS):
            predicted = scores >= ranked[int(rank)]
            true = (extended * predicted).sum()
            exists = [predicted[a : b + 1].any() for a, b in runs(extended > 0)]
            recall = min(true / ((labels.sum() + extended.sum()) / 2), 1) * np.mean(exists)
            points.append((recall, true / predicted.sum()))
        areas.append(sum((r2 - r1) * (p1 + p2) / 2 for (r1, p1), (r2, p2) in itertools.pairwise(points)))
    return float(np.mean(areas))


def example(seed: int, length: int = 120, rounded: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.zeros(length, np.bool_)
    for start in rng.integers(0, length, 3):
        labels[start : start + int(rng.integers(1, 15))] = True
    scores = rng.random(length) + 0.3 * labels
    return labels, np.round(scores, 1) if rounded else scores


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_the_same_as_the_slow_reading(seed: int, rounded: bool) -> None:
    labels, scores = example(seed, rounded=rounded)
    assert vus_pr(labels, scores, buffer=7) == pytest.approx(slow_vus(labels, scores, 7), abs=1e-12)


def test_the_full_buffer_once_more_on_a_longer_series() -> None:
    labels, scores = example(5, length=600)
    assert vus_pr(labels, scores) == pytest.approx(slow_vus(labels, scores, BUFFER), abs=1e-12)


def test_a_buffer_fades_to_both_sides_and_stops_at_half_its_length() -> None:
    labels = np.zeros(11, np.bool_)
    labels[5] = True
    expected = [0, 0, 0, np.sqrt(0.5), np.sqrt(0.75), 1, np.sqrt(0.75), 0, 0, 0, 0]
    assert extend(labels, 4) == pytest.approx(np.array(expected))
    assert extend(labels, 1).tolist() == labels.tolist()


def test_a_perfect_score_is_near_one_and_its_opposite_near_nothing() -> None:
    labels = np.zeros(4000, np.bool_)
    labels[1000:1100] = labels[3000:3050] = True
    assert vus_pr(labels, labels.astype(float)) > 0.95
    assert vus_pr(labels, labels.astype(float), buffer=0) == pytest.approx(1.0)
    assert vus_pr(labels, 1.0 - labels) < 0.1


def test_a_random_score_is_near_the_share_of_anomalies() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros(20000, np.bool_)
    for start in range(0, 20000, 1000):
        labels[start : start + 200] = True
    assert vus_pr(labels, rng.random(20000)) == pytest.approx(0.2, abs=0.03)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_only_the_order_of_the_scores_counts(seed: int) -> None:
    labels, scores = example(seed, rounded=True)
    assert vus_pr(labels, np.exp(3 * scores) - 7) == pytest.approx(vus_pr(labels, scores), abs=1e-12)


def test_samples_that_do_not_count_do_not_count() -> None:
    labels, scores = example(3, length=400)
    keep = np.ones(400, np.bool_)
    keep[200:300] = False
    labels[195:305] = False
    labels[20:30] = True
    loud = scores.copy()
    loud[200:300] = 1e6
    assert vus_pr(labels, loud, keep) == vus_pr(labels, scores, keep)
    assert vus_pr(labels, loud) < vus_pr(labels, scores)


@pytest.mark.parametrize("labels", [np.zeros(10, np.bool_), np.ones(10, np.bool_)])
def test_undefined_without_both_labels(labels: np.ndarray) -> None:
    assert vus_pr(labels, np.arange(10.0)) is None
