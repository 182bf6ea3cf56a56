"""From the store's rows to blocks of counts on the disk, one day at a time, and from those to grids of some series."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.atomic import replace_directory
from qad_dl.errors import ShardError
from qad_dl.gathering import Block, Gathering, Said
from qad_dl.grid import assemble, counts_of, number_listed, rows_seen, start_gathering
from qad_dl.online import said_of
from qad_dl.progress import progress
from qad_dl.schema import is_flow
from training.shards.files import map_array, read_json, reading, write_array, writing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl import histories
    from qad_dl.downtimes import Downtime
    from qad_dl.grid import Grid
    from qad_dl.metadata import Metadata
    from qad_dl.schema import Times

NAMES: Final = "names.json"
SMALL: Final = "small.npz"


@dataclass(frozen=True)
class History:
    """What is read.

    Attributes:
        store: the store.
        times: every tick of the period, [T].
        metadata: what held in it.
        downtimes: that are declared.
        entity: fields of a series' key.
        select: only these, by metadata.
    """

    store: histories.History
    times: Times
    metadata: Metadata
    downtimes: Sequence[Downtime]
    entity: tuple[str, ...]
    select: Mapping[str, str]

    def gathering(self) -> Gathering:
        """An empty one; raises as `start_gathering`."""
        return start_gathering(self.times, self.store.tick, self.metadata, self.entity, self.select)

    def day(self, day: np.datetime64) -> Gathering:
        """An empty one for the ticks of a day."""
        start, end = day.astype("datetime64[s]"), (day + np.timedelta64(1, "D")).astype("datetime64[s]")
        times, tick = self.times[(self.times >= start) & (self.times < end)], self.store.tick
        segments = self.metadata.segments(times[0], times[-1] + tick.delta)
        return Gathering(times, tick, segments, self.entity, dict(self.select))


@dataclass(frozen=True)
class Day:
    """A day on the disk.

    Attributes:
        folder: holds counts [n, t, s] float32, seen [n, t] and said int8 [q, t].
        first: grid position of its first tick.
        series: [n] numbers of its series in the whole history; once those are in order, their places.
        states: its states.
        queues: numbers of those that have rows, [q].
    """

    folder: Path
    first: int
    series: NDArray[np.int64]
    states: tuple[str, ...]
    queues: NDArray[np.int64]


@dataclass(frozen=True)
class Days:
    """A history on the disk, of which grids of some series are made.

    Attributes:
        whole: what is known of all series, without counts.
        series: keys, in order.
        days: its days.
        ended: [T] whether any job ended anywhere.
        downtimes: that are declared.
    """

    whole: Gathering
    series: tuple[tuple[str, ...], ...]
    days: tuple[Day, ...]
    ended: NDArray[np.bool_]
    downtimes: Sequence[Downtime]

    def grid(self, low: int, high: int) -> Grid:
        """The grid of the series from place `low` to `high`, as of a grid of all."""
        keys = self.series[low:high]
        part = self.whole.part(keys)
        numbers = self.whole.queues.place
        names = {numbers[queue]: queue for queue, _, _ in part.triples.place if queue in numbers}
        for day in self.days:
            first, end = np.searchsorted(day.series, [low, high])
            if first < end:
                counts, seen = (np.array(map_array(day.folder / f"{n}.npy")[first:end]) for n in ("counts", "seen"))
                part.blocks.append(
                    Block(day.series[first:end] - low, day.first, part.states.of(day.states), counts, seen)
                )
            mine = np.flatnonzero(np.isin(day.queues, list(names)))
            if mine.size:
                said = np.array(map_array(day.folder / "said.npy")[mine])
                part.said.append(Said(part.queues.of([names[q] for q in day.queues[mine].tolist()]), day.first, said))
        return replace(assemble(part, self.downtimes), rest=self.rest())

    def rest(self) -> NDArray[np.bool_]:
        """`Grid.at_rest` of all series."""
        return ~self.ended & any(is_flow(state) for state in self.whole.states.place)


def gather_days(history: History, folder: Path, digests: Mapping[str, str]) -> None:
    """Bring each day of the store that is not there yet to the disk.

    Args:
        history: what is read.
        folder: of the days.
        digests: what `Store.digests` says that the days hold.

    Raises:
        ShardError: it cannot be written, or the store is changed meanwhile.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for day, digest in progress(digests.items(), "days to blocks", len(digests), "day"):
        if (folder / day).exists():
            continue
        start = np.datetime64(day, "D")
        gathering = _gathered(history, start)
        if history.store.digests(start, start + np.timedelta64(1, "D")).get(day) != digest:
            msg = f"{history.store.name}: the rows of {day} were changed while they were read: start again"
            raise ShardError(msg)
        with writing(folder), replace_directory(folder / day) as made:
            _write_day(gathering, made)


def read_days(history: History, folder: Path, digests: Mapping[str, str]) -> Days:
    """What `gather_days` brought to the disk."""
    whole, ended, found = history.gathering(), np.zeros(len(history.times), np.bool_), []
    for name in digests:
        day = folder / name
        names = read_json(day / NAMES)
        with reading(day / SMALL), np.load(day / SMALL, allow_pickle=False) as small:
            first = int(np.searchsorted(history.times, small["times"][0]))
            ticks = slice(first, first + len(small["times"]))
            numbers = whole.number([tuple(t) for t in names["triples"]])
            np.minimum.at(whole.first, numbers, small["first"] + first)
            whole.arrived[ticks], whole.has_stock[ticks] = small["arrived"], small["has_stock"]
            whole.fingerprint[ticks], ended[ticks] = small["fingerprint"], small["ended"]
        whole.states.of(names["states"])
        series = whole.series.of([tuple(key) for key in names["series"]])
        found.append(Day(day, first, series, tuple(names["states"]), whole.queues.of(names["queues"])))
    number_listed(whole)
    order = sorted(whole.series.place)
    rank = np.empty(len(order), np.int64)
    rank[[whole.series.place[key] for key in order]] = np.arange(len(order))
    days = tuple(replace(day, series=rank[day.series]) for day in found)
    return Days(whole, tuple(order), days, ended, history.downtimes)


def _gathered(history: History, day: np.datetime64) -> Gathering:
    gathering = history.day(day)
    for piece in history.store.pieces(gathering.times[0], gathering.times[-1] + gathering.tick.delta):
        gathering.add(piece)
        del piece  # or it was held while the next is read
    return gathering


def _write_day(gathering: Gathering, folder: Path) -> None:
    order = sorted(gathering.series.place)
    rank = np.empty(len(order), np.int64)
    rank[[gathering.series.place[key] for key in order]] = np.arange(len(order))
    queues = list(gathering.queues.place)
    seen = rows_seen(gathering, rank, len(order))
    counts, states = counts_of(gathering, rank, len(order))
    flows = [k for k, state in enumerate(states) if is_flow(state)]
    arrays = {"counts": counts, "seen": seen, "said": said_of(gathering, queues)}
    small: dict[str, Any] = {
        "times": gathering.times,
        "first": gathering.first,
        "arrived": gathering.arrived,
        "has_stock": gathering.has_stock,
        "fingerprint": gathering.fingerprint,
        "ended": (counts[:, :, flows] > 0).any(axis=(0, 2)),
    }
    names = {"triples": list(gathering.triples.place), "series": order, "states": states, "queues": queues}
    for name, array in arrays.items():
        write_array(folder / f"{name}.npy", array)
    packed = io.BytesIO()
    np.savez(packed, **small)
    (folder / SMALL).write_bytes(packed.getvalue())
    (folder / NAMES).write_text(json.dumps(names), encoding="utf-8")
