"""A small grid in which one cloud cries wolf, and reviewers who say so: scores and labels without a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.incidents import Values
from qad_dl.labels import event_of, labels_of
from qad_dl.metadata import Metadata
from qad_dl.results import Results
from qad_dl.schema import Tick
from tests.light.made_labels import put

if TYPE_CHECKING:
    from qad_dl.labels import Label

TICK = Tick()
DAY = TICK.per_day
START = np.datetime64("2026-01-05T00:00:00", "s")
CLOUDS = ("CERN", "DE", "FR", "US")
WOLF = "DE"
QUEUES = 24
THRESHOLD = 3.0
BUNDLE = "0123456789ab"
KINDS = ("black_hole", "site_down")
METADATA = Metadata.single(
    {f"Q{i:02d}": {"cloud": CLOUDS[i % 4], "tier": str(1 + i % 3)} for i in range(QUEUES)},
)
"""Clouds and tiers of six and eight queues, across each other."""


@dataclass
class World:
    """Scores that are made bump by bump, with what the reviewers would say of each.

    Attributes:
        days: how many.
        words: of each bump the queue, first tick, length and word; None where nobody says anything.
    """

    days: int
    words: list[tuple[int, int, int, str | None]] = field(default_factory=list)
    score: np.ndarray = field(init=False)
    low: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.score = np.full((QUEUES, self.days * DAY), 0.5)
        self.low = np.zeros(self.score.shape, bool)

    def bump(self, queue: int, at: int, height: float, length: int, word: str | None, *, low: bool = False) -> bool:
        """Something that comes `height` above the threshold; False where it would run into another."""
        if not 10 <= at < self.score.shape[1] - length - 40 or self.score[queue, at - 10 : at + length + 40].max() > 1:
            return False
        self.score[queue, at : at + length] = THRESHOLD + height
        self.low[queue, at : at + length] = low
        self.words.append((queue, at, length, word))
        return True

    def results(self) -> Results:
        """As a scorer gives them."""
        shape = self.score.shape
        return Results(
            entity=("panda_queue",),
            series=tuple((f"Q{i:02d}",) for i in range(QUEUES)),
            times=START + np.arange(shape[1]) * TICK.delta,
            score=self.score.copy(),
            alone=self.score,
            flagged=self.score >= THRESHOLD,
            reason=np.zeros(shape, np.int8),
            known=np.ones(shape, bool),
            expected=np.zeros(shape, bool),
            state=np.where(self.low, 0, 1).astype(np.int16),
            direction=np.where(self.low, -1, 1).astype(np.int8),
            kind=np.where(self.low, 1, 0).astype(np.int8),
            states=("running", "failed"),
            kinds=KINDS,
            budget=0.01,
            threshold=THRESHOLD,
        )

    def labels(self, rng: np.random.Generator | None = None) -> tuple[Label, ...]:
        """What the reviewers said; with `rng` the same words, of the wrong bumps."""
        said = [bump for bump in self.words if bump[3] is not None]
        words = [bump[3] for bump in said]
        if rng is not None:
            words = [words[k] for k in rng.permutation(len(words))]
        return labelled([(q, at, n, str(word)) for (q, at, n, _), word in zip(said, words, strict=True)])


def labelled(said: list[tuple[int, int, int, str]]) -> tuple[Label, ...]:
    """Labels of queues by number, first tick and length."""
    events = []
    for queue, at, length, word in said:
        start, end = START + at * TICK.delta, START + (at + length) * TICK.delta
        target = {"type": "queue", "panda_queue": f"Q{queue:02d}", "start": f"{start}Z", "end": f"{end}Z"}
        events.append(event_of(put(target, word=word), "event"))
    return labels_of(events).in_force


def wolf(seed: int = 1, days: int = 28, problems: int = 60, alarms: int = 120) -> World:
    """Problems in all clouds, high and long; false alarms nearly all in one of them, low and short."""
    rng, world = np.random.default_rng(seed), World(days)
    for _ in range(problems):
        queue = int(rng.integers(QUEUES))
        height, length = 0.9 + float(rng.exponential(1.0)), int(rng.integers(8, 20))
        world.bump(queue, int(rng.integers(days * DAY)), height, length, _unless_lazy(rng, "problem"), low=True)
    for _ in range(alarms):
        of_wolf = rng.random() < 0.85
        queue = 4 * int(rng.integers(QUEUES // 4)) + CLOUDS.index(WOLF) if of_wolf else int(rng.integers(QUEUES))
        height, length = float(rng.exponential(0.35)), int(rng.integers(2, 6))
        world.bump(queue, int(rng.integers(days * DAY)), height, length, _unless_lazy(rng, "expected"))
    return world


def values() -> Values:
    """What the queues share."""
    return Values.of([METADATA.dumps[0][f"Q{i:02d}"] for i in range(QUEUES)], [()] * QUEUES)


def _unless_lazy(rng: np.random.Generator, word: str) -> str | None:
    """Reviewers label four of five."""
    return word if rng.random() < 0.8 else None


def misleading(seed: int = 1, days: int = 28, each: int = 60) -> World:
    """Problems that score low, but last and fall, and false alarms that score high, everywhere alike."""
    rng, world = np.random.default_rng(seed), World(days)
    for _ in range(each):
        height, length = 0.3 + float(rng.exponential(0.5)), int(rng.integers(6, 20))
        world.bump(int(rng.integers(QUEUES)), int(rng.integers(days * DAY)), height, length, "problem", low=True)
        height, length = 0.5 + float(rng.exponential(1.0)), int(rng.integers(2, 10))
        world.bump(int(rng.integers(QUEUES)), int(rng.integers(days * DAY)), height, length, "expected")
    return world


def overlooked(seed: int = 1, days: int = 28) -> World:
    """Problems that stay below the threshold in one cloud, where hardly anything else does; elsewhere much does."""
    rng, world = np.random.default_rng(seed), World(days)
    for _ in range(60):
        height = 0.5 + float(rng.exponential(1.0))
        word = "problem" if rng.random() < 0.7 else "expected"
        world.bump(int(rng.integers(QUEUES)), int(rng.integers(days * DAY)), height, 6, word)
    for _ in range(40):
        queue = 4 * int(rng.integers(QUEUES // 4)) + CLOUDS.index(WOLF)
        world.bump(queue, int(rng.integers(days * DAY)), -0.2 - 0.4 * float(rng.random()), 8, "problem")
    for _ in range(150):
        queue = 4 * int(rng.integers(QUEUES // 4)) + int(rng.choice([0, 2, 3]))
        world.bump(queue, int(rng.integers(days * DAY)), -0.1 - 0.8 * float(rng.random()), 4, None)
    return world
