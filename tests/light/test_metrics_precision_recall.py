"""Average precision by hand; against scikit-learn where it is installed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qad_dl.metrics.precision_recall import average_precision


def test_by_hand() -> None:
    labels = np.array([True, False, True, False])
    # Thresholds 4, 3, 2, 1: precision 1 at recall 1/2, then 2/3 at recall 1.
    assert average_precision(labels, np.array([4.0, 3.0, 2.0, 1.0])) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_equal_scores_are_one_threshold() -> None:
    labels = np.array([True, False, True, False])
    assert average_precision(labels, np.zeros(4)) == pytest.approx(0.5)
    assert average_precision(labels, np.array([1.0, 1.0, 0.0, 0.0])) == pytest.approx(0.5)


@pytest.mark.parametrize("labels", [[], [True], [False], [True, True]])
def test_undefined_without_both_labels(labels: list[bool]) -> None:
    assert average_precision(np.array(labels, np.bool_), np.arange(float(len(labels)))) is None


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=50))
def test_the_same_as_scikit_learn(pairs: list[tuple[bool, int]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    labels = np.array([label for label, _ in pairs])
    scores = np.array([score for _, score in pairs], np.float64)
    if 0 < labels.sum() < len(labels):
        assert average_precision(labels, scores) == pytest.approx(metrics.average_precision_score(labels, scores))
