"""The training period: history on the grid, split into what is learned from, what stops training, what calibrates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.backtest import newest_tick
from qad_dl.errors import InputError
from qad_dl.grid import build_grid
from qad_dl.histories import open_history
from qad_dl.preprocess import lasting
from qad_dl.preprocess_fit import fit_preprocess
from qad_dl.scaling import Quantity
from qad_dl.timeparse import format_time
from qad_dl.windows import WindowPlan
from training.reviewed import read_source, review

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    from qad_dl.grid import Grid
    from qad_dl.histories import History
    from qad_dl.metadata import Metadata
    from qad_dl.prepared import Prepared, Rows, Windowed
    from qad_dl.preprocess import Preprocess
    from qad_dl.schema import Tick, Times
    from training.reviewed import Marks, Reviewed
    from training.settings import Settings

MIN_HELD_OUT_DAYS = 1
"""Less held-out time than this can neither stop a training nor calibrate a score."""


@dataclass(frozen=True)
class Part:
    """Some series of a period, in memory.

    Attributes:
        preprocess: as in `Period`, and so are
        prepared: the grid of these series,
        metadata: what held, and
        weight: [n, T] the ticks that count.
    """

    preprocess: Preprocess
    prepared: Prepared
    metadata: Metadata
    weight: NDArray[np.bool_]

    def as_if_new(self) -> Part:
        """The part as it would look had its series been new when the period was over."""
        preprocess = self.preprocess.as_if_new()
        return replace(self, preprocess=preprocess, prepared=preprocess.restate(self.prepared, self.metadata))


@dataclass(frozen=True)
class Split:
    """What a period is for, as grid positions [first, end).

    Attributes:
        fit: the model learns from them, after as many as it looks back.
        validation: their loss stops the training.
        calibration: their scores calibrate.
    """

    fit: tuple[int, int]
    validation: tuple[int, int]
    calibration: tuple[int, int]

    @classmethod
    def of(cls, times: Times, tick: Tick, data: Mapping[str, Any]) -> Split:
        """Split a period as the `data` group of the configuration says; InputError where it is too short."""
        ticks = len(times)
        held_out = _enough(ticks, int(ticks * (1 - data["held_out"])), tick.per_day, float(data["held_out"]))
        validation = held_out + int((ticks - held_out) * data["validation"])
        return cls((WindowPlan.for_tick(tick).context, held_out), (held_out, validation), (validation, ticks))


@dataclass(frozen=True)
class Period:
    """History ready to train on.

    Attributes:
        preprocess: fitted on the part before the held-out time.
        prepared: the whole period; what reviewers call a problem is missing in it.
        metadata: what held in it.
        weight: [N, T] ticks that count: observed, no fall expected, and not right after a problem.
        fit: grid positions [first, end) that the model learns from.
        validation: positions whose loss stops the training.
        calibration: positions whose scores calibrate.
        reviewed: what reviewers said of it; None where nobody was asked.
        labels: the same in figures, for the manifest.
        suspects: share of the ticks to learn from that look like an incident, and lost their weight; None where nobody
            looked (`training.suspects`).
        scratch: folder for what is worked with beside it; None to keep that in memory.
    """

    preprocess: Preprocess
    prepared: Windowed
    metadata: Metadata
    weight: Rows
    fit: tuple[int, int]
    validation: tuple[int, int]
    calibration: tuple[int, int]
    reviewed: Reviewed | None = None
    labels: Mapping[str, Any] | None = None
    suspects: float | None = None
    scratch: Path | None = None

    def part(self, series: NDArray[np.int64]) -> Part:
        """Some series, in memory."""
        return Part(self.preprocess, self.prepared.of(series), self.metadata, self.weight[series])


def load_period(settings: Settings) -> Period:
    """Read the period from the store and fit the preprocessing, in memory or, where that is asked for, in shards.

    Raises:
        InputError: the store has no history there, or too little, or there is no such file of labels.
        StoreError: the store or the labels are damaged.
        ShardError: the shards are of something else, damaged, or cannot be written.
    """
    if settings.shards is not None:
        from training.shards.load import load_shards  # which builds on this module

        return load_shards(settings, settings.shards)
    store = open_history(settings.store)
    times = period_times(store, settings)
    metadata = store.metadata()
    rows = store.pieces(times[0], times[-1] + store.tick.delta)
    data = settings.data
    grid = build_grid(rows, times, store.tick, metadata, tuple(data["entity"]), data["select"], store.downtimes())
    reviewed = None if settings.labels is None else review(read_source(settings.labels), grid, metadata)
    return make_period(grid, metadata, data, reviewed=reviewed)


def make_period(
    grid: Grid,
    metadata: Metadata,
    data: Mapping[str, Any],
    quantity: Quantity = Quantity.COUNTS,
    reviewed: Reviewed | None = None,
) -> Period:
    """Split a grid into what is learned from, what stops training and what calibrates, and fit the preprocessing.

    Args:
        grid: the whole period.
        metadata: what held in it.
        data: the `data` group of the configuration.
        quantity: what the values of the grid are.
        reviewed: what reviewers said of it.

    Raises:
        InputError: the period is too short, or has nothing to learn from.
    """
    split = Split.of(grid.times, grid.tick, data)
    marks = None if reviewed is None else reviewed.of(np.arange(len(grid.series)))
    learn = learnable(grid, split, marks)
    preprocess = fit_preprocess(grid, metadata, learn, tuple(data["metadata"]), data["select"], quantity)
    ready = make_ready(preprocess, grid, metadata, marks)
    labels = None
    if reviewed is not None:
        ticks = reviewed.marks.among(ready.counted[reviewed.rows])
        labels = reviewed.about(int(ready.counted.sum()), ticks, grid.tick.per_day)
    return Period(
        preprocess=preprocess,
        prepared=ready.prepared,
        metadata=metadata,
        weight=ready.weight,
        fit=split.fit,
        validation=split.validation,
        calibration=split.calibration,
        reviewed=reviewed,
        labels=labels,
    )


def learnable(grid: Grid, split: Split, marks: Marks | None) -> NDArray[np.bool_]:
    """Ticks that the preprocessing may learn from, [n, T]."""
    learn = grid.online & (np.arange(len(grid.times)) < split.fit[1])
    return learn if marks is None else learn & ~marks.problem


@dataclass(frozen=True)
class Ready:
    """Some series ready to train on.

    Attributes:
        prepared: their grid for windows, without what reviewers call a problem.
        weight: [n, T] ticks that count,
        counted: and those that would without labels.
    """

    prepared: Prepared
    weight: NDArray[np.bool_]
    counted: NDArray[np.bool_]


def make_ready(preprocess: Preprocess, grid: Grid, metadata: Metadata, marks: Marks | None) -> Ready:
    """Prepare some series, and leave out what reviewers call a problem.

    Those ticks are as if they had not arrived for that series: no target, no level in the context of later ones, no
    error in any evidence. A model that saw them there would learn that what follows a problem is usual.
    """
    prepared = preprocess.prepare(grid, metadata, in_training=True)
    counted = prepared.usable & ~prepared.expected
    if marks is None:
        return Ready(prepared, counted, counted)
    gone = marks.problem[:, :, None]
    without = replace(
        prepared,
        x=np.where(gone, np.float32(np.nan), prepared.x),
        values=np.where(gone, np.float32(np.nan), prepared.values),
        usable=prepared.usable & ~marks.problem,
    )
    return Ready(without, counted & ~marks.problem & ~_shaken(marks, preprocess.plan.grace), counted)


def _shaken(marks: Marks, grace: int) -> NDArray[np.bool_]:
    """Ticks after a problem in which a queue comes back, [N, T], unless somebody calls them expected."""
    return lasting(marks.problem, grace) & ~marks.expected


def period_times(store: History, settings: Settings) -> NDArray[np.datetime64]:
    """Every tick of the period; InputError where the store has none of them."""
    newest = newest_tick(store)
    oldest = (store.span() or (newest, newest))[0]
    start = oldest if settings.start is None else settings.start
    end = newest + store.tick.delta if settings.end is None else settings.end
    times = store.tick.range(start, end)
    if not times.size or times[-1] < oldest or times[0] > newest:
        msg = (
            f"{store.name}: no history between {format_time(start)} and {format_time(end)}; the store holds "
            f"{format_time(oldest)} to {format_time(newest)}: choose data.start and data.end in it"
        )
        raise InputError(msg)
    return times


def _enough(total: int, held_out: int, day: int, share: float) -> int:
    """Check that both parts are long enough to work with."""
    if held_out < 2 * day or total - held_out < MIN_HELD_OUT_DAYS * day:
        needed = max(2 / (1 - share), MIN_HELD_OUT_DAYS / share)
        msg = (
            f"{total / day:.1f} days from data.start to data.end are too few: with data.held_out={share} give "
            f"at least {needed:.1f} days"
        )
        raise InputError(msg)
    return held_out
