"""A plain autoencoder: windows through a bottleneck, nothing hidden from it, so that it sees the very ticks it judges.

One per series, as the other peers; of scikit-learn's perceptron, since hundreds of small networks need no torch.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from training.peers.protocol import at_end, complete, root_mean_square, windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.peers.protocol import Setting

LENGTH: Final = 12
"""Ticks of a window."""

LAYERS: Final = (64, 8, 64)
EPOCHS: Final = 30
CLIP: Final = 10.0
"""Standard deviations: beyond, a network that never saw such values says nothing."""


@dataclass(frozen=True)
class Autoencoder:
    """The network, and what it leaves unexplained."""

    model: MLPRegressor

    def score(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """[T, S] to [T]: root mean square over the window of what was not reconstructed."""
        cut = windows(np.clip(values, -CLIP, CLIP), LENGTH)
        return at_end(root_mean_square(cut - self.model.predict(cut)), len(values))


def fit_autoencoder(train: NDArray[np.float64], observed: NDArray[np.bool_], setting: Setting) -> Autoencoder:
    """Train for a fixed number of epochs."""
    cut = windows(np.clip(train, -CLIP, CLIP), LENGTH)[complete(observed, LENGTH)]
    model = MLPRegressor(hidden_layer_sizes=LAYERS, activation="relu", max_iter=EPOCHS, random_state=setting.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is the limit that is wanted
        return Autoencoder(model.fit(cut, cut))
