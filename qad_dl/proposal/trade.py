"""What a proposal would have changed: flagged episodes, incidents, and what reviewers had said, group by group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.metrics.episodes import episode_begins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qad_dl.proposal.marked import Marked
    from qad_dl.proposal.offsets import Groups
    from qad_dl.proposal.thresholds import Proposed
    from qad_dl.results import Results


@dataclass(frozen=True)
class Line:
    """One group, or all.

    Attributes:
        value: of the group; '' for all series.
        series: how many.
        threshold: now, and then.
        episodes: flagged, now and then.
        problems: labelled problems flagged, now and then; of all labelled ones `problems_of`.
        expected: labelled expected things flagged, now and then; of all labelled ones `expected_of`.
    """

    value: str
    series: int
    threshold: tuple[float, float]
    episodes: tuple[int, int]
    problems: tuple[int, int]
    problems_of: int
    expected: tuple[int, int]
    expected_of: int


@dataclass(frozen=True)
class Trade:
    """What changes.

    Attributes:
        days: length of the range.
        all: over all series.
        groups: of those whose threshold changes, the largest change of episodes first.
        incidents: found in the range, now and then.
        lost: names of the labelled problems that would not be flagged any more.
        caught: names of those that are only then.
        silenced: names of the expected things that would not be flagged any more.
    """

    days: float
    all: Line
    groups: tuple[Line, ...]
    incidents: tuple[int, int]
    lost: tuple[str, ...]
    caught: tuple[str, ...]
    silenced: tuple[str, ...]


def trade(
    now: Results,
    then: Results,
    incidents: tuple[int, int],
    things: Sequence[Marked],
    groups: Groups | None,
    proposed: Proposed,
) -> Trade:
    """Compare flags now and then.

    Args:
        now: flagged from one threshold.
        then: flagged as proposed.
        incidents: how many are found, now and then.
        things: what was labelled.
        groups: of the field of the proposal; None where there is none.
        proposed: the thresholds.
    """
    tick = float((now.times[1] - now.times[0]) / np.timedelta64(1, "D")) if len(now.times) > 1 else 1 / 144
    per_day = round(1 / tick)
    begins = episode_begins(now.flagged, per_day), episode_begins(then.flagged, per_day)
    offset = np.zeros(len(now.series)) if groups is None else groups.offsets(proposed.offsets)
    whole = _line("", np.arange(len(now.series)), now.threshold, 0.0, begins, things, offset)
    rows_of = {} if groups is None else {v: np.flatnonzero(groups.of == g) for g, v in enumerate(groups.values)}
    lines = [
        _line(value, rows_of[value], now.threshold, by, begins, things, offset)
        for value, by in proposed.offsets.items()
    ]
    was, will = [m for m in things if m.flagged()], [m for m in things if m.flagged(offset)]
    gone, come = [m for m in was if not m.flagged(offset)], [m for m in will if not m.flagged()]
    return Trade(
        days=len(now.times) * tick,
        all=whole,
        groups=tuple(sorted(lines, key=lambda line: (line.episodes[1] - line.episodes[0], line.value))),
        incidents=incidents,
        lost=tuple(m.name for m in gone if m.problem),
        caught=tuple(m.name for m in come if m.problem),
        silenced=tuple(m.name for m in gone if not m.problem),
    )


def _line(
    value: str,
    rows: NDArray[np.int64],
    threshold: float,
    by: float,
    begins: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    things: Sequence[Marked],
    offset: NDArray[np.float64],
) -> Line:
    mine = [m for m in things if np.isin(m.rows, rows).any()]
    flags = [(m.problem, m.flagged(), m.flagged(offset)) for m in mine]
    problems, expected = ([f for f in flags if f[0] is kind] for kind in (True, False))
    return Line(
        value=value,
        series=len(rows),
        threshold=(threshold, threshold + by),
        episodes=(int(begins[0][rows].sum()), int(begins[1][rows].sum())),
        problems=(sum(f[1] for f in problems), sum(f[2] for f in problems)),
        problems_of=len(problems),
        expected=(sum(f[1] for f in expected), sum(f[2] for f in expected)),
        expected_of=len(expected),
    )
