"""The scorer: onnxruntime and numpy, no torch. `qad score`, `qad backtest` and the collector all call this.

    grid -> windows -> ONNX -> errors -> evidence -> statistic -> score -> flag

Every tick is reconstructed inside the same window whichever range was asked for (see `windows`), and windows are run
in batches of one size, so that a score is the same number in every call.
"""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from qad_dl.bundle import Bundle, read_bundle
from qad_dl.calibration import Errors
from qad_dl.detection import DEFAULT_BUDGET
from qad_dl.reconstruction import Earlier, Model, Reconstruction, assembled, reconstruct
from qad_dl.results import Details, Results
from qad_dl.scaling import Quantity, to_values
from qad_dl.schema import REASONS
from qad_dl.scoring import errors, unexplained_stop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import pandas as pd
    from numpy.typing import NDArray

    from qad_dl.grid import Grid
    from qad_dl.metadata import Metadata
    from qad_dl.preprocess import Prepared
    from qad_dl.windows import WindowPlan

SERIES_BLOCK: Final = 512
"""Series scored together; bounds the memory, has no influence on any score."""

MIN_TICKS: Final = 0.25
"""A series is scored once it has this share of a day of observed ticks."""

MIN_SHARE: Final = 0.5
"""Share of ticks that must have arrived, of the context and of the newest `stride`; below it the reason is `gap`."""

WEAK_RATES: Final = (0.3, 0.1, 0.03, 0.01)
"""Episodes per series and day of the evidence that counts where queues with something in common show it together."""

CODE: Final = {reason: i for i, reason in enumerate(REASONS)}


_Part: TypeAlias = tuple[
    "NDArray[np.float64]",
    "NDArray[np.int8]",
    "NDArray[np.int16]",
    "NDArray[np.int8]",
    "NDArray[np.int8]",
    "tuple[NDArray[np.float32], ...]",
]


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
        seen = self._seen(grid, start)
        prepared = self.bundle.preprocess.prepare(seen, metadata)
        chosen = np.arange(len(grid.series)) if only is None else only
        return self._results(prepared, start - len(grid.times) + len(seen.times), budget, details, chosen)

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
        grid = self._seen(grid, len(grid.times) - 1)
        prepared = self.bundle.preprocess.prepare(grid, metadata)
        last, every = len(grid.times) - 1, np.arange(len(grid.series))
        due = every[~self._retired(grid, every, last)]
        made = self._made(prepared, due, max(0, last - self.bundle.calibration.reach), earlier)
        results = self._results(prepared, last, budget, True, every, made)
        return results, Earlier(tuple(grid.series[i] for i in due), grid.times[made.start :], made)

    def _seen(self, grid: Grid, start: int) -> Grid:
        """The part of a grid that the scores from position `start` on look at."""
        return grid.newest(len(grid.times) - 1 - start + self.bundle.sight)

    def _retired(self, grid: Grid, series: NDArray[np.int64], start: int) -> NDArray[np.bool_]:
        """Which of some series have no tick from position `start` on in which anybody would ask the model, [N]."""
        return np.asarray((grid.quiet[series, start:] >= self.bundle.preprocess.plan.lookback).all(axis=1))

    def _made(
        self, prepared: Prepared, series: NDArray[np.int64], first: int, earlier: Earlier | None
    ) -> Reconstruction:
        """The reconstruction of some series from position `first` on, of which `earlier` may hold the beginning."""
        grid, preprocess, end = prepared.grid, self.bundle.preprocess, len(prepared.grid.times)
        place = {key: i for i, key in enumerate(earlier.series)} if earlier is not None else {}
        old = np.array([place.get(grid.series[i], -1) for i in series], np.int64)
        covered = earlier.until(grid.times, first) if earlier is not None else first
        known, fresh = np.flatnonzero(old >= 0), np.flatnonzero(old < 0)
        if earlier is None or not known.size or covered <= first:
            return reconstruct(self.model, preprocess, prepared, series, first)
        parts = []
        if fresh.size:
            whole = reconstruct(self.model, preprocess, prepared, series[fresh], first)
            parts.append((fresh, slice(0, end - first), whole))
        skip = int((grid.times[first] - earlier.times[0]) // grid.tick.delta)
        parts.append((known, slice(0, covered - first), earlier.made.cut(old[known], skip, skip + covered - first)))
        if covered < end:
            newest = reconstruct(self.model, preprocess, prepared, series[known], covered)
            parts.append((known, slice(covered - first, end - first), newest))
        return assembled(parts, first, (len(series), end - first))

    def _results(
        self,
        prepared: Prepared,
        start: int,
        budget: float | None,
        details: bool,
        chosen: NDArray[np.int64],
        made: Reconstruction | None = None,
    ) -> Results:
        """Judge some series of a prepared grid from position `start` on.

        `made` is the reconstruction of those that are not retired from one evidence before `start` on, where it is
        there already.
        """
        bundle, budget, grid = self.bundle, DEFAULT_BUDGET if budget is None else budget, prepared.grid
        threshold = bundle.detection.threshold(budget)
        retired = self._retired(grid, chosen, start)
        due = np.flatnonzero(~retired)
        places = [due[i : i + SERIES_BLOCK] for i in range(0, len(due), SERIES_BLOCK)]
        of = [slice(i, i + SERIES_BLOCK) for i in range(0, len(due), SERIES_BLOCK)]
        parts = [
            self._block(prepared, chosen[at], start, details, None if made is None else made.of(part))
            for at, part in zip(places, of, strict=True)
        ]
        parts.append(self._unasked(prepared, chosen[retired], start, details))
        back = np.argsort(np.concatenate([*places, np.flatnonzero(retired)]))
        score, reason, state, direction, kind = (np.concatenate([p[i] for p in parts])[back] for i in range(5))
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
            details=_join_details([p[5] for p in parts], back) if details else None,
        )

    def _block(
        self,
        prepared: Prepared,
        series: NDArray[np.int64],
        start: int,
        details: bool,
        made: Reconstruction | None = None,
    ) -> _Part:
        """Score, reason, state, direction, kind and, if asked for, the details of some series.

        `made` is their reconstruction from one evidence before `start` on, where it is there already.
        """
        bundle = self.bundle
        calibration, plan = bundle.calibration, bundle.preprocess.plan
        # One tick more than the evidence reaches back, so that the recursion takes out what is too old at the start.
        first = max(0, start - calibration.reach)
        if made is None:
            made = reconstruct(self.model, bundle.preprocess, prepared, series, first)
        seen = errors_of(prepared, series, made, bundle.preprocess.states)
        judged = calibration.judge(seen, start - first)
        reason = reasons(plan, prepared, series, start, made)
        skip = start - first
        said = np.isfinite(made.location[:, skip:]) & np.isfinite(made.spread[:, skip:])
        score = np.where((reason == 0) & said.all(axis=(2, 3)), calibration.score(judged.statistics, seen.ids), np.nan)
        reason = np.where((reason == 0) & ~np.isfinite(score), np.int8(CODE["invalid"]), reason)
        weight, sign = calibration.leading(judged)
        state, direction = _leader(weight, sign, reason)
        made_details = self._details(prepared, series, start, made, weight, reason) if details else ()
        kind = judged.log_ratios.argmax(axis=2) if bundle.calibration.kinds else np.full(reason.shape, -1)
        return score, reason, state, direction, np.where(reason == 0, kind, -1).astype(np.int8), made_details

    def _unasked(self, prepared: Prepared, series: NDArray[np.int64], start: int, details: bool) -> _Part:
        """As `_block`, of series that are retired in all ticks, without running the model."""
        shape = (len(series), len(prepared.grid.times) - start)
        states, horizons = len(self.bundle.preprocess.states), 1
        nothing = np.zeros((*shape, horizons, states), np.float32)
        none = Reconstruction(start, nothing, nothing, np.zeros(shape, np.int32), np.zeros(shape, np.bool_))
        reason = reasons(self.bundle.preprocess.plan, prepared, series, start, none)
        score, absent = np.full(shape, np.nan), np.full((*shape, states), np.nan, np.float32)
        no_state, no_way, no_kind = np.full(shape, -1, np.int16), np.zeros(shape, np.int8), np.full(shape, -1, np.int8)
        return score, reason, no_state, no_way, no_kind, (absent,) * 5 if details else ()

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
    out[:, _gaps(plan, np.concatenate([grid.before, grid.arrived]), len(grid.before) + start)] = CODE["gap"]
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
        recovering=prepared.recovering[series, made.start :],
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


def _join_details(parts: list[tuple[NDArray[np.float32], ...]], back: NDArray[np.int64]) -> Details:
    return Details(*(np.concatenate([p[i] for p in parts])[back] for i in range(5)))
