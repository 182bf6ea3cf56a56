"""Incidents over time: opened, updated, closed, under one name from their first tick to their last.

At each tick the incidents of the last week are found again (`qad_dl.incidents`, the one grouping) in what was scored so
far, and matched with those that are known by the queues and the time that they share. Nothing but the results and
the incidents of the tick before goes in, so that the same ticks give the same incidents whether they were scored one
by one, all at once after a pause, or twice.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.incidents import FLAP_TICKS, find_incidents
from qad_dl.incidents_file import QUEUE_FIELD
from qad_dl.schema import REASONS
from qad_dl.timeparse import format_time, parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.incidents import Found, Values
    from qad_dl.results import Results

OPENED, UPDATED, CLOSED, FOLDED, REOPENED = "opened", "updated", "closed", "folded", "reopened"

MISSING_TICK: Final = REASONS.index("missing_tick")


@dataclass(frozen=True)
class Rules:
    """When an incident is told, and when it is over; all in ticks.

    Attributes:
        n, m: it is told once `n` of the last `m` ticks showed it.
        recovery: it is over after so long without a sign of it; ticks without scores do not count.
        longest: a queue that comes back again and again is given more time to recover, up to this.
        memory: what is closed is kept for so long, to know it when it comes back.
    """

    n: int = 2
    m: int = 3
    recovery: int = 6
    longest: int = FLAP_TICKS
    memory: int = 1008

    def recovery_of(self, reopened: int) -> int:
        """Ticks without a sign after which it is over: twice as many each time that it has come back."""
        return int(min(self.recovery * 2**reopened, self.longest))


@dataclass(frozen=True)
class Followed:
    """One incident.

    Attributes:
        id: its name for ever.
        field: what its queues share, `panda_queue` where it is one queue.
        value: the value of that field.
        queues: those hit so far, sorted.
        start: first tick that shows it, `datetime64[s]`.
        last: newest tick that shows it.
        told: the tick at which it was told first.
        closed: the tick at which it was over; None while it is open.
        folded: id of the incident that it turned out to be a part of; ''.
        reopened: how often it came back after it was closed.
        kind: likeliest kind.
        score: highest score so far.
        state: the state that shows it most, '' where it is not known.
        direction: `high` or `low`.
    """

    id: str
    field: str
    value: str
    queues: tuple[str, ...]
    start: np.datetime64
    last: np.datetime64
    told: np.datetime64
    closed: np.datetime64 | None
    folded: str
    reopened: int
    kind: str
    score: float
    state: str
    direction: str

    @property
    def open(self) -> bool:
        """Whether it goes on."""
        return self.closed is None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        times = {name: format_time(getattr(self, name)) for name in ("start", "last", "told")}
        closed = None if self.closed is None else format_time(self.closed)
        return {**asdict(self), **times, "closed": closed, "queues": list(self.queues)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Followed:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, QadError: not what `to_json` wrote.
        """
        times = {name: parse_time(data[name]) for name in ("start", "last", "told")}
        closed = None if data["closed"] is None else parse_time(data["closed"])
        return cls(**{**data, **times, "closed": closed, "queues": tuple(data["queues"])})


@dataclass(frozen=True)
class Transition:
    """What happened to an incident at a tick.

    Attributes:
        action: `opened`, `updated` (other queues, value or kind), `closed`, `reopened`, or `folded` into another.
        incident: as it is now.
    """

    action: str
    incident: Followed


def follow(
    known: Sequence[Followed], results: Results, values: Values, rules: Rules | None = None
) -> tuple[tuple[Followed, ...], tuple[Transition, ...]]:
    """The incidents after the last tick of `results`, and what happened to them at it.

    Args:
        known: the incidents after the tick before.
        results: of up to a week, with the tick as its last.
        values: what the same series share.
        rules: when an incident is told and when it is over.
    """
    rules = rules or Rules()
    seen = [_Sight.of(found, results) for found in find_incidents(results, values)]
    pairs = _matched(known, seen, rules)
    now = results.times[-1]
    after: list[Followed] = []
    happened: list[Transition] = []

    def note(action: str, incident: Followed) -> None:
        after.append(incident)
        if action:
            happened.append(Transition(action, incident))

    for sight in seen:
        mine = pairs.get(sight, [])
        if mine:
            note(*_carried_on(mine[0], sight, results, rules))
            for child in mine[1:]:
                note(*_folded(child, after[-1], now))
        elif _shows(sight, results, rules):
            note(OPENED, _opened(sight, now))
    matched = {incident.id for mine in pairs.values() for incident in mine}
    for incident in known:
        if incident.id not in matched:
            note(*_alone(incident, results, rules))
    kept = [i for i in after if i.open or _ticks(i.last, results) < rules.memory]
    return tuple(sorted(kept, key=lambda i: (i.start, i.id))), tuple(happened)


@dataclass(frozen=True)
class _Sight:
    """An incident as it was found in the results."""

    field: str
    value: str
    queues: tuple[str, ...]
    series: tuple[int, ...]
    start: np.datetime64
    last: np.datetime64
    kind: str
    score: float
    state: str
    direction: str

    @classmethod
    def of(cls, found: Found, results: Results) -> _Sight:
        """By names and times in place of indices."""
        at = results.entity.index(QUEUE_FIELD) if QUEUE_FIELD in results.entity else 0
        names = [results.series[i][at] for i in found.series]
        state, direction = _leader(found, results)
        return cls(
            field=found.field,
            value=found.value or names[0],
            queues=tuple(sorted(set(names))),
            series=found.series,
            start=results.times[found.start],
            last=results.times[found.end - 1],
            kind=found.kind,
            score=round(found.score, 4),
            state=state,
            direction=direction,
        )


def _leader(found: Found, results: Results) -> tuple[str, str]:
    """The state and direction with the most score behind them."""
    rows, ticks = list(found.series), slice(found.start, found.end)
    score = np.nan_to_num(results.score[rows, ticks])
    state, direction = results.state[rows, ticks], results.direction[rows, ticks]
    total = np.zeros((len(results.states), 3))
    told = state >= 0
    np.add.at(total, (state[told], direction[told].astype(np.int64) + 1), score[told])
    if not total.any():
        return "", ""
    best, sign = np.unravel_index(int(total.argmax()), total.shape)
    return results.states[best], ("low", "", "high")[int(sign)]


def _matched(known: Sequence[Followed], seen: Sequence[_Sight], rules: Rules) -> dict[_Sight, list[Followed]]:
    """For each sight the incidents that it goes on with, the one that leads first."""
    reach = np.timedelta64(rules.longest * 600, "s")
    pairs: dict[_Sight, list[Followed]] = {}
    for incident in known:
        if incident.folded:
            continue
        overlap = [
            (len(set(incident.queues) & set(s.queues)), (incident.field, incident.value) == (s.field, s.value), -i)
            for i, s in enumerate(seen)
            if s.start <= incident.last + reach and s.last >= incident.start
        ]
        best = max(overlap, default=(0, False, 0))
        if best[0]:
            pairs.setdefault(seen[-best[2]], []).append(incident)
    for mine in pairs.values():
        mine.sort(key=lambda i: (not i.open, i.start, i.id))
    return pairs


def _shows(sight: _Sight, results: Results, rules: Rules) -> bool:
    """Whether enough of the newest ticks show it."""
    recent = slice(max(0, len(results.times) - rules.m), None)
    least = min([results.threshold, *(least for _, least in results.levels)])
    signs = (results.flagged | (results.score >= least))[list(sight.series), recent].any(axis=0)
    return bool(signs.sum() >= rules.n) and sight.last >= results.times[recent][0]


def _opened(sight: _Sight, now: np.datetime64) -> Followed:
    name = "|".join((str(sight.start), sight.field, sight.value, *sight.queues))
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return Followed(
        id=f"{str(sight.start)[:16].replace(':', '').replace('-', '')}-{digest}",
        field=sight.field,
        value=sight.value,
        queues=sight.queues,
        start=sight.start,
        last=sight.last,
        told=now,
        closed=None,
        folded="",
        reopened=0,
        kind=sight.kind,
        score=sight.score,
        state=sight.state,
        direction=sight.direction,
    )


def _carried_on(incident: Followed, sight: _Sight, results: Results, rules: Rules) -> tuple[str, Followed]:
    """What becomes of an incident that is seen."""
    now = results.times[-1]
    last = max(incident.last, sight.last)
    grown = replace(
        incident,
        field=sight.field,
        value=sight.value,
        queues=tuple(sorted({*incident.queues, *sight.queues})),
        last=last,
        kind=sight.kind,
        score=max(incident.score, sight.score),
        state=sight.state or incident.state,
        direction=sight.direction or incident.direction,
    )
    if not incident.open:
        if last > incident.last and _shows(sight, results, rules):
            return REOPENED, replace(grown, closed=None, reopened=incident.reopened + 1)
        return "", replace(incident, last=incident.last)
    if _silent(last, results) >= rules.recovery_of(incident.reopened):
        return CLOSED, replace(grown, closed=now)
    told = ("field", "value", "queues", "kind")
    changed = any(getattr(grown, name) != getattr(incident, name) for name in told)
    return (UPDATED if changed else ""), grown


def _folded(child: Followed, parent: Followed, now: np.datetime64) -> tuple[str, Followed]:
    """It is a part of another one."""
    if not child.open:
        return "", child
    return FOLDED, replace(child, closed=now, folded=parent.id)


def _alone(incident: Followed, results: Results, rules: Rules) -> tuple[str, Followed]:
    """What becomes of an incident that is not seen: its ticks have left the week, or others explain them now."""
    if incident.open and _silent(incident.last, results) >= rules.recovery_of(incident.reopened):
        return CLOSED, replace(incident, closed=results.times[-1])
    return "", incident


def _ticks(since: np.datetime64, results: Results) -> int:
    """Ticks of the results after `since`."""
    return int((results.times > since).sum())


def _silent(last: np.datetime64, results: Results) -> int:
    """Ticks that arrived after `last`: nothing is known to be over while nothing is known at all."""
    arrived = (results.reason != MISSING_TICK).any(axis=0)
    return int(((results.times > last) & arrived).sum())


_FILLS: Final[Mapping[str, Any]] = {
    "score": np.nan,
    "flagged": False,
    "reason": MISSING_TICK,
    "known": False,
    "expected": False,
    "state": -1,
    "direction": 0,
    "kind": -1,
}


def joined(past: Results | None, new: Results, ticks: int) -> Results:
    """The results of `past` before those of `new`, the last `ticks` of both; without details.

    Where the two overlap `new` counts; ticks between them are missing ones. Results of other states or kinds, those of
    another bundle, are not joined.
    """
    if past is None or (past.entity, past.states, past.kinds) != (new.entity, new.states, new.kinds):
        return replace(new, details=None)
    step = _step(past, new)
    start = max(min(past.times[0], new.times[0]), new.times[-1] - (ticks - 1) * step)
    times = np.arange(start, new.times[-1] + step, step)
    series = tuple(sorted({*past.series, *new.series}))
    place = {key: i for i, key in enumerate(series)}
    arrays: dict[str, Any] = {
        name: np.full((len(series), len(times)), fill, getattr(new, name).dtype) for name, fill in _FILLS.items()
    }
    for part in (past, new):
        rows = np.array([place[key] for key in part.series], np.int64)
        at = ((part.times - start) // step).astype(np.int64)
        on = (at >= 0) & (at < len(times))
        for name, array in arrays.items():
            array[np.ix_(rows, at[on])] = getattr(part, name)[:, on]
    return replace(new, series=series, times=times, details=None, **arrays)


def _step(past: Results, new: Results) -> np.timedelta64:
    times: NDArray[np.datetime64] = np.unique(np.concatenate([past.times, new.times]))
    return np.diff(times).min() if len(times) > 1 else np.timedelta64(600, "s")


def until(results: Results, tick: np.datetime64) -> Results:
    """The results up to a tick."""
    on = results.times <= tick
    arrays = {name: getattr(results, name)[:, on] for name in _FILLS}
    return replace(results, times=results.times[on], details=None, **arrays)
