"""The scorer: onnxruntime and numpy, no torch. `qad score`, `qad backtest` and the collector all call this.

    grid -> windows -> ONNX -> errors -> evidence -> statistic -> score -> flag

Every tick is reconstructed inside the same window whichever range was asked for (see `windows`), and windows are run
in batches of one size, so that a score is the same number in every call.
"""

from __future__ import annotations

import os
from dataclasses import astuple, dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar

import numpy as np

from qad_dl.bundle import ERRORS, PRIME, STEP, Bundle, Stream, read_bundle
from qad_dl.calibration import Errors
from qad_dl.detection import DEFAULT_BUDGET
from qad_dl.progress import counting
from qad_dl.reconstruction import (
    STEP_BATCH,
    Model,
    Reconstruction,
    begins_window,
    carries,
    reconstruct,
    reconstruct_newest,
    unmoved,
    window_starts,
)
from qad_dl.results import Details, Results
from qad_dl.scaling import Quantity, to_values
from qad_dl.schema import REASONS
from qad_dl.scoring import errors, unexplained_stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    import pandas as pd
    from numpy.typing import NDArray

    from qad_dl.grid import Grid
    from qad_dl.lanes import Lane
    from qad_dl.metadata import Metadata
    from qad_dl.preprocess import Prepared
    from qad_dl.schema import Times
    from qad_dl.windows import WindowPlan

SERIES_BLOCK: Final = 32
"""Series scored together; bounds the memory, has no influence on any score."""

MIN_TICKS: Final = 0.25
"""A series is scored once it has this share of a day of observed ticks."""

MIN_SHARE: Final = 0.5
"""Share of ticks that must have arrived, of the context and of the `recent` ones; below it the reason is `gap`."""

WEAK_RATES: Final = (0.3, 0.1, 0.03, 0.01)
"""Episodes per series and day of the evidence that counts where queues with something in common show it together."""

_NONE: Final[Mapping[str, NDArray[np.float32]]] = MappingProxyType({})

CODE: Final = {reason: i for i, reason in enumerate(REASONS)}


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class _Part:
    """Results of some series, as in `Results`, and what was made of ticks; details and that only where wanted."""

    score: NDArray[np.float64]
    reason: NDArray[np.int8]
    state: NDArray[np.int16]
    direction: NDArray[np.int8]
    kind: NDArray[np.int8]
    expected: NDArray[np.bool_]
    details: tuple[NDArray[np.float32], ...]
    made: Made


@dataclass(frozen=True)
class _OfGroup:
    """Results of some series at the newest tick, with their keys and whether they are known, [n, 1]."""

    series: tuple[tuple[str, ...], ...]
    known: NDArray[np.bool_]
    part: _Part


Made: TypeAlias = "Mapping[str, NDArray[np.float32]]"
_Judged: TypeAlias = "tuple[NDArray[np.int64], _Part]"
_T = TypeVar("_T")
_U = TypeVar("_U")


@dataclass(frozen=True)
class _Asked:
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


class Kept(Protocol):
    """What is kept from tick to tick (`rolling.Rolling`), by groups of series."""

    @property
    def groups(self) -> range:
        """Numbers of the groups."""

    @property
    def end(self) -> np.datetime64:
        """The newest tick."""

    def grid(self, group: int, ticks: int) -> Grid:
        """The newest ticks of a group."""

    def made(self, group: int, series: Sequence[tuple[str, ...]], lanes: Mapping[str, Lane]) -> Made:
        """What was made of ticks before the newest (`Bundle.made`), [n, lags, width]; NaN where none is kept."""

    def keep_made(self, group: int, series: Sequence[tuple[str, ...]], made: Made) -> None:
        """Keep what was made of the newest tick, [n, width]."""

    def keep_made_before(self, group: int, series: Sequence[tuple[str, ...]], made: Made) -> None:
        """Keep what was made of the ticks before it, [n, ticks, width]."""


class Scorer:
    """A verified bundle, ready to score."""

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        """Take a bundle; `threads` of 0 is one per core."""
        self.bundle = bundle
        # Threads of ours, each with some series: those of the runtime wait for each other in every layer of a batch.
        self.threads = threads or _cores()

    @cached_property
    def model(self) -> Model:
        """The network, started when it is needed first.

        Raises:
            BundleError: onnxruntime cannot load it.
        """
        return Model(self.bundle.model, 1)

    @cached_property
    def prime(self) -> Model:
        """The network for one tick that starts from its window (`Bundle.stream`), likewise."""
        return Model(self._stream.prime, 1, PRIME)

    @cached_property
    def step(self) -> Model:
        """The one that goes on from what was kept, likewise."""
        return Model(self._stream.step, 1, STEP, STEP_BATCH)

    @property
    def _stream(self) -> Stream:
        if self.bundle.stream is None:
            raise ValueError("this network does not go tick by tick")
        return self.bundle.stream

    @classmethod
    def load(cls, path: str | Path, threads: int = 0) -> Scorer:
        """Read and verify the bundle at `path`.

        Raises:
            BundleError: see `bundle.read_bundle`.
        """
        return cls(read_bundle(Path(path)), threads)

    def started(self) -> Scorer:
        """Itself with its networks started: for who wants to know now whether they can be.

        Raises:
            BundleError: onnxruntime cannot load one.
        """
        _ = self.model, self.bundle.stream and (self.prime, self.step)
        return self

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
        chosen = np.arange(len(grid.series)) if only is None else only
        asked = self._asked(grid, metadata, start, details)
        judged = self._judged(asked, chosen)
        parts = [part for _, part in judged] or [self._unasked(asked, chosen)]  # nobody is asked for
        place = np.empty(len(grid.series), np.int64)
        place[np.concatenate([chosen[:0], *(series for series, _ in judged)])] = np.arange(len(chosen))
        keys, known = tuple(grid.series[i] for i in chosen), asked.grid.known[chosen, asked.start :]
        return self._results(parts, place[chosen], keys, known, asked.grid.times[asked.start :], budget, details)

    def score_last(self, kept: Kept, metadata: Metadata, budget: float | None = None) -> Results:
        """Score the newest tick of what is kept with details, as `score_grid` does, and keep the errors it came from.

        A tick is reconstructed from the ticks before it, so that what was made of earlier ticks stays as it is while
        their counts and metadata do: then only the newest tick of each series is reconstructed.

        Args:
            kept: made and carried on with this bundle.
            metadata: what held in it.
            budget: false alarm episodes per series and day; 0.01 if not given.
        """
        with counting(len(kept.groups), "model", "group") as done:
            groups = self._each(lambda group: self._group(kept, metadata, group, done), kept.groups)
        judged = [one for group in groups for one in group]
        keys = [key for one in judged for key in one.series]
        order = np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)
        known = np.concatenate([np.empty((0, 1), np.bool_), *(one.known for one in judged)])[order]
        times = np.array([kept.end])
        return self._results([one.part for one in judged], order, tuple(keys[i] for i in order), known, times, budget)

    def _asked(self, grid: Grid, metadata: Metadata, start: int, details: bool) -> _Asked:
        """What is asked of the ticks from position `start` of a grid on, and the part of it that this looks at."""
        seen = grid.newest(len(grid.times) - 1 - start + self.bundle.sight)
        start -= len(grid.times) - len(seen.times)
        first = max(0, start - self.bundle.calibration.reach)
        return _Asked(replace(seen, rest=seen.at_rest()), metadata, start, first, details)  # at rest: once for all

    def _judged(self, asked: _Asked, chosen: NDArray[np.int64]) -> list[_Judged]:
        """The results of some series, some at a time; the model is not run for those that are retired in all ticks."""
        grid, preprocess = asked.grid, self.bundle.preprocess
        retired = (grid.quiet[chosen, asked.start :] >= preprocess.plan.lookback).all(axis=1)
        blocks, away = (_blocks(chosen[mine]) for mine in (~retired, retired))
        windows = len(blocks) * len(window_starts(preprocess, grid.times, asked.first))
        with counting(windows, "model", "window") as done:
            parts = self._each(lambda block: self._block(asked, block, done), blocks)
        return list(zip([*blocks, *away], [*parts, *(self._unasked(asked, of) for of in away)], strict=True))

    def _group(self, kept: Kept, metadata: Metadata, group: int, done: Callable[[int], object]) -> list[_OfGroup]:
        """The results of a group of series at the newest tick; what was made of it is kept."""
        grid, bundle = self._recent(kept, group), self.bundle
        made, retired = kept.made(group, grid.series, bundle.made), grid.quiet[:, -1] >= bundle.preprocess.plan.lookback
        there = {name: _all_there(values) for name, values in made.items()}
        known = ~retired & np.all([there[name] for name in bundle.judged], axis=0)
        ready = known & np.all(list(there.values()), axis=0)
        if ready.any():
            ready &= self._unmoved(kept, metadata, group, grid)
        asked, out = self._asked_last(grid, metadata), []
        for mine, lanes in ((np.flatnonzero(ready), bundle.made), (np.flatnonzero(known & ~ready), bundle.judged)):
            if mine.size:
                out.append(_of(grid, mine, self._block(asked, mine, _ignore, _of_lanes(made, lanes, mine))))
                self._keep_before(kept, group, out[-1], [name for name in bundle.made if name not in lanes])
        for one in self._anew(kept, metadata, group, [grid.series[i] for i in np.flatnonzero(~known & ~retired)]):
            self._keep_before(kept, group, one, list(bundle.made))
            out.append(one)
        newest = {
            name: np.concatenate([v[:0, 0], *(o.part.made[name][:, -1] for o in out)]) for name, v in made.items()
        }
        kept.keep_made(group, [key for one in out for key in one.series], newest)
        if retired.any() or not out:
            mine = np.flatnonzero(retired)
            out.append(_of(grid, mine, self._unasked(asked, mine)))
        done(1)
        return [replace(one, part=replace(one.part, made=_NONE)) for one in out]  # or those of all series were held

    def _keep_before(self, kept: Kept, group: int, one: _OfGroup, lanes: Sequence[str]) -> None:
        """Keep what was made anew of the ticks before the newest."""
        if lanes:
            kept.keep_made_before(group, one.series, {name: one.part.made[name][:, :-1] for name in lanes})

    def _unmoved(self, kept: Kept, metadata: Metadata, group: int, grid: Grid) -> NDArray[np.bool_]:
        """Series of which what was kept of the network's layers is still what it makes of the ticks before."""
        preprocess = self.bundle.preprocess
        if self.bundle.stream is None or not begins_window(preprocess, grid.times):
            return np.ones(len(grid.series), np.bool_)
        whole = kept.grid(group, preprocess.plan.length + 1)
        same = dict(zip(whole.series, unmoved(preprocess, preprocess.prepare(whole, metadata)).tolist(), strict=True))
        return np.array([same[key] for key in grid.series], np.bool_)

    def _recent(self, kept: Kept, group: int) -> Grid:
        """What the newest tick of a group looks at where earlier errors are kept: seldom the whole of its window."""
        if self.bundle.stream is not None:
            grid = kept.grid(group, self.bundle.recent)
            if not carries(self.bundle.preprocess, grid):
                return grid
        return kept.grid(group, self.bundle.window)

    def _anew(self, kept: Kept, metadata: Metadata, group: int, series: Sequence[tuple[str, ...]]) -> list[_OfGroup]:
        """The results of series of a group of which not all is kept that is needed: all of it is made again."""
        if not series:
            return []
        grid = kept.grid(group, self.bundle.sight)
        place, asked = {key: i for i, key in enumerate(grid.series)}, self._asked_last(grid, metadata)
        blocks = _blocks(np.array([place[key] for key in series], np.int64))
        return [_of(grid, block, self._block(asked, block, _ignore)) for block in blocks]

    def _asked_last(self, grid: Grid, metadata: Metadata) -> _Asked:
        """The last tick of a grid is asked for."""
        last = len(grid.times) - 1
        return _Asked(grid, metadata, last, last - self.bundle.calibration.reach, details=True, remember=True)

    def _made(
        self, errors: NDArray[np.float32], course: Sequence[NDArray[np.float32]], lanes: Sequence[NDArray[np.float32]]
    ) -> Made:
        """What was made of the newest ticks, of as many as are kept (`Bundle.made`)."""
        before = self.bundle.made[ERRORS].ticks
        flat = errors[:, -before - 1 :].reshape(len(errors), -1, errors.shape[2] * errors.shape[3])
        return dict(zip(self.bundle.made, (flat, *course, *lanes), strict=True))

    def _each(self, judge: Callable[[_T], _U], blocks: Sequence[_T]) -> list[_U]:
        """What each block gives, in their order."""
        if self.threads == 1 or len(blocks) < 2:
            return [judge(block) for block in blocks]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(judge, blocks))

    def _results(
        self,
        parts: Sequence[_Part],
        order: NDArray[np.int64],
        series: tuple[tuple[str, ...], ...],
        known: NDArray[np.bool_],
        times: Times,
        budget: float | None,
        details: bool = True,
    ) -> Results:
        """The results of all parts, of which `order` says which row of them each series has."""
        bundle, budget = self.bundle, DEFAULT_BUDGET if budget is None else budget
        threshold = bundle.detection.threshold(budget)

        def all_of(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(part, name) for part in parts])[order]

        score = all_of("score")
        return Results(
            entity=bundle.preprocess.entity,
            series=series,
            times=times,
            score=score,
            flagged=score >= threshold,  # never where unscored: NaN is not above anything, whatever the budget
            reason=all_of("reason"),
            known=known,
            expected=all_of("expected"),
            state=all_of("state"),
            direction=all_of("direction"),
            kind=all_of("kind"),
            states=bundle.preprocess.states,
            kinds=bundle.calibration.kinds,
            budget=budget,
            threshold=threshold,
            levels=tuple((rate, bundle.detection.threshold(rate)) for rate in WEAK_RATES),
            details=_join_details(parts, order) if details else None,
        )

    def _block(
        self,
        asked: _Asked,
        series: NDArray[np.int64],
        done: Callable[[int], object],
        before: Made | None = None,
    ) -> _Part:
        """Results of some series; of the newest tick alone where what was made of those before it is given."""
        preprocess, calibration, start = self.bundle.preprocess, self.bundle.calibration, asked.start
        low = asked.first if before is None else start
        prepared, mine = preprocess.prepare(asked.grid.of(series), asked.metadata), np.arange(len(series))
        made, lanes = self._reconstruct(prepared, low, before, asked.remember, done)
        errors, course = (None, None) if before is None else self._split(before)
        seen = errors_of(prepared, mine, made, preprocess.states, errors, whole=calibration.signatures is None)
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
        kept = self._made(seen.z, judged.course, lanes) if asked.remember else _NONE
        return _Part(score, reason, state, direction, kind, prepared.expected[:, start:], details, kept)

    def _split(self, before: Made) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """What was kept that a tick is judged by: errors, and what the signatures read."""
        errors, *course = (before[name] for name in self.bundle.judged)
        return errors, course

    def _reconstruct(
        self, prepared: Prepared, low: int, before: Made | None, remember: bool, done: Callable[[int], object]
    ) -> tuple[Reconstruction, Sequence[NDArray[np.float32]]]:
        """What was expected from position `low` on, and, where wanted, what the network's layers read."""
        preprocess, stream, series = self.bundle.preprocess, self.bundle.stream, np.arange(len(prepared.series))
        if before is None or stream is None:
            made = reconstruct(self.model, preprocess, prepared, series, low, done)
            wanted = remember and stream is not None
            return made, reconstruct_newest(self.prime, preprocess, prepared, series)[1] if wanted else []
        done(1)
        if not stream.lanes.keys() <= before.keys():
            return reconstruct_newest(self.prime, preprocess, prepared, series)
        kept = {name: before[name] for name in stream.lanes}
        return reconstruct_newest(self.step, preprocess, prepared, series, kept)

    def _unasked(self, asked: _Asked, series: NDArray[np.int64]) -> _Part:
        """Results of series that are retired in all ticks, for which the model is not run."""
        preprocess, start = self.bundle.preprocess, asked.start
        prepared, mine = preprocess.prepare(asked.grid.of(series), asked.metadata), np.arange(len(series))
        shape, states = (len(series), len(asked.grid.times) - start), len(preprocess.states)
        nothing, absent = np.zeros((*shape, 1, states), np.float32), np.full((*shape, states), np.nan, np.float32)
        none = Reconstruction(start, nothing, nothing, np.zeros(shape, np.int32), np.zeros(shape, np.bool_))
        return _Part(
            score=np.full(shape, np.nan),
            reason=reasons(preprocess.plan, prepared, mine, start, none),
            state=np.full(shape, -1, np.int16),
            direction=np.zeros(shape, np.int8),
            kind=np.full(shape, -1, np.int8),
            expected=prepared.expected[:, start:],
            details=(absent,) * 5 if asked.details else (),
            made=_NONE,
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

    few = (arrivals(0, plan.context) < MIN_SHARE * plan.context) | (arrivals(0, plan.recent) < MIN_SHARE * plan.recent)
    return np.asarray(few & (arrivals(plan.context, plan.lookback) > 0))


def errors_of(
    prepared: Prepared,
    series: NDArray[np.int64],
    made: Reconstruction,
    states: Sequence[str],
    before: NDArray[np.float32] | None = None,
    whole: bool = True,
) -> Errors:
    """Observed against expected, over the reconstructed range; 0 where a tick was not counted.

    Args:
        prepared: a grid.
        series: [N] positions.
        made: of these series.
        states: names of the states.
        before: [N, B, H S] errors of the ticks before the range, where they are known: what is given then begins
            with them, but for the volume, which is 0 there.
        whole: also what only histories without signatures are judged by, the stop and the volume; else they are 0.
    """
    values = np.where(made.counted[:, :, None], prepared.values[series, made.start :], np.float32(np.nan))
    z, first = errors(values, made.location, made.spread), made.start
    if before is not None:
        # Tick by tick, as they were kept and as they are going to be averaged.
        known = before.reshape(*before.shape[:2], *z.shape[2:]).swapaxes(0, 1)
        z = np.concatenate([known, z.swapaxes(0, 1)]).swapaxes(0, 1)
        first = made.start - before.shape[1]
    stop = apart = np.broadcast_to(np.float32(0), z.shape[:2])
    if whole:
        apart = np.pad(_volume(prepared, series, made), ((0, 0), (made.start - first, 0)))
        since = max(0, first - 1)  # a stop is a fall from the tick before
        x = np.where(prepared.usable[series, since:, None], prepared.x[series, since:], np.float32(np.nan))
        stop = unexplained_stop(x, states)[:, first - since :]
    return Errors(
        z=z,
        stop=stop,
        volume=apart,
        expected=prepared.expected[series, first:],
        recovering=prepared.recovering[series, first:],
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


def _blocks(series: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Series that go from counts to scores together."""
    return [series[i : i + SERIES_BLOCK] for i in range(0, len(series), SERIES_BLOCK)]


def _of(grid: Grid, series: NDArray[np.int64], part: _Part) -> _OfGroup:
    return _OfGroup(tuple(grid.series[i] for i in series), grid.known[series, -1:], part)


def _all_there(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Series of [N, T, W] without any NaN, [N]; what is kept is bounded, so that a sum has none of its own."""
    return np.asarray(np.isfinite(values.sum(axis=1)).all(axis=1))


def _of_lanes(made: Made, lanes: Iterable[str], series: NDArray[np.int64]) -> Made:
    """Some lanes of some series; they stay tick by tick in memory, as they are going to be read."""
    if all(len(made[name]) == len(series) for name in lanes):
        return {name: made[name] for name in lanes}
    return {name: made[name].swapaxes(0, 1)[:, series].swapaxes(0, 1) for name in lanes}


def _ignore(_: int) -> None:
    """Who is told how far a block is, where groups are counted."""


def _join_details(parts: Sequence[_Part], back: NDArray[np.int64]) -> Details:
    return Details(*(np.concatenate([part.details[i] for part in parts])[back] for i in range(5)))
