"""The last days kept from tick to tick: a tick adds its column to them instead of reading a week again.

```
PATH.json   what is kept: series, the newest tick, and what it was made from
PATH.ring   counts, status and errors of the newest ticks by group of series (see `ring`)
```
Nothing is held for all series at once but their names and a tick's column. A tick that is killed before `save` leaves
what was kept before it. `carrying` says when it is carried on, and when it is made anew.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from qad_dl.atomic import replace_file
from qad_dl.grid import NEVER, Grid, Stocks
from qad_dl.ring import GROUP, Field, Ring
from qad_dl.schema import Tick, is_flow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.bundle import Bundle
    from qad_dl.gathering import Triple
    from qad_dl.lanes import Lane

UNUSED_S: Final = 7 * 86400.0
"""What was not saved for so long is too old to be carried on."""

FORMAT: Final = 5
"""Version of what `save` writes; another is made again."""


class Source(NamedTuple):
    """What is kept was made from this, as far as it lies before the end.

    Attributes:
        bundle: name of the bundle.
        versions: the newest entry of each day, see `Store.versions`.
        metadata: which dump holds from when, see `Store.metadata_versions`.
        downtimes: hash of the declared downtimes that had begun.
    """

    bundle: str
    versions: Mapping[str, int]
    metadata: tuple[str, ...]
    downtimes: str


UNSOURCED: Final = Source("", {}, (), "")
"""Of what nobody knows what it was made from: it is not carried on."""


class Ticks(NamedTuple):
    """What is said of ticks and not of series, from one lookback before the newest tick to that.

    Attributes:
        arrived: [lookback + 1] whether the tick has any row.
        frozen: whether the source was frozen.
        ended: whether any job ended.
    """

    arrived: NDArray[np.bool_]
    frozen: NDArray[np.bool_]
    ended: NDArray[np.bool_]

    def and_then(self, arrived: bool, frozen: bool, ended: bool) -> Ticks:
        """With one more, without the oldest."""
        return Ticks(*(np.append(old[1:], new) for old, new in zip(self, (arrived, frozen, ended), strict=True)))


@dataclass(frozen=True)
class Rolling:
    """The newest ticks of all series, to be carried on.

    Attributes:
        path: of its files, less their suffixes.
        tick: length of a tick.
        entity: fields of a series' key.
        series: keys in the order in which they came, [N].
        states: job states, [S].
        end: the newest tick.
        ticks: what is said of ticks.
        source: what it was made from.
        known: (panda_queue, prod_source, resource) that have had a row so far.
        said: per queue, the tick whose row said its status last, and whether it was online.
        stocks: of the newest tick that arrived; None where none did.
        ring: the file.
    """

    path: Path
    tick: Tick
    entity: tuple[str, ...]
    series: tuple[tuple[str, ...], ...]
    states: tuple[str, ...]
    end: np.datetime64
    ticks: Ticks
    source: Source
    known: frozenset[Triple]
    said: Mapping[str, tuple[np.datetime64, bool]]
    stocks: Stocks | None
    ring: Ring

    @property
    def groups(self) -> range:
        """Numbers of the groups of series."""
        return range(_groups_of(len(self.series)))

    def grid(self, group: int, ticks: int) -> Grid:
        """The newest ticks of those series of a group that are known in them, [n, ticks]: copied.

        Equal to that of `backtest.read_grid` wherever a score of the newest tick looks, where `ticks` is as long as
        that looks back (`Bundle.sight`, or `Bundle.recent` where errors are kept).
        """
        mine = self.series[group * GROUP : (group + 1) * GROUP]

        def kept(name: str) -> NDArray[Any]:
            return self.ring.read(name, group, self._number, ticks)[: len(mine)]

        quiet, flags, counts = kept("quiet")[..., 0].copy(), kept("flags")[..., 0], kept("counts")
        before = len(self.ticks.arrived) - ticks
        quiet[quiet > before + np.arange(ticks)] = NEVER
        known = (flags & _KNOWN != 0) | (quiet != NEVER)
        here = np.flatnonzero(known.any(axis=1))
        arrived, quiet = self.ticks.arrived[before:], quiet[here]
        counts = np.ascontiguousarray(counts[here])
        nothing = (quiet == NEVER) | ~arrived
        if nothing.any():
            counts[nothing] = np.nan
        return Grid(
            tick=self.tick,
            times=self.end + (np.arange(ticks) - ticks + 1) * self.tick.delta,
            entity=self.entity,
            series=tuple(mine[i] for i in here),
            states=self.states,
            counts=counts,
            arrived=arrived,
            frozen=self.ticks.frozen[before:],
            quiet=quiet,
            online=flags[here] & _ONLINE != 0,
            known=known[here],
            before=self.ticks.arrived[:before],
            rest=~self.ticks.ended[before:] & any(map(is_flow, self.states)),
        )

    def made(
        self, group: int, series: Sequence[tuple[str, ...]], lanes: Mapping[str, Lane]
    ) -> dict[str, NDArray[np.float32]]:
        """What was made of ticks before the newest for some series of a group, by lane (`Bundle.made`).

        Returns:
            [n, lags, width] each, tick by tick in memory; NaN where none is kept.
        """
        rows, out = self._rows(group, series), {}
        whole = np.array_equal(rows, np.arange(GROUP))
        for name, lane in lanes.items():
            if lane.whole:
                kept = self.ring.read(name, group, self._number - 1, lane.ticks)
            else:
                kept = self.ring.read_at(name, group, [self._number - lag for lag in lane.lags])
            out[name] = kept if whole else kept.swapaxes(0, 1)[:, rows].swapaxes(0, 1)
        return out

    def keep_made(self, group: int, series: Sequence[tuple[str, ...]], made: Mapping[str, NDArray[np.float32]]) -> None:
        """Keep what was made of the newest tick for some series of a group, [n, width]; the others have none there."""
        rows = self._rows(group, series)
        for name, values in made.items():
            column = np.full((GROUP, 1, values.shape[1]), np.nan, np.float32)
            column[rows, 0] = values
            self.ring.write(name, group, self._number, column)

    def keep_made_before(
        self, group: int, series: Sequence[tuple[str, ...]], made: Mapping[str, NDArray[np.float32]]
    ) -> None:
        """Keep what was made of the ticks before the newest for some series of a group, [n, ticks, width]."""
        rows = self._rows(group, series)
        for name, values in made.items():
            columns = self.ring.read(name, group, self._number - 1, values.shape[1]).copy()
            columns[rows] = values
            self.ring.write(name, group, self._number - 1, columns)

    def add(self, grid: Grid) -> tuple[tuple[str, ...], ...]:
        """Write what a grid of one tick, the one after the end, says; of series that it does not name nothing.

        Returns:
            The series, those that are new last; they get blank groups where there is no place for them.
        """
        series, at = self._with_new(grid.series), self._number + 1
        place = {key: i for i, key in enumerate(series)}
        rows = np.array([place[key] for key in grid.series], np.int64)
        groups = _groups_of(len(series))
        before = np.concatenate([self.ring.read("quiet", g, at - 1, 1)[:, 0, 0] for g in range(groups)])
        quiet = np.where(before == NEVER, before, before + 1)
        quiet[rows] = np.where(grid.quiet[:, 0] == NEVER, quiet[rows], grid.quiet[:, 0])
        flags = np.full(len(quiet), _ONLINE, np.uint8)
        flags[rows] = _flags(grid)[:, 0]
        counts = np.zeros((len(quiet), len(self.states)), np.float32)
        found = grid.counts[:, 0]
        channels = np.array([self.states.index(state) for state in grid.states], np.int64)
        counts[np.ix_(rows, channels)] = np.where(np.isnan(found), 0, found)
        unmade = {f.name: np.full((GROUP, 1, f.width), np.nan, np.float32) for f in _made_of_ticks(self.ring)}
        for group in range(groups):
            mine = slice(group * GROUP, (group + 1) * GROUP)
            for name, nothing in unmade.items():
                self.ring.write(name, group, at, nothing)  # or what a tick long ago had were taken for its own
            for name, values in (("quiet", quiet[mine, None]), ("flags", flags[mine, None]), ("counts", counts[mine])):
                self.ring.write(name, group, at, values[:, None])
        return series

    def _with_new(self, series: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
        before = set(self.series)
        every = (*self.series, *(key for key in series if key not in before))
        for group in range(len(self.groups), _groups_of(len(every))):
            self.ring.add_group(group)
        return every

    def unsay(self) -> None:
        """Forget which tick is the newest: what is on the disk is being written over."""
        _about(self.path).unlink(missing_ok=True)

    @cached_property
    def _number(self) -> int:
        """Of the newest tick, since the epoch."""
        return int(self.tick.index(np.array([self.end]))[0])

    def _rows(self, group: int, series: Sequence[tuple[str, ...]]) -> NDArray[np.int64]:
        place = {key: i for i, key in enumerate(self.series[group * GROUP : (group + 1) * GROUP])}
        return np.array([place[key] for key in series], np.int64)

    def close(self) -> None:
        """Let the file go."""
        self.ring.close()

    def save(self) -> None:
        """Say that all up to its newest tick is there; what was kept in other files is removed."""
        self.ring.flush()
        seconds = np.array([time for time, _ in self.said.values()], "datetime64[s]").astype(np.int64)
        online = [was_online for _, was_online in self.said.values()]
        content = {
            "format": [FORMAT, GROUP],
            "ring": self.ring.path.name,
            "fields": [field._asdict() for field in self.ring.fields.values()],
            "tick": self.tick.minutes,
            "entity": self.entity,
            "series": self.series,
            "states": self.states,
            "end": int(self.end.astype("datetime64[s]").astype(np.int64)),
            "ticks": {name: flags.astype(np.int8).tolist() for name, flags in self.ticks._asdict().items()},
            "source": self.source._asdict(),
            "known": None if self.known == set(self.series) else sorted(self.known),
            "said": dict(zip(self.said, zip(seconds.tolist(), online, strict=True), strict=True)),
            "stocks": None if self.stocks is None else self.stocks.to_json(),
        }
        replace_file(_about(self.path), json.dumps(content).encode())
        _forget_rings(self.path, self.ring.path)


_GRID: Final = ("quiet", "flags", "counts")
"""The fields of the grid; what is made of its ticks has all others."""

_KNOWN: Final = 1
_ONLINE: Final = 2

_SPARE: Final = 2
"""Slots of what is made of ticks beyond those that a score looks at: one for the tick in work, and one for the tick
that is scored again after a kill."""


def load(path: Path) -> Rolling | None:
    """What `save` wrote; None where there is nothing, or nothing that this program can read: it is made again then."""
    try:
        found = json.loads(_about(path).read_bytes())
        return _read(path, found) if found["format"] == [FORMAT, GROUP] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read(path: Path, found: Mapping[str, Any]) -> Rolling | None:
    series, source = tuple(tuple(key) for key in found["series"]), found["source"]
    fields = [Field(**field) for field in found["fields"]]
    ring = Ring.open(path.with_name(found["ring"]), fields, _groups_of(len(series)))
    if ring is None:
        return None
    times = np.array([seconds for seconds, _ in found["said"].values()], "datetime64[s]")
    online = (bool(was_online) for _, was_online in found["said"].values())
    return Rolling(
        path=path,
        tick=Tick(found["tick"]),
        entity=tuple(found["entity"]),
        series=series,
        states=tuple(found["states"]),
        end=np.datetime64(found["end"], "s"),
        ticks=Ticks(**{name: np.array(flags, np.bool_) for name, flags in found["ticks"].items()}),
        source=Source(source["bundle"], source["versions"], tuple(source["metadata"]), source["downtimes"]),
        known=frozenset((q, s, r) for q, s, r in (series if found["known"] is None else found["known"])),
        said=dict(zip(found["said"], zip(times, online, strict=True), strict=True)),
        stocks=None if found["stocks"] is None else Stocks.from_json(found["stocks"]),
        ring=ring,
    )


def forget(path: Path) -> None:
    """Remove what is kept."""
    _about(path).unlink(missing_ok=True)
    _forget_rings(path)


def forget_unused(folder: Path, now: float) -> None:
    """Remove what was kept in a folder and not saved for a week: of bundles that are no longer in use.

    Args:
        folder: where all of it lies.
        now: seconds since the epoch.
    """
    for about in folder.glob("*.json"):
        if about.stat().st_mtime < now - UNUSED_S:
            forget(about.with_suffix(""))


def _made_of_ticks(ring: Ring) -> list[Field]:
    """The fields of what is made of ticks (`Bundle.made`)."""
    return [field for name, field in ring.fields.items() if name not in _GRID]


def _groups_of(series: int) -> int:
    """Groups of so many series, one at least."""
    return max(1, -(-series // GROUP))


def _about(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _forget_rings(path: Path, but: Path | None = None) -> None:
    for ring in path.parent.glob(f"{path.name}.*.ring"):
        if ring != but:
            ring.unlink(missing_ok=True)


def keep(path: Path, grid: Grid, bundle: Bundle, source: Source) -> Rolling:
    """What is to be kept of a grid that reaches back one lookback or more, but for what its rows told besides.

    Args:
        path: of the files, less their suffixes.
        grid: with the entity of the bundle.
        bundle: says how much of it is kept.
        source: what it was made from.
    """
    grid = grid.newest(bundle.preprocess.plan.lookback + 1)
    return Rolling(
        path=path,
        tick=grid.tick,
        entity=grid.entity,
        series=grid.series,
        states=grid.states,
        end=grid.times[-1],
        ticks=Ticks(*(np.array(flags) for flags in (grid.arrived, grid.frozen, ~grid.at_rest()))),
        source=source,
        known=frozenset(),
        said={},
        stocks=None,
        ring=_written(path, grid, bundle),
    )


def _flags(grid: Grid) -> NDArray[np.uint8]:
    return (grid.known * np.uint8(_KNOWN) + grid.online * np.uint8(_ONLINE)).astype(np.uint8)


def _written(path: Path, grid: Grid, bundle: Bundle) -> Ring:
    """A new file with the newest ticks of a grid."""
    newest, last = grid.newest(bundle.sight), int(grid.tick.index(grid.times[-1:])[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    ring = Ring.create(path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.ring"), _fields(bundle, len(grid.states)))
    for group in range(_groups_of(len(grid.series))):
        mine = slice(group * GROUP, (group + 1) * GROUP)
        ring.add_group(group)
        counts = np.where(np.isnan(newest.counts[mine]), np.float32(0), newest.counts[mine])
        parts = ("quiet", newest.quiet[mine, :, None]), ("flags", _flags(newest)[mine, :, None]), ("counts", counts)
        for name, values in parts:
            blank = np.full((GROUP, *values.shape[1:]), ring.fields[name].blank, values.dtype)
            blank[: len(values)] = values
            ring.write(name, group, last, blank)
    return ring


def _fields(bundle: Bundle, states: int) -> list[Field]:
    """What is kept of each series."""
    slots = bundle.sight + 1
    made = [Field(name, "<f4", lane.width, lane.ticks + _SPARE, np.nan) for name, lane in bundle.made.items()]
    return [
        Field("quiet", "<i4", 1, slots, NEVER),
        Field("flags", "|u1", 1, slots, _ONLINE),
        Field("counts", "<f4", states, slots, 0.0),
        *made,
    ]
