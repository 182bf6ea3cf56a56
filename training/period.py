"""The training period: history on the grid, split into what is learned from, what stops training, what calibrates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.backtest import newest_tick
from qad_dl.errors import InputError
from qad_dl.grid import build_grid
from qad_dl.preprocess import Prepared, Preprocess, lasting
from qad_dl.scaling import Quantity
from qad_dl.store import Store
from qad_dl.timeparse import format_time
from training.reviewed import read_source, review

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from numpy.typing import NDArray

    from qad_dl.grid import Grid
    from qad_dl.metadata import Metadata
    from training.reviewed import Reviewed
    from training.settings import Settings

MIN_HELD_OUT_DAYS = 1
"""Less held-out time than this can neither stop a training nor calibrate a score."""


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
    """

    preprocess: Preprocess
    prepared: Prepared
    metadata: Metadata
    weight: NDArray[np.bool_]
    fit: tuple[int, int]
    validation: tuple[int, int]
    calibration: tuple[int, int]
    reviewed: Reviewed | None = None
    labels: Mapping[str, Any] | None = None

    def as_if_new(self) -> Period:
        """The period as it would look had all its series been new when it was over."""
        preprocess, known = self.preprocess.as_if_new(), self.prepared
        prepared = _prepared(preprocess, known.grid, self.metadata, self.reviewed)
        return replace(self, preprocess=preprocess, prepared=prepared)


def load_period(settings: Settings) -> Period:
    """Read the period from the store and fit the preprocessing.

    Raises:
        InputError: the store has no history there, or too little, or there is no such file of labels.
        StoreError: the store or the labels are damaged.
    """
    store = Store.open(settings.store)
    times = _period_times(store, settings)
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
    ticks = len(grid.times)
    held_out = _enough(ticks, int(ticks * (1 - data["held_out"])), grid.tick.per_day, float(data["held_out"]))
    validation = held_out + int((ticks - held_out) * data["validation"])
    learn = grid.online & (np.arange(ticks) < held_out)
    if reviewed is not None:
        learn &= ~reviewed.problem
    preprocess = Preprocess.fit(grid, metadata, learn, tuple(data["metadata"]), data["select"], quantity)
    prepared = _prepared(preprocess, grid, metadata, reviewed)
    weight, labels = prepared.usable & ~prepared.expected, None
    if reviewed is not None:
        all_of_it = preprocess.prepare(grid, metadata, in_training=True)
        labels = reviewed.about(all_of_it.usable & ~all_of_it.expected, grid.tick.per_day)
        weight &= ~_shaken(reviewed, preprocess.plan.grace)
    return Period(
        preprocess=preprocess,
        prepared=prepared,
        metadata=metadata,
        weight=weight,
        fit=(preprocess.plan.context, held_out),
        validation=(held_out, validation),
        calibration=(validation, ticks),
        reviewed=reviewed,
        labels=labels,
    )


def _prepared(preprocess: Preprocess, grid: Grid, metadata: Metadata, reviewed: Reviewed | None) -> Prepared:
    """The grid for windows, without what reviewers call a problem.

    Those ticks are as if they had not arrived for that series: no target, no level in the context of later ones, no
    error in any evidence. A model that saw them there would learn that what follows a problem is usual.
    """
    prepared = preprocess.prepare(grid, metadata, in_training=True)
    if reviewed is None:
        return prepared
    gone = reviewed.problem[:, :, None]
    return replace(
        prepared,
        x=np.where(gone, np.float32(np.nan), prepared.x),
        values=np.where(gone, np.float32(np.nan), prepared.values),
        usable=prepared.usable & ~reviewed.problem,
    )


def _shaken(reviewed: Reviewed, grace: int) -> NDArray[np.bool_]:
    """Ticks after a problem in which a queue comes back, [N, T], unless somebody calls them expected."""
    return lasting(reviewed.problem, grace) & ~reviewed.expected


def _period_times(store: Store, settings: Settings) -> NDArray[np.datetime64]:
    newest = newest_tick(store)
    oldest = (store.span() or (newest, newest))[0]
    start = oldest if settings.start is None else settings.start
    end = newest + store.tick.delta if settings.end is None else settings.end
    times = store.tick.range(start, end)
    if not times.size or times[-1] < oldest or times[0] > newest:
        msg = (
            f"{store.path}: no history between {format_time(start)} and {format_time(end)}; the store holds "
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
