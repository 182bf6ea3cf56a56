"""Windows at fixed places: the one way in which ticks reach a model, in training and in serving.

A model reads a window of `context + stride` ticks and reconstructs the last `stride` of them, each from the ticks
before it. In serving, windows end at multiples of `stride` since the epoch, so that the reconstruction of a tick does
not depend on when a backtest began or which tick was asked for; ticks after the one asked for are simply not there
yet, and no output looks at them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from qad_dl.schema import RETIRED_AFTER_DAYS, Tick

if TYPE_CHECKING:
    from numpy.typing import NDArray


class WindowPlan(NamedTuple):
    """Lengths, in ticks, of everything a score looks at.

    Attributes:
        day: ticks in a day, the lag at which a series resembles itself.
        context: ticks read before the first reconstructed one.
        stride: ticks reconstructed by one run of the exported model.
        recent: newest ticks of which enough must have arrived.
        evidence: ticks over which errors are accumulated into one score.
        grace: ticks after a downtime in which a ramp-up is expected.
    """

    day: int
    context: int
    stride: int
    recent: int
    evidence: int
    grace: int

    @classmethod
    def for_tick(cls, tick: Tick) -> WindowPlan:
        """The plan at a tick length: 26 hours of context, a day a run, 12 hours of evidence."""
        day, quarter = tick.per_day, tick.per_day // 4
        context = day + max(12, day // 12)
        return cls(day=day, context=context, stride=day, recent=quarter, evidence=day // 2, grace=quarter)

    @property
    def length(self) -> int:
        """Ticks in one window of the exported model."""
        return self.context + self.stride

    @property
    def lookback(self) -> int:
        """Ticks before a tick that its score may depend on; nothing older has any influence."""
        return RETIRED_AFTER_DAYS * self.day

    @property
    def memory(self) -> int:
        """Ticks before a window's first output in which a row proves that a series has begun.

        A score at T needs the windows of T - evidence - course .. T; with this limit none of them looks past the
        lookback.
        """
        return self.lookback - self.evidence - self.course - self.stride

    @property
    def course(self) -> int:
        """The most ticks of evidence, besides that of the tick, that may have a say in its score."""
        return self.evidence

    def first_output(self, index: int) -> int:
        """Tick index of the first output of the window that reconstructs tick `index`."""
        return index // self.stride * self.stride


class Windows(NamedTuple):
    """A batch of B windows of L ticks: exactly the inputs of the ONNX model, in its order.

    Attributes:
        values: [B, L, S] float32 standardised ln(1 + jobs); where not observed the last observed value of the window.
        observed: [B, L, S] float32, 1 where the value was counted, 0 where it was carried on.
        calendar: [B, L, K] float32 features of the time of day and week.
        static_cat: [B, F] int64 ids: the series, then the metadata fields; 0 is unknown.
        static_num: [B, 2 S] float32: loc and ln(scale) of each state, the level that standardising took away.
    """

    values: NDArray[np.float32]
    observed: NDArray[np.float32]
    calendar: NDArray[np.float32]
    static_cat: NDArray[np.int64]
    static_num: NDArray[np.float32]

    @property
    def whole(self) -> NDArray[np.bool_]:
        """Whether every state was counted, [B, L]."""
        states = self.observed.shape[2]
        return np.asarray(self.observed @ np.ones(states, np.float32) == states)

    def newest(self, length: int) -> Windows:
        """The last ticks of each, carried forward as in the whole window."""
        values, observed, calendar = (a[:, -length:] for a in (self.values, self.observed, self.calendar))
        return Windows(values, observed, calendar, self.static_cat, self.static_num)

    def until(self, length: int) -> Windows:
        """The first ticks of each."""
        values, observed, calendar = (a[:, :length] for a in (self.values, self.observed, self.calendar))
        return Windows(values, observed, calendar, self.static_cat, self.static_num)

    def feeds(self) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
        """Inputs by name, as the ONNX session and the torch module take them."""
        return {
            "values": self.values,
            "observed": self.observed,
            "calendar": self.calendar,
            "static_cat": self.static_cat,
            "static_num": self.static_num,
        }


def carry_forward(
    values: NDArray[np.float32], observed: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Replace what was not observed by the last observed value of the window, or 0 (the median) before the first.

    The guard against NaN belongs here, before any network: onnxruntime's LSTM turns NaN into plausible numbers, and
    multiplying with a mask keeps it.

    Args:
        values: [B, L, S] standardised, NaN or anything where not observed.
        observed: [B, L, S], or [B, L, 1] where it holds for all states.

    Returns:
        The values, finite everywhere, and the mask as float32.
    """
    finite = np.isfinite(values)
    if observed.all() and finite.all():
        return values, np.ones(values.shape, np.float32)
    observed = observed & finite
    some = np.flatnonzero(~observed.all(axis=(1, 2)))
    if len(some) < len(values):
        out = values.astype(np.float32)  # a copy
        out[some], _ = carry_forward(values[some], observed[some])
        return out, observed.astype(np.float32)
    place = np.where(observed, np.arange(values.shape[1], dtype=np.int16)[None, :, None], np.int16(-1))
    last = np.maximum.accumulate(place, axis=1)
    n, t, s = np.nonzero(~observed)  # few, as a rule
    source = last[n, t, s]
    out = values.astype(np.float32)  # a copy
    out[n, t, s] = np.where(source >= 0, values[n, np.maximum(source, 0), s], np.float32(0))
    return out, observed.astype(np.float32)
