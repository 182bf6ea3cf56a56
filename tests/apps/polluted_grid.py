"""A grid in whose training time incidents happen as often as one wants, and what reviewers say of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.incidents_file import read_incidents
from qad_dl.simulator import WorldParams
from qad_dl.store import Store
from tests.apps.simulated_reviewers import label_incidents
from training.quality.known import load_known
from training.quality.worlds import make_world

if TYPE_CHECKING:
    from pathlib import Path

START = WorldParams().start
DAY = np.timedelta64(24 * 3600, "s")


@dataclass(frozen=True)
class Course:
    """A grid. Incidents are as frequent as `pollution` says in the first 60 % of its days, and ordinary after that.

    Attributes:
        seed: of the grid and of the reviewers.
        pollution: how many times the ordinary rate; 0 for a training time without incidents.
        queues, days: how large, how long.
        first, split: days from which and up to which is trained; what is scored begins at `split`.
    """

    seed: int
    pollution: float
    queues: int = 100
    days: int = 120
    first: int = 51
    split: int = 72

    @property
    def trained(self) -> tuple[np.datetime64, np.datetime64]:
        """Start and end of the training time."""
        return START + self.first * DAY, START + self.split * DAY

    @property
    def scored(self) -> tuple[np.datetime64, np.datetime64]:
        """Start and end of what is scored."""
        return START + self.split * DAY, START + self.days * DAY


def make_grid(path: Path, course: Course) -> None:
    """Simulate it: `store` and `incidents.csv` in a folder."""
    path.mkdir(parents=True)
    params = {"days": course.days, "queues": course.queues, "seed": course.seed, "pollution": course.pollution}
    make_world(path, params, {})


def polluted_share(path: Path, course: Course) -> float:
    """The share of the queues' ticks in the training time that lie in an incident."""
    store = Store.open(path / "store")
    times = store.tick.range(*course.trained)
    series = tuple((name,) for name in sorted({key[0] for key in store.known_series(course.trained[1])}))
    present = np.ones((len(series), len(times)), np.bool_)
    return float(load_known(path, series, times, present).truth.incident.mean())


def write_labels(path: Path, course: Course) -> Path:
    """What reviewers say of the incidents of the training time; gives the file."""
    labels = path / "labels.jsonl"
    start, end = course.trained
    incidents = [one for one in read_incidents(path / "incidents.csv") if one.start < end and one.end > start]
    label_incidents(labels, incidents, Store.open(path / "store").metadata(), course.seed)
    return labels
