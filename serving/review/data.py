"""What the live page shows, made anew in the background after each tick; what was there is shown meanwhile."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import gzip
import os
import threading
import time
import traceback
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from qad_dl.backtest import newest_tick
from qad_dl.bundle import SEAL
from qad_dl.bundles import label_of
from qad_dl.errors import ConfigError, QadError
from qad_dl.incidents import find_incidents, to_incidents, values_of
from qad_dl.incidents_file import Incident
from qad_dl.novel import novel
from qad_dl.review.incidents import named
from qad_dl.review.page import gather
from qad_dl.review.past import week_before
from qad_dl.scorer import Scorer
from qad_dl.store import Store
from qad_dl.tuning.file import Tune, tune_of, tune_path, tuned
from serving.follow import Book
from serving.review.scored import score_window
from serving.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.followed import Followed
    from qad_dl.results import Results
    from qad_dl.review.page import Content
    from serving.config import Config
    from serving.review.scored import Scored

POLL_S: Final = 10.0
"""How often is looked whether there is a new tick, another bundle, or news of incidents."""

PATIENCE_S: Final = 60.0
"""For so long is waited for the incidents of a tick that is in the store already."""

KEPT: Final = 6
"""So many versions are kept: a page that is open goes on with what it was opened with for half an hour."""

NICENESS: Final = 10


@dataclass(frozen=True)
class Shown:
    """One version of the data.

    Attributes:
        version: a digest of it.
        tick: the newest tick in it.
        index: what the list needs, JSON in UTF-8.
        index_gzip: the same, compressed.
        blocks: the packed text of each queue.
    """

    version: str
    tick: np.datetime64
    index: bytes
    index_gzip: bytes
    blocks: tuple[str, ...]

    @classmethod
    def of(cls, content: Content, tick: np.datetime64) -> Shown:
        """From what a page shows."""
        index = content.index_json().encode()
        return cls(content.version(), tick, index, gzip.compress(index, 6, mtime=0), content.blocks)


@dataclass(frozen=True)
class Cause:
    """What the data are made from; another cause, other data.

    Attributes:
        tick: the newest tick of the store.
        bundle: the bundle's seal: another one, another content.
        told: the tick up to which incidents are known; None before the first.
        tuned: the file that is tuned beside the bundle; empty where there is none.
    """

    tick: np.datetime64
    bundle: bytes
    told: np.datetime64 | None
    tuned: bytes = b""


@dataclass
class Maker:
    """Makes the data; it remembers the scores, so that a new tick costs little.

    Attributes:
        config: the collector's.
    """

    config: Config
    _before: Scored | None = field(default=None, init=False)
    _past: tuple[Any, NDArray[np.float32]] | None = field(default=None, init=False)

    @property
    def bundle(self) -> Path:
        """The bundle whose scores are shown."""
        wanted = self.config.review.bundle
        return next((path for path in self.config.bundles if label_of(path) == wanted), self.config.bundles[0])

    def cause(self) -> Cause:
        """What data of now would be made from.

        Raises:
            QadError: there is no history, or something is damaged.
        """
        seal = self.bundle / SEAL
        book = Book.read(State(self.config.state.path).incidents)
        found = seal.read_bytes() if seal.is_file() else b""
        tune = tune_path(self.bundle)
        said = tune.read_bytes() if tune.is_file() else b""
        return Cause(newest_tick(Store.open(self.config.store)), found, book.tick, said)

    def make(self, cause: Cause) -> Shown:
        """The data of the last days up to the cause's tick.

        Raises:
            QadError: they cannot be made.
        """
        config, store = self.config, Store.open(self.config.store)
        scorer = Scorer.load(self.bundle.resolve()).started()
        tune, refused = _tune(self.bundle, scorer.bundle.name)
        end = cause.tick + store.tick.delta
        start = (end - np.timedelta64(config.review.days, "D")).astype("datetime64[h]").astype("datetime64[s]")
        self._before = scored = score_window(store, scorer, start, end, config.budget, self._before)
        results = tuned(scored.results, tune, store.metadata())
        found = named(to_incidents(find_incidents(results, values_of(results, store)), results))
        book = Book.read(State(config.state.path).incidents)
        told = [_incident(i, store.tick.delta) for i in book.incidents.get(label_of(self.bundle), ()) if not i.folded]
        past = self._last_week(store, scorer, results)
        title = f"qad review · {label_of(self.bundle)}{refused}"
        records, downtimes, unknown = store.metadata().at(end), store.downtimes(), novel(scorer.bundle, results, store)
        taught = tune.order if tune else None
        content = gather(results, records, downtimes, title, merged(told, found), past, unknown=unknown, taught=taught)
        return Shown.of(content, cause.tick)

    def _last_week(self, store: Store, scorer: Scorer, results: Results) -> NDArray[np.float32]:
        """The same hours of last week, whole ones; read anew once an hour."""
        hour = max(1, 60 // store.tick.minutes)
        whole = -(-len(results.times) // hour) * hour
        times = results.times[0] + np.arange(whole) * store.tick.delta
        key = (scorer.bundle.name, results.series, results.states, times[0], times[-1])
        if self._past is None or self._past[0] != key:
            self._past = key, week_before(store, scorer.bundle.preprocess, replace(results, times=times))
        return self._past[1]


def _tune(path: Path, bundle: str) -> tuple[Tune | None, str]:
    """What is tuned for a bundle, and what the title says where that is refused: the page goes on without."""
    try:
        return tune_of(path, bundle), ""
    except ConfigError as error:
        return None, f" · not tuned: {error}"


def give_back() -> None:
    """Give memory that is not used any more back to the machine: scoring takes much, for a short time."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


def merged(told: Sequence[Incident], found: Iterable[Incident]) -> list[Incident]:
    """The incidents that people were told of, under the names that they were told, and those found beside them."""
    return [*told, *(incident for incident in found if not any(_same(incident, known) for known in told))]


def _same(one: Incident, other: Incident) -> bool:
    """Whether two share a queue at some time."""
    together = one.start < other.end and other.start < one.end
    return bool(together) and not set(one.queues).isdisjoint(other.queues)


def _incident(followed: Followed, tick: np.timedelta64) -> Incident:
    return Incident(
        incident=followed.id,
        kind=followed.kind,
        field=followed.field,
        value=followed.value,
        start=followed.start,
        end=followed.last + tick,
        severity=round(followed.score, 2),
        queues=followed.queues,
    )


class Keeper:
    """Keeps the newest data, and some versions before them.

    Attributes:
        trouble: why the newest could not be made, in one line; '' where they could.
    """

    def __init__(self, cause: Callable[[], Cause], make: Callable[[Cause], Shown]) -> None:
        self._cause = cause
        self._make = make
        self._versions: OrderedDict[str, Shown] = OrderedDict()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._made_from: Cause | None = None
        self._noticed: tuple[np.datetime64, float] = (np.datetime64(0, "s"), 0.0)
        self.trouble = ""

    def newest(self) -> Shown | None:
        """The newest data; None before the first are made."""
        with self._lock:
            return next(reversed(self._versions.values()), None)

    def of_version(self, version: str) -> Shown | None:
        """The data of a version; None where they are not kept any more."""
        with self._lock:
            return self._versions.get(version)

    def refresh(self, now: float) -> bool:
        """Make the data anew where there is a cause; whether that was done.

        Args:
            now: seconds of a clock that only goes forward.
        """
        try:
            cause = self._cause()
            if cause == self._made_from or self._wait_for_incidents(cause, now):
                return False
            shown = self._make(cause)
        except (QadError, OSError) as error:
            self.trouble = " ".join(str(error).split())
            return False
        except Exception as error:  # noqa: BLE001  a fault must not end the thread: old data are served, and it is told
            traceback.print_exc()
            self.trouble = f"a fault of the program ({type(error).__name__}); its log has it"
            return False
        with self._lock:
            self._versions[shown.version] = shown
            self._versions.move_to_end(shown.version)
            while len(self._versions) > KEPT:
                self._versions.popitem(last=False)
        self._made_from, self.trouble = cause, ""
        give_back()
        return True

    def _wait_for_incidents(self, cause: Cause, now: float) -> bool:
        """Whether the collector is still at work on the tick: its incidents come some seconds after its counts."""
        if cause.told is None or cause.told >= cause.tick or self._made_from is None:
            return False
        if self._noticed[0] != cause.tick:
            self._noticed = (cause.tick, now)
        return now - self._noticed[1] < PATIENCE_S

    def start(self, say: Callable[[str], None]) -> threading.Thread:
        """Keep the data new in a thread of its own, which gives way to everything else on this machine.

        Args:
            say: told in one line how it goes.
        """
        thread = threading.Thread(target=self._run, args=(say,), name="data", daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        """End the thread once it is done with what it does."""
        self._stop.set()

    def _run(self, say: Callable[[str], None]) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)  # of this thread and those it starts
        told = ""
        while not self._stop.is_set():
            began = time.monotonic()
            newest = self.newest() if self.refresh(began) else None
            if newest is not None:
                say(f"data up to {newest.tick}Z, {len(newest.blocks):,} queues, {time.monotonic() - began:.1f} s")
            if self.trouble != told:
                told = self.trouble
                say(f"data: {told or 'all is well again'}")
            self._stop.wait(POLL_S)
