"""A store of six queues in two clouds: failures in both, and short harmless bursts in one, with what reviewers say.

The reviewers see what is flagged and know what was the matter, as people do who ring up the site.

    python -m tests.light.made_wolf_store FOLDER      store, bundle and labels.jsonl, for a look by hand
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.backtest import run_backtest
from qad_dl.events import find_events
from qad_dl.incidents import FLAP_TICKS
from qad_dl.labels import LabelLog, event_of
from qad_dl.rows import merge_rows
from qad_dl.scorer import Scorer
from tests.light.made import TICK, at, history
from tests.light.made_bundle import QUEUES, made_history, made_store, write_made_bundle
from tests.light.made_labels import put

if TYPE_CHECKING:
    import pyarrow as pa

    from qad_dl.store import Store

DAY = TICK.per_day
DAYS = 11
START, END = at(DAY), at(DAYS * DAY)
BUDGET = 0.05
EVERY = 27
BROKEN, BURST = 12, 2
"""How long a failure and a burst last."""


def wolf_store(path: Path) -> Store:
    """The store."""
    return made_store(path, merge_rows([made_history(DAYS, seed=3), _troubles()]))


def matters() -> list[tuple[int, int, bool]]:
    """Queue, first tick, and whether it is a failure, of all that is the matter."""
    rng = np.random.default_rng(5)
    slots = range(DAY + 10, (DAYS - 1) * DAY + 100, EVERY)
    return [
        (int(rng.integers(6)) if n % 2 else int(rng.choice([1, 3, 5])), t, bool(n % 2)) for n, t in enumerate(slots)
    ]


def _troubles() -> pa.Table:
    rng = np.random.default_rng(7)
    rows: list[tuple] = []
    for queue, first, failure in matters():
        name = QUEUES[queue]
        if failure:
            for t in range(first, first + BROKEN):
                rows += [(t, name, "failed", 5000.0), (t, name, "finished", 0.0), (t, name, "running", 0.0)]
        else:
            jobs = 80 * (queue + 1) * float(rng.uniform(4, 8))
            rows += [(t, name, "failed", jobs) for t in range(first, first + BURST)]
    return history(rows)


def label(path: Path, store: Store, scorer: Scorer) -> LabelLog:
    """Label all that is flagged: a problem where there was a failure, expected where there was none."""
    results = run_backtest(store, scorer, START, END, BUDGET)
    log = LabelLog(path)
    for row in range(len(results.series)):
        for event in find_events(results.flagged[row], results.score[row], FLAP_TICKS):
            log.add(event_of(put(_target(row, event.start, event.end), word=_word(row, event.start + DAY)), "event"))
    return log


def _target(row: int, start: int, end: int) -> dict[str, str]:
    times = {"start": f"{at(DAY + start)}Z", "end": f"{at(DAY + end)}Z"}
    return {"type": "queue", "panda_queue": QUEUES[row], **times}


def _word(row: int, tick: int) -> str:
    failed = any(failure and q == row and -2 <= tick - t < BROKEN + 6 for q, t, failure in matters())
    return "problem" if failed else "expected"


def make(folder: Path) -> None:
    """Store, bundle and labels in a folder that is made."""
    folder.mkdir(parents=True)
    write_made_bundle(folder / "bundle")
    label(folder / "labels.jsonl", wolf_store(folder / "store"), Scorer.load(folder / "bundle"))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
