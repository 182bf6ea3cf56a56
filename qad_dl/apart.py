"""Series of which each is judged by itself, before what they show is joined (`together`)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qad_dl.results import BY_TICK, Details, Results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Apart(NamedTuple):
    """What is known of series, each by itself.

    Attributes:
        results: of [N] series, without details.
        log_ratios: [N, T, K] of each kind of incident; K is 0 where nothing is joined.
        wanted: [W] positions of the series that are asked for, ascending; the others are there for what they show.
        details: of these, where they are asked for.
    """

    results: Results
    log_ratios: NDArray[np.float32]
    wanted: NDArray[np.int64]
    details: Details | None

    @classmethod
    def joined(cls, parts: Sequence[Apart], places: Sequence[NDArray[np.int64]]) -> Apart:
        """Some series and others as one, of the same ticks; `places` are their positions in it."""
        if len(parts) == 1:
            return parts[0]
        order = np.argsort(np.concatenate(places))
        of = [part.results for part in parts]
        keys = [key for each in of for key in each.series]
        arrays: dict[str, Any] = {name: np.concatenate([getattr(each, name) for each in of])[order] for name in BY_TICK}
        wanted = np.concatenate([place[part.wanted] for part, place in zip(parts, places, strict=True)])
        details = [part.details for part in parts if part.details is not None]
        return cls(
            results=replace(of[0], series=tuple(keys[i] for i in order), **arrays),
            log_ratios=np.concatenate([part.log_ratios for part in parts])[order],
            wanted=np.sort(wanted),
            details=_joined(details, np.argsort(wanted)) if details else None,
        )

    def asked_for(self, results: Results) -> Results:
        """Of results of all of its series what is asked for."""
        some = results if len(self.wanted) == len(results.series) else results.of(self.wanted)
        return replace(some, details=self.details)


def _joined(parts: Sequence[Details], order: NDArray[np.int64]) -> Details:
    return Details(*(np.concatenate(values)[order] for values in zip(*parts, strict=True)))
