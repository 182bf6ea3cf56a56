"""What the statistic of signatures does in normal life that is known to be normal.

A history's own calibration time holds incidents that nobody has labelled, and beyond a share of a hundredth or so they
are most of what stands out. So only the bulk is taken from there (`stretch`), the tail from here: measured in the
simulated worlds that signatures are learned from (`training.signatures`), and kept with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

SURVIVAL_SCORES: Final = np.arange(0.0, 4.01, 0.25)
"""-log10 of the shares of normal ticks at which the statistic is known."""

EPISODE_RATES: Final = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""Episodes per series and day of normal life at which its threshold is known."""


class Healthy(NamedTuple):
    """The statistic L in normal life that is known to be normal, the median over the worlds that were learned from.

    Attributes:
        values: at each of `SURVIVAL_SCORES`, ascending.
        thresholds: at each of `EPISODE_RATES`, ascending.
        alone: likewise of what a series shows by itself, where `values` and `thresholds` are of all that is known of it
            (`together`).
        recovering: taken off L in the day after a queue was away (`Prepared.recovering`). Work comes back in ways
            that look like an incident: ln of how much more likely such evidence is then without one.
    """

    values: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    alone: NDArray[np.float64]
    recovering: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; `from_json` is the inverse."""
        return {
            "values": self.values.tolist(),
            "thresholds": self.thresholds.tolist(),
            "alone": self.alone.tolist(),
            "recovering": self.recovering,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Healthy:
        """Read what `to_json` wrote; the first bundles took nothing off, and joined nothing."""
        alone = data.get("alone", data["thresholds"])
        values, thresholds, alone = (np.array(of, np.float64) for of in (data["values"], data["thresholds"], alone))
        return cls(values, thresholds, alone, float(data.get("recovering", 0.0)))


NOT_KNOWN: Final = Healthy(SURVIVAL_SCORES.copy(), *[-np.log10(np.array(EPISODE_RATES))] * 2)
"""Before it has been measured."""
