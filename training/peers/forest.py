"""Isolation forest on the states at a tick (Liu, Ting and Zhou, ICDM 2008), as pyod has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pyod.models.iforest import IForest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from training.peers.protocol import Setting

TREES: Final = 100


@dataclass(frozen=True)
class Forest:
    """Trees that isolate what is rare in few cuts."""

    model: IForest

    def score(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """[T, S] to [T]: the paper's score, 0 to 1, before pyod shifts it by the share that it takes for outliers."""
        score: NDArray[np.float64] = -self.model.detector_.score_samples(values)
        return score


def fit_forest(train: NDArray[np.float64], observed: NDArray[np.bool_], setting: Setting) -> Forest:
    """Grow the trees."""
    return Forest(IForest(n_estimators=TREES, random_state=setting.seed).fit(train[observed]))
