"""The order of incidents that reviewers taught: how likely each is a problem, and what speaks for it.

    logit P(problem) = intercept + sum_j weight_j (x_j - usual_j) / spread_j

Each feature adds its own part, which can be said in words. The score of an incident is not touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.tuning.features import KIND, WORDS, describe
from qad_dl.tuning.logistic import fit, probability

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.results import Results
    from qad_dl.tuning.features import Sight

RIDGES: Final = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Strengths of the ridge that are tried; the one with the highest evidence is taken."""

LOOSE: Final = 0.01
"""Ridge of the intercept."""

LEAST_OF_KIND: Final = 5
"""A kind has a say once so many labelled incidents are of it, and as many are not."""

TOLD: Final = 3
"""So many parts of an incident's place are told, the largest."""


@dataclass(frozen=True)
class Order:
    """A fitted model.

    Attributes:
        features: names, of `features.WORDS`, [F].
        usual, spread: mean and standard deviation of each over the labelled incidents, [F].
        weights: log odds per standard deviation, [F].
        intercept: log odds of a usual incident.
    """

    features: tuple[str, ...]
    usual: NDArray[np.float64]
    spread: NDArray[np.float64]
    weights: NDArray[np.float64]
    intercept: float

    def parts(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each feature adds to the log odds, [n, F], of `features.describe`."""
        columns = [_COLUMN[name] for name in self.features]
        return np.asarray((x[:, columns] - self.usual) / self.spread * self.weights)

    def chance(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """How likely reviewers call each a problem, [n]."""
        return probability(self.intercept + self.parts(x).sum(axis=1))

    def why(self, x: NDArray[np.float64]) -> list[str]:
        """For each incident the largest parts of its place, in words."""
        said = []
        for values, parts in zip(x, self.parts(x), strict=True):
            largest = [j for j in np.argsort(-np.abs(parts), kind="stable")[:TOLD] if abs(parts[j]) >= 0.05]
            said.append("; ".join(self._said(int(j), values, parts[j]) for j in largest))
        return said

    def _said(self, j: int, values: NDArray[np.float64], part: float) -> str:
        name = self.features[j]
        value, way = values[_COLUMN[name]], "for" if part > 0 else "against"
        if name.startswith(KIND) or name == "alone":
            return f"{'' if value else 'not '}{WORDS[name]} speaks {way} it ({part:+.1f})"
        return f"{WORDS[name]} {value:.1f}, usual {self.usual[j]:.1f}, speaks {way} it ({part:+.1f})"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        arrays = {name: getattr(self, name).tolist() for name in ("usual", "spread", "weights")}
        return {"features": list(self.features), **arrays, "intercept": self.intercept}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Order:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: not what `to_json` wrote.
        """
        names = tuple(data["features"])
        if not set(names) <= set(WORDS):
            msg = f"it orders by {', '.join(sorted(set(names) - set(WORDS)))}, which this program does not know"
            raise ValueError(msg)
        usual, spread, weights = (np.array(data[key], np.float64) for key in ("usual", "spread", "weights"))
        intercept = float(data["intercept"])
        fine = all(array.shape == (len(names),) and np.isfinite(array).all() for array in (usual, spread, weights))
        if not (fine and isfinite(intercept) and (spread > 0).all()):
            raise ValueError("its order must have finite numbers, as many as features")
        return cls(names, usual, spread, weights, intercept)


_COLUMN: Final = {name: j for j, name in enumerate(WORDS)}


def fit_order(x: NDArray[np.float64], problem: NDArray[np.bool_]) -> Order:
    """Learn the order from labelled incidents.

    Args:
        x: [n, features] of `features.describe`.
        problem: [n].
    """
    names = tuple(name for j, name in enumerate(WORDS) if _useful(name, x[:, j]))
    chosen = x[:, [_COLUMN[name] for name in names]]
    usual, spread = chosen.mean(axis=0), chosen.std(axis=0)
    design = np.column_stack([np.ones(len(x)), (chosen - usual) / spread])
    made = [fit(design, problem, np.array([LOOSE, *[ridge] * len(names)])) for ridge in RIDGES]
    best = max(made, key=lambda one: one.evidence)
    return Order(names, usual, spread, best.weights[1:], float(best.weights[0]))


@dataclass(frozen=True)
class Placing:
    """The place of an incident.

    Attributes:
        chance: how likely reviewers call it a problem.
        why: what speaks for and against it, in words.
    """

    chance: float
    why: str


def placings(order: Order, results: Results, sights: Sequence[Sight]) -> list[Placing]:
    """The place of each incident; the higher the chance, the earlier."""
    if not sights:
        return []
    x = describe(results, sights)
    return [Placing(round(float(c), 4), why) for c, why in zip(order.chance(x), order.why(x), strict=True)]


def _useful(name: str, column: NDArray[np.float64]) -> bool:
    if name.startswith(KIND):
        return bool(LEAST_OF_KIND <= column.sum() <= len(column) - LEAST_OF_KIND)
    return bool(column.std() > 1e-9)
