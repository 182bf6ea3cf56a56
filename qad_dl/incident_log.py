"""Incidents over time: opened, updated, closed, under one name from their first tick to their last.

At each tick the incidents of the last week are found again (`qad_dl.incidents`, the one grouping) in what was scored so
far: these are the sights. They are matched with the incidents that are known. Nothing but the results and the
incidents of the tick before goes in, so that the same ticks give the same incidents whether they were scored one by
one, all at once after a pause, or twice.

A sight *is* a known incident if most of its queues have been told as that incident already, or if most of the
incident's queues are in it and it began no later: then the incident has grown. Of several such incidents the one
that shares most with the sight goes on, the others are folded into it. So the queues of a group that falls apart are
never told again one by one, while a queue that has been broken for days is no name for a group that begins today.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from qad_dl.evidence import evidence, evidence_alone
from qad_dl.followed import CLOSED, FOLDED, OPENED, REOPENED, UPDATED, Figure, Followed, Rules, Transition
from qad_dl.incident_features import leader
from qad_dl.incidents import TOGETHER_TICKS, find_incidents
from qad_dl.incidents_file import QUEUE_FIELD
from qad_dl.joined import step_of, tick_of
from qad_dl.novel import Novel, series_called

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.incidents import Found, Values
    from qad_dl.results import Results

FIGURES: Final = 3
"""At most so many states are told, the ones that contribute most."""

LEAST_PART: Final = 0.1
"""A state that contributes less than this to what the queues show by themselves is not told."""

KEPT_TICKS: Final = 1008
"""Incidents are found again at each tick in the results of a week."""

WORST: Final = 10
"""Queues of a group that are told by name."""


def follow(
    known: Sequence[Followed],
    results: Results,
    values: Values,
    rules: Rules | None = None,
    detailed: Results | None = None,
    found: Sequence[Found] | None = None,
    unknown: Novel | None = None,
) -> tuple[tuple[Followed, ...], tuple[Transition, ...]]:
    """The incidents after the last tick of `results`, and what happened to them at it.

    Args:
        known: the incidents after the tick before.
        results: of up to a week, with the tick as its last.
        values: what the same series share.
        rules: when an incident is told and when it is over.
        detailed: results with details that hold that tick. Without them no figures are told, and nothing is too small.
        found: what `find_incidents(results, values)` gives, where somebody has found them already.
        unknown: what the bundle was not trained on, at that tick.
    """
    rules = rules or Rules()
    now = _Now.of(results, detailed, rules, unknown or Novel())
    sights = find_incidents(results, values) if found is None else found
    seen = [_Sight.of_found(sight, results, values) for sight in sights]
    living = [incident for incident in known if not incident.folded]
    owners = _owners(living, seen, now)
    parents = _parents(living, seen, owners, now)
    after = [incident for incident in known if incident.folded]
    happened: list[Transition] = []
    for incident in living:
        mine = [s for s, owner in owners.items() if owner is not None and _root(owner.id, parents) == incident.id]
        action, became = _next(incident, mine, parents, now)
        after.append(became)
        happened += [Transition(action, became)] if action else []
    for sight in (s for s, owner in owners.items() if owner is None and now.shows(s)):
        opened = _opened(sight, now)
        after.append(opened)
        happened.append(Transition(OPENED, opened))
    kept = [i for i in after if i.open or now.ticks_since(i.last) < rules.memory]
    return tuple(sorted(kept, key=_age)), tuple(sorted(happened, key=lambda t: _age(t.incident)))


class _Sight(NamedTuple):
    """An incident as it was found in the results; those of one call differ in their queues, name or time."""

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
    of: int

    @classmethod
    def of_found(cls, found: Found, results: Results, values: Values) -> _Sight:
        """By names and times in place of indices."""
        every = series_names(results)
        names = [every[i] for i in found.series]
        state, direction = leader(results, found.series, slice(found.start, found.end))
        return cls(
            field=found.field if found.value or QUEUE_FIELD in results.entity else "/".join(results.entity),
            value=found.value or names[0],
            queues=tuple(sorted(set(names))),
            series=found.series,
            start=results.times[found.start],
            last=results.times[found.end - 1],
            kind=found.kind,
            score=round(found.score, 4),
            state=results.states[state] if state >= 0 else "",
            direction=("low", "", "high")[direction + 1],
            of=_size(found, results, values),
        )


def series_names(results: Results) -> tuple[str, ...]:
    """What people call the series: by the queue, or by the values of the other entity."""
    return tuple(series_called(results.entity, key) for key in results.series)


def _size(found: Found, results: Results, values: Values) -> int:
    """How many living series have the value; 0 where it is a queue alone."""
    if not found.value:
        return 0
    living = (results.reason == 0).any(axis=1)
    return int((values.member[values.names.index((found.field, found.value))] & living).sum())


class _Now(NamedTuple):
    """The tick in work.

    Attributes:
        results: with it as the last.
        detailed: the same series' details at it; None where there are none.
        rules: the rules.
        step: length of a tick.
        unknown: what the bundle was not trained on.
    """

    results: Results
    detailed: Results | None
    rules: Rules
    step: np.timedelta64
    unknown: Novel

    @classmethod
    def of(cls, results: Results, detailed: Results | None, rules: Rules, unknown: Novel) -> _Now:
        """The last tick of `results`."""
        if detailed is not None:
            (at,) = np.flatnonzero(detailed.times == results.times[-1])
            detailed = tick_of(detailed, int(at))
        return cls(results, detailed, rules, step_of(results.times), unknown)

    @property
    def tick(self) -> np.datetime64:
        """Its time."""
        time: np.datetime64 = self.results.times[-1]
        return time

    def ticks_since(self, time: np.datetime64) -> int:
        """Ticks after `time`, whether they arrived or not."""
        return int((self.tick - time) // self.step)

    def silent(self, last: np.datetime64) -> int:
        """Scored ticks after `last`: nothing is known to be over while nothing is known at all."""
        judged = (self.results.reason == 0).any(axis=0)
        return int(((self.results.times > last) & judged).sum())

    def shows(self, sight: _Sight) -> bool:
        """Whether enough of the newest ticks show it, and it is large enough to be told."""
        results, rules = self.results, self.rules
        rows = list(sight.series)
        known, alone = (of(results)[rows, -rules.m :] for of in (evidence, evidence_alone))
        flagged = results.flagged[rows, -rules.m :]
        if sight.last < results.times[-rules.m :][0]:
            return False
        least = min([results.threshold, *(least for _, least in results.levels)])
        signs = int((alone >= least).sum())
        sure = bool((flagged & (known >= results.threshold + rules.sure)).any())
        return (signs >= rules.n or sure) and self._large(sight)

    def _large(self, sight: _Sight) -> bool:
        """Whether enough jobs are at stake; not where no queue of it is scored now, and where nobody can tell it is."""
        parts = self._details(sight)
        if parts is None:
            return True
        if not np.isfinite(parts[0]).any():
            return False
        return max(float(np.nansum(part, axis=0).max()) for part in parts[:2]) >= self.rules.least_jobs

    def figures(self, sight: _Sight) -> tuple[Figure, ...]:
        """What its queues look like together; empty where nothing can be said."""
        parts = self._details(sight)
        if parts is None or not np.isfinite(parts[0]).any() or self.detailed is None:
            return ()
        observed, expected, weight = (np.nansum(part, axis=0) for part in parts)
        largest = np.argsort(-weight, kind="stable")[:FIGURES]
        told = [s for s in largest.tolist() if weight[s] >= LEAST_PART * weight.sum() and weight[s] > 0]
        return tuple(
            Figure(self.detailed.states[s], round(float(observed[s]), 1), round(float(expected[s]), 1)) for s in told
        )

    def worst(self, sight: _Sight) -> tuple[str, ...]:
        """Its queues that show the most by themselves."""
        names = series_names(self.results)
        score = np.nan_to_num(self.results.alone[list(sight.series), -1], nan=-np.inf)
        order = np.argsort(-score, kind="stable")[:WORST]
        return tuple(dict.fromkeys(names[sight.series[i]] for i in order.tolist()))

    def expected(self, sight: _Sight) -> bool:
        """Whether all its queues are expected to fall."""
        return bool(self.results.expected[list(sight.series), -1].all())

    def with_unknown(self, incident: Followed) -> Followed:
        """The incident with what of it the bundle does not know."""
        new = {series_called(self.results.entity, key) for key in self.unknown.keys}
        states = (s for s, names in self.unknown.having.items() if not set(names).isdisjoint(incident.queues))
        return incident._replace(
            unknown_queues=tuple(sorted(new.intersection(incident.queues))), unknown_states=tuple(states)
        )

    def _details(self, sight: _Sight) -> tuple[NDArray[np.float64], ...] | None:
        """observed, expected and share of what each shows by itself, [its series, S] each."""
        if self.detailed is None or self.detailed.details is None:
            return None
        place = {key: i for i, key in enumerate(self.detailed.series)}
        rows = [place[key] for key in (self.results.series[i] for i in sight.series) if key in place]
        details, score = self.detailed.details, np.nan_to_num(self.detailed.alone[rows, 0])
        if not score.any():  # nobody shows anything in this tick: what there is counts the same of each
            score = np.ones_like(score)
        arrays = (details.observed, details.reconstruction, details.contribution)
        observed, expected, share = (np.asarray(array[rows, 0], np.float64) for array in arrays)
        return observed, expected, share * score[:, None]


def _age(incident: Followed) -> tuple[np.datetime64, str]:
    return incident.start, incident.id


def _shared(incident: Followed, sight: _Sight) -> int:
    return len(set(incident.queues) & set(sight.queues))


def _is(sight: _Sight, incident: Followed, now: _Now) -> bool:
    """Whether the sight is the incident, see the module's docstring."""
    shared = _shared(incident, sight)
    if not shared or sight.start > incident.last + now.rules.longest * now.step or sight.last < incident.start:
        return False
    told = 2 * shared >= len(sight.queues)
    grown = 2 * shared >= len(incident.queues) and sight.start <= incident.start + TOGETHER_TICKS * now.step
    return told or bool(grown)


def _owners(known: Sequence[Followed], seen: Sequence[_Sight], now: _Now) -> dict[_Sight, Followed | None]:
    """For each sight the incident that it is; None where it is new."""
    owners: dict[_Sight, Followed | None] = {}
    for sight in seen:
        those = [incident for incident in known if _is(sight, incident, now)]
        ranked = sorted(((not i.open, -_shared(i, sight), *_age(i)), n) for n, i in enumerate(those))
        owners[sight] = those[ranked[0][1]] if ranked else None
    return owners


def _parents(
    known: Sequence[Followed], seen: Sequence[_Sight], owners: Mapping[_Sight, Followed | None], now: _Now
) -> dict[str, str]:
    """Which open incident turns out to be a part of which.

    An owner shares at least as much with its sight as the child does, and is the older one of equals: no circles.
    """
    parents = {}
    for incident in (i for i in known if i.open):
        those = [s for s in seen if _is(s, incident, now)]
        best = min(those, key=lambda s: (-_shared(incident, s), s.start, s.field, s.value), default=None)
        owner = None if best is None else owners[best]
        if owner is not None and owner.open and owner.id != incident.id:
            parents[incident.id] = owner.id
    return parents


def _root(name: str, parents: Mapping[str, str]) -> str:
    while name in parents:
        name = parents[name]
    return name


def _next(incident: Followed, mine: Sequence[_Sight], parents: Mapping[str, str], now: _Now) -> tuple[str, Followed]:
    """What becomes of an incident, and what to call that; '' where there is nothing to say."""
    if incident.id in parents:
        return FOLDED, incident._replace(closed=now.tick, folded=_root(incident.id, parents))
    grown = _grown(incident, mine, now)
    if not incident.open:
        if grown.last > incident.last and any(now.shows(sight) for sight in mine):
            return REOPENED, grown._replace(closed=None, reopened=incident.reopened + 1)
        return "", incident
    if now.silent(grown.last) >= now.rules.recovery_of(incident.reopened):
        return CLOSED, grown._replace(closed=now.tick)
    told = ("field", "value", "queues", "kind")
    changed = any(getattr(grown, name) != getattr(incident, name) for name in told)
    return (UPDATED if changed else ""), grown


def _grown(incident: Followed, mine: Sequence[_Sight], now: _Now) -> Followed:
    """The incident with what its sights add to it."""
    if not mine:
        return incident
    main = min(mine, key=lambda s: (-_shared(incident, s), -len(s.queues), s.start, s.field, s.value))
    queues = tuple(sorted({*incident.queues, *(queue for sight in mine for queue in sight.queues)}))
    last = max(incident.last, *(sight.last for sight in mine))
    grown = incident._replace(
        queues=queues,
        start=min(incident.start, main.start),
        last=last,
        score=max(incident.score, *(sight.score for sight in mine)),
    )
    # A group that falls apart, or whose first queues have left the week, keeps the name that it was told by.
    if 2 * len(main.queues) >= len(queues) and (main.of or not incident.group):
        grown = grown._replace(field=main.field, value=main.value, of=main.of, kind=main.kind)
    if main.last == now.tick:
        grown = grown._replace(
            state=main.state or incident.state,
            direction=main.direction or incident.direction,
            figures=now.figures(main) or incident.figures,
            worst=now.worst(main),
            expected=now.expected(main),
        )
        grown = now.with_unknown(grown)
    return grown


def _opened(sight: _Sight, now: _Now) -> Followed:
    name = "|".join((str(sight.start), sight.field, sight.value, *sight.queues))
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    opened = Followed(
        id=f"{str(sight.start)[:16].replace(':', '').replace('-', '')}-{digest}",
        field=sight.field,
        value=sight.value,
        queues=sight.queues,
        start=sight.start,
        last=sight.last,
        told=now.tick,
        kind=sight.kind,
        score=sight.score,
        state=sight.state,
        direction=sight.direction,
        of=sight.of,
        worst=now.worst(sight),
        figures=now.figures(sight),
        expected=now.expected(sight),
    )
    return now.with_unknown(opened)
