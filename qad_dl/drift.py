"""Whether queues still look like the time that a bundle was trained on.

Each sign is a number beside what it may be while nothing has changed. Those bounds are wider than anything that was
measured in worlds in which nothing changes, ordinary incidents and downtimes included, and narrower than what a change
worth a training does (docs/drift.md has both, and the command that measures them).

What was usual is read from the bundle, so that it can be told long after the store has forgotten the training period:
names of series and states, the median of each state of each series, and the rate of episodes at each score.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.backtest import newest_tick, read_grid
from qad_dl.detection import DEFAULT_BUDGET
from qad_dl.errors import InputError
from qad_dl.metrics.episodes import episode_begins
from qad_dl.scaling import Quantity, to_x
from qad_dl.timeparse import format_time
from qad_dl.vocab import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from qad_dl.bundle import Bundle
    from qad_dl.grid import Grid
    from qad_dl.histories import History
    from qad_dl.metadata import Metadata
    from qad_dl.prepared import Prepared
    from qad_dl.results import Results
    from qad_dl.scorer import Scorer

DAYS: Final = 7.0
"""A week holds every hour of the week once; of states the last of its days says enough."""

NEW_SHARE: Final = 0.15
"""Share of the living queues that the bundle does not know."""

GONE_SHARE: Final = 0.15
"""Share of the bundle's queues that had no job."""

VALUE_SHARE: Final = 0.15
"""Share of the living queues with a metadata value that the bundle does not know, by field."""

STATE_SHARE: Final = 0.005
"""Share of ticks of queues with jobs in a state that is none of the bundle's."""

PRESENT_LEAST: Final = 0.10
"""Share of ticks in which a state has jobs, in queues in which it had some more than half of the time."""

SAME_STATE: Final = 0.8
"""Correlation over queues of the levels of a state that is gone and of one that is new: then it is the same one, if it
also has as many jobs as the other states have moved by, within `SAME_FACTOR`: large queues have more of everything."""

SAME_FACTOR: Final = 2.0

ASIDE: Final = 0.2
"""Share of queues that agree least and are left out of that: some have an incident."""

LEVEL_FACTOR: Final = 1.6
"""Factor between now and then of a state's median jobs, the median over queues."""

LEVEL_JOBS: Final = 5.0
"""Queues with fewer jobs of the state than this, in the median of the training, say nothing of a factor."""

LEVEL_QUEUES: Final = 5
"""Fewer queues than this say nothing of a factor or a correlation."""

BULK_RATE, FAR_RATE = 0.3, 0.003
"""Episodes a queue-day: of the bulk of normal life, and of what is far out of it; incidents are taken off the bulk by
what is far out (as calibration does)."""

BULK_RANGE: Final = (0.2, 2.5)
"""Factor between the rate of the bulk and what the bundle promises."""

FLAG_FACTOR: Final = 30.0
"""Factor between the rate of flags and the budget. Incidents are flagged too, and there are several times as many of
them as the default budget allows false alarms: this is only for what is far out of all order."""

LEAST_EPISODES: Final = 30.0
"""Where the bundle promises fewer episodes in all the time looked at, their number says nothing."""

LEAST_FLAGS: Final = 5.0
"""Where the bound of flags is fewer than this, they say nothing."""


@dataclass(frozen=True)
class Sign:
    """One sign.

    Attributes:
        name: what is looked at.
        of: the state or field that it is about; '' where it is about all.
        value: the number; NaN where there is too little to say it.
        low, high: it is drift below or above.
        text: what it says, one line.
        advice: what to do about it, one line; '' where it is no drift.
    """

    name: str
    of: str
    value: float
    low: float
    high: float
    text: str
    advice: str = ""

    @property
    def drifted(self) -> bool:
        """Whether it is out of its bounds."""
        return bool(self.value < self.low or self.value > self.high)


@dataclass(frozen=True)
class Drift:
    """All signs.

    Attributes:
        bundle: its name.
        start, end: the time that was looked at, half open.
        trained: the time that the bundle was trained on, as in its manifest.
        signs: in a fixed order.
        lists: names behind a sign, `new_queues` and `gone_queues`.
    """

    bundle: str
    start: np.datetime64
    end: np.datetime64
    trained: Mapping[str, str]
    signs: tuple[Sign, ...]
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def drifted(self) -> bool:
        """Whether any sign is out of its bounds."""
        return any(sign.drifted for sign in self.signs)

    def as_json(self) -> dict[str, Any]:
        """The object of `qad drift --format json`."""
        return {
            "bundle": self.bundle,
            "start": format_time(self.start),
            "end": format_time(self.end),
            "trained": dict(self.trained),
            "drift": self.drifted,
            "signs": [_sign_json(sign) for sign in self.signs],
            "lists": {name: list(names) for name, names in self.lists.items()},
        }


def drift(
    store: History, scorer: Scorer, at: np.datetime64 | None = None, days: float = DAYS, budget: float | None = None
) -> Drift:
    """Look at the `days` up to and including a tick.

    Args:
        store: history and metadata.
        scorer: the bundle.
        at: the last tick, floored; the newest of the store if not given.
        days: length of the time.
        budget: that flags are set to, episodes per series and day.

    Raises:
        InputError: no queue of the bundle's had a job in that time.
    """
    tick = store.tick
    newest = newest_tick(store)
    last = newest if at is None else min(tick.floor(at), newest)
    start, end = tick.ceil(last - np.timedelta64(round(days * 86400), "s") + tick.delta), last + tick.delta
    metadata, bundle = store.metadata(), scorer.bundle
    grid = read_grid(store, bundle.preprocess, start, end, metadata)
    first = int(np.searchsorted(grid.times, start))
    now = _Now(bundle, grid, bundle.preprocess.prepare(grid, metadata), metadata, first)
    if not now.living.any():
        msg = f"{store.name}: no queue of the bundle's had a job from {format_time(start)} to {format_time(end)}"
        raise InputError(msg)
    results = scorer.score_grid(grid, metadata, first, budget)
    pairs = now.renamed()
    signs = [*now.queues(), *now.values(), *now.states(pairs), *now.levels(pairs), *calibration(bundle, results)]
    lists = {"new_queues": now.new, "gone_queues": now.gone}
    return Drift(bundle.name, start, end, bundle.manifest.get("training", {}), tuple(signs), lists)


class _Now:
    """The time looked at, beside what the bundle knows."""

    def __init__(self, bundle: Bundle, grid: Grid, prepared: Prepared, metadata: Metadata, first: int) -> None:
        self.preprocess, self.grid, self.metadata = bundle.preprocess, grid, metadata
        self.ids = prepared.static_cat[-1, :, 0]
        self.cat = prepared.static_cat[-1]
        self.counts = grid.counts[:, first:]
        self.usable = grid.arrived[first:] & ~grid.frozen[first:] & grid.known[:, first:] & grid.online[:, first:]
        self.last = slice(max(0, self.counts.shape[1] - grid.tick.per_day), None)
        self.living = (np.nan_to_num(self.counts) > 0).any(axis=(1, 2))
        self.here = np.flatnonzero(self.living & (self.ids != UNKNOWN))
        vocabulary = bundle.preprocess.vocabularies[0]
        there = {grid.series[i] for i in self.here}
        self.new = tuple(_name(grid.series[i]) for i in np.flatnonzero(self.living & (self.ids == UNKNOWN)))
        self.gone = tuple(_name(key) for key in (tuple(v.split("\x1f")) for v in vocabulary.values) if key not in there)

    def queues(self) -> Iterator[Sign]:
        """Those that came and those that went."""
        living, known = int(self.living.sum()), len(self.preprocess.vocabularies[0]) - 1
        for name, names, of, share, what, advice in (
            ("new_queues", self.new, living, NEW_SHARE, "living queues are not known to the bundle", _RETRAIN_NEW),
            ("gone_queues", self.gone, known, GONE_SHARE, "queues of the bundle had no job", _LOOK_GONE),
        ):
            value = len(names) / max(of, 1)
            yield _sign(name, "", value, 0.0, share, f"{len(names)} of {of} {what}", advice)

    def values(self) -> Iterator[Sign]:
        """Metadata values that the bundle does not know."""
        records = self.metadata.at(self.grid.times[-1])
        if self.grid.entity != ("panda_queue",):
            return
        living = np.flatnonzero(self.living)
        for column, vocabulary in enumerate(self.preprocess.vocabularies[1:], 1):
            said = [records.get(self.grid.series[i][0], {}).get(vocabulary.field, "") for i in living]
            strange = [v for v, i in zip(said, living, strict=True) if v and self.cat[i, column] == UNKNOWN]
            text = f"{len(strange)} of {len(living)} queues have a {vocabulary.field} that is new to the bundle"
            value = len(strange) / len(living)
            yield _sign("new_values", vocabulary.field, value, 0.0, VALUE_SHARE, text, _RETRAIN_NEW)

    def states(self, pairs: Mapping[str, tuple[str, float]]) -> Iterator[Sign]:
        """States that came, went, or have another name."""
        for old, (new, alike) in pairs.items():
            text = f"{old} is now called {new}: over queues their levels go together, r = {alike:.2f}"
            yield _sign("renamed_state", old, alike, -1.0, SAME_STATE, text, _RENAMED.format(old=old, new=new))
        for state in (s for s in self.grid.states if s not in self.preprocess.states):
            share = self._share(state)
            text = f"{state}, which the bundle does not know, has jobs in {_percent(share)} of the queues' ticks"
            if state not in {new for new, _ in pairs.values()}:
                yield _sign("new_state", state, share, 0.0, STATE_SHARE, text, _RETRAIN_STATES)
        for state in (s for s in self.preprocess.states if s not in pairs):
            present = self._present(state)
            text = f"{state} has jobs in {_percent(present)} of the ticks of queues in which it had some mostly"
            yield _sign("vanished_state", state, present, PRESENT_LEAST, 1.0, text, _LOOK_STATES)

    def levels(self, pairs: Mapping[str, tuple[str, float]]) -> Iterator[Sign]:
        """How far the median of each state has moved in the median queue."""
        if self.preprocess.quantity is not Quantity.COUNTS:
            return
        for s, state in enumerate(self.preprocess.states):
            then = self._usual(s)
            enough = np.expm1(then) >= LEVEL_JOBS
            jobs = self._jobs(state) + (self._jobs(pairs[state][0]) if state in pairs else 0)
            now = self._medians(jobs, self.usable)
            moved = (now - then)[enough & np.isfinite(now)]
            value = float(np.exp(np.median(moved))) if len(moved) >= LEVEL_QUEUES else float("nan")
            text = f"{state}: {value:.2f} times as many jobs as in the training, in the median of {len(moved)} queues"
            if state in pairs or not self._present(state) < PRESENT_LEAST:
                yield _sign("level", state, value, 1 / LEVEL_FACTOR, LEVEL_FACTOR, text, _RETRAIN_LEVEL)

    def renamed(self) -> dict[str, tuple[str, float]]:
        """States that are gone, each with the new one that has its levels, and how alike they are."""
        gone = [s for s in self.preprocess.states if self._present(s) < PRESENT_LEAST]
        new = [s for s in self.grid.states if s not in self.preprocess.states and self._share(s) > STATE_SHARE]
        alike = sorted(((self._alike(old, state), old, state) for old in gone for state in new), reverse=True)
        pairs: dict[str, tuple[str, float]] = {}
        for r, old, state in alike:
            if r >= SAME_STATE and old not in pairs and state not in {n for n, _ in pairs.values()}:
                pairs[old] = (state, r)
        return pairs

    def _alike(self, old: str, new: str) -> float:
        """How alike a state that is gone and one that is new are, -1 to 1."""
        then = self._usual(self.preprocess.states.index(old))
        now = self._medians(self._jobs(new)[:, self.last], self.usable[:, self.last])
        both = np.flatnonzero(np.isfinite(now) & ((then > 0) | (now > 0)))
        if len(both) < LEVEL_QUEUES:
            return -1.0
        moved = (now - then)[both]
        off = np.abs(moved - np.median(moved))
        kept = both[np.argsort(off, kind="stable")[: max(LEVEL_QUEUES, round((1 - ASIDE) * len(both)))]]
        far = abs(float(np.median(moved)) - self._moved()) > np.log(SAME_FACTOR)
        if far or not (np.ptp(then[kept]) and np.ptp(now[kept])):
            return -1.0
        return float(np.corrcoef(then[kept], now[kept])[0, 1])

    def _moved(self) -> float:
        """By how much ln(1 + jobs) has moved in the median state of those that are still there; 0 without any."""
        shifts = []
        for s, state in enumerate(self.preprocess.states):
            then = self._usual(s)
            enough = np.expm1(then) >= LEVEL_JOBS
            now = self._medians(self._jobs(state)[:, self.last], self.usable[:, self.last])
            moved = (now - then)[enough & np.isfinite(now)]
            if len(moved) >= LEVEL_QUEUES and not self._present(state) < PRESENT_LEAST:
                shifts.append(float(np.median(moved)))
        return float(np.median(shifts)) if shifts else 0.0

    def _usual(self, state: int) -> NDArray[np.float32]:
        """The bundle's median of ln(1 + jobs) of the known living series, [n]."""
        return np.asarray(self.preprocess.series_scale.loc[self.ids[self.here] - 1, state])

    def _medians(self, jobs: NDArray[np.float32], usable: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The same of some ticks [N, T] of now; NaN where too few are known."""
        x = to_x(jobs[self.here], self.preprocess.quantity)
        out = np.full(len(self.here), np.nan, np.float32)
        for i, row in enumerate(np.where(usable[self.here], x, np.nan)):
            finite = row[np.isfinite(row)]
            if finite.size >= self.grid.tick.per_day // 4:
                out[i] = np.median(finite)
        return out

    def _jobs(self, state: str) -> NDArray[np.float32]:
        """Jobs in a state, [N, T]; 0 where there is no such state."""
        if state not in self.grid.states:
            return np.zeros(self.counts.shape[:2], np.float32)
        return self.counts[:, :, self.grid.states.index(state)]

    def _share(self, state: str) -> float:
        """Share of the last day's ticks of living series with jobs in a state."""
        there, counted = self._jobs(state)[self.living, self.last] > 0, self.usable[self.living, self.last]
        return float((there & counted).sum() / max(counted.sum(), 1))

    def _present(self, state: str) -> float:
        """The same of known series that had some in more than half of the training; NaN where that says nothing."""
        usual = self.here[self._usual(self.preprocess.states.index(state)) >= np.log(2) - 1e-6]
        there, counted = self._jobs(state)[usual, self.last] > 0, self.usable[usual, self.last]
        if counted.sum() < LEVEL_QUEUES * self.grid.tick.per_day // 4:
            return float("nan")
        return float((there & counted).sum() / counted.sum())


def calibration(bundle: Bundle, results: Results) -> Iterator[Sign]:
    """Whether scores are spread as the bundle promises: the bulk of them, and what is flagged."""
    tick = bundle.preprocess.tick
    counted = (results.reason == 0) & ~results.expected
    days = float(counted.sum()) / tick.per_day

    def rate(budget: float) -> float:
        begins = episode_begins(results.score >= bundle.detection.threshold(budget), tick.per_day)
        return float((begins & counted).sum()) / max(days, 1e-9)

    far = rate(FAR_RATE)
    bulk = (rate(BULK_RATE) - far) / (BULK_RATE - FAR_RATE) if days * BULK_RATE >= LEAST_EPISODES else float("nan")
    promised = f"the {BULK_RATE:g} episodes a queue-day that the bundle promises of normal life"
    text = f"{bulk:.2f} times {promised}, incidents taken off"
    yield _sign("bulk", "", bulk, *BULK_RANGE, text, _RETRAIN_CALIBRATION)
    budget = results.budget or DEFAULT_BUDGET
    flags = rate(budget) / budget if days * budget * FLAG_FACTOR >= LEAST_FLAGS else float("nan")
    text = f"{flags:.1f} times the budget of {budget:g} episodes a queue-day are flagged, incidents included"
    yield _sign("flags", "", flags, 0.0, FLAG_FACTOR, text, _RETRAIN_CALIBRATION)


_RETRAIN_NEW: Final = "they are scored as their group is; train again once they have a week of history"
_LOOK_GONE: Final = "if they are closed train again; if not, look at the source: python -m serving.doctor"
_RETRAIN_STATES: Final = "it has no say in any score: train again, and see what PanDA means by it"
_LOOK_STATES: Final = "look whether the source still gives it; if PanDA has dropped it, train again"
_RENAMED: Final = "every score takes {old} for empty: train on time since then, or have the source say {old} for {new}"
_RETRAIN_LEVEL: Final = "if it is to stay, train again on time since then; if only now, look at what all queues share"
_RETRAIN_CALIBRATION: Final = "scores do not mean what they say: train again, then hold both against each other"


def _sign(name: str, of: str, value: float, low: float, high: float, text: str, advice: str) -> Sign:
    if not np.isfinite(value):
        return Sign(name, of, value, low, high, "too little to say anything")
    sign = Sign(name, of, value, low, high, text)
    return Sign(name, of, value, low, high, text, advice) if sign.drifted else sign


def _sign_json(sign: Sign) -> dict[str, Any]:
    finite = np.isfinite(sign.value)
    return {
        "sign": sign.name,
        "of": sign.of or None,
        "value": round(sign.value, 4) if finite else None,
        "low": sign.low,
        "high": sign.high,
        "drift": sign.drifted,
        "text": sign.text,
        "advice": sign.advice or None,
    }


def _name(key: tuple[str, ...]) -> str:
    return "/".join(key)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
