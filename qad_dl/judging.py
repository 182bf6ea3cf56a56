"""Some series from counts to scores: reconstructed, held against what was observed, judged."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np

from qad_dl.bundle import ERRORS
from qad_dl.observed import CODE, errors_of, reasons
from qad_dl.reconstruction import Networks, Reconstruction
from qad_dl.scaling import to_values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.bundle import Bundle
    from qad_dl.grid import Grid
    from qad_dl.metadata import Metadata
    from qad_dl.prepared import Prepared

Made: TypeAlias = "Mapping[str, NDArray[np.float32]]"
"""What is made of ticks by lane (`Bundle.made`), [n, ticks, width] each."""

NOTHING: Final[Made] = MappingProxyType({})


class Part(NamedTuple):
    """Results of some series, each by itself, as in `Results`.

    What was made of ticks and the details are there only where they are wanted; `log_ratios` [n, ticks, K] are of each
    kind of incident, and K is 0 where nothing is made of them any more.
    """

    score: NDArray[np.float64]
    reason: NDArray[np.int8]
    state: NDArray[np.int16]
    direction: NDArray[np.int8]
    kind: NDArray[np.int8]
    expected: NDArray[np.bool_]
    log_ratios: NDArray[np.float32]
    details: tuple[NDArray[np.float32], ...]
    made: Made


class Asked(NamedTuple):
    """What a call wants to know.

    Attributes:
        grid: all series, cut to what the scores look at.
        metadata: what held in it.
        start: position of the first tick to score.
        first: position of the first whose error has a say.
        details: whether the per-state arrays are wanted.
        remember: whether what is made of the ticks is wanted.
    """

    grid: Grid
    metadata: Metadata
    start: int
    first: int
    details: bool
    remember: bool = False


class Judge:
    """A bundle's networks and its calibration, for some series at a time."""

    def __init__(self, bundle: Bundle) -> None:
        """Take a bundle; no network is started."""
        self.bundle, self.networks = bundle, Networks(bundle)

    def block(
        self,
        asked: Asked,
        series: NDArray[np.int64],
        done: Callable[[int], object],
        before: Made | None = None,
    ) -> Part:
        """Results of some series; of the newest tick alone where what was made of those before it is given."""
        preprocess, calibration, start = self.bundle.preprocess, self.bundle.calibration, asked.start
        low = asked.first if before is None else start
        prepared, mine = preprocess.prepare(asked.grid.of(series), asked.metadata), np.arange(len(series))
        made, lanes = self._reconstruct(prepared, low, before, asked.remember, done)
        errors, course = (None, None) if before is None else self._split(before)
        whole, doubts = calibration.signatures is None, calibration.evidence.doubts
        seen = errors_of(prepared, mine, made, preprocess.states, errors, whole, doubts)
        judged = calibration.judge(seen, seen.z.shape[1] - (len(asked.grid.times) - start), course, asked.remember)
        reason = reasons(preprocess.plan, prepared, mine, start, made)
        skip = start - low
        said = np.isfinite(made.location[:, skip:]) & np.isfinite(made.spread[:, skip:])
        score = np.where((reason == 0) & said.all(axis=(2, 3)), calibration.score(judged.statistics, seen.ids), np.nan)
        reason = np.where((reason == 0) & ~np.isfinite(score), np.int8(CODE["invalid"]), reason)
        weight, sign = calibration.leading(judged)
        state, direction = _leader(weight, sign, reason)
        details = self._details(prepared, mine, start, made, weight, reason) if asked.details else ()
        kind = judged.log_ratios.argmax(axis=2) if calibration.kinds else np.full(reason.shape, -1)
        kind = np.where(reason == 0, kind, -1).astype(np.int8)
        kept = self._made(seen.z, judged.course, lanes) if asked.remember else NOTHING
        ratios = judged.log_ratios if calibration.shared else np.empty((*reason.shape, 0), np.float32)
        return Part(score, reason, state, direction, kind, prepared.expected[:, start:], ratios, details, kept)

    def _split(self, before: Made) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """What was kept that a tick is judged by: errors, and what the signatures read."""
        errors, *course = (before[name] for name in self.bundle.judged)
        return errors, course

    def _made(
        self, errors: NDArray[np.float32], course: Sequence[NDArray[np.float32]], lanes: Sequence[NDArray[np.float32]]
    ) -> Made:
        """What was made of the newest ticks, of as many as are kept (`Bundle.made`)."""
        before = self.bundle.made[ERRORS].ticks
        flat = errors[:, -before - 1 :].reshape(len(errors), -1, errors.shape[2] * errors.shape[3])
        return dict(zip(self.bundle.made, (flat, *course, *lanes), strict=True))

    def _reconstruct(
        self, prepared: Prepared, low: int, before: Made | None, remember: bool, done: Callable[[int], object]
    ) -> tuple[Reconstruction, Sequence[NDArray[np.float32]]]:
        """What was expected from position `low` on, and, where wanted, what the network's layers read."""
        networks, stream = self.networks, self.bundle.stream
        if before is None or stream is None:
            made = networks.ticks(prepared, low, done)
            return made, networks.newest(prepared)[1] if remember and stream is not None else []
        done(1)
        kept = {name: before[name] for name in stream.lanes if name in before}
        return networks.newest(prepared, kept or None)

    def unasked(self, asked: Asked, series: NDArray[np.int64]) -> Part:
        """Results of series that are retired in all ticks, for which the model is not run."""
        preprocess, start = self.bundle.preprocess, asked.start
        prepared, mine = preprocess.prepare(asked.grid.of(series), asked.metadata), np.arange(len(series))
        shape, states = (len(series), len(asked.grid.times) - start), len(preprocess.states)
        nothing, absent = np.zeros((*shape, 1, states), np.float32), np.full((*shape, states), np.nan, np.float32)
        none = Reconstruction(start, nothing, nothing, np.zeros(shape, np.int32), np.zeros(shape, np.bool_))
        return Part(
            score=np.full(shape, np.nan),
            reason=reasons(preprocess.plan, prepared, mine, start, none),
            state=np.full(shape, -1, np.int16),
            direction=np.zeros(shape, np.int8),
            kind=np.full(shape, -1, np.int8),
            expected=prepared.expected[:, start:],
            log_ratios=np.zeros((*shape, len(self.bundle.calibration.joined)), np.float32),
            details=(absent,) * 5 if asked.details else (),
            made=NOTHING,
        )

    def _details(
        self,
        prepared: Prepared,
        series: NDArray[np.int64],
        start: int,
        made: Reconstruction,
        share: NDArray[np.float32],
        reason: NDArray[np.int8],
    ) -> tuple[NDArray[np.float32], ...]:
        """observed, reconstruction, lower, upper in the history's unit, and contribution; NaN where unscored."""
        h, skip = self.bundle.display_horizon, start - made.start
        held = prepared.segment[start:]
        loc = prepared.scale.loc[held][:, series].swapaxes(0, 1)
        scale = prepared.scale.scale[held][:, series].swapaxes(0, 1)
        middle, spread = made.location[:, skip:, h], made.spread[:, skip:, h]
        half = spread * self.bundle.calibration.band[prepared.static_cat[-1, series, 0], h][:, None]
        total = share.sum(axis=2, keepdims=True)
        # No evidence at all in any state: none contributes more than another.
        share = np.where(total > 0, share / np.where(total > 0, total, 1), np.float32(1 / share.shape[2]))
        jobs = [to_values((middle + k * half) * scale + loc, prepared.quantity) for k in (0, -1, 1)]
        arrays = (to_values(prepared.x[series, start:], prepared.quantity), *jobs, share)
        return tuple(np.where((reason == 0)[:, :, None], a, np.float32(np.nan)).astype(np.float32) for a in arrays)


def _leader(
    weight: NDArray[np.float32], sign: NDArray[np.int8], reason: NDArray[np.int8]
) -> tuple[NDArray[np.int16], NDArray[np.int8]]:
    """The state that adds most and its sign; -1 and 0 where unscored."""
    state = weight.argmax(axis=2)
    scored = reason == 0
    return (
        np.where(scored, state, -1).astype(np.int16),
        np.where(scored, np.take_along_axis(sign, state[:, :, None], axis=2)[:, :, 0], 0).astype(np.int8),
    )
