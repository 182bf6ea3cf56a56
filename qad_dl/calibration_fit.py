"""What a `Calibration` is learned from: the errors of held-out time, some series at a time.

What a series has too little of it borrows from all series together (`pooling`).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.calibration import (
    Calibration,
    Errors,
    Usual,
    evidence_size,
    scaled_evidence,
)
from qad_dl.doubts import doubts_apart
from qad_dl.pooling import PRIOR_DAYS, Measured, measured, parts_of, pooled_table, power_mean, table_of
from qad_dl.scoring import Evidence, accumulate
from qad_dl.scratch import IN_MEMORY, Scratch
from qad_dl.stretch import known_survival, stretch_of
from qad_dl.survival import AS_IT_IS, survival_curve

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from qad_dl.signatures import Signatures

SERIES_BLOCK: Final = 64
"""Series that are calibrated at a time: bounds what is needed beside the errors themselves."""

ROWS_BLOCK: Final = 1 << 20
"""Ticks whose probabilities are looked up at a time."""

LEVEL_QUANTILE: Final = 0.99
"""The quantile of a series' statistic that makes series comparable."""

BAND_QUANTILE: Final = 0.95
"""Share of healthy ticks inside the band that people are shown."""

SPREAD_LEAST: Final = 0.5
"""No spread is below this share of the pooled one: errors come in units of the model's own spread, so a state that was
quieter than elsewhere in the calibration time has only not yet done what it does elsewhere, and must not alarm then."""

LEVEL_LEAST: Final = 0.5
"""Likewise for the level."""

TAILS: Final = 6
"""Power of the mean that a spread is where sizes are compared. Usual times are not Gaussian: of two states that are as
far off in the mean square, the one that is far off now and then is worth less when it is."""

MEAN_SQUARE: Final = 2
"""Likewise for signatures, which have learned what to think of tails."""

NEW_QUANTILE: Final = 0.7
"""Of the spreads that known series would have if they were new, the one that all new series get."""

UNSEEN_PARTS: Final = 4
"""Parts of the calibration time: what is learned on the others says how each will look once it is over."""

SHRINKAGE: Final = 0.2
"""Share of the identity in the correlations between states that evidence is whitened by: states that always went
together may drift apart by half of their spread before it counts as more than that."""


def fit_calibration(
    data: Errors,
    use: NDArray[np.bool_],
    evidence: Evidence,
    states: Sequence[str],
    n_ids: int,
    per_day: int,
    signatures: Signatures | None = None,
    whiten: bool = False,
    combine: str = "max",
    as_new: tuple[Errors, NDArray[np.bool_]] | None = None,
    expected: NDArray[np.bool_] | None = None,
    scratch: Scratch = IN_MEMORY,
    shared: Sequence[str] = (),
) -> Calibration:
    """Learn spreads, levels and survival curves on held-out time, some series at a time.

    Args:
        data: errors of the exported model.
        use: [N, T] healthy as far as is known: scored, not expected to fall, inside the calibration time.
        evidence: how they are accumulated.
        states: names of the states, [S].
        n_ids: rows of the tables: number of known series, and one for the unknown.
        per_day: ticks in a day.
        signatures: what incidents look like; None to do without.
        whiten: judge what states do together: how they usually go with each other is no news.
        combine: `max` or `mean` of the channels is the deviation of a tick.
        as_new: the same errors and ticks had the series been new (`Preprocess.as_if_new`): what unknown ones are
            measured by. None: by the median of the known ones.
        expected: [N, T] ticks that reviewers call expected: what stands out there is no incident.
        scratch: room for what is known of every tick.
        shared: metadata fields that may be the cause of an incident; without signatures they are not looked at.
    """
    counted, prior = _counted(use), PRIOR_DAYS * per_day
    band = table_of(_bands(data, use), counted, data.ids, n_ids, prior, min(prior, counted.max(initial=0.0)))
    shape = (n_ids, len(evidence.channels), len(states))
    blank = Calibration(
        evidence=evidence,
        states=tuple(states),
        spread=np.ones(shape, np.float32),
        level=np.ones(shape[:2], np.float32),
        band=band.reshape(n_ids, *data.z.shape[2:]),
        signatures=signatures,
        survival={},
        total=AS_IT_IS,
        whitening=np.ones((*shape, len(states)), np.float32) if whiten else None,
        combine=combine,
        shared=() if signatures is None else tuple(shared),
    )
    draft = _learned(blank, data, use, per_day)
    if as_new is not None:
        draft = _with_new(draft, *as_new, per_day)
    statistics = unseen_statistics(draft, data, use, per_day, scratch)
    if signatures is not None:
        doubtful = use if expected is None else _without(use, expected, scratch)
        stretch = stretch_of(statistics["signature"], use, doubtful, signatures.healthy, per_day, scratch)
        return replace(draft, survival={"signature": known_survival(signatures.healthy, stretch)})
    used = {name: _used(values, use, scratch) for name, values in statistics.items()}
    useful = {name: values for name, values in used.items() if np.ptp(values) > 0}
    with_curves = replace(draft, survival={name: survival_curve(values, scratch) for name, values in useful.items()})
    top = scratch.empty(next(iter(used.values())).shape, np.float64)
    for i in range(0, len(top), ROWS_BLOCK):
        parts = with_curves.parts({name: values[i : i + ROWS_BLOCK] for name, values in useful.items()})
        top[i : i + ROWS_BLOCK] = np.max(list(parts.values()), axis=0)
    return replace(with_curves, total=survival_curve(top, scratch))


def _without(use: NDArray[np.bool_], expected: NDArray[np.bool_], scratch: Scratch) -> NDArray[np.bool_]:
    out: NDArray[np.bool_] = scratch.empty(use.shape, np.bool_)
    np.greater(use, expected, out=out)
    return out


def _blocks(data: Errors, use: NDArray[np.bool_]) -> Iterator[tuple[slice, Errors, NDArray[np.bool_]]]:
    """The series, some at a time."""
    for low in range(0, len(data.ids), SERIES_BLOCK):
        series = slice(low, low + SERIES_BLOCK)
        yield series, data.of(series), use[series]


def _counted(use: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Ticks in use of each series, [N]."""
    return np.asarray(use.sum(axis=1), np.float64)


def _bands(data: Errors, use: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The `BAND_QUANTILE` of the size of each series' errors, [N, H S]."""
    found = []
    for _, errors, mine in _blocks(data, use):
        found.append(_quantiles(np.abs(errors.z).reshape(*errors.z.shape[:2], -1), mine, BAND_QUANTILE))
    return np.concatenate(found)


def _used(values: NDArray[np.float32], use: NDArray[np.bool_], scratch: Scratch) -> NDArray[np.float32]:
    """The values [N, T] of the ticks in use, one after the other."""
    used, at = scratch.empty((int(use.sum()),), values.dtype), 0
    for row, mine in zip(values, use, strict=True):
        picked = row[mine]
        used[at : at + len(picked)] = picked
        at += len(picked)
    return used


def _with_new(draft: Calibration, data: Errors, use: NDArray[np.bool_], per_day: int) -> Calibration:
    """Row 0 of the tables from the errors of series as if they were new.

    A new series is expected to be as large as its group, and is not: some are far off. One row has to do for all of
    them, and it must not be the median one, or every larger one would be odd for as long as it lives.
    """
    known = np.arange(1, len(data.ids) + 1)
    spread = _spreads(draft, data, use, known, per_day)
    as_new, doubts = _first_row(draft.spread, spread[known]), [c.doubt for c in draft.evidence.channels]
    as_new[0, doubts] = draft.spread[0, doubts]  # the same for all
    with_spread = replace(draft, spread=as_new)
    level = draft.level
    if draft.signatures is None:
        level = _first_row(level, _levels(with_spread, data, use, known, per_day)[known])
    return replace(with_spread, level=level, band=_first_row(draft.band, _bands(data, use)))


def _first_row(table: NDArray[np.float32], values: NDArray[np.floating]) -> NDArray[np.float32]:
    """The table with the `NEW_QUANTILE` over series of some values in row 0; a new one is no surer than known ones."""
    row = np.nanquantile(values, NEW_QUANTILE, axis=0).reshape(table.shape[1:])
    return np.concatenate([np.maximum(row, table[0])[None].astype(np.float32), table[1:]])


def fit_whitening(
    scaled: NDArray[np.float32], use: NDArray[np.bool_], ids: NDArray[np.int64], n_ids: int, prior: float
) -> NDArray[np.float32]:
    """Factors L of the inverse correlation L L' of healthy evidence by id, [ids, P, S, S]; row 0 is the pooled one.

    The size |e L| / sqrt(S) of evidence is then its Mahalanobis distance: of states that go together it is news when
    one does not, and less news that all of them do the same.

    Args:
        scaled: [N, T, P, S] evidence over its own healthy spread.
        use: [N, T] healthy ticks.
        ids: [N].
        n_ids: rows of the table.
        prior: ticks that the pooled correlation counts as.
    """
    total, count = _no_products(n_ids, *scaled.shape[2:])
    _add_products(total, count, scaled, use, ids)
    return _factors(total, count, prior)


def _no_products(n_ids: int, p: int, s: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.zeros((n_ids, p, s, s)), np.zeros(n_ids)


def _add_products(
    total: NDArray[np.float64],
    count: NDArray[np.float64],
    scaled: NDArray[np.float32],
    use: NDArray[np.bool_],
    ids: NDArray[np.int64],
) -> None:
    """Add by id what the products of states sum up to, [ids, P, S, S], and of how many ticks."""
    for n, i in enumerate(ids):
        own = scaled[n, use[n]].swapaxes(0, 1).astype(np.float64)
        total[i] += own.swapaxes(1, 2) @ own
        count[i] += own.shape[1]


def _factors(total: NDArray[np.float64], count: NDArray[np.float64], prior: float) -> NDArray[np.float32]:
    """The factors of `fit_whitening`."""
    s = total.shape[-1]
    pooled = total.sum(axis=0) / max(count.sum(), 1.0)
    total[0], count[0] = pooled * prior, prior
    mixed = (total + prior * pooled) / (count + prior)[:, None, None, None]
    width = np.sqrt(np.maximum(np.diagonal(mixed, axis1=2, axis2=3), 1e-12))
    correlation = (1 - SHRINKAGE) * mixed / (width[..., :, None] * width[..., None, :])
    correlation[..., np.arange(s), np.arange(s)] = 1.0  # of a state that never moved too
    factors: NDArray[np.float32] = np.linalg.cholesky(np.linalg.inv(correlation)).astype(np.float32)
    return factors


def unseen_statistics(
    calibration: Calibration, data: Errors, use: NDArray[np.bool_], per_day: int, scratch: Scratch = IN_MEMORY
) -> dict[str, NDArray[np.float32]]:
    """The statistics on each quarter of the calibration time with the tables of the others, [N, T] each.

    With the tables of the same ticks they would be tamer than they are going to be on ticks that have not been seen.

    Args:
        calibration: says how; its own tables are not used.
        data: errors of the calibration time.
        use: as in `fit_calibration`.
        per_day: ticks in a day.
        scratch: room for what is given.
    """
    out: dict[str, NDArray[np.float32]] = {}
    for part, ticks in enumerate(np.array_split(np.flatnonzero(use.any(axis=0)), UNSEEN_PARTS)):
        others = scratch.empty(use.shape, np.bool_)
        others[:] = use
        others[:, ticks] = False
        rest = _learned(calibration, data, others, per_day)
        for series, errors, _ in _blocks(data, use):
            for name, values in rest.judge(errors).statistics.items():
                if name not in out:
                    out[name] = scratch.empty(use.shape, values.dtype)
                if part == 0:  # ticks that are not used have a value, too
                    out[name][series] = values
                out[name][series, ticks] = values[:, ticks]
    return out


def _learned(calibration: Calibration, data: Errors, use: NDArray[np.bool_], per_day: int) -> Calibration:
    """With the spreads, the whitening if there is one, and the levels of some ticks; signatures read no level."""
    own = _spreads(calibration, data, use, data.ids, per_day)
    spread, centre = doubts_apart(calibration.evidence, data, use, own)
    learned = replace(calibration, spread=spread, centre=centre)
    if calibration.whitening is not None:
        learned = replace(learned, whitening=_own_whitening(learned, data, use, PRIOR_DAYS * per_day))
    if calibration.signatures is not None:
        return learned
    return replace(learned, level=_levels(learned, data, use, data.ids, per_day))


def _spreads(
    calibration: Calibration, data: Errors, use: NDArray[np.bool_], ids: NDArray[np.int64], per_day: int
) -> NDArray[np.float32]:
    """Healthy spread of the evidence by id, [ids, P, S], drawn towards that of all series."""
    parts = parts_of(np.flatnonzero(use.any(axis=0)))
    power = TAILS if calibration.signatures is None else MEAN_SQUARE
    found = [power_mean(accumulate(e.z, calibration.evidence), mine, parts, power) for _, e, mine in _blocks(data, use)]
    of, rows = Measured.joined(found), _rows(calibration, ids)
    if calibration.signatures is not None:
        return signature_spreads(of, ids, rows, per_day)
    return pooled_table(of, ids, rows, per_day, SPREAD_LEAST)


def signature_spreads(of: Measured, ids: NDArray[np.int64], n_ids: int, per_day: int) -> NDArray[np.float32]:
    """The spreads that signatures were learned with, [ids, P, S], of the `power_mean` of `MEAN_SQUARE`."""
    return pooled_table(of, ids, n_ids, per_day, SPREAD_LEAST, PRIOR_DAYS)


def _levels(
    calibration: Calibration, data: Errors, use: NDArray[np.bool_], ids: NDArray[np.int64], per_day: int
) -> NDArray[np.float32]:
    """The `LEVEL_QUANTILE` of the size of evidence by the spreads of a calibration, by id, [ids, P]."""
    parts, factors = parts_of(np.flatnonzero(use.any(axis=0))), calibration.whitening
    found = []
    for _, errors, mine in _blocks(data, use):
        own = None if factors is None else factors[errors.ids]
        size = evidence_size(_scaled(calibration, errors), calibration.states, own)
        found.append(measured(partial(_quantiles, size, q=LEVEL_QUANTILE), mine, parts))
    return pooled_table(Measured.joined(found), ids, _rows(calibration, ids), per_day, LEVEL_LEAST)


def _rows(calibration: Calibration, ids: NDArray[np.int64]) -> int:
    return max(len(calibration.spread), int(ids.max(initial=0)) + 1)


def _own_whitening(calibration: Calibration, data: Errors, use: NDArray[np.bool_], prior: float) -> NDArray[np.float32]:
    """`fit_whitening` of evidence over the spreads of a calibration."""
    total, count = _no_products(*calibration.spread.shape)
    for _, errors, mine in _blocks(data, use):
        _add_products(total, count, _scaled(calibration, errors), mine, errors.ids)
    return _factors(total, count, prior)


def _scaled(calibration: Calibration, errors: Errors) -> NDArray[np.float32]:
    evidence = accumulate(errors.z, calibration.evidence)
    spread = calibration.spread[errors.ids]
    return scaled_evidence(evidence, spread, errors.expected, calibration.states, calibration.centre)


def find_usual(
    calibration: Calibration, data: Errors, use: NDArray[np.bool_], expected: NDArray[np.bool_], since: int
) -> dict[int, Usual]:
    """What known series do at times and reviewers call expected, by id.

    Args:
        calibration: fitted.
        data: errors of the exported model over the training period, and before it for the evidence.
        use: [N, T] ticks that count.
        expected: [N, T] those that reviewers call expected.
        since: first tick that is looked at.

    Returns:
        Nothing of a series whose expected times look no odder than they are rare.
    """
    scores = calibration.score(calibration.judge(data, since).statistics)
    found: dict[int, Usual] = {}
    for i, score, counted, said in zip(data.ids.tolist(), scores, use[:, since:], expected[:, since:], strict=True):
        if i == 0 or not (counted & said).any():
            continue
        odd = float(score[counted & said].max())
        rare = float(np.log10(counted.sum() / (counted & said & (score >= odd / 2)).sum()))
        if odd > rare:
            found[i] = Usual(odd, rare)
    return found


def _quantiles(values: NDArray[np.float32], use: NDArray[np.bool_], q: float) -> NDArray[np.float64]:
    """The q-quantile of [N, T, C] over the ticks in use, [N, C]; NaN where there are none."""
    out = np.full((values.shape[0], values.shape[2]), np.nan)
    for n in np.flatnonzero(use.any(axis=1)):
        out[n] = np.quantile(values[n, use[n]], q, axis=0)
    return out
