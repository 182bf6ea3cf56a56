"""The rule per queue: the last hour against the last day in the queue's own units, not in those of a softened mean.

QMonit's own rule (`qad_dl.baseline.rule`) reads four job states and needs counts; this one reads whatever there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.peers.protocol import Setting


@dataclass(frozen=True)
class RulePerQueue:
    """Lengths of the two averages in ticks."""

    hour: int
    day: int

    def score(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """[T, S] to [T]: the largest distance of the two means of any state, in standard deviations of training."""
        apart: NDArray[np.float64] = np.abs(_mean(values, self.hour) - _mean(values, self.day)).max(axis=1)
        return apart


def fit_rule(train: NDArray[np.float64], observed: NDArray[np.bool_], setting: Setting) -> RulePerQueue:
    """There is nothing to learn but the scale, which all peers are given."""
    return RulePerQueue(max(1, setting.day // 24), setting.day)


def _mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean over the last `width` ticks, as many as there are, [T, S]."""
    total = np.cumsum(values, axis=0)
    total[width:] = total[width:] - total[:-width]
    ticks = np.minimum(np.arange(len(values)) + 1, width)[:, None]
    out: NDArray[np.float64] = total / ticks
    return out
