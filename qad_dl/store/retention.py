"""How long a store keeps what: ten-minute rows first, then hours, then days (see `qad_dl.downsampling`).

The archives are stores of their own below the store, of longer ticks, with the same rows and the same guarantees:

    STORE/1h    hours: stock averaged, flow summed
    STORE/1d    days

Points are made once, as soon as their time is over, and again of what was imported since then before the rows they are
made of are removed. A day is removed in one step, and only after its points are in the archive: a process that is
killed between the two leaves both, and the next one goes on.
"""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from qad_dl.atomic import clock, sweep, temporary_name
from qad_dl.downsampling import DAYS, HOURS, LEVELS, Level, downsample
from qad_dl.errors import StoreError
from qad_dl.rows import seconds_of
from qad_dl.store.embedded import Store

if TYPE_CHECKING:
    from qad_dl.schema import Times

FOREVER: Final = 0

_DAY: Final = np.timedelta64(1, "D")


class Keep(NamedTuple):
    """How many days are kept; 0 is for ever.

    Attributes:
        ticks: ten-minute rows: models are trained on them.
        hours: rows of hours.
        days: rows of days.
    """

    ticks: int = 90
    hours: int = 730
    days: int = FOREVER


class Upkeep(NamedTuple):
    """What was done, and whether time ran out before all of it was.

    Attributes:
        points: rows added to the archives.
        removed: days removed.
        done: nothing is left to do.
    """

    points: int = 0
    removed: int = 0
    done: bool = True


def archive(store: Store, level: Level) -> Store:
    """The archive of a level; it is made if there is none.

    Raises:
        StoreError: the store's ticks do not divide the level's.
    """
    if level.tick.minutes % store.tick.minutes:
        msg = f"{store.path}: has ticks of {store.tick.minutes} minutes, which do not make up {level.name}"
        raise StoreError(msg)
    return Store.create(store.path / level.name, level.tick)


def keep_up(store: Store, now: np.datetime64, keep: Keep, until: float = float("inf")) -> Upkeep:
    """Bring the archives up to `now`, then remove what is older than `keep` says.

    Days count back from the newest row or `now`, whichever is earlier: a clock that runs ahead removes nothing.

    Args:
        store: the store of ticks.
        now: the tick that is being done, `datetime64[s]`.
        keep: what to keep.
        until: `time.monotonic()` after which no further day is begun; the next call goes on there.

    Raises:
        StoreError: something cannot be read or written.
    """
    points = 0
    finer = store
    for level in LEVELS:
        coarse = archive(store, level)
        for day in _days_to_do(finer, coarse, now):
            if time.monotonic() >= until:
                return Upkeep(points, 0, done=False)
            points += _fill(finer, coarse, level, level.tick.range(_first(coarse, day), _end(day, now)))
        finer = coarse
    return _expire(store, now, keep, until, points)


def _first(coarse: Store, day: np.datetime64) -> np.datetime64:
    """The first stamp of a day that is not yet there, when stamps are added in their order."""
    span = coarse.span()
    return day if span is None else max(day, span[1] + coarse.tick.delta)


def _end(day: np.datetime64, now: np.datetime64) -> np.datetime64:
    """The end of a day or of what is over at `now`, half open."""
    return min(day + _DAY, now + np.timedelta64(1, "s"))


def _days_to_do(finer: Store, coarse: Store, now: np.datetime64) -> list[np.datetime64]:
    """The days, `datetime64[s]`, on which stamps may be missing at the end of an archive."""
    made = coarse.span()
    if made is not None and made[1] + coarse.tick.delta > now:
        return []
    have = finer.span()
    if have is None:
        return []
    # A point may be made of rows up to its reach before it, so the last row gives stamps on the next day too.
    first = coarse.tick.ceil(have[0]) if made is None else made[1] + coarse.tick.delta
    last = min(now, have[1] + 2 * coarse.tick.delta)
    low, high = (moment.astype("datetime64[D]") for moment in (first, last))
    return [day.astype("datetime64[s]") for day in np.arange(low, high + _DAY)]


def _fill(finer: Store, coarse: Store, level: Level, stamps: Times) -> int:
    """Make the points of `stamps`; returns how many."""
    if not len(stamps):
        return 0
    rows = finer.read(stamps[0] - level.reach + finer.tick.delta, stamps[-1] + finer.tick.delta)
    made = downsample(rows, stamps, level, finer.tick)
    if made.num_rows:
        coarse.append(made)
    return made.num_rows


def _expire(store: Store, now: np.datetime64, keep: Keep, until: float, points: int) -> Upkeep:
    """Remove the days that are too old, each after its points are in the archive."""
    hours, days = archive(store, HOURS), archive(store, DAYS)
    removed = 0
    for finer, coarse, level, kept in (
        (store, hours, HOURS, keep.ticks),
        (hours, days, DAYS, keep.hours),
        (days, None, None, keep.days),
    ):
        for day in _too_old(finer, now, kept):
            if time.monotonic() >= until:
                return Upkeep(points, removed, done=False)
            if coarse is not None and level is not None:
                points += _complete(finer, coarse, level, day)
            remove_day(finer, day)
            removed += 1
        if finer.scattered(now.astype("datetime64[D]")):
            finer.compact(now.astype("datetime64[D]"))
    return Upkeep(points, removed)


def _too_old(store: Store, now: np.datetime64, kept: int) -> list[np.datetime64]:
    """The days before those that are kept, `datetime64[D]`."""
    keeping = np.timedelta64(kept, "D")
    old = [day for day in store.days() if kept != FOREVER and day < now.astype("datetime64[D]") - keeping]
    span = store.span() if old else None
    return [day for day in old if span is not None and day < span[1].astype("datetime64[D]") - keeping]


def _complete(finer: Store, coarse: Store, level: Level, day: np.datetime64) -> int:
    """Make the points that rows of a day give and that the archive lacks; those that it has stay as they are.

    The first stamps of the day look back into the day before, which may have gone: they were made when it went.
    """
    low = level.tick.ceil(day.astype("datetime64[s]"))
    high = (day + _DAY).astype("datetime64[s]") + 2 * level.tick.delta
    there = set(seconds_of(coarse.read(low, high)).tolist())
    stamps = level.tick.range(low, high)
    missing = [stamp for stamp in stamps if int(stamp.astype(np.int64)) not in there]
    return sum(_fill(finer, coarse, level, np.array([stamp])) for stamp in missing)


def remove_day(store: Store, day: np.datetime64) -> None:
    """Remove the rows of a UTC day, `datetime64[D]`, in one step.

    Raises:
        StoreError: the folder cannot be written.
    """
    folder = store.folder / "jobs" / str(day)
    try:
        doomed = temporary_name(folder)
        folder.rename(doomed)
        shutil.rmtree(doomed)
        sweep(folder.parent, clock(folder.parent))  # what a process left that was killed between the two
    except FileNotFoundError:
        return  # somebody else was faster
    except OSError as error:
        msg = f"{folder}: cannot be removed ({error.strerror or error}); see to its rights"
        raise StoreError(msg) from error
