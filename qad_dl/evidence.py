"""Thresholds of their own: the same scores, of which some series are flagged from higher or lower ones.

`threshold` and `levels` of results hold for all series. Where a series has its own threshold, what counts against them
is its evidence: the score less by what its threshold is higher.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from qad_dl.results import Results

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Tuned(Results):
    """Results of which series have thresholds of their own.

    Attributes:
        offset: [N, T] float64, by how much each is higher than `threshold`.
    """

    offset: NDArray[np.float64]


def evidence(results: Results) -> NDArray[np.float64]:
    """[N, T] what counts against `threshold` and `levels`; NaN where unscored."""
    return results.score - results.offset if isinstance(results, Tuned) else results.score


def evidence_alone(results: Results) -> NDArray[np.float64]:
    """Likewise what each series shows by itself."""
    return results.alone - results.offset if isinstance(results, Tuned) else results.alone


def plain(results: Results) -> Results:
    """The same scores, flagged from the one threshold."""
    parts = {part.name: getattr(results, part.name) for part in fields(Results)}
    return Results(**{**parts, "flagged": results.score >= results.threshold})  # NaN is above nothing


def with_offset(results: Results, offset: NDArray[np.float64]) -> Tuned:
    """The same scores, flagged from thresholds that are higher by `offset`, [N, T]."""
    parts = {part.name: getattr(results, part.name) for part in fields(Results)}
    return Tuned(**{**parts, "flagged": results.score - offset >= results.threshold}, offset=offset)
