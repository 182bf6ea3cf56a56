"""Results of several ticks as one: those of past ticks before the new ones, some ticks of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.evidence import Tuned, plain
from qad_dl.schema import REASONS, TICK_MINUTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qad_dl.results import Results
    from qad_dl.schema import Times

MISSING_TICK: Final = REASONS.index("missing_tick")


def tick_of(results: Results, at: int) -> Results:
    """One tick of results, with its details."""
    arrays = {name: getattr(results, name)[:, at : at + 1] for name in _FILLS}
    details = results.details
    if details is not None:
        details = details._replace(**{name: array[:, at : at + 1] for name, array in details._asdict().items()})
    return replace(plain(results), times=results.times[at : at + 1], details=details, **arrays)


_FILLS: Final[Mapping[str, Any]] = {
    "score": np.nan,
    "alone": np.nan,
    "flagged": False,
    "reason": MISSING_TICK,
    "known": False,
    "expected": False,
    "state": -1,
    "direction": 0,
    "kind": -1,
}


def joined(past: Results | None, new: Results, ticks: int) -> Results:
    """The results of `past` before those of `new`, the last `ticks` of both; without details.

    Both have one threshold for all. Where the two overlap `new` counts; ticks between them are missing ones. Results of
    other states or kinds, those of another bundle, are not joined.
    """
    if past is None or (past.entity, past.states, past.kinds) != (new.entity, new.states, new.kinds):
        return replace(new, details=None)
    step = step_of(np.concatenate([past.times, new.times]))
    start = max(min(past.times[0], new.times[0]), new.times[-1] - (ticks - 1) * step)
    times = np.arange(start, new.times[-1] + step, step)
    series = tuple(sorted({*past.series, *new.series}))
    place = {key: i for i, key in enumerate(series)}
    arrays: dict[str, Any] = {
        name: np.full((len(series), len(times)), fill, getattr(new, name).dtype) for name, fill in _FILLS.items()
    }
    for part in (past, new):
        rows = np.array([place[key] for key in part.series], np.int64)
        at = ((part.times - start) // step).astype(np.int64)
        on = (at >= 0) & (at < len(times))
        for name, array in arrays.items():
            array[np.ix_(rows, at[on])] = getattr(part, name)[:, on]
    return replace(new, series=series, times=times, details=None, **arrays)


def step_of(times: Times) -> np.timedelta64:
    """Length of a tick, of times in any order, some of them twice; that of PanDA's where there is one tick only."""
    steps = np.diff(np.sort(times))
    steps = steps[steps > np.timedelta64(0, "s")]
    return steps.min() if len(steps) else np.timedelta64(TICK_MINUTES * 60, "s")


def until(results: Results, tick: np.datetime64) -> Results:
    """The results up to a tick."""
    on = results.times <= tick
    arrays = {name: getattr(results, name)[:, on] for name in _FILLS}
    if isinstance(results, Tuned):
        arrays["offset"] = results.offset[:, on]
    return replace(results, times=results.times[on], details=None, **arrays)
