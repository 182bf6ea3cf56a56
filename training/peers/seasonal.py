"""A seasonal forecast: additive Holt-Winters with a daily season and no trend (Winters, Management Science 6, 1960).

The errors of the forecast of the next tick, over their own spread, are averaged exponentially with their sign, as those
of the ridge autoregression are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from training.peers.protocol import averaged, root_mean_square

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.peers.protocol import Setting

LEVEL: Final = 0.2
"""How much of an error goes into the level, and"""
SEASON: Final = 0.1
"""how much of what is left into the season."""

CLIP: Final = 8.0
WEIGHT: Final = 0.3
"""As in the ridge autoregression: clip of the errors, and weight of the newest in their average."""

SPREAD_LEAST: Final = 0.05
"""Standard deviations of the state."""


@dataclass(frozen=True)
class Seasonal:
    """The season at the first tick, [day, S], and the spread of the errors, [S]."""

    season: NDArray[np.float64]
    spread: NDArray[np.float64]

    def score(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """[T, S] to [T]."""
        errors = np.clip(_errors(values, self.season) / self.spread, -CLIP, CLIP)
        return root_mean_square(averaged(errors, WEIGHT))


def fit_seasonal(train: NDArray[np.float64], observed: NDArray[np.bool_], setting: Setting) -> Seasonal:
    """Learn the mean of each time of day, and how far the forecasts are off."""
    season = np.zeros((setting.day, train.shape[1]))
    for i in range(setting.day):
        same = train[i :: setting.day][observed[i :: setting.day]]
        season[i] = same.mean(axis=0) if len(same) else 0.0
    errors = _errors(train, season)[observed]
    return Seasonal(season, np.maximum(errors.std(axis=0), SPREAD_LEAST))


def _errors(values: NDArray[np.float64], season: NDArray[np.float64]) -> NDArray[np.float64]:
    """Errors of the forecasts of each tick from those before it, [T, S]."""
    day, season = len(season), season.copy()
    level, errors = np.zeros(values.shape[1]), np.empty_like(values)
    for i, value in enumerate(values):
        at = i % day
        errors[i] = value - level - season[at]
        level = level + LEVEL * errors[i]
        season[at] += SEASON * (1 - LEVEL) * errors[i]
    return errors
