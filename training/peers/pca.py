"""Principal components, of the states at a tick and of windows: what the usual directions cannot say.

The squared prediction error of Jackson and Mudholkar (Technometrics 21, 1979), with its root as the score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from sklearn.decomposition import PCA

from training.peers.protocol import at_end, complete, root_mean_square, windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.peers.protocol import Setting

EXPLAINED: Final = 0.9
"""Share of the variance that counts as usual."""

LENGTH: Final = 12
"""Ticks of a window."""


@dataclass(frozen=True)
class Components:
    """The usual directions [K, length S] of windows of `length` ticks, about their mean; of ticks where that is 1."""

    length: int
    mean: NDArray[np.float64]
    directions: NDArray[np.float64]

    def score(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """[T, S] to [T]."""
        centred = windows(values, self.length) - self.mean
        rest = centred - centred @ self.directions.T @ self.directions
        return at_end(root_mean_square(rest), len(values))


def fit_pca(train: NDArray[np.float64], observed: NDArray[np.bool_], setting: Setting) -> Components:
    """Components of the states at a tick."""
    return _fit(train, observed, 1)


def fit_pca_windows(train: NDArray[np.float64], observed: NDArray[np.bool_], setting: Setting) -> Components:
    """Components of windows."""
    return _fit(train, observed, LENGTH)


def _fit(train: NDArray[np.float64], observed: NDArray[np.bool_], length: int) -> Components:
    cut = windows(train, length)[complete(observed, length)]
    mean = cut.mean(axis=0)
    if not np.ptp(cut, axis=0).any():  # what never varied has no usual direction
        return Components(length, mean, np.zeros((0, cut.shape[1])))
    return Components(length, mean, PCA(n_components=EXPLAINED, svd_solver="full").fit(cut).components_)
