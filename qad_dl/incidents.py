"""From scores to incidents: events of one queue, and queues that go wrong together told once, with what they share.

An event is a run of ticks of one queue above a threshold. There is one list of events per level, from weak evidence
that normal life shows every third day, of what a queue shows by itself, to what is flagged. In the order of their
onset, each event looks at who else has one of its level or above within `TOGETHER_TICKS`. For every metadata value of
its queue, the share of the value's queues that show it is held against the share among all other queues, or the rate
of normal life if that is higher:

    LLR = k ln(q1 / q0) + (m - k) ln((1 - q1) / (1 - q0)),   q1 = k / m,   q0 = max(outside, rate)

the binomial log-likelihood ratio (Kulldorff 1997, a spatial scan statistic without space); e^-LLR bounds the chance of
as many by accident (Chernoff 1952). The value with the highest explains best: a value that is too wide has a low q1,
one that is too narrow leaves events outside. A value that cannot cause what is seen (a storage where jobs fail before
they write) is told only where no other explains enough. Weak evidence in many queues of one value is told though no
queue of it is flagged, where values and ticks together give `GROUP_ALARMS` such accidents a day. Beside a queue that is
flagged less is needed. What no value explains is an incident of its queue alone, if it is flagged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from qad_dl.causes import ALIKE, FIELDS_OF_KIND, KINDS_OF_FIELD, OTHER, SHARED_FIELDS, WIDEST, can_have
from qad_dl.events import find_events
from qad_dl.evidence import evidence, evidence_alone
from qad_dl.incidents_file import QUEUE_FIELD, Incident

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.events import Event
    from qad_dl.histories import History
    from qad_dl.metadata import Record
    from qad_dl.results import Results

TOGETHER_TICKS: Final = 12
"""Onsets within two hours of each other may have one cause: slow deaths are seen at different times."""

FLAP_TICKS: Final = 36
"""What comes back within six hours of its end goes on with the same incident."""

LEAST_QUEUES: Final = 2
LEAST_SHARE: Final = 0.35
"""At least this many, and this share of the value's queues, must show something for the value to be told."""

GROUP_ALARMS: Final = 0.01
"""Groups without a flagged queue that are told by accident, per day, over all values and levels."""

CHANCE: Final = 0.02
"""Chance that a flagged queue is told with a value where nothing is shared, over all its values and levels."""


class Found(NamedTuple):
    """An incident by indices; `incident` makes a row of it.

    Attributes:
        field, value: what the queues share, `panda_queue` and the queue where it is one.
        series: the queues hit, ascending.
        start, end: ticks, half open.
        kind: likeliest kind over all events.
        score: highest.
    """

    field: str
    value: str
    series: tuple[int, ...]
    start: int
    end: int
    kind: str
    score: float


class Values(NamedTuple):
    """Which series have which metadata value.

    Attributes:
        names: (field, value), [V].
        member: [V, N] bool.
    """

    names: tuple[tuple[str, str], ...]
    member: NDArray[np.bool_]

    @classmethod
    def of(cls, records: Sequence[Record], sources: Sequence[Sequence[str]]) -> Values:
        """Values that at least two series share, of `SHARED_FIELDS`.

        Args:
            records: metadata of each series, [N].
            sources: the prod_sources of each series' jobs, [N].
        """
        members: dict[tuple[str, str], list[int]] = {}
        for i, record in enumerate(records):
            for field in SHARED_FIELDS:
                values = sources[i] if field == "prod_source" else [record.get(field, "")]
                for value in filter(None, values):
                    members.setdefault((field, value), []).append(i)
        names = tuple(sorted(name for name, rows in members.items() if len(rows) >= LEAST_QUEUES))
        member = np.zeros((len(names), len(records)), np.bool_)
        for v, name in enumerate(names):
            member[v, members[name]] = True
        return cls(names, member)


class _Events(NamedTuple):
    """Events of all levels in the order of their onset, [E] each.

    Attributes:
        series, start, end, level: of each; a level is an index into `rates`.
        shown: whether the queue shows something by itself meanwhile: else it is flagged for what others show, which
            says nothing of who is hit.
        rates: episodes per tick of normal life at each level, falling; the last level is what is flagged.
    """

    series: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    level: NDArray[np.int64]
    shown: NDArray[np.bool_]
    rates: NDArray[np.float64]

    @classmethod
    def of(cls, results: Results) -> _Events:
        """Those of a range: of each weak level with a threshold below the flagged one, and of what is flagged."""
        weak = [(rate, least) for rate, least in results.levels if rate > results.budget and least < results.threshold]
        alone, score = (np.nan_to_num(of(results), nan=-np.inf) for of in (evidence_alone, evidence))
        rows = [
            (e.start, -level, i, e.end)
            for level, (_, least) in enumerate(weak)
            for i, e in _each(alone >= least, alone)
        ]
        rows += [(e.start, -len(weak), i, e.end) for i, e in _each(results.flagged, score, FLAP_TICKS)]
        start, level, series, end = np.array(sorted(rows), np.int64).reshape(-1, 4).T
        least = min((least for _, least in weak), default=-np.inf)
        shown = [bool((alone[i, a:b] >= least).any()) for i, a, b in zip(series, start, end, strict=True)]
        per_tick = _tick_days(results) * np.array([rate for rate, _ in weak] + [results.budget])
        return cls(series, start, end, -level, np.array(shown, np.bool_), per_tick)

    @property
    def flagged(self) -> NDArray[np.bool_]:
        """[E] of the last level."""
        last: NDArray[np.bool_] = self.level == len(self.rates) - 1
        return last


class _Shared(NamedTuple):
    """The value that explains some events best, the level at which it does, and how well."""

    value: int
    level: int
    llr: float


class _Search:
    """The events that are not yet part of an incident, and what would explain them."""

    def __init__(self, results: Results, values: Values) -> None:
        self.results, self.values = results, values
        self.events = _Events.of(results)
        self.free = np.ones(len(self.events.start), np.bool_)
        self.living = (results.reason == 0).any(axis=1)
        windows = 1 / (_tick_days(results) * TOGETHER_TICKS)
        tried = max(1, _different(values.member))  # with nothing that two queues share there is nothing to try
        self.accidental = np.log(tried * len(self.events.rates) * windows / GROUP_ALARMS)

    def groups(self) -> list[Found]:
        """Groups, each taken from the events that the ones before it left."""
        found = []
        for e in range(len(self.events.start)):
            while self.free[e]:
                shared = self._cause(e)
                if shared is None:
                    break
                found.append(self._take(e, shared))
        return found

    def alone(self) -> list[Found]:
        """What is flagged and left, queue by queue."""
        left = self.free & self.events.flagged & self.events.shown
        return [self._told([e], None) for e in np.flatnonzero(left).tolist()]

    def _cause(self, e: int) -> _Shared | None:
        """What event `e` shares with others: from what has begun by then, or, if it is flagged, with what follows."""
        start = int(self.events.start[e])
        tried = np.flatnonzero(self.values.member[:, self.events.series[e]])
        if not tried.size:
            return None
        narrow = tried[(self.values.member[tried] & self.living).sum(axis=1) <= WIDEST * self.living.sum()]
        shared = self._best(narrow, start - TOGETHER_TICKS + 1, start + 1, self.accidental)
        if shared is not None:  # an alarm; what the next hour brings may show a better name for it
            return self._best(narrow, start - TOGETHER_TICKS + 1, start + TOGETHER_TICKS // 2, shared.llr) or shared
        if not self.events.flagged[e]:
            return None
        enough = np.log(_different(self.values.member[tried]) * len(self.events.rates) / CHANCE)
        return self._best(tried, start - TOGETHER_TICKS, start + TOGETHER_TICKS, enough)

    def _best(self, tried: NDArray[np.int64], begin: int, end: int, enough: float) -> _Shared | None:
        """The value whose queues have the most events that begin in [begin, end) for their number."""
        lo, hi = np.searchsorted(self.events.start, [begin, end])
        at = np.flatnonzero(self.free[lo:hi] & self.events.shown[lo:hi]) + lo
        levels = len(self.events.rates)
        begun = np.zeros((levels, len(self.living)), np.bool_)
        for level in range(levels):
            begun[level, self.events.series[at[self.events.level[at] >= level]]] = True
        member = self.values.member[tried] & self.living
        llr = _log_likelihood_ratios(begun & self.living, member, self.living, self.events.rates * (end - begin))
        if llr.max(initial=-np.inf) < enough:
            return None
        best, at_level = np.unravel_index(llr.argmax(), llr.shape)
        kind = _leading_kind(self.results, np.flatnonzero(begun[at_level] & member[best]), max(begin, 0), end)
        fields = [self.values.names[value][0] for value in tried.tolist()]
        fitting = np.where([[can_have(field, kind)] for field in fields], llr, -np.inf)
        if fitting.max() >= enough:
            llr = fitting
        where = np.argwhere(llr >= llr.max() - 1e-9).tolist()
        v, level = min(where, key=lambda w: _rank(fields[w[0]], FIELDS_OF_KIND.get(kind, ())))
        return _Shared(int(tried[v]), level, float(llr.max()))

    def _take(self, e: int, shared: _Shared) -> Found:
        """The group's events: those that begin together, and those that begin while any of these lasts or just after.

        What joins later does not make it last longer: of a hundred queues one always shows something. One that was
        flagged up to two hours earlier, alone, and still is when the group's begin, was the first of them.
        """
        events, member = self.events, self.values.member[shared.value]
        onset = int(events.start[e])
        first, together = (onset + ticks for ticks in (-TOGETHER_TICKS, TOGETHER_TICKS))
        until, taken, queues = together, [], set()
        for k in range(int(np.searchsorted(events.start, first - TOGETHER_TICKS)), len(events.start)):
            queue, start = int(events.series[k]), int(events.start[k])
            if start >= until + FLAP_TICKS:
                break
            if not (self.free[k] and member[queue] and (start < until or queue in queues)):
                continue
            if start < first and not (events.flagged[k] and events.end[k] > onset):
                continue
            self.free[k] = False
            if events.level[k] >= shared.level:
                taken.append(k)
                queues.add(queue)
                if start < together:
                    until = max(until, int(events.end[k]) + JOIN)
        return self._told(taken, self.values.names[shared.value])

    def _told(self, taken: Sequence[int], name: tuple[str, str] | None) -> Found:
        results, events = self.results, self.events
        series = tuple(sorted({int(i) for i in events.series[taken]}))
        start, end = int(events.start[taken].min()), int(events.end[taken].max())
        field, value = name or (QUEUE_FIELD, "")
        peak = np.nanmax([np.nanmax(results.score[events.series[k], events.start[k] : events.end[k]]) for k in taken])
        return Found(field, value, series, start, end, _kind(results, series, start, end, field), float(peak))


JOIN: Final = 3
"""Ticks after the last member's event in which another member's still belongs to the group."""


def find_incidents(results: Results, values: Values) -> list[Found]:
    """Incidents of a range, by their start.

    Args:
        results: scored, with `flagged` and `kind`; with `levels`, weak evidence is joined over queues.
        values: of the same series.
    """
    search = _Search(results, values)
    found = _unflapped(search.groups()) + search.alone()
    return sorted(found, key=lambda f: (f.start, f.field, f.value, f.series))


def to_incidents(found: Sequence[Found], results: Results) -> list[Incident]:
    """Rows of an incidents file (interfaces, section 3), numbered by their start."""
    tick = results.times[1] - results.times[0] if len(results.times) > 1 else np.timedelta64(600, "s")
    at = results.entity.index(QUEUE_FIELD) if QUEUE_FIELD in results.entity else 0
    return [
        Incident(
            incident=f"I{n:04d}",
            kind=f.kind,
            field=f.field,
            value=f.value or results.series[f.series[0]][at],
            start=results.times[f.start],
            end=results.times[f.end - 1] + tick,
            severity=round(f.score, 2),
            queues=tuple(results.series[i][at] for i in f.series),
        )
        for n, f in enumerate(found, 1)
    ]


def values_of(results: Results, store: History) -> Values:
    """What the series of a backtest share: the metadata at its end, and the prod_sources that their jobs ever had."""
    records = store.metadata(results.times[-1]).at(results.times[-1])
    return values_among(results, records, store.known_series(results.times[-1] + store.tick.delta))


def values_among(results: Results, records: Mapping[str, Record], known: Collection[tuple[str, str, str]]) -> Values:
    """What the series of results share.

    Args:
        results: any.
        records: metadata by queue.
        known: the (panda_queue, prod_source, resource) that have had rows.
    """
    sources: dict[str, set[str]] = {}
    for queue, source, _ in known:
        sources.setdefault(queue, set()).add(source)
    if QUEUE_FIELD not in results.entity:
        keys = [dict(zip(results.entity, key, strict=True)) for key in results.series]
        return Values.of(keys, [()] * len(keys))
    names = [key[results.entity.index(QUEUE_FIELD)] for key in results.series]
    return Values.of([records.get(n, {}) for n in names], [sorted(sources.get(n, ())) for n in names])


def _each(hot: NDArray[np.bool_], score: NDArray[np.float64], *join: int) -> list[tuple[int, Event]]:
    rows = np.flatnonzero(hot.any(axis=1))
    return [(int(i), event) for i in rows for event in find_events(hot[i], score[i], *join)]


def _tick_days(results: Results) -> float:
    """Length of a tick in days."""
    tick = results.times[1] - results.times[0] if len(results.times) > 1 else np.timedelta64(600, "s")
    return float(tick / np.timedelta64(1, "D"))


def _log_likelihood_ratios(
    begun: NDArray[np.bool_], member: NDArray[np.bool_], living: NDArray[np.bool_], usual: NDArray[np.float64]
) -> NDArray[np.float64]:
    """LLR of each value and level, [V, L]; -inf where too few of the value's queues show anything.

    Args:
        begun: [L, N] the series has an event of at least this level.
        member: [V, N] living series of each value.
        living: [N] series that are scored at all.
        usual: [L] share of series in normal life.
    """
    k = member.astype(np.float64) @ begun.T.astype(np.float64)  # [V, L]
    m = member.sum(axis=1, keepdims=True)
    outside = (begun.sum(axis=1) - k + 0.5) / (living.sum() - m + 1.0)
    q1, q0 = k / np.maximum(m, 1), np.minimum(np.maximum(outside, usual), 1 - 1e-9)
    with np.errstate(divide="ignore", invalid="ignore"):
        miss = np.where(m > k, (m - k) * np.log((1 - q1) / (1 - q0)), 0.0)
        llr = k * np.log(q1 / q0) + miss
    enough = (k >= LEAST_QUEUES) & (k >= LEAST_SHARE * m) & (q1 > q0)
    return np.where(enough, llr, -np.inf)


def _different(member: NDArray[np.bool_]) -> int:
    """How many rows of [V, N] there are: what the very same queues have is tried once, whatever its names."""
    return len(set(map(bytes, np.packbits(member, axis=1))))


def _rank(field: str, preferred: Sequence[str]) -> tuple[int, int]:
    return (preferred.index(field) if field in preferred else len(preferred), SHARED_FIELDS.index(field))


def _unflapped(groups: list[Found]) -> list[Found]:
    """A group that comes back within `FLAP_TICKS` goes on with the one before."""
    kept: list[Found] = []
    for group in groups:
        last = next((f for f in reversed(kept) if (f.field, f.value) == (group.field, group.value)), None)
        if last is None or group.start > last.end + FLAP_TICKS:
            kept.append(group)
            continue
        series = tuple(sorted({*last.series, *group.series}))
        kind = last.kind if last.score >= group.score else group.kind
        start, end = min(last.start, group.start), max(last.end, group.end)
        score = max(last.score, group.score)
        kept[kept.index(last)] = last._replace(series=series, start=start, end=end, kind=kind, score=score)
    return kept


def _weights(results: Results, series: Sequence[int] | NDArray[np.int64], start: int, end: int) -> NDArray[np.float64]:
    """How much speaks for each kind in some ticks of some series, [K]: squares of what each shows of it by itself."""
    total = np.zeros(len(results.kinds) + 1)  # the last is for ticks that tell none
    rows, ticks = np.asarray(series, np.int64), slice(start, end)
    np.add.at(total, results.kind[rows, ticks], np.nan_to_num(results.alone[rows, ticks]) ** 2)
    return total[:-1]


def _leading_kind(results: Results, series: NDArray[np.int64], start: int, end: int) -> str:
    """The likeliest kind by the counts alone."""
    weights = _weights(results, series, start, end)
    return results.kinds[int(weights.argmax())] if weights.any() else OTHER


def _kind(results: Results, series: Sequence[int], start: int, end: int, field: str) -> str:
    """The likeliest kind of those that queues with this field in common can have."""
    weights = dict(zip(results.kinds, _weights(results, series, start, end), strict=True))
    if not any(weights.values()):
        return OTHER
    allowed = KINDS_OF_FIELD.get(field, tuple(weights))
    for kind in [k for k in weights if k not in allowed]:
        others = [k for family in ALIKE if kind in family for k in family if k in allowed]
        if others:
            weights[others[0]] = weights.get(others[0], 0.0) + weights[kind]
    return max(allowed, key=lambda k: weights.get(k, 0.0))
