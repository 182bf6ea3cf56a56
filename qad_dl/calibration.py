"""From errors to a probability: how often a healthy tick looks as bad.

Everything here is learned on held-out time from the errors of the exported model, never from the ticks being scored.
What a series has too little of it borrows from all series together (partial pooling).

A history with PanDA's states is judged by the signatures of incidents alone. Its calibration time holds incidents that
nobody labelled, and they are most of what stands out there; so the tail of the statistic is that of normal life that is
known to be normal (`healthy.Healthy`), stretched to fit the bulk of the history's own.

Any other history is judged by two statistics, deviation and stop (`scoring`). Each is turned into a probability p_k by
its own calibration time, they share the false alarms, p = min over k of p_k / share_k (Bonferroni), and p is calibrated
once more, since the two go together.

A probability is that of a healthy tick of the series. What reviewers call expected is healthy, however odd: where a
series has such times, its score is no higher than they are rare (`Usual`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from qad_dl import floats
from qad_dl.scoring import Evidence, accumulate, allow_expected, bad_news, statistic, whitened
from qad_dl.signatures import Signatures, any_kind
from qad_dl.survival import Survival

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

VOLUME: Final = 5.0
"""Jobs: a deviation of as many counts half, of a few counts for little, however rare (as in QMonit's rule)."""

SCALED_CLIP: Final = 8.0
"""Scaled evidence beyond this is clipped."""

SHARES: Final = {"signature": 1.0, "deviation": 0.5, "stop": 0.5}
"""Shares of the false alarms; signatures are used alone, and what a history has no use for leaves its share."""


class Errors(NamedTuple):
    """What was observed against what the exported model expected.

    Attributes:
        z: [N, T, H, S] float32 errors, 0 where there is none.
        stop: [N, T] float32, `scoring.unexplained_stop`.
        volume: [N, T] float32 jobs by which the observed counts are off, the most of any state.
        expected: [N, T] a fall is expected.
        recovering: [N, T] away, or back for less than a day (`Prepared.recovering`).
        ids: [N] the series' ids, 0 unknown.
    """

    z: NDArray[np.float32]
    stop: NDArray[np.float32]
    volume: NDArray[np.float32]
    expected: NDArray[np.bool_]
    recovering: NDArray[np.bool_]
    ids: NDArray[np.int64]

    def of(self, series: slice) -> Errors:
        """Some series; nothing is copied."""
        cut: dict[str, Any] = {name: values[series] for name, values in self._asdict().items()}
        return Errors(**cut)


class Judged(NamedTuple):
    """What is known of some ticks before it becomes a probability.

    Attributes:
        scaled: [N, T, P, S] evidence over its own healthy spread, clipped.
        log_ratios: [N, T, K] of each kind of incident, of which the statistic is made; K is 0 without signatures.
        ratios: [N, T, P] deviation of each channel over its level; None with signatures.
        statistics: by name, [N, T] each: `signature`, or else `deviation` and `stop`.
        pulls: [N, T, P, S] what each state adds to the square of the whitened deviation; None where it is not whitened.
        pull: [N, T, S] what each state adds to the likelihood of an incident, 0 where that is low; None without them.
        course: what the signatures read of the newest tick, see `judge`, by convolution, [N, ticks, D].
    """

    scaled: NDArray[np.float32]
    log_ratios: NDArray[np.float32]
    ratios: NDArray[np.float32] | None
    statistics: dict[str, NDArray[np.float32]]
    pulls: NDArray[np.float32] | None = None
    pull: NDArray[np.float32] | None = None
    course: Sequence[NDArray[np.float32]] = ()


class Usual(NamedTuple):
    """What a series does at times and reviewers call expected.

    Attributes:
        odd: the score that the oddest of it would have.
        rare: -log10 of the share of the series' time that is at least half as odd.
    """

    odd: float
    rare: float

    def limit(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """No score up to `odd` is higher than it is rare, and what is odder counts by how much; any shape."""
        return np.minimum(score, self.rare * np.maximum(score / self.odd, 1.0))


@dataclass(frozen=True)
class Calibration:
    """What makes errors of different series comparable; row 0 of every table is for unknown series.

    Attributes:
        evidence: how errors are accumulated.
        states: names of the S states.
        spread: [ids, P, S] healthy root mean square of the evidence; of doubts what they differ by, all series alike.
        level: [ids, P] 99th percentile of the root mean square over states on healthy ticks.
        band: [ids, H, S] half width of the 95 % band in units of the model's spread.
        signatures: what incidents look like; None where they cannot be read off this data.
        whitening: [ids, P, S, S] turns scaled evidence into independent directions; None to take the states one by one.
        combine: `max` or `mean` of the channels is the deviation of a tick.
        survival: of each statistic in use.
        total: of the largest -log10 p_k / share_k.
        usual: by id, of the series that have any.
        shared: metadata fields that may be the cause of an incident: what series with a common value show is joined
            (`together`); none without signatures, or where each series is judged by itself.
        centre: [P, S] where doubts usually are, in units of their spread, and 0 of errors; None without doubts.
    """

    evidence: Evidence
    states: tuple[str, ...]
    spread: NDArray[np.float32]
    level: NDArray[np.float32]
    band: NDArray[np.float32]
    signatures: Signatures | None
    survival: dict[str, Survival]
    total: Survival
    whitening: NDArray[np.float32] | None = None
    combine: str = "max"
    usual: Mapping[int, Usual] = field(default_factory=dict)
    shared: tuple[str, ...] = ()
    centre: NDArray[np.float32] | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the kinds of incident that can be told; none without signatures."""
        return () if self.signatures is None else self.signatures.kinds

    @property
    def joined(self) -> tuple[str, ...]:
        """The kinds of which it is known what series with a common value show; none where each is judged by itself."""
        return self.kinds if self.shared else ()

    @property
    def reach(self) -> int:
        """Ticks before a tick whose errors have a say in its score."""
        return self.evidence.ticks + (0 if self.signatures is None else self.signatures.reach)

    def judge(
        self,
        errors: Errors,
        since: int = 0,
        course: Sequence[NDArray[np.float32]] | None = None,
        remember: bool = False,
    ) -> Judged:
        """Evidence and statistics of errors from tick `since` on; those before it were only there for the evidence.

        Args:
            errors: of `reach` ticks before it, or of `evidence.ticks` - 1 where the course is given.
            since: the first tick that is judged.
            course: what the signatures read of ticks before the last (`Signatures.follow`), which alone is judged.
            remember: whether to give `Judged.course` without being given one.
        """
        read = (
            0 if self.signatures is None or course is not None else self.signatures.reach
        )  # older evidence has no say
        begin = max(0, since - read)
        evidence = accumulate(errors.z, self.evidence, begin)
        expected = errors.expected[:, begin:]
        seen = scaled_evidence(evidence, self.spread[errors.ids], expected, self.states, self.centre)
        scaled = seen[:, since - begin :]
        if self.signatures is None:
            return self._deviation(errors, since, scaled)
        if course is None:
            log_ratios, pull = self.signatures.read(seen, self.states, since - begin)
            read_now = self.signatures.course_of(seen, self.states) if remember else []
        else:
            log_ratios, pull, read_now = self.signatures.follow(scaled, self.states, course)
        unusual = np.where(errors.recovering[:, since:], np.float32(self.signatures.healthy.recovering), np.float32(0))
        log_ratios -= unusual[:, :, None]
        statistics = {"signature": any_kind(log_ratios)}
        return Judged(scaled, log_ratios, None, statistics, pull=pull, course=read_now)

    def _deviation(self, errors: Errors, since: int, scaled: NDArray[np.float32]) -> Judged:
        """`judge` without signatures."""
        factors = None if self.whitening is None else self.whitening[errors.ids]
        over = evidence_size(scaled, self.states, factors) / self.level[errors.ids][:, None]
        weight = 1 - VOLUME / (errors.volume[:, since:] + VOLUME)  # in this form 1 where the volume is infinite
        statistics = {
            "deviation": (over.max(axis=2) if self.combine == "max" else over.mean(axis=2)) * weight,
            "stop": np.where(errors.expected, np.float32(0), errors.stop)[:, since:],
        }
        pulls = None if factors is None else np.maximum(scaled * whitened(scaled, factors @ factors.swapaxes(2, 3)), 0)
        return Judged(scaled, np.empty((*scaled.shape[:2], 0), np.float32), over, statistics, pulls)

    def parts(self, statistics: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float64]]:
        """-log10 p_k / share_k of each statistic in use, [N, T] each."""
        shares = _shares(self.survival)
        return {name: s.score(statistics[name]) + np.log10(shares[name]) for name, s in self.survival.items()}

    def score(
        self, statistics: Mapping[str, NDArray[np.float32]], ids: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """-log10 of the probability that a healthy tick looks as bad in any way, [N, T], >= 0.

        Args:
            statistics: of `judge`.
            ids: [N] the series' ids; None to leave out what is usual of each.
        """
        score = self.total.score(np.max(list(self.parts(statistics).values()), axis=0))
        for row, i in enumerate([] if ids is None or not self.usual else ids.tolist()):
            if i in self.usual:
                score[row] = self.usual[i].limit(score[row])
        return score

    def told(self, log_ratios: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """`score` [M] of ticks by what is known of each kind of incident, [M, K], and the ids [M] of their series."""
        score = self.score({"signature": any_kind(log_ratios)})
        for i in self.usual.keys() & set(ids.tolist()):
            score[ids == i] = self.usual[i].limit(score[ids == i])
        return score

    def leading(self, judged: Judged) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        """How much each state adds to the score, [N, T, S] >= 0, and whether it is high (1) or low (-1), [N, T, S].

        Of the statistic that decides: what a state adds to the likelihood of an incident (of its evidence where that is
        low: the square of what is bad news), its square in the deviation's largest channel, or, for a stop, running
        alone.
        """
        if judged.pull is not None:
            signed = _farthest(judged.scaled[:, :, [not channel.doubt for channel in self.evidence.channels]])
            pull = np.maximum(judged.pull, 0)
            weight = np.where(pull.any(axis=2, keepdims=True), pull, bad_news(signed, self.states) ** 2)
            return weight.astype(np.float32, copy=False), np.where(signed < 0, np.int8(-1), np.int8(1))
        if judged.ratios is None:
            raise ValueError("judged by neither signatures nor deviation")
        best = judged.ratios.argmax(axis=2)[:, :, None, None]
        signed = np.take_along_axis(judged.scaled, best, axis=2)[:, :, 0]
        weight = bad_news(signed[:, :, None], self.states)[:, :, 0] ** 2
        if judged.pulls is not None:
            weight = np.take_along_axis(judged.pulls, best, axis=2)[:, :, 0]
        parts = self.parts(judged.statistics)
        names = list(parts)
        decides = np.argmax([parts[name] for name in names], axis=0)
        if "stop" in names:
            stopped = (decides == names.index("stop")) & (judged.statistics["stop"] > 0)
            running = np.array([s == "running" for s in self.states])
            weight = np.where(stopped[:, :, None], running.astype(np.float32), weight)
            signed = np.where(stopped[:, :, None] & running, np.float32(-1), signed)
        return weight.astype(np.float32), np.where(signed < 0, -1, 1).astype(np.int8)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; `from_json` is the inverse."""
        return {
            "evidence": self.evidence.to_json(),
            "states": list(self.states),
            "spread": floats.to_json(self.spread),
            "level": floats.to_json(self.level),
            "band": floats.to_json(self.band),
            "signatures": None if self.signatures is None else self.signatures.to_json(),
            "survival": {name: s.to_json() for name, s in self.survival.items()},
            "total": self.total.to_json(),
            "whitening": None if self.whitening is None else floats.to_json(self.whitening),
            "combine": self.combine,
            "shared": list(self.shared),
            "centre": None if self.centre is None else floats.to_json(self.centre),
        } | ({"usual": {str(i): [u.odd, u.rare] for i, u in self.usual.items()}} if self.usual else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Read what `to_json` wrote."""
        signatures, whitening, centre = data["signatures"], data.get("whitening"), data.get("centre")
        return cls(
            evidence=Evidence.from_json(data["evidence"]),
            states=tuple(data["states"]),
            spread=floats.from_json(data["spread"]),
            level=floats.from_json(data["level"]),
            band=floats.from_json(data["band"]),
            signatures=None if signatures is None else Signatures.from_json(signatures),
            survival={name: Survival.from_json(s) for name, s in data["survival"].items()},
            total=Survival.from_json(data["total"]),
            whitening=None if whitening is None else floats.from_json(whitening),
            combine=str(data.get("combine", "max")),
            usual={int(i): Usual(float(odd), float(rare)) for i, (odd, rare) in data.get("usual", {}).items()},
            shared=tuple(data.get("shared", ())),
            centre=None if centre is None else floats.from_json(centre),
        )


def scaled_evidence(
    evidence: NDArray[np.float32],
    spread: NDArray[np.float32],
    expected: NDArray[np.bool_],
    states: Sequence[str],
    centre: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Evidence [N, T, P, S] over spread [N, P, S], clipped; of expected falls only what is a burst of failures.

    Args:
        evidence: of `accumulate`.
        spread: of each series.
        expected: [N, T] whether a fall is.
        states: names of the states.
        centre: [P, S] of `Calibration`.
    """
    scaled: NDArray[np.float32] = evidence / spread[:, None]
    if centre is not None:
        for p in np.flatnonzero(centre.any(axis=1)):
            scaled[:, :, p] -= centre[p]
    scaled = allow_expected(scaled, expected, states)
    return np.clip(scaled, -SCALED_CLIP, SCALED_CLIP, out=scaled)


def evidence_size(
    scaled: NDArray[np.float32], states: Sequence[str], factors: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Size of the evidence of each tick and channel, [N, T, P]; `factors` [N, P, S, S] to whiten it, or None."""
    return statistic(bad_news(scaled, states) if factors is None else whitened(scaled, factors))


def _farthest(scaled: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of [N, T, P, S] the value of the channel that is farthest from 0, [N, T, S]."""
    # Channel by channel in memory, series within ticks as evidence is: numpy is slow where its inner loop is short.
    n, ticks, channels, states = scaled.shape
    by_channel = np.empty((channels, ticks, n, states), scaled.dtype).swapaxes(1, 2)
    by_channel[:] = scaled.transpose(2, 0, 1, 3)
    low, high = by_channel.min(axis=0), by_channel.max(axis=0)
    farthest: NDArray[np.float32] = np.where(high > -low, high, low)
    return farthest


def _shares(names: Mapping[str, Any]) -> dict[str, float]:
    total = sum(SHARES[name] for name in names)
    return {name: SHARES[name] / total for name in names}
