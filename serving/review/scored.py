"""The scores of the last days, carried on from tick to tick: what a backtest of them gives, without doing it all again.

A score depends on the history of its lookback alone (docs/interfaces.md, section 5). So what was scored stays good as
long as that history is as it was; then only the new ticks are scored. Whenever anything older has changed (late rows,
metadata, a downtime, another bundle) everything is scored again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.backtest import run_backtest
from qad_dl.results import BY_TICK, Details
from qad_dl.rows import seconds_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qad_dl.downtimes import Downtime
    from qad_dl.results import Results
    from qad_dl.scorer import Scorer
    from qad_dl.store import Store

LOOKBACK: Final = np.timedelta64(8, "D")
"""No score depends on anything that is older than a week before its tick; one day more, since days are read whole."""


@dataclass(frozen=True)
class History:
    """What scores were made from, so that a change can be noticed.

    Attributes:
        versions: newest entry of each day, see `Store.versions`.
        metadata: see `Store.metadata_versions`.
        downtimes: those that had begun.
    """

    versions: Mapping[str, int]
    metadata: tuple[str, ...]
    downtimes: frozenset[Downtime]

    @classmethod
    def of(cls, store: Store, start: np.datetime64, end: np.datetime64) -> History:
        """What scores of [start, end) are made from."""
        begin = start - LOOKBACK
        begun = frozenset(downtime for downtime in store.downtimes() if downtime.start < end)
        return cls(store.versions(begin, end), store.metadata_versions(begin, end), begun)


@dataclass(frozen=True)
class Scored:
    """Scores, and what they are good for.

    Attributes:
        results: with details.
        history: what they were made from.
        bundle: name of the bundle's content.
        budget: that they were flagged at.
    """

    results: Results
    history: History
    bundle: str
    budget: float


def score_window(
    store: Store, scorer: Scorer, start: np.datetime64, end: np.datetime64, budget: float, before: Scored | None = None
) -> Scored:
    """The scores of [start, end) with details, as `run_backtest` gives them.

    Args:
        store: history and metadata.
        scorer: a loaded bundle.
        start: first tick.
        end: one past the last.
        budget: false alarm episodes per series and day.
        before: scores of an earlier window, of which is used what is still good.

    Raises:
        QadError: as `run_backtest`.
    """
    bundle = scorer.bundle.name
    history = History.of(store, start, end)
    if before is not None and (before.bundle, before.budget) == (bundle, budget) and _holds(store, before, start):
        joined = _carried_on(store, scorer, before.results, start, end, budget)
        if joined is not None:
            return Scored(joined, history, bundle, budget)
    return Scored(run_backtest(store, scorer, start, end, budget, details=True), history, bundle, budget)


def _holds(store: Store, before: Scored, start: np.datetime64) -> bool:
    """Whether everything that the earlier scores from `start` on were made from is as it was."""
    first, last = before.results.times[0], before.results.times[-1]
    if not first <= start <= last:
        return False
    end = last + store.tick.delta
    now = History.of(store, start, end)
    seen = {day: number for day, number in before.history.versions.items() if day in now.versions}
    was_metadata = before.history.metadata[-len(now.metadata) :] if now.metadata else before.history.metadata
    begun = frozenset(downtime for downtime in before.history.downtimes if downtime.start < end)
    if was_metadata != now.metadata or begun != now.downtimes:
        return False
    rows = store.added(seen, now.versions)
    return rows is not None and not bool((seconds_of(rows).view("datetime64[s]") <= last).any())


def _carried_on(
    store: Store, scorer: Scorer, old: Results, start: np.datetime64, end: np.datetime64, budget: float
) -> Results | None:
    """The old results from `start` on, and behind them the new ticks; None where there are other series now."""
    keep = slice(int(np.searchsorted(old.times, start)), None)
    first = old.times[-1] + store.tick.delta
    if first >= end:
        return _cut(old, keep)
    new = run_backtest(store, scorer, first, end, budget, details=True)
    if (new.series, new.states, new.kinds) != (old.series, old.states, old.kinds):
        return None
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(old, name)[:, keep], getattr(new, name)], axis=1) for name in BY_TICK
    }
    return replace(new, times=np.concatenate([old.times[keep], new.times]), details=_details(old, new, keep), **arrays)


def _details(old: Results, new: Results, keep: slice) -> Details | None:
    if old.details is None or new.details is None:
        return None
    pairs = zip(old.details, new.details, strict=True)
    return Details(*(np.concatenate([a[:, keep], b], axis=1) for a, b in pairs))


def _cut(old: Results, keep: slice) -> Results:
    arrays: dict[str, Any] = {name: getattr(old, name)[:, keep] for name in BY_TICK}
    details = old.details
    if details is not None:
        details = Details(*(values[:, keep] for values in details))
    return replace(old, times=old.times[keep], details=details, **arrays)
