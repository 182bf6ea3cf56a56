"""The scorer: onnxruntime and numpy, no torch. `qad score`, `qad backtest` and the collector all call this.

    grid -> windows -> ONNX -> errors -> evidence -> statistic -> score -> flag

Every tick is reconstructed inside the same window whichever range was asked for (see `windows`), and windows are run
in batches of one size, so that a score is the same number in every call.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np

from qad_dl.apart import Apart, Whole, apart_of, known_together
from qad_dl.bundle import Bundle, read_bundle
from qad_dl.judging import NOTHING, Asked, Judge
from qad_dl.progress import counting
from qad_dl.reconstruction import (
    begins_window,
    carries,
    unmoved,
    window_starts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    import pandas as pd
    from numpy.typing import NDArray

    from qad_dl.grid import Grid
    from qad_dl.judging import Made, Part
    from qad_dl.lanes import Lane
    from qad_dl.metadata import Metadata
    from qad_dl.results import Results

SERIES_BLOCK: Final = 32
"""Series scored together; bounds the memory, has no influence on any score."""


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _OfGroup(NamedTuple):
    """Results of some series at the newest tick, with their keys and whether they are known, [n, 1]."""

    series: tuple[tuple[str, ...], ...]
    known: NDArray[np.bool_]
    part: Part


_Judged: TypeAlias = "tuple[NDArray[np.int64], Part]"
_T = TypeVar("_T")
_U = TypeVar("_U")


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
        self.bundle, self.judge = bundle, Judge(bundle)
        # Threads of ours, each with some series: those of the runtime wait for each other in every layer of a batch.
        self.threads = threads or _cores()

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
        self.judge.networks.start()
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
            history: long rows (interfaces, section 1) of the last 7 days, of all queues, since a score is also of what
                those show that have something in common; older rows have no influence.
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
            only: positions of the series that are wanted, ascending; all if not given.
        """
        return self.together(self.score_apart(grid, metadata, start, budget, details, only), metadata)

    def score_apart(
        self,
        grid: Grid,
        metadata: Metadata,
        start: int,
        budget: float | None = None,
        details: bool = False,
        only: NDArray[np.int64] | None = None,
        among: NDArray[np.int64] | None = None,
    ) -> Apart:
        """`score_grid` of each series by itself, and of those that are not wanted what they show.

        Args:
            grid: see `score_grid`, as the other arguments.
            metadata: see there.
            start: see there.
            budget: see there.
            details: see there.
            only: see there.
            among: positions of the series to look at, ascending; all if not given. `together` is for all of a grid.
        """
        wanted = np.ones(len(grid.series), np.bool_) if only is None else np.isin(np.arange(len(grid.series)), only)
        chosen = np.arange(len(grid.series)) if among is None else among
        if not self.bundle.calibration.shared:
            chosen = chosen[wanted[chosen]]
        asked = self._asked(grid, metadata, start, details)
        judged = self._judged(asked, chosen, wanted)
        parts = [*(part for _, part in judged), self.judge.unasked(asked, chosen[:0])]  # where nobody is asked for
        place = np.empty(len(grid.series), np.int64)
        place[np.concatenate([chosen[:0], *(series for series, _ in judged)])] = np.arange(len(chosen))
        keys, known = tuple(grid.series[i] for i in chosen), asked.grid.known[chosen, asked.start :]
        times = asked.grid.times[asked.start :]
        whole = Whole(keys, known, times, place[chosen], np.flatnonzero(wanted[chosen]))
        return apart_of(self.bundle, parts, whole, budget, details)

    def together(self, apart: Apart, metadata: Metadata) -> Results:
        """Scores of series by what they show and what those show that have something in common with them.

        Args:
            apart: all series of the history, each judged by itself.
            metadata: what held in its ticks.

        Returns:
            Of those that are wanted.
        """
        return known_together(self.bundle, apart, metadata)

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
        whole = Whole(tuple(keys[i] for i in order), known, np.array([kept.end]), order, np.arange(len(keys)))
        return self.together(apart_of(self.bundle, [one.part for one in judged], whole, budget), metadata)

    def _asked(self, grid: Grid, metadata: Metadata, start: int, details: bool) -> Asked:
        """What is asked of the ticks from position `start` of a grid on, and the part of it that this looks at."""
        seen = grid.newest(len(grid.times) - 1 - start + self.bundle.sight)
        start -= len(grid.times) - len(seen.times)
        first = max(0, start - self.bundle.calibration.reach)
        return Asked(replace(seen, rest=seen.at_rest()), metadata, start, first, details)  # at rest: once for all

    def _judged(self, asked: Asked, chosen: NDArray[np.int64], wanted: NDArray[np.bool_]) -> list[_Judged]:
        """The results of some series, some at a time; the model is not run for those that are retired in all ticks.

        Only those that are wanted, [N] of the grid, have details.
        """
        grid, preprocess = asked.grid, self.bundle.preprocess
        retired = (grid.quiet[chosen, asked.start :] >= preprocess.plan.lookback).all(axis=1)
        others = asked._replace(details=False)
        blocks, away = (
            [(asked, block) for block in _blocks(chosen[some & wanted[chosen]])]
            + [(others, block) for block in _blocks(chosen[some & ~wanted[chosen]])]
            for some in (~retired, retired)
        )
        windows = len(blocks) * len(window_starts(preprocess, grid.times, asked.first))
        with counting(windows, "model", "window") as done:
            parts = self._each(lambda one: self.judge.block(*one, done), blocks)
        parts += [self.judge.unasked(*one) for one in away]
        return [(block, part) for (_, block), part in zip([*blocks, *away], parts, strict=True)]

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
                out.append(_of(grid, mine, self.judge.block(asked, mine, _ignore, _of_lanes(made, lanes, mine))))
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
            out.append(_of(grid, mine, self.judge.unasked(asked, mine)))
        done(1)
        return [one._replace(part=one.part._replace(made=NOTHING)) for one in out]  # or those of all series were held

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
        return [_of(grid, block, self.judge.block(asked, block, _ignore)) for block in blocks]

    def _asked_last(self, grid: Grid, metadata: Metadata) -> Asked:
        """The last tick of a grid is asked for."""
        last = len(grid.times) - 1
        return Asked(grid, metadata, last, last - self.bundle.calibration.reach, details=True, remember=True)

    def _each(self, judge: Callable[[_T], _U], blocks: Sequence[_T]) -> list[_U]:
        """What each block gives, in their order."""
        if self.threads == 1 or len(blocks) < 2:
            return [judge(block) for block in blocks]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(judge, blocks))


def _blocks(series: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Series that go from counts to scores together."""
    return [series[i : i + SERIES_BLOCK] for i in range(0, len(series), SERIES_BLOCK)]


def _of(grid: Grid, series: NDArray[np.int64], part: Part) -> _OfGroup:
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
