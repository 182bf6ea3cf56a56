"""Score one tick of a store, and keep beside it what the next tick needs: what a collector does every ten minutes.

The scores are those of a backtest. The first tick reads a week and reconstructs half a day; each one after it, carried
on from what the one before it kept, reads its own rows and reconstructs one tick.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from typing import TYPE_CHECKING, NamedTuple

from qad_dl.backtest import check_range
from qad_dl.carrying import roll
from qad_dl.errors import ConfigError
from qad_dl.novel import Novel, novel_in
from qad_dl.rolling import forget_unused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

    from qad_dl.metadata import Metadata
    from qad_dl.results import Results
    from qad_dl.scorer import Scorer
    from qad_dl.store import Store


class OneTick(NamedTuple):
    """What is said of a tick.

    Attributes:
        results: scores of the tick, with details.
        metadata: what held in the lookback of the tick.
        known: the (panda_queue, prod_source, resource) that have had rows.
        unknown: what the bundle was not trained on.
    """

    results: Results
    metadata: Metadata
    known: frozenset[tuple[str, str, str]]
    unknown: Novel


def score_kept(
    path: Path,
    store: Store,
    scorer: Scorer,
    at: np.datetime64,
    budget: float | None = None,
    *,
    off_history: bool = True,
) -> OneTick:
    """Score a tick from what is kept at `path`, and keep it for the next; one process at a time.

    Args:
        path: of the files that are kept for this store and bundle, less their suffixes.
        store: with all rows up to the tick.
        scorer: a loaded bundle.
        at: the tick.
        budget: false alarm episodes per series and day; 0.01 if not given.
        off_history: a tick before or after all of the history is one that is missing, and no mistake.

    Raises:
        StoreError: a file of the store is damaged.
        ConfigError: an entity or selection field of the bundle that is in no metadata.
        InputError: the tick is off the history.
    """
    kept, metadata = roll(path, store, scorer.bundle, at)
    with contextlib.closing(kept):
        if not (off_history or kept.ticks.arrived[-1]):
            check_range(store, at, at + store.tick.delta)  # which looks at more files than all the rest of it
        kept.ring.begin_flush()
        results = scorer.score_last(kept, metadata, budget)
        kept.ring.begin_flush()
        day = kept.tick.per_day + 1
        grids = (kept.grid(group, day) for group in kept.groups)
        unknown = novel_in(scorer.bundle.preprocess, results, kept.states, grids)
        kept.save()
    return OneTick(results, metadata, kept.known, unknown)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder of what is kept for the block, waiting for whoever holds it; made where it is not there.

    What no bundle in use has saved for a week is removed.

    Raises:
        ConfigError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a")
    except OSError as error:
        msg = f"{folder}: cannot be used to keep anything ({error.strerror}); give a folder of your own"
        raise ConfigError(msg) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        forget_unused(folder, time.time())
        yield
