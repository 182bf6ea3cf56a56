"""The order of incidents from labels, against the one by score: learned from earlier labels, held to later ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.incidents_file import QUEUE_FIELD
from qad_dl.labels import EXPECTED, PROBLEM
from qad_dl.metrics.budget import GRACE
from qad_dl.metrics.truth import span
from qad_dl.proposal.chance import CHANCE, area, better_order
from qad_dl.proposal.thresholds import held_out_from
from qad_dl.tuning.features import WORDS, Sight, describe
from qad_dl.tuning.order import Order, fit_order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.incidents import Found
    from qad_dl.label_evaluation import Judged
    from qad_dl.results import Results

LEAST: Final = 20
"""So many incidents must be labelled a problem, and as many expected: a handful would teach what is an accident."""

LEAST_LATER: Final = 5
"""... and so many of each in the time that is held out."""


@dataclass(frozen=True)
class Known:
    """Incidents of which reviewers said what they were, by their begin.

    Attributes:
        starts: [n], UTC `datetime64[s]`.
        x: [n, features], see `features.describe`.
        score: [n] what orders them now.
        problem: [n].
    """

    starts: NDArray[np.datetime64]
    x: NDArray[np.float64]
    score: NDArray[np.float64]
    problem: NDArray[np.bool_]

    def only(self, on: NDArray[np.bool_]) -> Known:
        """Some of them."""
        return Known(self.starts[on], self.x[on], self.score[on], self.problem[on])


@dataclass(frozen=True)
class ProposedOrder:
    """An order, or why there is none.

    Attributes:
        order: None where nothing is proposed.
        why: in words.
        problems, expected: labelled incidents.
        new, old: how often a later problem comes before a later expected one, by the model and by score; None where it
            did not come to that.
        split: where the held-out time begins.
    """

    order: Order | None
    why: str
    problems: int
    expected: int
    new: float | None = None
    old: float | None = None
    split: np.datetime64 | None = None

    @property
    def coefficients(self) -> list[tuple[str, float, float, float]]:
        """Words, weight, usual value and its spread of each feature, the strongest first."""
        if self.order is None:
            return []
        o = self.order
        rows = zip(o.features, o.weights.tolist(), o.usual.tolist(), o.spread.tolist(), strict=True)
        return sorted(((WORDS[name], *rest) for name, *rest in rows), key=lambda row: -abs(row[1]))


def known_incidents(found: Sequence[Found], things: Sequence[Judged], results: Results) -> Known:
    """The incidents of which reviewers said one thing, and nothing else.

    A thing is about an incident if it holds most of its queues, or most of the thing's queues are in it, at some time
    of it.

    Args:
        found: the incidents of the range.
        things: what was labelled.
        results: that show them, tuned as they were when they were found.
    """
    by_row: dict[int, list[_Timed]] = {}
    for thing in things:
        timed = _Timed(thing, span(results.times, thing.start, thing.end + GRACE))
        for row in thing.rows:
            by_row.setdefault(row, []).append(timed)
    said = [(f, _verdicts(f, by_row)) for f in found]
    kept = [(f, next(iter(words))) for f, words in said if len(words) == 1 and words <= {PROBLEM, EXPECTED}]
    return Known(
        np.array([results.times[f.start] for f, _ in kept], "datetime64[s]"),
        describe(results, [_sight(f) for f, _ in kept]),
        np.array([f.score for f, _ in kept], np.float64),
        np.array([word == PROBLEM for _, word in kept], np.bool_),
    )


def propose_order(known: Known) -> ProposedOrder:
    """An order by a model, if there are enough labels and it wins on the later ones."""
    problems, expected = int(known.problem.sum()), int((~known.problem).sum())
    split = held_out_from(list(known.starts))
    held = np.zeros(len(known.starts), np.bool_) if split is None else known.starts >= split
    later, early = known.only(held), known.only(~held)
    counts = int(later.problem.sum()), int((~later.problem).sum())
    if min(problems, expected) < LEAST or min(counts) < LEAST_LATER:
        return ProposedOrder(None, _too_few(problems, expected, counts), problems, expected)
    if early.problem.all() or not early.problem.any():
        why = "not enough labels: the earlier ones all say the same"
        return ProposedOrder(None, why, problems, expected, split=split)
    rank = fit_order(early.x, early.problem).chance(later.x)
    new, old = area(rank, later.problem), area(later.score, later.problem)
    accident = better_order(rank, later.score, later.problem)
    figures = (
        f"of the later labels a problem comes before an expected incident in {100 * new:.0f} % of pairs, by score in "
        f"{100 * old:.0f} %; by accident in {100 * accident:.1f} % of cases"
    )
    if accident > CHANCE:
        return ProposedOrder(None, f"does not win: {figures}", problems, expected, new, old, split)
    order = fit_order(known.x, known.problem)
    return ProposedOrder(order, f"wins: {figures}", problems, expected, new, old, split)


def _sight(found: Found) -> Sight:
    return Sight(found.series, found.start, found.end, found.kind, found.field != QUEUE_FIELD)


@dataclass(frozen=True, eq=False)
class _Timed:
    """A thing, and the ticks that it is about."""

    thing: Judged
    ticks: slice


def _verdicts(found: Found, by_row: Mapping[int, Sequence[_Timed]]) -> set[str]:
    """What is said of an incident."""
    shared = Counter(timed for row in found.series for timed in by_row.get(row, ()))
    return {
        timed.thing.verdict
        for timed, rows in shared.items()
        if timed.ticks.start < found.end
        and found.start < timed.ticks.stop
        and (2 * rows > len(found.series) or 2 * rows > len(timed.thing.rows))
    }


def _too_few(problems: int, expected: int, later: tuple[int, int]) -> str:
    said = f"not enough labels: {problems} problem, {expected} expected incidents, wanted {LEAST} of each"
    return (
        said
        if min(problems, expected) < LEAST
        else f"{said}, {LEAST_LATER} in the later third ({later[0]}, {later[1]})"
    )
