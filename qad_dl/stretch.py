"""The tail of known normal life, stretched to fit the bulk of a history's own.

The calibration time of a history holds incidents that nobody labelled, and they are most of what stands out there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.healthy import EPISODE_RATES, SURVIVAL_SCORES, Healthy
from qad_dl.metrics.episodes import Counts, count_episodes
from qad_dl.survival import Survival

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qad_dl.scratch import Scratch

SERIES_BLOCK: Final = 64
"""Series that are looked at at a time."""

STRETCH_OFFSET: Final = 1.5
"""The statistic is stretched about minus this: its bulk lies there and below."""

STRETCH_RATE: Final = 0.3
"""Episodes per series and day at which a history's own statistic is compared with that of known normal life: often
enough to be counted in days, and not yet what incidents alone reach."""

PLATEAU_RATE: Final = 0.003
"""What still stands out where known normal life has so few episodes are incidents: they are taken off the count."""

STRETCH_RANGE: Final = (0.6, 1.6)

STRETCH_EPISODES: Final = 30
"""With fewer episodes than this at `STRETCH_RATE` in all the calibration time, nothing is stretched."""


def known_survival(healthy: Healthy, stretch: float = 1.0) -> Survival:
    """The survival curve of known normal life, its values stretched about -`STRETCH_OFFSET`."""
    values = (healthy.values + STRETCH_OFFSET) * stretch - STRETCH_OFFSET
    decade = np.searchsorted(SURVIVAL_SCORES, SURVIVAL_SCORES[-1] - 1)
    return Survival(values, SURVIVAL_SCORES.copy(), float(1 / (values[-1] - values[decade])))


def stretch_of(
    statistic_: NDArray[np.float32],
    use: NDArray[np.bool_],
    doubtful: NDArray[np.bool_],
    healthy: Healthy,
    per_day: int,
    scratch: Scratch,
) -> float:
    """How much wider than in known normal life the bulk of the statistic is in the calibration time.

    Args:
        statistic_: [N, T].
        use: [N, T] healthy as far as is known.
        doubtful: [N, T] those where an incident may be that nobody has told of.
        healthy: known normal life.
        per_day: ticks in a day.
        scratch: room for what is counted.
    """
    days = use.sum() / per_day
    if days * STRETCH_RATE < STRETCH_EPISODES:
        return 1.0
    reference = {rate: healthy.alone[EPISODE_RATES.index(rate)] for rate in (STRETCH_RATE, PLATEAU_RATE)}
    counts = _episodes(statistic_, use, per_day, scratch)
    incidents = counts if doubtful is use else _episodes(statistic_, doubtful, per_day, scratch)
    of = days if doubtful is use else doubtful.sum() / per_day
    plateau = incidents.episodes[max(incidents.above(reference[PLATEAU_RATE]) - 1, 0)] / of
    # At low thresholds episodes run into each other and become fewer: only down to where they are most.
    last = counts.lowest_rate(days, STRETCH_RATE + plateau)
    if last is None:
        return 1.0
    own = counts.threshold[last]
    return float(np.clip((own + STRETCH_OFFSET) / (reference[STRETCH_RATE] + STRETCH_OFFSET), *STRETCH_RANGE))


def _episodes(statistic_: NDArray[np.float32], use: NDArray[np.bool_], per_day: int, scratch: Scratch) -> Counts:
    """How many episodes of the statistic there are above each threshold."""
    lowest = float(statistic_.min()) - 1  # episodes are counted of positive scores
    positive = scratch.empty(statistic_.shape, statistic_.dtype)
    for low in range(0, len(positive), SERIES_BLOCK):
        rows = slice(low, low + SERIES_BLOCK)
        positive[rows] = np.where(use[rows], statistic_[rows] - lowest, 0)
    return count_episodes(positive, use, per_day, scratch).moved(lowest)
