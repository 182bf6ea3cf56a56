"""Making shards: the preprocessing is fitted, then every block of series is made ready and written."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.atomic import replace_directory, replace_file
from qad_dl.preprocess import Preprocess
from qad_dl.preprocess_fit import fit_preprocess_parts
from qad_dl.progress import progress
from training.period import learnable, make_ready
from training.reviewed import review
from training.shards.days import gather_days, read_days
from training.shards.files import read_json, reading, seal_of, write_array, writing
from training.shards.manifest import MANIFEST
from training.shards.mapped import ARRAYS, FLAGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.grid import Grid
    from qad_dl.schema import Tick, Times
    from training.period import Ready, Split
    from training.reviewed import Marks, Reviewed, Source
    from training.shards.days import Days, History

WHOLE: Final = "whole.json"
"""Written last: says what all the shards are, and what their files hold."""

TICKS: Final = "ticks.npy"
PREPROCESS: Final = "preprocess.json"
NOTE: Final = "shard.json"


@dataclass(frozen=True)
class Recipe:
    """What is made.

    Attributes:
        folder: of the shards.
        history: what they are of.
        digests: by day, of the rows.
        data: the `data` group of the configuration.
        split: of the period.
        size: series per shard.
        labels: what reviewers said; None where nobody was asked.
    """

    folder: Path
    history: History
    digests: Mapping[str, str]
    data: Mapping[str, Any]
    split: Split
    size: int
    labels: Source | None


@dataclass(frozen=True)
class Skeleton:
    """What `review` must know of a grid."""

    tick: Tick
    times: Times
    entity: tuple[str, ...]
    series: tuple[tuple[str, ...], ...]


def shard_name(k: int) -> str:
    """Folder of shard `k`."""
    return f"shards/{k:05d}"


def build(recipe: Recipe) -> None:
    """Make what is missing of the shards; what a killed process had finished is kept.

    Raises:
        InputError: the history has nothing to learn from.
        ShardError: the folder cannot be written, or the store is changed meanwhile.
    """
    folder, history = recipe.folder, recipe.history
    gather_days(history, folder / "days", recipe.digests)
    days = read_days(history, folder / "days", recipe.digests)
    blocks = _Blocks(recipe, days, reviewed_of(recipe, days.series))
    with writing(folder):
        preprocess = _fitted(recipe, blocks)
        notes = [_shard(recipe, blocks, preprocess, k) for k in progress(blocks.numbers(), "shards", unit="shard")]
        _finish(recipe, days, notes)


def reviewed_of(recipe: Recipe, series: tuple[tuple[str, ...], ...]) -> Reviewed | None:
    """What reviewers said of some series; None where nobody was asked."""
    history = recipe.history
    skeleton = Skeleton(history.store.tick, history.times, history.entity, series)
    return None if recipe.labels is None else review(recipe.labels, skeleton, history.metadata)


@dataclass(frozen=True)
class _Blocks:
    """The series, as many at a time as go into a shard."""

    recipe: Recipe
    days: Days
    reviewed: Reviewed | None

    def numbers(self) -> range:
        """Of the shards; one without series where there are none at all."""
        return range(max(1, -(-len(self.days.series) // self.recipe.size)))

    def get(self, k: int) -> tuple[Grid, Marks | None]:
        """The grid of a shard, and what reviewers said of it."""
        low = k * self.recipe.size
        high = min(low + self.recipe.size, len(self.days.series))
        marks = None if self.reviewed is None else self.reviewed.of(np.arange(low, high))
        return self.days.grid(low, high), marks

    def learnable(self) -> Iterator[tuple[Grid, NDArray[np.bool_]]]:
        """Of each shard the grid, and the ticks that the preprocessing may learn from."""
        for k in progress(self.numbers(), "scales", unit="shard"):
            grid, marks = self.get(k)
            yield grid, learnable(grid, self.recipe.split, marks)
            del grid, marks  # or two were held while the next is made


def _fitted(recipe: Recipe, blocks: _Blocks) -> Preprocess:
    """The preprocessing, fitted or as a killed process left it."""
    path, data = recipe.folder / PREPROCESS, recipe.data
    if not path.exists():
        fields = tuple(data["metadata"])
        fitted = fit_preprocess_parts(blocks.learnable, recipe.history.metadata, fields, data["select"])
        replace_file(path, json.dumps(fitted.to_json()).encode())
    return read_preprocess(path)


def read_preprocess(path: Path) -> Preprocess:
    """Read what was fitted; ShardError where that cannot be read."""
    with reading(path):
        return Preprocess.from_json(read_json(path))


def _shard(recipe: Recipe, blocks: _Blocks, preprocess: Preprocess, k: int) -> dict[str, Any]:
    """Write a shard unless it is there; returns its note."""
    folder = recipe.folder / shard_name(k)
    if not folder.exists():
        grid, marks = blocks.get(k)
        ready = make_ready(preprocess, grid, recipe.history.metadata, marks)
        with replace_directory(folder) as made:
            seals = {name: write_array(made / f"{name}.npy", a) for name, a in _arrays(ready).items()}
            said = {} if marks is None else marks.among(ready.counted)
            note = {"name": shard_name(k), "files": seals, "counted": int(ready.counted.sum()), "said": said}
            (made / NOTE).write_text(json.dumps(note), encoding="utf-8")
    return read_json(folder / NOTE)


def _arrays(ready: Ready) -> dict[str, NDArray[Any]]:
    """The files of a shard, see `MappedPrepared`."""
    prepared = ready.prepared
    flags = {n: getattr(ready if n == "weight" else prepared, n) for n in FLAGS}
    bits = np.zeros(ready.weight.shape, np.uint8)
    for bit, name in enumerate(FLAGS):
        bits |= flags[name].astype(np.uint8) << np.uint8(bit)
    arrays: dict[str, NDArray[Any]] = {
        "values": prepared.values,
        "x": prepared.x,
        "last_row": prepared.last_row.astype(np.int32),
        "flags": bits,
        "ids": prepared.static_cat.transpose(1, 0, 2).astype(np.int32),
        "level": np.stack([prepared.scale.loc, prepared.scale.scale]).transpose(2, 1, 0, 3),
    }
    return {name: arrays[name] for name in ARRAYS}


def _finish(recipe: Recipe, days: Days, notes: list[dict[str, Any]]) -> None:
    """Say that all is there, and remove what it was made from."""
    frozen, rest = days.grid(0, 0).frozen, days.rest()
    with replace_directory(recipe.folder / "ticks") as made:
        seal = write_array(made / TICKS, np.stack([days.whole.arrived, frozen, rest]))
    seals = {f"ticks/{TICKS}": seal} | {name: seal_of(recipe.folder / name) for name in (MANIFEST, PREPROCESS)}
    for note in notes:
        seals |= {f"{note['name']}/{name}.npy": of for name, of in note["files"].items()}
    said = {word: sum(note["said"][word] for note in notes) for word in notes[0]["said"]}
    counted = sum(note["counted"] for note in notes)
    whole = {"series": days.series, "shards": len(notes), "counted": counted, "said": said, "seals": seals}
    replace_file(recipe.folder / WHOLE, json.dumps(whole).encode())
    shutil.rmtree(recipe.folder / "days")
