"""What is seen in past weeks, tick by tick: bundles are carried on piece by piece, incidents found in the week before.

All sides of a preview share it: what is found at a tick is asked at each of their levels.
"""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from qad_dl.backtest import run_backtest
from qad_dl.evidence import plain
from qad_dl.incident_log import KEPT_TICKS
from qad_dl.incidents import find_incidents, values_among
from qad_dl.joined import joined
from qad_dl.results import BY_TICK
from qad_dl.tuning.file import tuned

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.histories import History
    from qad_dl.incidents import Found, Values
    from qad_dl.metadata import Metadata
    from qad_dl.results import Results
    from qad_dl.scorer import Scorer
    from qad_dl.tuning.file import Tune

PIECE_BYTES: Final = 1 << 28
"""Details of so many bytes are held at once; how long a piece is has no influence on what is told."""

WORTH_A_POOL: Final = 20_000
"""Fewer pairs of tick and series are done faster in one process."""


@dataclass
class Span:
    """Results over some time, and what their series shared in it; whole enough to be given to another process.

    Attributes:
        past: results without details.
        metadata: what held when.
        known: by day, the (panda_queue, prod_source, resource) that have had rows by its end.
    """

    past: Results
    metadata: Metadata
    known: Mapping[np.datetime64, frozenset[tuple[str, str, str]]]
    _values: tuple[object, Values] | None = None

    def window(self, at: np.datetime64) -> Results:
        """What a collector holds at a tick: a week of the series that are known by then."""
        past = self.past
        stop = int(np.searchsorted(past.times, at)) + 1
        ticks = slice(max(0, stop - KEPT_TICKS), stop)
        known = past.known[:, stop - 1]
        rows: slice | NDArray[np.int64] = slice(None) if known.all() else np.flatnonzero(known)
        arrays = {name: getattr(past, name)[:, ticks][rows] for name in BY_TICK}  # those of `past` are not tuned
        series = tuple(key for key, there in zip(past.series, known, strict=True) if there)
        return replace(past, times=past.times[ticks], series=series, **arrays)

    def values(self, window: Results) -> Values:
        """What its series share at its last tick."""
        at = window.times[-1]
        records, day = self.metadata.at(at), at.astype("datetime64[D]")
        key = (id(records), day, window.series)
        if self._values is None or self._values[0] != key:
            self._values = (key, values_among(window, records, self.known[day]))
        return self._values[1]

    def found(self, at: np.datetime64, levels: Sequence[Level]) -> list[list[Found]]:
        """The incidents of the week before a tick, at each level."""
        window = self.window(at)
        values = self.values(window)
        return [find_incidents(flagged_at(window, level, self.metadata), values) for level in levels]


class Course:
    """One bundle, carried on piece by piece."""

    def __init__(self, store: History, label: str, scorer: Scorer) -> None:
        self.store, self.label, self.scorer = store, label, scorer
        self.metadata: Metadata = store.metadata()
        self.past: Results | None = None
        self.piece: Results | None = None

    def add(self, start: np.datetime64, end: np.datetime64, *, details: bool) -> None:
        """Score the ticks of [start, end)."""
        self.piece = run_backtest(self.store, self.scorer, start, end, details=details)
        self.past = joined(self.past, self.piece, KEPT_TICKS + len(self.piece.times))

    def span(self) -> Span:
        """The piece and the week before it."""
        if self.past is None or self.piece is None:
            raise AssertionError("nothing was scored yet")
        known = {
            day: frozenset(self.store.known_series((day + 1).astype("datetime64[s]")))
            for day in np.unique(self.piece.times.astype("datetime64[D]"))
        }
        return Span(self.past, self.metadata, known)


@dataclass(frozen=True)
class Level:
    """From which score on a tick is flagged.

    Attributes:
        budget: false alarm episodes per series and day.
        threshold: the score that all series share.
        tune: what is tuned beside it.
    """

    budget: float
    threshold: float
    tune: Tune | None = None


def flagged_at(window: Results, level: Level, metadata: Metadata) -> Results:
    """The window with what is flagged at a level."""
    shared = plain(replace(window, budget=level.budget, threshold=level.threshold))
    return tuned(shared, level.tune, metadata)


def scored_pieces(
    store: History, courses: Sequence[Course], times: NDArray[np.datetime64]
) -> Iterator[NDArray[np.datetime64]]:
    """Score the range, piece by piece, after the week before it."""
    step = store.tick.delta
    oldest = (store.span() or (times[0], times[0]))[0]
    begin = min(times[0], max(oldest, times[0] - store.tick.per_day * step))
    before = max(oldest, begin - KEPT_TICKS * step)
    if before < begin:
        for course in courses:
            course.add(before, begin, details=False)
    ticks = store.tick.range(begin, times[-1] + step)
    series = len({key[0] for key in store.known_series(times[-1] + np.timedelta64(1, "D"))})
    states = max(len(course.scorer.bundle.preprocess.states) for course in courses)
    length = max(store.tick.per_day, PIECE_BYTES // (max(series, 1) * states * 5 * 4))
    for i in range(0, len(ticks), length):
        piece = ticks[i : i + length]
        for course in courses:
            course.add(piece[0], piece[-1] + step, details=True)
        yield piece


def found_at(span: Span, times: NDArray[np.datetime64], levels: Sequence[Level]) -> Iterator[list[list[Found]]]:
    """What is found at each tick at each level: each tick by itself, so on all cores where it is worth it."""
    workers = os.cpu_count() or 1
    if workers < 2 or len(times) * len(span.past.series) < WORTH_A_POOL:
        yield from (span.found(at, levels) for at in times)
        return
    parts = np.array_split(times, -(-len(times) // 16))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _Worker.begin, (span, levels)) as pool:
        for done in pool.map(_Worker.found, parts):
            yield from done


class _Worker:
    """What a process of the pool was given when it began."""

    span: ClassVar[Span]
    levels: ClassVar[Sequence[Level]]

    @classmethod
    def begin(cls, span: Span, levels: Sequence[Level]) -> None:
        """Take it over."""
        cls.span, cls.levels = span, levels

    @classmethod
    def found(cls, times: NDArray[np.datetime64]) -> list[list[list[Found]]]:
        """What is found at some ticks."""
        return [cls.span.found(at, cls.levels) for at in times]
