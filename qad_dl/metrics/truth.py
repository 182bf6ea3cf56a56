"""What really happened, on the grid of the scores: incidents, healthy time, downtimes.

Healthy time of a series is all but its incidents, its downtimes and the 24 h after either. Where an incident and a
downtime (or the 24 h after it) overlap, the downtime wins: those ticks leave the main figures (interfaces, section 8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qad_dl.schema import Tick, Times

RECOVERY: Final = np.timedelta64(24, "h").astype("timedelta64[s]")
"""Time after an incident or a downtime that is neither healthy nor part of it."""


@dataclass(frozen=True)
class Window:
    """A time of start <= time < end on some series.

    Attributes:
        start: first moment, `datetime64[s]`.
        end: first moment after it, `datetime64[s]`.
        rows: the series that it hits, indices into the grid.
        kind: kind of the incident; empty for a downtime.
        name: name of the incident; empty for a downtime.
    """

    start: np.datetime64
    end: np.datetime64
    rows: tuple[int, ...]
    kind: str = ""
    name: str = ""


@dataclass(frozen=True)
class Truth:
    """What the scores of N series at T ticks are measured against; the three masks never overlap.

    Attributes:
        tick: length of a tick.
        times: [T] `datetime64[s]`, every tick of the range.
        incident: [N, T] bool, the series is inside an incident (and in no downtime).
        healthy: [N, T] bool, neither incident nor downtime nor the 24 h after one.
        downtime: [N, T] bool, a downtime or the 24 h after it, outside incidents and the 24 h after them.
        left_out: [N, T] bool, not in the main figures at all: any downtime, the 24 h after it, and no row in the file.
        windows: the incidents that can be seen: they begin in the range and hit a series of it outside downtimes.
    """

    tick: Tick
    times: Times
    incident: NDArray[np.bool_]
    healthy: NDArray[np.bool_]
    downtime: NDArray[np.bool_]
    left_out: NDArray[np.bool_]
    windows: tuple[Window, ...]

    def queue_days(self, mask: NDArray[np.bool_]) -> float:
        """Days of series that the ticks of a mask [N, T] make up."""
        return float(np.count_nonzero(mask)) / self.tick.per_day


def build_truth(
    times: Times,
    tick: Tick,
    n_series: int,
    incidents: Sequence[Window],
    downtimes: Sequence[Window] = (),
    present: NDArray[np.bool_] | None = None,
) -> Truth:
    """Lay incidents and downtimes on the grid.

    An incident that began before the first tick cannot be seen to begin: it is left out of `windows`, but its ticks
    are incident ticks and the 24 h after it are not healthy. The same holds for one that ended before the range.

    Args:
        times: every tick of the range, [T].
        tick: length of a tick.
        n_series: N.
        incidents: with the rows that they hit.
        downtimes: with the rows that they concern.
        present: [N, T] pairs that the scores have a row for; all of them if not given.
    """
    shape = (n_series, len(times))
    here = np.ones(shape, np.bool_) if present is None else present
    hit, shaken = _mask(times, shape, incidents, False), _mask(times, shape, incidents, True)
    down = _mask(times, shape, downtimes, True)
    incident = hit & ~down & here
    return Truth(
        tick=tick,
        times=times,
        incident=incident,
        healthy=~shaken & ~down & here,
        downtime=down & ~shaken & here,
        left_out=down | ~here,
        windows=tuple(w for w in incidents if _can_be_seen(w, times, tick, incident)),
    )


def span(times: Times, start: np.datetime64, end: np.datetime64) -> slice:
    """The ticks of start <= time < end."""
    first, last = np.searchsorted(times, np.array([start, end], times.dtype))
    return slice(int(first), int(last))


def _mask(times: Times, shape: tuple[int, int], windows: Sequence[Window], recovery: bool) -> NDArray[np.bool_]:
    mask = np.zeros(shape, np.bool_)
    for window in windows:
        ticks = span(times, window.start, window.end + RECOVERY if recovery else window.end)
        mask[list(window.rows), ticks] = True
    return mask


def _can_be_seen(window: Window, times: Times, tick: Tick, incident: NDArray[np.bool_]) -> bool:
    # An incident that starts between two ticks begins at the later one: on the first tick of the range it still counts.
    if window.start <= times[0] - tick.delta:
        return False
    return bool(incident[list(window.rows), span(times, window.start, window.end)].any())
