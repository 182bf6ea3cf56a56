"""Whether what labels say of held-out time could be an accident."""

from __future__ import annotations

from math import comb, erfc, sqrt
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANCE: Final = 0.05
"""A proposal wins where accident would do as well less often than this."""


def at_most(hits: int, drawn: int, marked: int, of: int) -> float:
    """Chance that of `drawn` out of `of`, `marked` of which are marked, at most `hits` are (hypergeometric)."""
    ways = sum(comb(marked, k) * comb(of - marked, drawn - k) for k in range(min(hits, drawn) + 1) if drawn - k >= 0)
    return ways / comb(of, drawn)


def at_least(hits: int, drawn: int, marked: int, of: int) -> float:
    """Chance that at least `hits` are."""
    return 1.0 if hits <= 0 else 1.0 - at_most(hits - 1, drawn, marked, of)


def area(rank: NDArray[np.float64], problem: NDArray[np.bool_]) -> float:
    """How often a problem is ranked above what is none, ties half: the area under the ROC curve."""
    return float(_wins(rank, problem).mean())


def better_order(new: NDArray[np.float64], old: NDArray[np.float64], problem: NDArray[np.bool_]) -> float:
    """Chance of an area as much larger where both order equally well (DeLong et al. 1988), one-sided.

    Args:
        new: ranks of some cases, [n], higher is first.
        old: other ranks of the same.
        problem: [n], of both kinds at least two.
    """
    gained = _wins(new, problem) - _wins(old, problem)
    rows, columns = gained.mean(axis=1), gained.mean(axis=0)
    variance = rows.var(ddof=1) / len(rows) + columns.var(ddof=1) / len(columns)
    if variance <= 0:
        return 0.0 if gained.mean() > 0 else 1.0
    return 0.5 * erfc(float(gained.mean()) / sqrt(2 * float(variance)))


def _wins(rank: NDArray[np.float64], problem: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[problems, others]: 1 where the problem is ranked above, 0.5 where they are ranked alike."""
    difference = rank[problem][:, None] - rank[~problem][None, :]
    return np.asarray(0.5 * (1 + np.sign(difference)))
