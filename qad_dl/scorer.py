"""The scorer: onnxruntime and numpy, no torch. `qad score`, `qad backtest` and the collector all call this.

    grid -> windows -> ONNX -> errors -> evidence -> statistic -> score -> flag

Every tick is reconstructed inside the same window whichever range was asked for (see `windows`), and windows are run
in batches of one size, so that a score is the same number in every call.
"""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.bundle import MODEL, Bundle, read_bundle
from qad_dl.calibration import Errors
from qad_dl.detection import DEFAULT_BUDGET
from qad_dl.errors import BundleError
from qad_dl.progress import progress
from qad_dl.results import Details, Results
from qad_dl.scaling import Quantity, to_values
from qad_dl.schema import REASONS
from qad_dl.scoring import errors, unexplained_stop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import onnxruntime as ort
    import pandas as pd
    from numpy.typing import NDArray

    from qad_dl.grid import Grid
    from qad_dl.metadata import Metadata
    from qad_dl.preprocess import Prepared, Preprocess
    from qad_dl.schema import Times
    from qad_dl.windows import WindowPlan

BATCH: Final = 32
"""Windows per run of the model, always this many: matrix kernels round differently for other shapes."""

SERIES_BLOCK: Final = 512
"""Series scored together; bounds the memory, has no influence on any score."""

MIN_TICKS: Final = 0.25
"""A series is scored once it has this share of a day of observed ticks."""

MIN_SHARE: Final = 0.5
"""Share of ticks that must have arrived, of the context and of the newest `stride`; below it the reason is `gap`."""

WEAK_RATES: Final = (0.3, 0.1, 0.03, 0.01)
"""Episodes per series and day of the evidence that counts where queues with something in common show it together."""

CODE: Final = {reason: i for i, reason in enumerate(REASONS)}


@dataclass(frozen=True)
class Reconstruction:
    """Output of the model over a range of ticks.

    Attributes:
        start: grid position of the first tick.
        location: [N, R, H, S] float32, standardised units.
        spread: [N, R, H, S] float32.
        seen: [N, R] observed ticks among the context before each tick and the tick itself.
        counted: [N, R] the tick itself was observed.
    """

    start: int
    location: NDArray[np.float32]
    spread: NDArray[np.float32]
    seen: NDArray[np.int32]
    counted: NDArray[np.bool_]

    def cut(self, series: NDArray[np.int64], low: int, high: int) -> Reconstruction:
        """Some series, and the ticks [low, high) counted from `start`."""
        arrays = {name: getattr(self, name)[series, low:high] for name in _MADE}
        return Reconstruction(self.start + low, **arrays)


_MADE: Final = ("location", "spread", "seen", "counted")


@dataclass(frozen=True)
class Earlier:
    """A reconstruction by the names of its series and the times of its ticks.

    Attributes:
        series: keys, [N].
        times: [R] `datetime64[s]`.
        made: of them.
    """

    series: tuple[tuple[str, ...], ...]
    times: Times
    made: Reconstruction

    def until(self, times: Times, first: int) -> int:
        """The position after the last of the grid's ticks from `first` on that is in here; `first` if that one is not.

        Args:
            times: of the grid.
            first: position from which on it is wanted.
        """
        if not len(self.times) or not self.times[0] <= times[first] <= self.times[-1]:
            return first
        return int(np.searchsorted(times, self.times[-1], side="right"))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """As plain arrays; `from_arrays` is the inverse."""
        series = np.frombuffer(json.dumps(self.series).encode(), np.uint8)
        return {"series": series, "times": self.times, **{name: getattr(self.made, name) for name in _MADE}}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Earlier | None:
        """Read what `to_arrays` gave; None where there is nothing."""
        if not arrays:
            return None
        series = tuple(tuple(key) for key in json.loads(arrays["series"].tobytes()))
        return cls(series, arrays["times"], Reconstruction(0, **{name: arrays[name] for name in _MADE}))


def _assembled(
    parts: Sequence[tuple[NDArray[np.int64], slice, Reconstruction]], first: int, shape: tuple[int, int]
) -> Reconstruction:
    """One reconstruction [N, R] of pieces that cover it; each says which series and which ticks it is of."""
    arrays = {}
    for name in _MADE:
        example = getattr(parts[0][2], name)
        arrays[name] = np.empty((*shape, *example.shape[2:]), example.dtype)
        for series, ticks, piece in parts:
            arrays[name][series, ticks] = getattr(piece, name)
    return Reconstruction(first, **arrays)


class Scorer:
    """A verified bundle, ready to score."""

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        """Start the runtime; `threads` of 0 is one per core.

        Raises:
            BundleError: onnxruntime cannot load the model.
        """
        self.bundle = bundle
        self.model = Model(bundle.model, threads)

    @classmethod
    def load(cls, path: str | Path, threads: int = 0) -> Scorer:
        """Read and verify the bundle at `path`.

        Raises:
            BundleError: see `bundle.read_bundle`.
        """
        return cls(read_bundle(Path(path)), threads)

    def score(
        self,
        history: pd.DataFrame,
        metadata: Metadata | Mapping[str, Mapping[str, Any]] | None = None,
        at: str | datetime | np.datetime64 | None = None,
        queues: Sequence[str] | None = None,
        budget: float | None = None,
    ) -> pd.DataFrame:
        """Score one tick of a history in memory: for collectors that keep their own.

        Args:
            history: long rows (interfaces, section 1) of the last 7 days; older rows have no influence on a score.
            metadata: a `Metadata`, or CRIC's object keyed by queue, which then holds for all of the history.
            at: the tick, floored, UTC if it has no zone; the newest of the history if not given. Later rows have no
                influence.
            queues: give only these.
            budget: false alarm episodes per queue and day; 0.01 if not given.

        Returns:
            One row per known queue (interfaces, section 5), a score or a reason.

        Raises:
            InputError: the history or the metadata are refused, or the history has no row.
            ConfigError: a queue is not known, or `at` is no time.
        """
        from qad_dl.memory import score_history

        return score_history(self, history, metadata, at, queues or (), budget)

    def score_grid(
        self,
        grid: Grid,
        metadata: Metadata,
        start: int,
        budget: float | None = None,
        details: bool = False,
        only: NDArray[np.int64] | None = None,
    ) -> Results:
        """Score the ticks from grid position `start` to the end of the grid.

        Args:
            grid: built with the bundle's entity and selection; must reach `plan.lookback` ticks back from `start`.
            metadata: what held in it.
            start: position of the first tick to score.
            budget: false alarm episodes per series and day; 0.01 if not given.
            details: also give the per-state arrays.
            only: positions of the series to score; all if not given.
        """
        prepared = self.bundle.preprocess.prepare(grid, metadata)
        chosen = np.arange(len(grid.series)) if only is None else only
        return self._results(prepared, start, budget, details, chosen)

    def score_last(
        self, grid: Grid, metadata: Metadata, budget: float | None = None, earlier: Earlier | None = None
    ) -> tuple[Results, Earlier]:
        """Score the last tick of the grid with details, as `score_grid` does, and remember what was reconstructed.

        A tick is reconstructed from the ticks before it, so that what was made of earlier ticks stays as it is while
        their counts and metadata do: then only the newest window of each series is run.

        Args:
            grid: as in `score_grid`; the one that `earlier` was made from, carried on.
            metadata: what held in it.
            budget: false alarm episodes per series and day; 0.01 if not given.
            earlier: what was remembered at a tick before.
        """
        prepared = self.bundle.preprocess.prepare(grid, metadata)
        made = self._made(prepared, max(0, len(grid.times) - 1 - self.bundle.calibration.reach), earlier)
        results = self._results(prepared, len(grid.times) - 1, budget, True, np.arange(len(grid.series)), made)
        return results, Earlier(grid.series, grid.times[made.start :], made)

    def _made(self, prepared: Prepared, first: int, earlier: Earlier | None) -> Reconstruction:
        """The reconstruction from grid position `first` on, of which `earlier` may hold the beginning."""
        grid, preprocess = prepared.grid, self.bundle.preprocess
        n, end = len(grid.series), len(grid.times)
        place = {key: i for i, key in enumerate(earlier.series)} if earlier is not None else {}
        old = np.array([place.get(key, -1) for key in grid.series], np.int64)
        covered = earlier.until(grid.times, first) if earlier is not None else first
        known, fresh = np.flatnonzero(old >= 0), np.flatnonzero(old < 0)
        if earlier is None or not known.size or covered <= first:
            return reconstruct(self.model, preprocess, prepared, np.arange(n), first)
        parts = []
        if fresh.size:
            parts.append((fresh, slice(0, end - first), reconstruct(self.model, preprocess, prepared, fresh, first)))
        skip = int((grid.times[first] - earlier.times[0]) // grid.tick.delta)
        parts.append((known, slice(0, covered - first), earlier.made.cut(old[known], skip, skip + covered - first)))
        if covered < end:
            newest = reconstruct(self.model, preprocess, prepared, known, covered)
            parts.append((known, slice(covered - first, end - first), newest))
        return _assembled(parts, first, (n, end - first))

    def _results(
        self,
        prepared: Prepared,
        start: int,
        budget: float | None,
        details: bool,
        chosen: NDArray[np.int64],
        made: Reconstruction | None = None,
    ) -> Results:
        """Judge some series of a prepared grid from position `start` on."""
        bundle, budget, grid = self.bundle, DEFAULT_BUDGET if budget is None else budget, prepared.grid
        threshold = bundle.detection.threshold(budget)
        blocks = [chosen[i : i + SERIES_BLOCK] for i in range(0, len(chosen), SERIES_BLOCK)] or [chosen]
        parts = [self._block(prepared, block, start, details, made) for block in blocks]
        score, reason, state, direction, kind = (np.concatenate([p[i] for p in parts]) for i in range(5))
        return Results(
            entity=grid.entity,
            series=tuple(grid.series[i] for i in chosen),
            times=grid.times[start:],
            score=score,
            flagged=score >= threshold,  # never where unscored: NaN is not above anything, whatever the budget
            reason=reason,
            known=grid.known[chosen, start:],
            expected=prepared.expected[chosen, start:],
            state=state,
            direction=direction,
            kind=kind,
            states=bundle.preprocess.states,
            kinds=bundle.calibration.kinds,
            budget=budget,
            threshold=threshold,
            levels=tuple((rate, bundle.detection.threshold(rate)) for rate in WEAK_RATES),
            details=_join_details([p[5] for p in parts]) if details else None,
        )

    def _block(
        self,
        prepared: Prepared,
        series: NDArray[np.int64],
        start: int,
        details: bool,
        every: Reconstruction | None = None,
    ) -> tuple[
        NDArray[np.float64],
        NDArray[np.int8],
        NDArray[np.int16],
        NDArray[np.int8],
        NDArray[np.int8],
        tuple[NDArray[np.float32], ...],
    ]:
        """Score, reason, state, direction, kind and, if asked for, the details of some series.

        `every` is the reconstruction of all series from one evidence before `start` on, where it is there already.
        """
        bundle = self.bundle
        calibration, plan = bundle.calibration, bundle.preprocess.plan
        # One tick more than the evidence reaches back, so that the recursion takes out what is too old at the start.
        first = max(0, start - calibration.reach)
        if every is None:
            made = reconstruct(self.model, bundle.preprocess, prepared, series, first)
        else:
            made = replace(every.cut(series, 0, every.counted.shape[1]), start=first)
        seen = errors_of(prepared, series, made, bundle.preprocess.states)
        judged = calibration.judge(seen, start - first)
        reason = reasons(plan, prepared, series, start, made)
        skip = start - first
        said = np.isfinite(made.location[:, skip:]) & np.isfinite(made.spread[:, skip:])
        score = np.where((reason == 0) & said.all(axis=(2, 3)), calibration.score(judged), np.nan)
        reason = np.where((reason == 0) & ~np.isfinite(score), np.int8(CODE["invalid"]), reason)
        weight, sign = calibration.leading(judged)
        state, direction = _leader(weight, sign, reason)
        made_details = self._details(prepared, series, start, made, weight, reason) if details else ()
        kind = judged.log_ratios.argmax(axis=2) if bundle.calibration.kinds else np.full(reason.shape, -1)
        return score, reason, state, direction, np.where(reason == 0, kind, -1).astype(np.int8), made_details

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


class Model:
    """An onnxruntime session that always runs batches of `BATCH` windows."""

    def __init__(self, content: bytes, threads: int = 0) -> None:
        """Load the model from its bytes."""
        self.session = _session(content, threads)

    def run(self, feeds: dict[str, NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Reconstruction and spread [B, M, H, S] of any number of windows."""
        total = len(feeds["values"])
        if total == 0:
            _, *shape = self.session.get_outputs()[0].shape
            return np.empty((0, *shape), np.float32), np.empty((0, *shape), np.float32)
        pieces = []
        for i in range(0, total, BATCH):
            batch = {k: _padded(v[i : i + BATCH]) for k, v in feeds.items()}
            pieces.append(self.session.run(["reconstruction", "spread"], batch))
        location, spread = (np.concatenate([p[k] for p in pieces])[:total] for k in (0, 1))
        return location, spread


def reconstruct(
    model: Model, preprocess: Preprocess, prepared: Prepared, series: NDArray[np.int64], first: int
) -> Reconstruction:
    """Run the model over the ticks from grid position `first` to the end of the grid.

    Args:
        model: the network.
        preprocess: cuts the windows.
        prepared: the grid.
        series: [N] positions of the series.
        first: grid position of the first tick.
    """
    plan, end = preprocess.plan, len(prepared.grid.times)
    offset = int(preprocess.tick.index(prepared.grid.times[:1])[0])
    starts = range(plan.first_output(offset + first) - offset, end, plan.stride)
    shape = (len(series), end - first)
    location, spread, seen, counted = None, None, np.zeros(shape, np.int32), np.zeros(shape, np.bool_)
    for at in progress(starts, "model", len(starts), "window"):
        windows = preprocess.cut(prepared, series, np.full(len(series), at), plan.stride)
        middle, wide = model.run(windows.feeds())
        if location is None or spread is None:
            location = np.empty((*shape, *middle.shape[2:]), np.float32)
            spread = np.empty_like(location)
        low, high = max(at, first), min(at + plan.stride, end)
        here, there = slice(low - first, high - first), slice(low - at, high - at)
        held = prepared.segment[low:high]
        location[:, here] = middle[:, there]
        if prepared.quantity is Quantity.COUNTS:
            nothing = -(prepared.scale.loc / prepared.scale.scale)[held][:, series].swapaxes(0, 1)  # 0 jobs, [N, R, S]
            location[:, here] = np.maximum(middle[:, there], nothing[:, :, None])  # nobody expects less than none
        spread[:, here] = wide[:, there]
        observed = np.asarray(windows.observed.all(axis=2))
        total = np.cumsum(np.pad(observed, ((0, 0), (1, 0))), axis=1, dtype=np.int32)
        seen[:, here] = (total[:, plan.context + 1 :] - total[:, : -plan.context - 1])[:, there]
        counted[:, here] = observed[:, plan.context :][:, there]
    if location is None or spread is None:
        msg = f"no tick from grid position {first} on: the grid has {end}"
        raise ValueError(msg)
    return Reconstruction(first, location, spread, seen, counted)


def reasons(
    plan: WindowPlan, prepared: Prepared, series: NDArray[np.int64], start: int, made: Reconstruction
) -> NDArray[np.int8]:
    """Why a tick is not scored, [N, T] from grid position `start`; 0 where it is.

    The first that applies of: the tick did not arrive, the source was frozen, the series is retired, too many ticks
    are missing, the series (or the history) is too new.
    """
    grid, skip = prepared.grid, start - made.start
    quiet = grid.quiet[series, start:]
    out = np.zeros(quiet.shape, np.int8)
    out[~made.counted[:, skip:] | (made.seen[:, skip:] < MIN_TICKS * plan.day)] = CODE["too_short"]
    out[:, _gaps(plan, grid.arrived, start)] = CODE["gap"]
    out[quiet >= plan.lookback] = CODE["retired"]
    out[:, grid.frozen[start:]] = CODE["frozen"]
    out[:, ~grid.arrived[start:]] = CODE["missing_tick"]
    return out


def _gaps(plan: WindowPlan, arrived: NDArray[np.bool_], start: int) -> NDArray[np.bool_]:
    """Whether too few of the newest ticks arrived although the history reaches further back, [T] from `start`."""
    total = np.cumsum(np.pad(arrived, (1, 0)))
    end = np.arange(start, len(arrived)) + 1

    def arrivals(newest: int, oldest: int) -> NDArray[np.int64]:
        return np.asarray(total[np.maximum(end - newest, 0)] - total[np.maximum(end - oldest, 0)], np.int64)

    few = (arrivals(0, plan.context) < MIN_SHARE * plan.context) | (arrivals(0, plan.stride) < MIN_SHARE * plan.stride)
    return np.asarray(few & (arrivals(plan.context, plan.lookback) > 0))


def errors_of(prepared: Prepared, series: NDArray[np.int64], made: Reconstruction, states: Sequence[str]) -> Errors:
    """Observed against expected, over the reconstructed range; 0 where a tick was not counted."""
    values = np.where(made.counted[:, :, None], prepared.values[series, made.start :], np.float32(np.nan))
    x = np.where(prepared.usable[series, :, None], prepared.x[series], np.float32(np.nan))
    first = max(0, made.start - 1)  # a stop is a fall from the tick before
    return Errors(
        z=errors(values, made.location, made.spread),
        stop=unexplained_stop(x[:, first:], states)[:, made.start - first :],
        volume=_volume(prepared, series, made),
        expected=prepared.expected[series, made.start :],
        ids=prepared.static_cat[-1, series, 0],
    )


def _volume(prepared: Prepared, series: NDArray[np.int64], made: Reconstruction) -> NDArray[np.float32]:
    """Jobs by which a count is off what is expected with the most ticks hidden, the most of any state, [N, R].

    Infinite for measurements: they have no unit in which one could be too small to matter.
    """
    if prepared.quantity is Quantity.MEASUREMENTS:
        return np.full(made.counted.shape, np.inf, np.float32)
    loc, scale = (a[prepared.segment[made.start :]][:, series].swapaxes(0, 1) for a in astuple(prepared.scale))
    expected = to_values(made.location[:, :, -1] * scale + loc, prepared.quantity)
    apart = np.abs(to_values(prepared.x[series, made.start :], prepared.quantity) - expected).max(axis=2)
    return np.where(made.counted & np.isfinite(apart), apart, np.float32(0))


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


def _join_details(parts: list[tuple[NDArray[np.float32], ...]]) -> Details:
    return Details(*(np.concatenate([p[i] for p in parts]) for i in range(5)))


def _padded(array: NDArray[Any]) -> NDArray[Any]:
    missing = BATCH - len(array)
    return array if missing == 0 else np.concatenate([array, np.repeat(array[:1], missing, axis=0)])


def _session(content: bytes, threads: int) -> ort.InferenceSession:
    import onnxruntime as ort  # half a second, so not when the module is imported

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime raises classes of its own that share no base but Exception.
        if type(error).__module__.startswith("onnxruntime"):
            msg = f"{MODEL}: onnxruntime {ort.__version__} cannot load it ({error}): train the bundle again"
            raise BundleError(msg) from error
        raise
