"""The order of what a label teaches, as `qad_dl/review/teach.js` says it, written apart from it and the plain way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


Array = "NDArray[np.float64]"

PROBLEM, EXPECTED = 1, 0


def design(z: Array, kinds: Sequence[str], known: Sequence[str]) -> Array:
    """Rows of the regression, [I, 1 + F + K]: one, the features, and which of the known kinds it is."""
    return np.column_stack([np.ones(len(z)), z, [[float(kind == other) for other in known] for kind in kinds]])


def learned(x: Array, words: Sequence[int]) -> tuple[Array, Array]:
    """Mean and covariance of the weights: the prior knows that a higher score is likelier a problem, and no more."""
    prior = np.zeros(x.shape[1])
    prior[1] = 1.0
    w = prior.copy()

    def curve() -> Array:
        p = 1 / (1 + np.exp(-x @ w))
        return np.eye(len(w)) + x.T @ np.diag(p * (1 - p)) @ x

    for _ in range(25):
        w = w - np.linalg.solve(curve(), w - prior + x.T @ (1 / (1 + np.exp(-x @ w)) - np.array(words, np.float64)))
    return w, np.linalg.inv(curve())


def teach_order(x: Array, said: Mapping[int, int], most: int) -> list[int]:
    """The rows that nobody has said anything of, the one that teaches most first.

    Args:
        x: design rows of all.
        said: row -> `PROBLEM` or `EXPECTED`.
        most: how many are wanted.
    """
    w, covariance = learned(x[list(said)], list(said.values()))
    p = 1 / (1 + np.exp(-x @ w))
    v, rows, order = p * (1 - p), [i for i in range(len(x)) if i not in said], []
    for _ in range(min(most, len(rows))):
        gains = {i: gain(i, rows, x, v, covariance) for i in rows if i not in order}
        best = max(gains, key=lambda i: gains[i])
        order.append(best)
        covariance = np.linalg.inv(np.linalg.inv(covariance) + v[best] * np.outer(x[best], x[best]))
    return order


def gain(i: int, rows: Sequence[int], x: Array, v: Array, covariance: Array) -> float:
    """By how much a label on row i would lower the variance of all, each where its chance is most open."""
    after = np.linalg.inv(np.linalg.inv(covariance) + v[i] * np.outer(x[i], x[i]))
    return float(sum(v[j] ** 2 * (x[j] @ (covariance - after) @ x[j]) for j in rows))
