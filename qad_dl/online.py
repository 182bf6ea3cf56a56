"""Which queues are up, tick by tick: by what their rows say, else by the metadata, and by declared downtimes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qad_dl.gathering import UNSAID, Gathering
from qad_dl.schema import STATUS_CARRIED_DAYS, Tick, Times

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.downtimes import Downtime


def queues_up(
    gathering: Gathering,
    queues: Sequence[str],
    downtimes: Collection[Downtime],
    carried: Mapping[str, tuple[np.datetime64, bool]],
) -> NDArray[np.bool_]:
    """Whether each queue is online and in no declared downtime, [Q, T].

    Args:
        gathering: the rows and the metadata.
        queues: all that have rows, or more.
        downtimes: those that are declared.
        carried: of queues whose status was said before the gathering, when, and whether it was online.
    """
    before = _ages(carried, gathering.times[0], gathering.tick)
    return _online(gathering, queues, before) & ~_declared(queues, downtimes, gathering.times)


def _online(gathering: Gathering, queues: Sequence[str], before: Mapping[str, tuple[int, bool]]) -> NDArray[np.bool_]:
    """Status of each queue is online, [Q, T]: from its last row that carries a status, else from the metadata."""
    longest, n_ticks = STATUS_CARRIED_DAYS * gathering.tick.per_day, len(gathering.times)
    online = np.ones((len(queues), n_ticks), np.bool_)
    for (start, end), (_, _, records) in zip(gathering.spans, gathering.segments, strict=True):
        listed = np.array([records.get(q, {}).get("status", "online") == "online" for q in queues], np.bool_)
        online[:, start:end] = listed[:, None]
    had = np.array([i for i, name in enumerate(queues) if name in before], np.int64)
    if had.size:
        ages, was_online = map(np.array, zip(*(before[queues[i]] for i in had.tolist()), strict=True))
        carried = np.arange(n_ticks) < (longest - ages)[:, None]
        online[had] = np.where(carried, was_online[:, None], online[had])
    if not gathering.said:
        return online
    said = said_of(gathering, queues)
    ticks = np.arange(n_ticks, dtype=np.int32)
    last = np.maximum.accumulate(np.where(said != UNSAID, ticks, np.int32(-1)), axis=1)
    # A status older than the lookback of a score would make the score depend on when the grid begins.
    fresh = (last >= 0) & (ticks - last < longest)
    return np.where(fresh, np.take_along_axis(said, np.maximum(last, 0), axis=1) == 1, online)


def said_of(gathering: Gathering, queues: Sequence[str]) -> NDArray[np.int8]:
    """The status that rows carry, int8 [Q, T]: 1 online, 0 not, `UNSAID`; `queues` are all that have rows, or more."""
    said = np.full((len(queues), len(gathering.times)), UNSAID, np.int8)
    place = {name: i for i, name in enumerate(queues)}
    row_of = np.array([place[name] for name in gathering.queues.place], np.int64)
    for piece in gathering.said:
        rows, ticks = row_of[piece.queues], slice(piece.first, piece.first + piece.online.shape[1])
        said[rows, ticks] = np.where(piece.online == UNSAID, said[rows, ticks], piece.online)
    return said


def _ages(
    carried: Mapping[str, tuple[np.datetime64, bool]], first: np.datetime64, tick: Tick
) -> dict[str, tuple[int, bool]]:
    """Per queue the ticks from the row that said its status to the first of the grid, and whether it was online."""
    times = np.array([time for time, _ in carried.values()], "datetime64[s]")
    ages = (first - times).astype("timedelta64[s]").astype(np.int64) // tick.seconds
    online = (was_online for _, was_online in carried.values())
    return dict(zip(carried, zip(ages.tolist(), online, strict=True), strict=True))


def _declared(queues: Sequence[str], downtimes: Collection[Downtime], times: Times) -> NDArray[np.bool_]:
    """Whether a downtime of the queue is declared for the tick, [Q, T]."""
    declared = np.zeros((len(queues), len(times)), np.bool_)
    place = {name: i for i, name in enumerate(queues)}
    for downtime in downtimes:
        if downtime.panda_queue in place:
            declared[place[downtime.panda_queue]] |= (times >= downtime.start) & (times < downtime.end)
    return declared
