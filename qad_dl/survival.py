"""From a value to -log10 of the share of healthy ticks beyond it: an empirical curve, continued by its mean excess."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from qad_dl.scratch import IN_MEMORY, Scratch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

TAIL_COUNT: Final = 50
"""Ticks beyond the last empirical knot of a survival curve; further out it is continued by their mean excess."""

KNOTS_PER_DECADE: Final = 10


class Survival(NamedTuple):
    """-log10 of the share of healthy ticks beyond a value.

    Attributes:
        values: knots, ascending, [K].
        scores: -log10 of the share beyond each, [K].
        slope: rise of the score per unit of value past the last knot.
    """

    values: NDArray[np.float64]
    scores: NDArray[np.float64]
    slope: float

    def score(self, value: NDArray[Any]) -> NDArray[np.float64]:
        """Any shape, >= 0; NaN stays."""
        inside = np.interp(value, self.values, self.scores)
        beyond = np.maximum(value.astype(np.float64) - self.values[-1], 0) * self.slope
        out: NDArray[np.float64] = np.maximum(inside + beyond, 0.0)
        return out

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; `from_json` is the inverse."""
        return {"values": self.values.tolist(), "scores": self.scores.tolist(), "slope": self.slope}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Survival:
        """Read what `to_json` wrote."""
        return cls(np.array(data["values"], np.float64), np.array(data["scores"], np.float64), float(data["slope"]))


AS_IT_IS: Final = Survival(np.zeros(1), np.zeros(1), 1.0)
"""What already is -log10 p."""


def survival_curve(values: NDArray[Any], scratch: Scratch = IN_MEMORY) -> Survival:
    """Knots of the share of values beyond, as -log10, and its slope past the last knot.

    The slope is that of an exponential tail, 1 / (ln 10 x mean excess) of the last `TAIL_COUNT` values, the simplest
    member of the generalised Pareto family (Coles 2001, section 4.2).

    Args:
        values: [n] a statistic on healthy ticks, all series together.
        scratch: room for them in their order.
    """
    ordered = scratch.empty(values.shape, np.float64)
    ordered[:] = values
    ordered.sort()
    last = np.log10(max(len(ordered) / TAIL_COUNT, 1.0))
    scores = np.arange(0.0, last, 1 / KNOTS_PER_DECADE)
    knots = np.quantile(ordered, 1 - 10.0**-scores, overwrite_input=True)  # in its place; it stays in order
    # Of equal knots the first counts: where most ticks have the same value, that value is no news.
    knots, first = np.unique(knots, return_index=True)
    excess = float(np.mean(ordered[np.searchsorted(ordered, knots[-1]) :] - knots[-1]))
    return Survival(knots, scores[first], float(1 / (np.log(10) * max(excess, 1e-3))))
