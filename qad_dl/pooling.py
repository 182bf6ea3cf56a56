"""Partial pooling: a series' own value, drawn towards that of all series as far as it cannot be relied on.

How far is read off the data (empirical Bayes; Efron and Morris, "Stein's estimation rule and its competitors", JASA 68,
1973). Time is cut into parts, and ln v of a series in one of them is its own level plus what differs from part to part:

    s2    the variance between the parts of a series, the mean over series
    t2    the variance between series of the mean over K parts, less s2 / K
    prior = ticks of a part x s2 / t2

    ln v  = n / (n + prior) x own + prior / (n + prior) x the median of all, for a series with n ticks

Queues that are alike but restless get the value of all; machines that are each other's opposites, and stay as they are,
keep their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

PARTS: Final = 3
"""Parts of time: of many the neighbours are alike, and look as if a series stayed as it is."""

SERIES_LEAST: Final = 3
"""Series with enough ticks in every part: from fewer it is not read how far they differ,"""

PRIOR_DAYS: Final = 1.0
"""and the value of all counts as much as this many days of a series' own."""

PRIOR_MOST: Final = 1e4
"""Days that it counts as at the most: where series differ by no more than chance, they share one value."""

SMALLEST: Final = 1e-4


class Measured(NamedTuple):
    """A positive value of each series, NaN where it has none.

    Attributes:
        whole: [N, ...] float64, of all ticks that count.
        parts: [K, N, ...] float64, of those of each part.
        counted: [K, N] int64, how many they are.
    """

    whole: NDArray[np.float64]
    parts: NDArray[np.float64]
    counted: NDArray[np.int64]

    @classmethod
    def joined(cls, pieces: Sequence[Measured]) -> Measured:
        """Of some series, and then of others."""
        whole, parts, counted = zip(*pieces, strict=True)
        return cls(np.concatenate(whole), np.concatenate(parts, axis=1), np.concatenate(counted, axis=1))


def parts_of(ticks: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The ticks, ascending, in `PARTS` parts."""
    return np.array_split(ticks, PARTS)


def power_mean(
    evidence: NDArray[np.float32], use: NDArray[np.bool_], parts: Sequence[NDArray[np.int64]], power: int
) -> Measured:
    """(mean of |e|^power)^(1 / power) over the ticks in use.

    Args:
        evidence: [N, T, P, S] finite.
        use: [N, T] the ticks that count.
        parts: the ticks of each part; those of none are left out.
        power: an even number.

    Returns:
        Of [N, P, S].
    """
    total = np.zeros((len(parts), len(evidence), *evidence.shape[2:]))
    for n, own in enumerate(evidence):  # a product of many rounds otherwise than that of a few
        powers = np.square(own.reshape(len(own), -1)) ** (power // 2)
        for k, ticks in enumerate(parts):
            total[k, n] = (use[n, ticks].astype(np.float32) @ powers[ticks]).reshape(own.shape[1:])
    counted = np.stack([use[:, ticks].sum(axis=1) for ticks in parts])
    return Measured(_root(total.sum(axis=0), counted.sum(axis=0), power), _root(total, counted, power), counted)


def _root(total: NDArray[np.float64], count: NDArray[np.int64], power: int) -> NDArray[np.float64]:
    ticks = count[..., None, None]
    return np.asarray(np.where(ticks > 0, total / np.maximum(ticks, 1), np.nan) ** (1 / power))


def measured(
    measure: Callable[[NDArray[np.bool_]], NDArray[np.float64]],
    use: NDArray[np.bool_],
    parts: Sequence[NDArray[np.int64]],
) -> Measured:
    """Any value [N, ...] of the ticks in use [N, T], NaN where there are none; of all, and of those of each part."""
    found, counted = [], []
    for ticks in parts:
        mine = np.zeros_like(use)
        mine[:, ticks] = use[:, ticks]
        found.append(measure(mine))
        counted.append(mine.sum(axis=1))
    return Measured(measure(use), np.stack(found), np.stack(counted))


def pooled_table(
    of: Measured,
    ids: NDArray[np.int64],
    n_ids: int,
    per_day: int,
    least: float = 0.0,
    prior_days: float | None = None,
) -> NDArray[np.float32]:
    """Table by id, [ids, ...]: each series' value drawn towards the median of all; row 0 is that median.

    Args:
        of: values of the series.
        ids: [N] their ids, 0 unknown.
        n_ids: rows of the table.
        per_day: ticks in a day.
        least: share of the median that no value is below.
        prior_days: days that the median counts as; None to read it off the values.
    """
    count = of.counted.sum(axis=0).astype(np.float64)
    prior = _prior_ticks(of, per_day) if prior_days is None else prior_days * per_day
    return table_of(of.whole, count, ids, n_ids, prior, min(per_day, count.max(initial=0.0)), least)


def table_of(
    own: NDArray[np.float64],
    count: NDArray[np.float64],
    ids: NDArray[np.int64],
    n_ids: int,
    prior: NDArray[np.float64] | float,
    enough: float,
    least: float = 0.0,
) -> NDArray[np.float32]:
    """As `pooled_table`, where it is known how far.

    Args:
        own: [N, ...] values, NaN where a series has none.
        count: [N] how many ticks they are of.
        ids: [N].
        n_ids: rows of the table.
        prior: [...] ticks that the median counts as.
        enough: ticks of a series that has a say in the median.
        least: share of the median that no value is below.
    """
    logs = np.log(np.maximum(own, SMALLEST))
    pooled = np.nanmedian(logs[count >= enough], axis=0)
    ticks = count.reshape(-1, *([1] * pooled.ndim))
    share = ticks / (ticks + prior)
    mixed = np.where(np.isfinite(logs), share * logs + (1 - share) * pooled, pooled)
    table = np.broadcast_to(pooled, (n_ids, *pooled.shape)).copy()
    known = ids > 0
    table[ids[known]] = mixed[known]
    rows: NDArray[np.float32] = np.maximum(np.exp(table), least * np.exp(pooled)).astype(np.float32)
    return rows


def _prior_ticks(of: Measured, per_day: int) -> NDArray[np.float64] | float:
    """Ticks of a series' own that the value of all counts as, [...]."""
    enough = (of.counted >= np.maximum(of.counted.max(axis=1, keepdims=True) / 2, 1)).all(axis=0)
    if enough.sum() < SERIES_LEAST:
        return PRIOR_DAYS * per_day
    logs = np.log(np.maximum(of.parts[:, enough], SMALLEST))
    between_parts = logs.var(axis=0, ddof=1).mean(axis=0)
    between_series = logs.mean(axis=0).var(axis=0, ddof=1) - between_parts / len(logs)
    ticks = float(of.counted[:, enough].mean())
    most = PRIOR_MOST * per_day
    ratio = ticks * between_parts / np.maximum(between_series, ticks * between_parts / most + 1e-12)
    return np.asarray(np.clip(ratio, 0.0, most))
