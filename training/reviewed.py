"""What reviewers said of the training period, as masks on its grid.

Where all labels on a queue at a tick say `problem`, it is not learned from; where all say `expected`, it is known to be
healthy. Where they say different things, or `unsure`, nobody knows, and nothing is done.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import numpy as np

from qad_dl.errors import InputError
from qad_dl.incidents_file import QUEUE_FIELD, hit_queues
from qad_dl.labelled import labels_in_force
from qad_dl.labels import EXPECTED, PROBLEM, UNSURE, WORDS
from qad_dl.labels.cover import incident_of
from qad_dl.metrics.hits import incident_windows
from qad_dl.metrics.truth import span

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.labels import Label
    from qad_dl.metadata import Metadata
    from qad_dl.schema import Tick, Times

UNKNOWN: Final = "unknown"
"""What became of a label that names no queue of the training."""

OUTSIDE: Final = "outside"
"""What became of a label on another time."""

Range: TypeAlias = tuple[tuple[int, ...], int, int]
"""Rows, first tick and one past the last tick of the grid that a label is about."""


@dataclass(frozen=True)
class Source:
    """Which labels these are.

    Attributes:
        path: the file.
        sha256: of its content.
        labels: those in force.
    """

    path: Path
    sha256: str
    labels: tuple[Label, ...]


class Place(Protocol):
    """Series and ticks that labels are laid on: a `Grid`, or what is known of one without its counts."""

    @property
    def tick(self) -> Tick:
        """Length of a tick."""

    @property
    def times(self) -> Times:
        """Every tick, [T]."""

    @property
    def entity(self) -> tuple[str, ...]:
        """Fields of a series' key."""

    @property
    def series(self) -> tuple[tuple[str, ...], ...]:
        """Keys, [N]."""


@dataclass(frozen=True)
class Marks:
    """What is said of some series, ticks [n, T].

    Attributes:
        problem: they are problems, and nobody says otherwise.
        expected: likewise, expected.
    """

    problem: NDArray[np.bool_]
    expected: NDArray[np.bool_]

    def among(self, counted: NDArray[np.bool_]) -> dict[str, int]:
        """How many of some ticks [n, T] each word is said of."""
        masks = {PROBLEM: self.problem, EXPECTED: self.expected}
        return {word: int((counted & mask).sum()) for word, mask in masks.items()}


@dataclass(frozen=True)
class Reviewed:
    """What is said of the series of a grid.

    Attributes:
        source: by which labels.
        rows: positions of the M series that anything is said of, ascending.
        marks: of these, [M, T].
        ranges: how many ranges there are of each word; one that several reviewers labelled alike is one.
        disputed: ranges of which all is contradicted by other labels.
        elsewhere: labels that came to nothing, by `UNKNOWN` and `OUTSIDE`.
    """

    source: Source
    rows: NDArray[np.int64]
    marks: Marks
    ranges: Mapping[str, int]
    disputed: int
    elsewhere: Mapping[str, int]

    def of(self, series: NDArray[np.int64]) -> Marks:
        """What is said of some series, [n, T]."""
        said, at = np.isin(series, self.rows), np.searchsorted(self.rows, series)

        def laid(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
            out = np.zeros((len(series), mask.shape[1]), np.bool_)
            out[said] = mask[at[said]]
            return out

        return Marks(laid(self.marks.problem), laid(self.marks.expected))

    def about(self, total: int, ticks: Mapping[str, int], per_day: int) -> dict[str, Any]:
        """Plain JSON values for the manifest: from which file, how many ranges, queue-hours and share of the ticks.

        Args:
            total: ticks that would be learned from without labels,
            ticks: and those of them of which `PROBLEM` and `EXPECTED` are said.
            per_day: ticks in a day.
        """

        def of(word: str) -> dict[str, Any]:
            hours, share = ticks[word] * 24 / per_day, ticks[word] / max(total, 1)
            return {"ranges": self.ranges[word], "queue_hours": hours, "share": share}

        return {
            "file": str(self.source.path),
            "sha256": self.source.sha256,
            "labels": len(self.source.labels),
            PROBLEM: of(PROBLEM),
            EXPECTED: of(EXPECTED),
            UNSURE: self.ranges[UNSURE],
            "disputed": self.disputed,
            **self.elsewhere,
        }


def read_source(path: Path) -> Source:
    """The labels of a file, and the hash of the very content that they were read from.

    Raises:
        InputError: there is no such file.
        StoreError: it is damaged or cannot be read.
    """
    while True:  # somebody may be adding to it
        labels = labels_in_force(path)
        before = path.read_bytes()
        if labels_in_force(path) == labels:
            return Source(path, hashlib.sha256(before).hexdigest(), labels)


def review(source: Source, grid: Place, metadata: Metadata) -> Reviewed:
    """Lay labels on a grid.

    A series that several queues make up is a problem where one of them is, and never expected: the others are not.

    Args:
        source: the labels.
        grid: the training period.
        metadata: what groups are looked up in.
    """
    said: dict[Range, set[str]] = {}
    elsewhere = {UNKNOWN: 0, OUTSIDE: 0}
    for label in source.labels:
        place = _place(label, grid, metadata)
        if isinstance(place, str):
            elsewhere[place] += 1
        else:
            said.setdefault(place, set()).add(label.word)
    touched = sorted({row for rows, _, _ in said for row in rows})
    local = {row: i for i, row in enumerate(touched)}
    said = {(tuple(local[row] for row in rows), first, end): words for (rows, first, end), words in said.items()}
    shape = (len(touched), len(grid.times))
    masks = {word: _mask([p for p, words in said.items() if word in words], shape) for word in WORDS}
    alone = {word: mask & ~_others(masks, word) for word, mask in masks.items()}
    ranges = dict.fromkeys(WORDS, 0)
    for (rows, first, end), words in said.items():
        word = next(iter(words))
        ranges[word] += len(words) == 1 and bool(alone[word][list(rows), first:end].any())
    marks, disputed = Marks(alone[PROBLEM], alone[EXPECTED]), len(said) - sum(ranges.values())
    return Reviewed(source, np.array(touched, np.int64), marks, ranges, disputed, elsewhere)


def spoken(about: Mapping[str, Any]) -> str:
    """What `Reviewed.about` says, in a line for people."""
    problem, expected = about[PROBLEM], about[EXPECTED]
    line = (
        f"{about['labels']} labels of {about['file']} (sha256 {about['sha256'][:12]}): "
        f"left out {_of(problem)}, labelled as problems; known to be healthy {_of(expected)}, labelled as expected"
    )
    nothing = {
        "unsure": about[UNSURE],
        "contradicted": about["disputed"],
        "on no queue of this training": about[UNKNOWN],
        "on another time": about[OUTSIDE],
    }
    more = ", ".join(f"{number} {what}" for what, number in nothing.items() if number)
    return line + (f"; without effect: {more}" if more else "")


def _of(part: Mapping[str, Any]) -> str:
    return f"{part['ranges']} ranges ({part['queue_hours']:.1f} queue-hours, {100 * part['share']:.2f} % of the ticks)"


def _place(label: Label, grid: Place, metadata: Metadata) -> Range | str:
    """Where a label is on the grid, or what keeps it off."""
    incident, end = incident_of(label), grid.times[-1] + grid.tick.delta
    if incident is None:
        return OUTSIDE
    if label.word == EXPECTED and QUEUE_FIELD not in grid.entity:
        return UNKNOWN
    try:
        queues = hit_queues(incident, metadata)
    except InputError:  # a group by a field that no metadata record has
        return UNKNOWN
    if not queues:
        return UNKNOWN
    found = incident_windows([incident], grid.entity, grid.series, metadata, queues, (grid.times[0], end))
    ticks = span(grid.times, incident.start, incident.end)
    if not found:
        return UNKNOWN
    return (found[0].rows, ticks.start, ticks.stop) if ticks.stop > ticks.start else OUTSIDE


def _mask(places: Iterable[Range], shape: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, np.bool_)
    for rows, first, end in places:
        mask[list(rows), first:end] = True
    return mask


def _others(masks: Mapping[str, NDArray[np.bool_]], word: str) -> NDArray[np.bool_]:
    """Where any other word is said."""
    return np.asarray(np.stack([mask for other, mask in masks.items() if other != word]).any(axis=0), np.bool_)
