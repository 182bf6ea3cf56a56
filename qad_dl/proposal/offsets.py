"""By how much the threshold of each group should be higher or lower, from labels.

Of what is flagged in a group and labelled, the chance of a problem rises with the score, and groups differ:

    logit P(problem) = a + b height + u_g,      u_g ~ N(0, spread^2)

(`logistic`; partial pooling: a group with few labels is taken to be like the others.) What is told should be a problem
with a chance of 1 / (1 + worth) at least: one problem told is worth `worth` false alarms. So a group's threshold is
raised to the height at which that is reached, but not above the highest that was called expected, and never so far that
a labelled problem would not be flagged any more. Below the threshold the same is fitted to missed problems among all
that comes near it; what nobody labelled there counts as none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.tuning.file import HIGHEST, LOWEST
from qad_dl.tuning.logistic import fit, fit_groups

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.proposal.marked import Marked, Weak
    from qad_dl.tuning.logistic import Fit

WORTH: Final = 10.0
"""One problem told is worth so many false alarms."""

SPREADS: Final = (0.0, 0.5, 1.0, 2.0, 3.0)
"""How much groups may differ, in log odds."""

RIDGE: Final = (0.01, 0.25)
"""Of intercept and slope: hardly any, and a slope of 2 per unit of score."""

STEP: Final = 0.05
"""Thresholds that differ by less are the same."""

MARGIN: Final = 0.02
"""A problem that must stay flagged does so by this."""


@dataclass(frozen=True)
class Groups:
    """How a field divides the series.

    Attributes:
        field: its name.
        values: its values, sorted, [G]; '' is no group.
        of: [N] index into `values` of each series, -1 where it has none.
    """

    field: str
    values: tuple[str, ...]
    of: NDArray[np.int64]

    @classmethod
    def by(cls, name: str, values: Sequence[str]) -> Groups:
        """By the value of each series."""
        known = tuple(sorted(set(values) - {""}))
        place = {value: g for g, value in enumerate(known)}
        return cls(name, known, np.array([place.get(value, -1) for value in values], np.int64))

    def offsets(self, by: Mapping[str, float]) -> NDArray[np.float64]:
        """[N] from value -> offset."""
        each = np.array([*(by.get(value, 0.0) for value in self.values), 0.0])
        return np.asarray(each[self.of])


@dataclass(frozen=True)
class Labelling:
    """All that labels say of the flags of a range.

    Attributes:
        marked: labelled things, by their begin.
        weak: what comes near the threshold, and nobody labelled.
    """

    marked: tuple[Marked, ...]
    weak: Weak

    def between(self, start: np.datetime64 | None, end: np.datetime64 | None) -> Labelling:
        """What begins from `start` on and before `end`."""
        kept = tuple(m for m in self.marked if (start is None or m.start >= start) and (end is None or m.start < end))
        on = np.ones(len(self.weak.rows), np.bool_)
        if start is not None:
            on &= self.weak.starts >= start
        if end is not None:
            on &= self.weak.starts < end
        return Labelling(kept, self.weak.only(on))

    def counts(self) -> tuple[int, int]:
        """Problems and expected things among what is flagged."""
        flagged = [m.problem for m in self.marked if m.flagged()]
        return sum(flagged), len(flagged) - sum(flagged)


@dataclass(frozen=True)
class Aim:
    """What is wanted.

    Attributes:
        worth: false alarms that one problem told is worth.
        may_lose: labelled problems that may be lost.
    """

    worth: float = WORTH
    may_lose: int = 0

    @property
    def even(self) -> float:
        """Log odds of a problem from which on something is worth telling."""
        return -float(np.log(self.worth))


@dataclass(frozen=True)
class _Cases:
    """What is fitted, [n] each: a thing in a group, or a weak run."""

    group: NDArray[np.int64]
    height: NDArray[np.float64]
    problem: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Sequence[tuple[int, float, bool]]) -> _Cases:
        group, height, problem = zip(*rows, strict=True) if rows else ((), (), ())
        return cls(np.array(group, np.int64), np.array(height, np.float64), np.array(problem, np.bool_))

    @property
    def design(self) -> NDArray[np.float64]:
        """[n, 2] of intercept and slope."""
        return np.column_stack([np.ones(len(self.height)), self.height])

    @property
    def mixed(self) -> bool:
        """Whether there is anything to tell apart."""
        return bool(self.problem.any() and not self.problem.all())


def _cases(labelling: Labelling, groups: Groups) -> tuple[_Cases, _Cases]:
    """Above the threshold, and below it."""
    above: list[tuple[int, float, bool]] = []
    below: list[tuple[int, float, bool]] = []
    for m in labelling.marked:
        pairs = _by_group(m, groups)
        if m.flagged():
            above += [(g, height, m.problem) for g, height in pairs if height >= 0]
        elif m.height() >= LOWEST and pairs:
            below.append((*max(pairs, key=lambda pair: pair[1]), m.problem))
    weak = groups.of[labelling.weak.rows]
    below += [(int(g), float(h), False) for g, h in zip(weak, labelling.weak.heights, strict=True) if g >= 0]
    return _Cases.of(above), _Cases.of(below)


def _by_group(m: Marked, groups: Groups) -> list[tuple[int, float]]:
    """The height of a thing in each group that it touches."""
    of = groups.of[m.rows]
    return [(int(g), float(m.heights[of == g].max())) for g in np.unique(of[of >= 0])]


def _fitted(cases: _Cases, groups: Groups) -> Fit:
    return fit_groups(cases.design, cases.problem, np.array(RIDGE), cases.group, len(groups.values), SPREADS)


def evidence_for(labelling: Labelling, groups: Groups) -> float:
    """Evidence for groups that differ, above the threshold and below it, over such as are alike."""
    return sum(_gain(cases, groups) for cases in _cases(labelling, groups))


def even_of_all(labelling: Labelling, aim: Aim) -> float:
    """The height above the threshold from which on something is worth telling, of all groups alike."""
    every = Groups("", ("all",), np.zeros(1 + max(int(m.rows.max()) for m in labelling.marked), np.int64))
    above, _ = _cases(
        Labelling(labelling.marked, labelling.weak.only(np.zeros(len(labelling.weak.rows), np.bool_))), every
    )
    return _even(fit(above.design, above.problem, np.array(RIDGE)), 0, aim)


def _gain(cases: _Cases, groups: Groups) -> float:
    """Evidence for groups that differ in the share of problems, over such as are alike.

    Whatever makes them differ counts, also that one of them has lower scores: so heights are not looked at.
    """
    if not cases.mixed:
        return 0.0
    ones, ridge = cases.design[:, :1], np.array(RIDGE[:1])
    differ = fit_groups(ones, cases.problem, ridge, cases.group, len(groups.values), SPREADS)
    return differ.evidence - fit(ones, cases.problem, ridge).evidence


def learn_offsets(labelling: Labelling, groups: Groups, aim: Aim) -> dict[str, float]:
    """Value -> offset, of those that change."""
    above, below = _cases(labelling, groups)
    raised = _raised(labelling, above, groups, aim) if above.mixed else {}
    lowered = _lowered(below, groups, aim) if below.mixed else {}
    return {groups.values[g]: by for g, by in sorted({**lowered, **raised}.items())}


def _even(made: Fit, g: int, aim: Aim) -> float:
    """The height from which on something in a group is worth telling."""
    missing, slope = aim.even - made.weights[0] - made.groups[g], made.weights[1]
    if slope <= 0:
        return np.inf if missing > 0 else -np.inf
    return float(missing / slope)


def _raised(labelling: Labelling, above: _Cases, groups: Groups, aim: Aim) -> dict[int, float]:
    made = _fitted(above, groups)
    wanted: dict[int, float] = {}
    for g in np.unique(above.group[~above.problem]).tolist():
        highest = above.height[(above.group == g) & ~above.problem].max() + STEP
        wanted[g] = float(min(_even(made, g, aim), highest, HIGHEST))
    caps = _caps(labelling, groups)
    lost = _given_up(above, wanted, caps, aim)
    raised = {g: min(by, *(h - MARGIN for h in caps.get(g, [])[lost.get(g, 0) :]), np.inf) for g, by in wanted.items()}
    down = {g: float(np.floor(100 * by) / 100) for g, by in raised.items()}
    silences = {g for g, by in down.items() if (above.height[(above.group == g) & ~above.problem] < by).any()}
    return {g: by for g, by in down.items() if by >= STEP and g in silences}


def _caps(labelling: Labelling, groups: Groups) -> dict[int, list[float]]:
    """By group the heights, rising, of the problems that it must go on to flag.

    A problem of several groups is kept by the one in which it is highest.
    """
    caps: dict[int, list[float]] = {}
    for m in labelling.marked:
        pairs = _by_group(m, groups) if m.problem and m.flagged() else []
        if pairs:
            g, height = max(pairs, key=lambda pair: pair[1])
            caps.setdefault(g, []).append(height)
    return {g: sorted(heights) for g, heights in caps.items()}


def _given_up(
    above: _Cases, wanted: Mapping[int, float], caps: Mapping[int, Sequence[float]], aim: Aim
) -> dict[int, int]:
    """By group how many of its lowest problems are given up, where that may be and is worth it.

    Those groups first in which most is silenced for each problem.
    """
    offers = []
    for g, by in wanted.items():
        heights, mine = above.height[(above.group == g) & ~above.problem], caps.get(g, ())
        for n, until in enumerate([*mine[1:], np.inf][: aim.may_lose], 1) if mine else ():
            gained = int(((heights >= mine[0]) & (heights < min(until, by))).sum())
            offers += [(gained / n, g, n)] if gained >= aim.worth * n else []
    given: dict[int, int] = {}
    for _, g, n in sorted(offers, key=lambda offer: (-offer[0], offer[1], offer[2])):
        if g not in given and sum(given.values()) + n <= aim.may_lose:
            given[g] = n
    return given


def _lowered(below: _Cases, groups: Groups, aim: Aim) -> dict[int, float]:
    made, lowered = _fitted(below, groups), {}
    for g in np.unique(below.group[below.problem]).tolist():
        missed = below.height[(below.group == g) & below.problem]
        worth = missed[missed >= max(_even(made, g, aim), LOWEST + STEP)]
        if worth.size:
            lowered[g] = float(np.floor(100 * (worth.min() - MARGIN)) / 100)
    return {g: by for g, by in lowered.items() if by <= -STEP}
