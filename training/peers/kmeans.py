"""k-means on windows: the distance to the nearest usual window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from sklearn.cluster import KMeans

from training.peers.protocol import at_end, complete, windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.peers.protocol import Setting

LENGTH: Final = 12
"""Ticks of a window."""

CLUSTERS: Final = 20


@dataclass(frozen=True)
class Usual:
    """Centres of the usual windows."""

    model: KMeans

    def score(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """[T, S] to [T]."""
        return at_end(self.model.transform(windows(values, LENGTH)).min(axis=1), len(values))


def fit_kmeans(train: NDArray[np.float64], observed: NDArray[np.bool_], setting: Setting) -> Usual:
    """Find the centres; as many as there are different windows, where those are few."""
    cut = windows(train, LENGTH)[complete(observed, LENGTH)]
    clusters = min(CLUSTERS, len(np.unique(cut, axis=0)))
    return Usual(KMeans(clusters, n_init=3, random_state=setting.seed).fit(cut))
