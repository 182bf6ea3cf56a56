"""From errors to a probability: how often a healthy tick of this very series looks as bad.

Everything here is learned on held-out time from the errors of the exported model, never from the ticks being scored.
What a series has too little of it borrows from all series together (partial pooling on the logarithm).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.scoring import Evidence, accumulate, allow_expected, statistic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

PRIOR_DAYS: Final = 1.0
"""The pooled value counts as much as this many days of the series' own healthy time."""

LEVEL_QUANTILE: Final = 0.99
"""The quantile of a series' statistic that makes series comparable."""

BAND_QUANTILE: Final = 0.95
"""Share of healthy ticks inside the band that people are shown."""

SPREAD_LEAST: Final = 1.0
"""No spread is below this share of the pooled one: errors come in units of the model's own spread, so a state that was
quieter than elsewhere in the calibration time has only not yet done what it does elsewhere, and must not alarm then."""

LEVEL_LEAST: Final = 0.1
"""Likewise for the level, where it only bounds what a series without any evidence can do."""

TAIL_COUNT: Final = 50
"""Ticks beyond the last empirical knot of the survival curve; further out it is continued by their mean excess."""

KNOTS_PER_DECADE: Final = 10


@dataclass(frozen=True)
class Errors:
    """Errors of the exported model, and which of them to learn from.

    Attributes:
        z: [N, T, H, S] float32, 0 where there is none.
        use: [N, T] healthy as far as is known: scored, not expected to fall, inside the calibration time.
        expected: [N, T].
        ids: [N] the series' ids, 0 unknown.
    """

    z: NDArray[np.float32]
    use: NDArray[np.bool_]
    expected: NDArray[np.bool_]
    ids: NDArray[np.int64]


@dataclass(frozen=True)
class Calibration:
    """What makes errors of different series comparable; row 0 of every table is for unknown series.

    Attributes:
        evidence: how errors are accumulated.
        spread: [ids, P, S] healthy root mean square of the evidence.
        level: [ids, P] 99th percentile of the statistic on healthy ticks.
        band: [ids, H, S] half width of the 95 % band in units of the model's spread.
        ratios: knots of the pooled survival curve of the ratio, ascending, and
        scores: -log10 of the share of healthy ticks beyond each knot; beyond the last one it rises by
        slope: -log10 p per unit of ratio.
    """

    evidence: Evidence
    spread: NDArray[np.float32]
    level: NDArray[np.float32]
    band: NDArray[np.float32]
    ratios: NDArray[np.float64]
    scores: NDArray[np.float64]
    slope: float

    def parts(
        self, z: NDArray[np.float32], expected: NDArray[np.bool_], ids: NDArray[np.int64], states: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scaled evidence [N, T, P, S] and statistic over level [N, T, P] for errors [N, T, H, S]."""
        evidence = allow_expected(accumulate(z, self.evidence), expected, states)
        scaled = evidence / self.spread[ids][:, None]
        return scaled, statistic(evidence, self.spread[ids]) / self.level[ids][:, None]

    def score(self, ratio: NDArray[np.float32]) -> NDArray[np.float64]:
        """-log10 of the probability that a healthy tick has a ratio as high; any shape, >= 0."""
        inside = np.interp(ratio, self.ratios, self.scores)
        beyond = np.maximum(ratio.astype(np.float64) - self.ratios[-1], 0) * self.slope
        out: NDArray[np.float64] = np.maximum(inside + beyond, 0.0)
        return out

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; `from_json` is the inverse."""
        return {
            "evidence": self.evidence.to_json(),
            "spread": self.spread.tolist(),
            "level": self.level.tolist(),
            "band": self.band.tolist(),
            "survival": {"ratios": self.ratios.tolist(), "scores": self.scores.tolist(), "slope": self.slope},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Read what `to_json` wrote."""
        survival = data["survival"]
        return cls(
            evidence=Evidence.from_json(data["evidence"]),
            spread=np.array(data["spread"], np.float32),
            level=np.array(data["level"], np.float32),
            band=np.array(data["band"], np.float32),
            ratios=np.array(survival["ratios"], np.float64),
            scores=np.array(survival["scores"], np.float64),
            slope=float(survival["slope"]),
        )


def fit_calibration(data: Errors, evidence: Evidence, states: Sequence[str], n_ids: int, per_day: int) -> Calibration:
    """Learn spreads, levels and the survival curve on held-out time.

    Args:
        data: errors of the exported model.
        evidence: how they are accumulated.
        states: names of the states, [S].
        n_ids: rows of the tables: number of known series, and one for the unknown.
        per_day: ticks in a day.
    """
    prior = PRIOR_DAYS * per_day
    kept = allow_expected(accumulate(data.z, evidence), data.expected, states)
    spread = _pooled_rows(_root_mean_square(kept, data.use), data, n_ids, prior, SPREAD_LEAST)
    raw = statistic(kept, spread[data.ids])
    level = _pooled_rows(_quantiles(raw, data.use, LEVEL_QUANTILE), data, n_ids, prior, LEVEL_LEAST)
    ratio = (raw / level[data.ids][:, None]).max(axis=2)
    ratios, scores, slope = survival_curve(ratio[data.use])
    absolute = np.abs(data.z).reshape(*data.z.shape[:2], -1)
    band = _pooled_rows(_quantiles(absolute, data.use, BAND_QUANTILE), data, n_ids, prior)
    return Calibration(evidence, spread, level, band.reshape(n_ids, *data.z.shape[2:]), ratios, scores, slope)


def survival_curve(ratio: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Knots of the share of values beyond, as -log10, and its slope past the last knot.

    The slope is that of an exponential tail, 1 / (ln 10 x mean excess) of the last `TAIL_COUNT` values, the simplest
    member of the generalised Pareto family (Coles 2001, section 4.2).

    Args:
        ratio: [n] pooled ratios of healthy ticks.
    """
    ordered = np.sort(ratio.astype(np.float64))
    last = np.log10(max(len(ordered) / TAIL_COUNT, 1.0))
    scores = np.arange(0.0, last, 1 / KNOTS_PER_DECADE)
    ratios = np.quantile(ordered, 1 - 10.0**-scores)
    ratios, first = np.unique(ratios, return_index=True)
    excess = float(np.mean(ordered[ordered >= ratios[-1]] - ratios[-1]))
    return ratios, scores[first], 1 / (np.log(10) * max(excess, 1e-3))


def _root_mean_square(evidence: NDArray[np.float32], use: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[N, P, S] over the ticks in use; NaN where there are none."""
    total = np.einsum("nt,ntps->nps", use.astype(np.float32), evidence**2, optimize=True).astype(np.float64)
    count = use.sum(axis=1)[:, None, None]
    return np.sqrt(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _quantiles(values: NDArray[np.float32], use: NDArray[np.bool_], q: float) -> NDArray[np.float64]:
    """The q-quantile of [N, T, C] over the ticks in use, [N, C]; NaN where there are none."""
    out = np.full((values.shape[0], values.shape[2]), np.nan)
    for n in np.flatnonzero(use.any(axis=1)):
        out[n] = np.quantile(values[n, use[n]], q, axis=0)
    return out


def _pooled_rows(
    own: NDArray[np.float64], data: Errors, n_ids: int, prior: float, least: float = 0.0
) -> NDArray[np.float32]:
    """Table by id: each series' own value drawn towards the median of all, on the logarithm; row 0 is that median.

    Args:
        own: [N, ...] values, NaN where a series has none.
        data: whose use and ids count.
        n_ids: rows of the table.
        prior: ticks that the median counts as.
        least: share of the median that no value is below.
    """
    count = data.use.sum(axis=1).astype(np.float64)
    logs = np.log(np.maximum(own, 1e-4))
    enough = count >= min(prior, count.max(initial=0.0))
    pooled = np.nanmedian(logs[enough], axis=0)
    table = np.broadcast_to(pooled, (n_ids, *pooled.shape)).copy()
    share = (count / (count + prior)).reshape(-1, *([1] * pooled.ndim))
    mixed = np.where(np.isfinite(logs), share * logs + (1 - share) * pooled, pooled)
    known = data.ids > 0
    table[data.ids[known]] = mixed[known]
    rows: NDArray[np.float32] = np.maximum(np.exp(table), least * np.exp(pooled)).astype(np.float32)
    return rows
