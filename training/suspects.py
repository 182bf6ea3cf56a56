"""Ticks of the training period that look like an incident, which nobody labelled: they are not learned from.

A model that learned from them would take them for normal life. A harvester that was down for a day is a twentieth of
what the queues behind it have been seen to do, and both the regression and the network then follow the next one. They
are found as they would be in use, by the linear part, its evidence and the signatures; and where many series of one
metadata value are a little odd in the same tick, all of them are left out: an incident that is weak in each of a
hundred queues is what a network learns most easily.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from qad_dl.calibration import scaled_evidence
from qad_dl.calibration_fit import MEAN_SQUARE, signature_spreads
from qad_dl.healthy import EPISODE_RATES
from qad_dl.nn.highway import highway_errors, solve_highway
from qad_dl.pooling import Measured, parts_of, power_mean
from qad_dl.progress import progress
from qad_dl.scoring import Channel, Evidence, accumulate
from qad_dl.scratch import Scratch
from qad_dl.signatures import SHIPPED_LINEAR, any_kind, shipped_signatures
from training.fit import network_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qad_dl.healthy import Healthy
    from qad_dl.nn.modules import Shape
    from qad_dl.signatures import Signatures
    from training.period import Period
    from training.settings import Settings

SERIES_BLOCK: Final = 32
"""Series that are looked at at a time: bounds the memory."""

ALONE_RATE: Final = 0.01
"""A series is left out where it is so odd that normal life is in as many episodes per series and day,"""

TOGETHER_RATE: Final = 1.0
"""and it is a little odd where normal life is in as many as this:"""

TOGETHER_LEAST: Final = 5
"""where a metadata value has at least so many series,"""

TOGETHER_ODD: Final = 4
"""so many of them, and"""

TOGETHER_SHARE: Final = 0.3
"""this share of them are a little odd in the same tick,"""

TOGETHER_SIGMAS: Final = 6.0
"""and that many standard deviations more than by chance, all of them are left out."""

ALONE_AROUND: Final = (3, 6)
"""Ticks before and after that are left out as well: evidence comes late, and what an incident leaves behind fades."""

TOGETHER_AROUND: Final = (9, 36)
"""Likewise where many are odd together: in the middle of a long incident each has got used to it."""


class _Look(NamedTuple):
    """What is known of the ticks that are looked at, [N, T'] from `first` on.

    Attributes:
        statistic: how odd they are.
        use: those that count.
        first: grid position of the first.
    """

    statistic: NDArray[np.float32]
    use: NDArray[np.bool_]
    first: int


def leave_out_suspects(settings: Settings, period: Period) -> Period:
    """The period without the weight of what looks like an incident, in what is learned from and what stops training.

    Args:
        settings: `data.learn_suspects` turns this off.
        period: the history. One without the states, horizons or ticks of the signatures is given back as it is, and
            what reviewers call expected keeps its weight.

    Raises:
        ConfigError: the network looks back further than a window reaches.
        ShardError: there is no room to work in.
    """
    signatures, preprocess = shipped_signatures(SHIPPED_LINEAR), period.preprocess
    horizons = {int(h) for h in settings.model["horizons"]}
    reads = signatures.fits(preprocess.states, signatures.channels, preprocess.plan.course)
    if settings.learn_suspects or not reads or not {h for h, *_ in signatures.channels} <= horizons:
        return period
    look = _look(settings, period, network_shape(settings, period), signatures)
    alone, together = _alone(look, signatures.healthy), _together(look, period, signatures.healthy)
    expected = _expected(period, look)
    weight, left_out = Scratch(period.scratch).empty((len(look.use), len(period.prepared.times)), np.bool_), 0
    for rows in _blocks(len(weight)):
        out = _around(alone[rows], *ALONE_AROUND) | _around(together[rows], *TOGETHER_AROUND)
        for row, ticks in zip(rows, out, strict=True):
            ticks &= ~expected.get(int(row), np.zeros_like(ticks))
            weight[row] = period.weight[row]
            weight[row, look.first : look.first + len(ticks)] &= ~ticks
        left_out += int((out & look.use[rows]).sum())
    return replace(period, weight=weight, suspects=left_out / max(int(look.use.sum()), 1))


def _blocks(series: int) -> list[NDArray[np.int64]]:
    """Positions of series that are looked at together."""
    return [np.arange(low, min(low + SERIES_BLOCK, series)) for low in range(0, series, SERIES_BLOCK)]


def _expected(period: Period, look: _Look) -> dict[int, NDArray[np.bool_]]:
    """Which of the ticks that are looked at reviewers call expected, by position of a series that has any."""
    if period.reviewed is None:
        return {}
    ticks = slice(look.first, look.first + look.use.shape[1])
    return dict(zip(period.reviewed.rows.tolist(), period.reviewed.marks.expected[:, ticks], strict=True))


def _look(settings: Settings, period: Period, shape: Shape, signatures: Signatures) -> _Look:
    """How odd the linear part alone finds each tick of the fit and the validation.

    Evidence is 220 bytes a tick and series: it is made twice, and kept of a block of series.
    """
    preprocess, span, scratch = period.preprocess, (period.fit[0], period.validation[1]), Scratch(period.scratch)
    prepared, n, ticks = period.prepared, len(period.prepared.series), span[1] - span[0]
    solved = solve_highway(preprocess, prepared, period.weight, period.fit, shape, bool(settings.model["pooled"]))
    horizons = list(shape.horizons)
    how = Evidence(tuple(Channel(horizons.index(h), w) for h, w, *_ in signatures.channels), preprocess.plan.evidence)

    def evidence(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return accumulate(highway_errors(preprocess, prepared, rows, span, shape, solved), how)

    use, statistic = scratch.empty((n, ticks), np.bool_), scratch.empty((n, ticks), np.float32)
    own, parts = [], parts_of(np.arange(ticks))
    for rows in progress(_blocks(n), "incidents to leave out, errors", unit="block"):
        use[rows] = period.weight[rows, span[0] : span[1]]
        own.append(power_mean(evidence(rows), use[rows], parts, MEAN_SQUARE))
    ids = prepared.ids(np.full(n, -1), np.arange(n))[:, 0]
    spread = signature_spreads(Measured.joined(own), ids, shape.vocabulary[0], preprocess.plan.day)
    for rows in progress(_blocks(n), "incidents to leave out, evidence", unit="block"):
        part = prepared.of(rows)
        expected, recovering = (mask[:, span[0] : span[1]] for mask in (part.expected, part.recovering))
        scaled = scaled_evidence(evidence(rows), spread[ids[rows]], expected, preprocess.states)
        found = any_kind(signatures.log_ratios(scaled, preprocess.states))
        statistic[rows] = found - np.where(recovering, np.float32(signatures.healthy.recovering), np.float32(0))
    return _Look(statistic, use, span[0])


def _alone(look: _Look, healthy: Healthy) -> NDArray[np.bool_]:
    """Ticks in which a series is odd, [N, T']."""
    return np.asarray((look.statistic >= healthy.alone[EPISODE_RATES.index(ALONE_RATE)]) & look.use)


def _together(look: _Look, period: Period, healthy: Healthy) -> NDArray[np.bool_]:
    """Ticks in which a series is one of many with the same metadata that are a little odd, [N, T']."""
    odd = (look.statistic >= healthy.alone[EPISODE_RATES.index(TOGETHER_RATE)]) & look.use
    usual, found = odd.sum() / max(look.use.sum(), 1), np.zeros_like(odd)
    every, segment = np.arange(len(odd)), period.prepared.segment[look.first : look.first + odd.shape[1]]
    for one in np.unique(segment):
        ticks = np.flatnonzero(segment == one)
        for values in period.prepared.ids(np.full(len(odd), one), every)[:, 1:].T:
            for value in np.unique(values[values > 0]):
                rows = np.flatnonzero(values == value)
                if len(rows) >= TOGETHER_LEAST:
                    place = np.ix_(rows, ticks)
                    found[place] |= _many(odd[place].sum(axis=0), look.use[place].sum(axis=0), usual)
    return np.asarray(found & look.use)


def _many(odd: NDArray[np.int64], of: NDArray[np.int64], usual: float) -> NDArray[np.bool_]:
    """Whether so many are more than by chance, tick by tick."""
    by_chance = of * usual + TOGETHER_SIGMAS * np.sqrt(of * usual * (1 - usual))
    return np.asarray((odd > by_chance) & (odd >= TOGETHER_ODD) & (odd >= TOGETHER_SHARE * of))


def _around(marked: NDArray[np.bool_], before: int, after: int) -> NDArray[np.bool_]:
    """The marked ticks, and so many before and after each."""
    total = np.cumsum(np.pad(marked, ((0, 0), (after + 1, before))), axis=1, dtype=np.int32)
    return np.asarray(total[:, before + after + 1 :] > total[:, : -(before + after + 1)])
