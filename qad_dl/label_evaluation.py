"""What reviewers say of the flags: how many of the problems that they labelled were flagged, and of the flags were any.

Nobody labels everything, so there is no healthy time here, and no false alarms but those that somebody called expected:
what is not labelled is counted, and not judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from qad_dl.errors import InputError
from qad_dl.histories import open_history
from qad_dl.incidents_file import QUEUE_FIELD
from qad_dl.labelled import labels_in_force
from qad_dl.labels import EXPECTED, PROBLEM, WORDS, spans_of
from qad_dl.metrics.budget import GRACE
from qad_dl.metrics.episodes import episode_begins
from qad_dl.metrics.scores import read_scores
from qad_dl.metrics.truth import span

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.labels import Label
    from qad_dl.metadata import Metadata
    from qad_dl.metrics.scores import Scores
    from qad_dl.schema import Times

DISPUTED: Final = "disputed"
"""What reviewers say different things of."""

UNLABELLED: Final = "unlabelled"

VERDICTS: Final = (*WORDS, DISPUTED)


@dataclass(frozen=True)
class Judged:
    """One thing that was labelled, by one reviewer or several.

    Attributes:
        rows: the series that it is about.
        start, end: when, UTC `datetime64[s]`.
        verdict: one of `VERDICTS`.
    """

    rows: tuple[int, ...]
    start: np.datetime64
    end: np.datetime64
    verdict: str


@dataclass(frozen=True)
class OfVerdict:
    """The things of one verdict.

    Attributes:
        things: how many.
        flagged: of how many a flagged episode begins inside, or within 1 h after.
        median_delay_min: from its start to that, over those flagged; None where none is.
    """

    things: int
    flagged: int
    median_delay_min: float | None


@dataclass(frozen=True)
class AgainstLabels:
    """The flags of a scores file, by what reviewers say.

    Attributes:
        reviewers: how many said something of the range.
        labels: how many labels that are in force touch it.
        elsewhere: labels in force that touch no series or no tick of the scores.
        verdicts: by verdict.
        episodes: flagged episodes by what is said of their beginning, `UNLABELLED` where nothing is.
    """

    reviewers: int
    labels: int
    elsewhere: int
    verdicts: Mapping[str, OfVerdict]
    episodes: Mapping[str, int]

    @property
    def precision(self) -> float | None:
        """The share of problems in the episodes that were judged to be a problem or expected; None without any."""
        judged = self.episodes[PROBLEM] + self.episodes[EXPECTED]
        return self.episodes[PROBLEM] / judged if judged else None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "reviewers": self.reviewers,
            "labels": self.labels,
            "elsewhere": self.elsewhere,
            "verdicts": {name: vars(of) for name, of in self.verdicts.items()},
            "episodes": dict(self.episodes),
            "precision": self.precision,
        }


def against_labels_of_files(scores: Path, store: str | Path, labels: Path) -> AgainstLabels:
    """Hold the flags of a scores file against a file of labels.

    Args:
        scores: as `qad backtest` writes it.
        store: the history that was backtested, by its address.
        labels: the file of labels.

    Raises:
        InputError: a file is refused, or the scores are not of queues.
        StoreError: the store or the labels cannot be read.
    """
    history = open_history(store)
    scored = read_scores(scores, history.tick)
    if QUEUE_FIELD not in scored.entity:
        msg = f"{scores}: is of {'/'.join(scored.entity)}; labels are of queues, give the scores of queues"
        raise InputError(msg)
    return against_labels(scored, labels_in_force(labels), history.metadata(), history.tick.per_day)


def against_labels(scores: Scores, labels: Iterable[Label], metadata: Metadata, per_day: int) -> AgainstLabels:
    """Hold flags against labels.

    Args:
        scores: of queues.
        labels: those in force.
        metadata: of the store.
        per_day: ticks in a day.

    Raises:
        InputError: a label on a group by a field that no metadata record has.
    """
    placed = [(label, _place(label, scores, metadata)) for label in labels]
    here = [(label, place) for label, place in placed if place is not None]
    things = _judged(here)
    begins = episode_begins(scores.flagged, per_day)
    return AgainstLabels(
        reviewers=len({label.author for label, _ in here}),
        labels=len(here),
        elsewhere=len(placed) - len(here),
        verdicts={verdict: _of_verdict(verdict, things, begins, scores) for verdict in VERDICTS},
        episodes=_episodes(things, begins, scores),
    )


def judged_things(labels: Iterable[Label], scores: Labelable, metadata: Metadata) -> list[Judged]:
    """What was labelled of some scores, each thing once, whoever labelled it, in the order of their begin.

    Args:
        labels: those in force.
        scores: of queues.
        metadata: of the store.

    Raises:
        InputError: a label on a group by a field that no metadata record has.
    """
    placed = [(label, _place(label, scores, metadata)) for label in labels]
    found = _judged([(label, place) for label, place in placed if place is not None])
    return sorted(found, key=lambda thing: (thing.start, thing.end, thing.rows))


class Labelable(Protocol):
    """Scores of series over ticks, of a file or just made."""

    @property
    def times(self) -> Times:
        """Ticks."""

    @property
    def entity(self) -> tuple[str, ...]:
        """Names of the columns that make up a series' key."""

    @property
    def series(self) -> tuple[tuple[str, ...], ...]:
        """Their keys."""


Place = tuple[tuple[int, ...], np.datetime64, np.datetime64]


def _place(label: Label, scores: Labelable, metadata: Metadata) -> Place | None:
    """Rows and times of a label; None where the scores have none of them."""
    spans = spans_of(label, metadata)
    names = {found.panda_queue for found in spans}
    at = scores.entity.index(QUEUE_FIELD)
    rows = tuple(row for row, key in enumerate(scores.series) if key[at] in names)
    if not rows:
        return None
    ticks = span(scores.times, spans[0].start, spans[0].end)
    return (rows, spans[0].start, spans[0].end) if ticks.stop > ticks.start else None


def _judged(here: Iterable[tuple[Label, Place]]) -> list[Judged]:
    """What was labelled, each once, whoever labelled it."""
    words: dict[Place, set[str]] = {}
    for label, place in here:
        words.setdefault(place, set()).add(label.word)
    return [Judged(*place, next(iter(said)) if len(said) == 1 else DISPUTED) for place, said in words.items()]


def _of_verdict(verdict: str, things: Iterable[Judged], begins: NDArray[np.bool_], scores: Scores) -> OfVerdict:
    mine = [thing for thing in things if thing.verdict == verdict]
    delays = np.array([_delay(thing, begins, scores) for thing in mine], np.float64)
    seen = ~np.isnan(delays)
    return OfVerdict(len(mine), int(seen.sum()), float(np.median(delays[seen])) if seen.any() else None)


def _delay(thing: Judged, begins: NDArray[np.bool_], scores: Scores) -> float:
    """Minutes from the start of a thing to the first flagged episode in it; NaN where there is none."""
    ticks = span(scores.times, thing.start, thing.end + GRACE)
    first = np.flatnonzero(begins[list(thing.rows), ticks].any(axis=0))
    if not first.size:
        return float("nan")
    return float((scores.times[ticks.start + first[0]] - thing.start) / np.timedelta64(60, "s"))


def _episodes(things: Iterable[Judged], begins: NDArray[np.bool_], scores: Scores) -> dict[str, int]:
    """Flagged episodes by what is said of the tick at which they begin, or of the hour before."""
    said = {word: np.zeros(begins.shape, dtype=bool) for word in VERDICTS}
    for thing in things:
        said[thing.verdict][list(thing.rows), span(scores.times, thing.start, thing.end + GRACE)] = True
    number = sum(mask.astype(np.int64) for mask in said.values())
    disputed = said[DISPUTED] | (np.asarray(number) > 1)
    counts = {word: int((begins & mask & ~disputed).sum()) for word, mask in said.items()}
    return {
        **counts,
        DISPUTED: int((begins & disputed).sum()),
        UNLABELLED: int((begins & (np.asarray(number) == 0)).sum()),
    }
