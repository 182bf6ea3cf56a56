"""The training period in shards: made, or found."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.histories import open_history
from qad_dl.progress import counting
from training.period import Period, Split, period_times
from training.reviewed import read_source
from training.shards.build import PREPROCESS, TICKS, WHOLE, Recipe, build, read_preprocess, reviewed_of, shard_name
from training.shards.days import History
from training.shards.files import check_file, map_array, read_json, reading
from training.shards.manifest import alone, claim, manifest_of
from training.shards.mapped import MappedPrepared, Ticks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from training.settings import Settings


def load_shards(settings: Settings, folder: Path) -> Period:
    """The period, as `load_period` gives it, in the shards of a folder; they are made where they are missing.

    Raises:
        InputError: as of `load_period`.
        StoreError: the store or the labels are damaged.
        ShardError: the shards are of something else, damaged, or cannot be written.
    """
    store = open_history(settings.store)
    times, data = period_times(store, settings), settings.data
    history = History(store, times, store.metadata(), store.downtimes(), tuple(data["entity"]), data["select"])
    split = Split.of(times, store.tick, data)
    history.gathering()  # refuses fields that nobody has
    labels = None if settings.labels is None else read_source(settings.labels)
    with alone(folder):
        wanted = manifest_of(settings, history, labels)
        claim(folder, wanted)
        recipe = Recipe(folder, history, wanted["days"], data, split, settings.shard_series, labels)
        if not (folder / WHOLE).exists():
            build(recipe)
        shutil.rmtree(folder / "days", ignore_errors=True)
        return _period(recipe, _read_whole(folder))


@dataclass(frozen=True)
class _Whole:
    """What all shards are: keys of the series, number of shards, and ticks as of `Reviewed.about`."""

    series: tuple[tuple[str, ...], ...]
    shards: int
    counted: int
    said: Mapping[str, int]


def _read_whole(folder: Path) -> _Whole:
    """Read what was written last, and compare every file with what was written before."""
    found = read_json(folder / WHOLE)
    with reading(folder / WHOLE):
        seals = dict(found["seals"])
        series = tuple(tuple(key) for key in found["series"])
        whole = _Whole(series, int(found["shards"]), int(found["counted"]), dict(found["said"]))
    with counting(len(seals), "checking shards", "file") as done:
        for name, seal in seals.items():
            check_file(folder / name, seal)
            done(1)
    return whole


def _period(recipe: Recipe, whole: _Whole) -> Period:
    history, split, folder = recipe.history, recipe.split, recipe.folder
    arrived, frozen, rest = np.array(map_array(folder / "ticks" / TICKS))
    tick, times = history.store.tick, history.times
    starts = np.array([start for start, _, _ in history.metadata.segments(times[0], times[-1] + tick.delta)])
    folders = [folder / shard_name(k) for k in range(whole.shards)]
    prepared = MappedPrepared.open(
        Ticks(tick, times, history.entity, whole.series, arrived, frozen, rest),
        np.searchsorted(starts[1:], times, side="right"),
        folders,
        recipe.size,
    )
    reviewed, labels = reviewed_of(recipe, whole.series), None
    if reviewed is not None:
        labels = reviewed.about(whole.counted, whole.said, tick.per_day)
    return Period(
        preprocess=read_preprocess(folder / PREPROCESS),
        prepared=prepared,
        metadata=history.metadata,
        weight=prepared.flag("weight"),
        fit=split.fit,
        validation=split.validation,
        calibration=split.calibration,
        reviewed=reviewed,
        labels=labels,
        scratch=folder,
    )
