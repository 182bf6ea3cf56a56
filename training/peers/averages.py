"""Exponential averages: the recent one against the long one, as control charts do (Roberts, Technometrics 1, 1959)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from training.peers.protocol import averaged, root_mean_square

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.peers.protocol import Setting

FAST: Final = 0.3
"""Weight of the newest tick in the recent average: about the last hour's half."""

SPREAD_LEAST: Final = 0.05
"""Standard deviations of the state: a state that never moved in training does not turn rounding into an alarm."""


@dataclass(frozen=True)
class Averages:
    """Distance of the two averages over its own spread in training, root mean square over the states."""

    slow: float
    spread: NDArray[np.float64]

    def score(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """[T, S] to [T]."""
        return root_mean_square(_apart(values, self.slow) / self.spread)


def fit_averages(train: NDArray[np.float64], observed: NDArray[np.bool_], setting: Setting) -> Averages:
    """Learn the spread of the distance; the long average is that of a day."""
    slow = 2 / (setting.day + 1)
    return Averages(slow, np.maximum(_apart(train, slow)[observed].std(axis=0), SPREAD_LEAST))


def _apart(values: NDArray[np.float64], slow: float) -> NDArray[np.float64]:
    return averaged(values, FAST) - averaged(values, slow)
