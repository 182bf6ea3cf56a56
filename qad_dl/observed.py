"""What was observed against what was expected: the errors of ticks, and why some ticks are not scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.calibration import Errors
from qad_dl.scaling import Quantity, to_values
from qad_dl.schema import REASONS
from qad_dl.scoring import doubts_of, errors, unexplained_stop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qad_dl.prepared import Prepared
    from qad_dl.reconstruction import Reconstruction
    from qad_dl.windows import WindowPlan

MIN_TICKS: Final = 0.25
"""A series is scored once it has this share of a day of observed ticks."""

MIN_SHARE: Final = 0.5
"""Share of ticks that must have arrived, of the context and of the `recent` ones; below it the reason is `gap`."""

CODE: Final = {reason: i for i, reason in enumerate(REASONS)}


def reasons(
    plan: WindowPlan, prepared: Prepared, series: NDArray[np.int64], start: int, made: Reconstruction
) -> NDArray[np.int8]:
    """Why a tick is not scored, [N, T] from grid position `start`; 0 where it is.

    The first that applies of: the tick did not arrive, the source was frozen, the series is retired, too many ticks
    are missing, the series (or the history) is too new.
    """
    grid, skip = prepared.grid, start - made.start
    quiet = grid.quiet[series, start:]
    out = np.zeros(quiet.shape, np.int8)
    out[~made.counted[:, skip:] | (made.seen[:, skip:] < MIN_TICKS * plan.day)] = CODE["too_short"]
    out[:, _gaps(plan, np.concatenate([grid.before, grid.arrived]), len(grid.before) + start)] = CODE["gap"]
    out[quiet >= plan.lookback] = CODE["retired"]
    out[:, grid.frozen[start:]] = CODE["frozen"]
    out[:, ~grid.arrived[start:]] = CODE["missing_tick"]
    return out


def _gaps(plan: WindowPlan, arrived: NDArray[np.bool_], start: int) -> NDArray[np.bool_]:
    """Whether too few of the newest ticks arrived although the history reaches further back, [T] from `start`."""
    total = np.cumsum(np.pad(arrived, (1, 0)))
    end = np.arange(start, len(arrived)) + 1

    def arrivals(newest: int, oldest: int) -> NDArray[np.int64]:
        return np.asarray(total[np.maximum(end - newest, 0)] - total[np.maximum(end - oldest, 0)], np.int64)

    few = (arrivals(0, plan.context) < MIN_SHARE * plan.context) | (arrivals(0, plan.recent) < MIN_SHARE * plan.recent)
    return np.asarray(few & (arrivals(plan.context, plan.lookback) > 0))


def errors_of(
    prepared: Prepared,
    series: NDArray[np.int64],
    made: Reconstruction,
    states: Sequence[str],
    before: NDArray[np.float32] | None = None,
    whole: bool = True,
    doubts: Sequence[tuple[int, int]] = (),
) -> Errors:
    """Observed against expected, over the reconstructed range; errors are 0 where a tick was not counted.

    Args:
        prepared: a grid.
        series: [N] positions.
        made: of these series.
        states: names of the states.
        before: [N, B, H S] errors of the ticks before the range, where they are known: what is given then begins
            with them, but for the volume, which is 0 there.
        whole: also what only histories without signatures are judged by, the stop and the volume; else they are 0.
        doubts: of what the model gives, see `doubts_of`; they stand behind the errors.
    """
    values = np.where(made.counted[:, :, None], prepared.values[series, made.start :], np.float32(np.nan))
    z, first = errors(values, made.location, made.spread), made.start
    if doubts:
        z = np.concatenate([z, doubts_of(made.spread, doubts)], axis=2)
    if before is not None:
        # Tick by tick, as they were kept and as they are going to be averaged.
        known = before.reshape(*before.shape[:2], *z.shape[2:]).swapaxes(0, 1)
        z = np.concatenate([known, z.swapaxes(0, 1)]).swapaxes(0, 1)
        first = made.start - before.shape[1]
    stop = apart = np.broadcast_to(np.float32(0), z.shape[:2])
    if whole:
        apart = np.pad(_volume(prepared, series, made), ((0, 0), (made.start - first, 0)))
        since = max(0, first - 1)  # a stop is a fall from the tick before
        x = np.where(prepared.usable[series, since:, None], prepared.x[series, since:], np.float32(np.nan))
        stop = unexplained_stop(x, states)[:, first - since :]
    return Errors(
        z=z,
        stop=stop,
        volume=apart,
        expected=prepared.expected[series, first:],
        recovering=prepared.recovering[series, first:],
        ids=prepared.static_cat[-1, series, 0],
    )


def _volume(prepared: Prepared, series: NDArray[np.int64], made: Reconstruction) -> NDArray[np.float32]:
    """Jobs by which a count is off what is expected with the most ticks hidden, the most of any state, [N, R].

    Infinite for measurements: they have no unit in which one could be too small to matter.
    """
    if prepared.quantity is Quantity.MEASUREMENTS:
        return np.full(made.counted.shape, np.inf, np.float32)
    loc, scale = (a[prepared.segment[made.start :]][:, series].swapaxes(0, 1) for a in prepared.scale)
    expected = to_values(made.location[:, :, -1] * scale + loc, prepared.quantity)
    apart = np.abs(to_values(prepared.x[series, made.start :], prepared.quantity) - expected).max(axis=2)
    return np.where(made.counted & np.isfinite(apart), apart, np.float32(0))
