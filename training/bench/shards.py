"""What mapping the history saves and costs: `python -m training.bench.shards [FOLDER]`; a table for docs/training.md.

Histories of two sizes are simulated in FOLDER (checkpoints/bench/shards), and one epoch of the default network is
trained on each: in memory, with shards that are made, and with those that are there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from training.bench.cost import cost_of, in_child, machine

if TYPE_CHECKING:
    from collections.abc import Iterator

DAYS: Final = 28
QUEUES: Final = (300, 900)
WORK: Final = Path("checkpoints/bench/shards")

HEAD: Final = (
    "| history | held | anonymous memory, most (MB) | history ready (s) | windows/s | cutting batches (% of fitting) |",
    "|---|---|---|---|---|---|",
)


def main() -> None:
    """Make the histories, train, print the table."""
    work = Path(sys.argv[1]) if len(sys.argv) > 1 else WORK
    about = machine()
    print(f"{about['processor']}; one thread; load {about['load']}\n")
    print(*HEAD, sep="\n")
    for queues in QUEUES:
        for line in _lines(work / str(queues), queues):
            print(line, flush=True)


def measure(store: Path, bundle: Path, *overrides: str) -> dict[str, Any]:
    """Figures of a training in a process of its own, as of `training_rate.train`."""
    return in_child("training", {"overrides": [f"store={store}", f"bundle={bundle}", *overrides]})


def make_store(work: Path, queues: int, days: int) -> Path:
    """A simulated history; made unless it is there."""
    store = work / "store"
    if not (store / "store.json").exists():
        qad, world = (sys.executable, "-m", "qad_dl.cli"), work / "world"
        cost_of(*qad, "simulate", str(world), "--queues", str(queues), "--days", str(days), "--start", "2026-01-05")
        cost_of(*qad, "import", str(store), "--jobs", str(world / "jobs.parquet"), "--cric", str(world / "cric.json"))
    return store


def _lines(work: Path, queues: int) -> Iterator[str]:
    store, shards = make_store(work, queues, DAYS), (work / "shards").resolve()

    for held, more in (
        ("in memory", ()),
        ("shards, made", (f"data.shards={shards}",)),
        ("shards, there", (f"data.shards={shards}",)),
    ):
        found = measure(store.resolve(), (work / "bundle").resolve(), "trainer.epochs=1", *more)
        yield (
            f"| {queues} queues, {DAYS} days | {held} | {found['anonymous_mb']:.0f} "
            f"| {found['parts']['history']['wall_s']:.1f} | {found['samples_per_s']:.0f} "
            f"| {100 * found['loading_share']:.1f} |"
        )


if __name__ == "__main__":
    main()
