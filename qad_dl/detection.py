"""From scores to flags: the one knob is the budget, false alarm episodes per series and day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from qad_dl.errors import ConfigError
from qad_dl.healthy import EPISODE_RATES
from qad_dl.metrics.episodes import count_episodes
from qad_dl.scratch import IN_MEMORY, Scratch
from qad_dl.stretch import known_survival

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from qad_dl.healthy import Healthy

DEFAULT_BUDGET: Final = 0.01
"""False alarm episodes per series and day."""

STEP: Final = 0.05
"""Distance of the thresholds at which the rate is kept, in units of score."""

RELIABLE_EPISODES: Final = 15
"""The rate is read off the counts down to this many episodes; below, it is continued along its slope."""

SLOPE_RANGE: Final = 8.0
"""The slope is taken between `RELIABLE_EPISODES` and this many times as many."""


class Detection(NamedTuple):
    """The rate of episodes on healthy time as a function of the threshold.

    Attributes:
        thresholds: scores, ascending, [K].
        log_rates: log10 of episodes per series and day at each, falling, [K]; continued by
        slope: change of log10 rate per unit of score, < 0.
    """

    thresholds: NDArray[np.float64]
    log_rates: NDArray[np.float64]
    slope: float

    def threshold(self, budget: float) -> float:
        """The score at which healthy time gives `budget` episodes per series and day.

        Raises:
            ConfigError: the budget is not between 1e-6 and 10.
        """
        if not 1e-6 <= budget <= 10:
            msg = (
                f"budget {budget:g}: give false alarm episodes per queue and day between 1e-6 and 10, for example 0.01"
            )
            raise ConfigError(msg)
        wanted = np.log10(budget)
        if wanted < self.log_rates[-1]:
            return float(self.thresholds[-1] + (wanted - self.log_rates[-1]) / self.slope)
        return float(np.interp(-wanted, -self.log_rates, self.thresholds))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; `from_json` is the inverse."""
        return {"thresholds": self.thresholds.tolist(), "log_rates": self.log_rates.tolist(), "slope": self.slope}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Detection:
        """Read what `to_json` wrote."""
        return cls(np.array(data["thresholds"]), np.array(data["log_rates"]), float(data["slope"]))


def known_detection(healthy: Healthy, *, alone: bool = False) -> Detection:
    """The rate of episodes in normal life that is known to be normal, for scores calibrated on its survival curve.

    Args:
        healthy: known normal life.
        alone: of the scores that series have by themselves.
    """
    thresholds = known_survival(healthy).score(healthy.alone if alone else healthy.thresholds)
    rates = np.log10(np.array(EPISODE_RATES))
    return Detection(thresholds, rates, float((rates[-1] - rates[-3]) / (thresholds[-1] - thresholds[-3])))


def fit_detection(
    score: NDArray[np.float64], use: NDArray[np.bool_], per_day: int, scratch: Scratch = IN_MEMORY
) -> Detection:
    """Count episodes on held-out time at every threshold, and continue the curve where counts are few.

    Incidents that nobody labelled are part of held-out time; they sit at the far end. The continuation is fitted where
    counts are plenty, so that a handful of them does not set the threshold.

    Args:
        score: [N, T] calibrated scores, NaN where unscored.
        use: [N, T] healthy as far as is known.
        per_day: ticks in a day.
        scratch: room for what is counted.
    """
    counts = count_episodes(score, use, per_day, scratch)
    days = use.sum() / per_day
    # At low thresholds episodes run into each other and become fewer: from the threshold with the most on upwards.
    peak = int(np.argmax(counts.episodes))
    t, c = counts.threshold[: peak + 1][::-1], counts.episodes[: peak + 1][::-1].astype(np.float64)
    enough = c >= min(RELIABLE_EPISODES, c.max())
    t, c = t[enough], np.minimum.accumulate(c[enough])
    grid = np.arange(t[0], t[-1] + STEP, STEP)
    rate = np.interp(grid, t, np.log10(c / days))
    fitted = rate <= rate[-1] + np.log10(SLOPE_RANGE)
    slope = float(np.polyfit(grid[fitted], rate[fitted], 1)[0]) if fitted.sum() >= 3 else -1.0
    return Detection(grid, rate, min(slope, -0.1))
