"""From parts of series, each judged by itself, to results of all of them, by what they show together (`together`)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from qad_dl.detection import DEFAULT_BUDGET, known_detection
from qad_dl.records import queue_of_each, records_of
from qad_dl.results import BY_TICK, Details, Results
from qad_dl.together import TICKS_BLOCK, groups_of, together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qad_dl.bundle import Bundle
    from qad_dl.judging import Part
    from qad_dl.metadata import Metadata
    from qad_dl.schema import Times

WEAK_RATES: Final = (0.3, 0.1, 0.03, 0.01)
"""Episodes per series and day of the evidence that counts where queues with something in common show it together."""


class Whole(NamedTuple):
    """What parts are parts of.

    Attributes:
        series: keys of all of them, [N].
        known: [N, T] known at that tick.
        times: ticks, [T] `datetime64[s]`.
        order: [N] which row of the parts, one after the other, each series has.
        wanted: see `Apart`.
    """

    series: tuple[tuple[str, ...], ...]
    known: NDArray[np.bool_]
    times: Times
    order: NDArray[np.int64]
    wanted: NDArray[np.int64]


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
    def joined(cls, placed: Sequence[tuple[Apart, NDArray[np.int64]]]) -> Apart:
        """Some series and others as one, of the same ticks; each part with the positions of its series in it."""
        parts, place = [part for part, _ in placed], np.concatenate([at for _, at in placed])
        if len(parts) == 1:
            return parts[0]
        of = [part.results for part in parts]
        keys = [key for each in of for key in each.series]
        arrays: dict[str, Any] = {name: _placed([getattr(each, name) for each in of], place) for name in BY_TICK}
        wanted = np.concatenate([at[part.wanted] for part, at in placed])
        details = [part.details for part in parts if part.details is not None]
        return cls(
            results=replace(of[0], series=tuple(keys[i] for i in np.argsort(place)), **arrays),
            log_ratios=_placed([part.log_ratios for part in parts], place),
            wanted=np.sort(wanted),
            details=_joined(details, np.argsort(wanted)) if details else None,
        )

    def asked_for(self, results: Results) -> Results:
        """Of results of all of its series what is asked for."""
        some = results if len(self.wanted) == len(results.series) else results.of(self.wanted)
        return replace(some, details=self.details)


def _placed(parts: Sequence[NDArray[Any]], place: NDArray[np.int64]) -> NDArray[Any]:
    """Rows of all parts, one after the other, each at its place: held twice meanwhile and not three times."""
    if len(place) != sum(map(len, parts)):
        msg = f"{sum(map(len, parts))} rows for {len(place)} places"
        raise ValueError(msg)
    out, low = np.empty((len(place), *parts[0].shape[1:]), np.result_type(*parts)), 0
    for part in parts:
        out[place[low : low + len(part)]] = part
        low += len(part)
    return out


def _joined(parts: Sequence[Details], order: NDArray[np.int64]) -> Details:
    return Details(*(np.concatenate(values)[order] for values in zip(*parts, strict=True)))


def apart_of(bundle: Bundle, parts: Sequence[Part], whole: Whole, budget: float | None, details: bool = True) -> Apart:
    """The results of all parts, with details of those that are wanted.

    Args:
        bundle: that judged them.
        parts: of some series each; those with a series that is wanted have details, if any is to have some.
        whole: what they are parts of.
        budget: false alarm episodes per series and day; 0.01 if None.
        details: whether there are any.

    Raises:
        ConfigError: a budget that makes no sense.
    """
    budget, signatures = DEFAULT_BUDGET if budget is None else budget, bundle.calibration.signatures
    threshold = bundle.detection.threshold(budget)
    weak = bundle.detection if signatures is None else known_detection(signatures.healthy, alone=True)

    place = np.argsort(whole.order)

    def all_of(name: str) -> NDArray[Any]:
        return _placed([getattr(part, name) for part in parts], place)

    score = all_of("score")
    results = Results(
        entity=bundle.preprocess.entity,
        series=whole.series,
        times=whole.times,
        score=score,
        alone=score,
        flagged=score >= threshold,  # never where unscored: NaN is not above anything, whatever the budget
        reason=all_of("reason"),
        known=whole.known,
        expected=all_of("expected"),
        state=all_of("state"),
        direction=all_of("direction"),
        kind=all_of("kind"),
        states=bundle.preprocess.states,
        kinds=bundle.calibration.kinds,
        budget=budget,
        threshold=threshold,
        levels=tuple((rate, weak.threshold(rate)) for rate in WEAK_RATES),
    )
    of_wanted = _details(parts, whole.order[whole.wanted]) if details else None
    return Apart(results, all_of("log_ratios"), whole.wanted, of_wanted)


def known_together(bundle: Bundle, apart: Apart, metadata: Metadata) -> Results:
    """Scores by what series show and what those show that have something in common with them, see `Scorer.together`."""
    results, calibration = apart.results, bundle.calibration
    if not calibration.joined:
        return apart.asked_for(results)
    counts, ids = (results.reason == 0) & ~results.expected, _ids(bundle, results)
    score, queues = results.score.copy(), queue_of_each(results.entity, results.series)
    until = results.times[-1] + bundle.preprocess.tick.delta
    for start, end, held in metadata.segments(results.times[0], until):
        low, high = np.searchsorted(results.times, np.array([start, end])).tolist()
        records = records_of(results.entity, results.series, held)
        groups = groups_of(records, queues, calibration.shared, calibration.kinds)
        for first in range(low, high, TICKS_BLOCK):  # what is joined is held of so many
            ticks = slice(first, min(first + TICKS_BLOCK, high))
            known = together(apart.log_ratios[:, ticks], counts[:, ticks], groups, queues)
            more = (known != apart.log_ratios[:, ticks]).any(axis=2) & counts[:, ticks]
            score[:, ticks][more] = calibration.told(known[more], ids[np.nonzero(more)[0]])
    return apart.asked_for(replace(results, score=score, flagged=score >= results.threshold))


def _ids(bundle: Bundle, results: Results) -> NDArray[np.int64]:
    """Ids of series, [N], where it matters which they are."""
    if not bundle.calibration.usual:
        return np.zeros(len(results.series), np.int64)
    return np.array([bundle.preprocess.series_id(key) for key in results.series], np.int64)


def _details(parts: Sequence[Part], rows: NDArray[np.int64]) -> Details:
    """Of some rows of all parts, which have them."""
    have = np.concatenate([np.full(len(part.score), bool(part.details)) for part in parts])
    at = (np.cumsum(have) - 1)[rows]
    return Details(*(np.concatenate([part.details[i] for part in parts if part.details])[at] for i in range(5)))
