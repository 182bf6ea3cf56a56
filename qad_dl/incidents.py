"""From flags to incidents: events of one queue, and queues that alarm together told once, with what they share.

In the order of their onset, each event looks at who else has one within `TOGETHER_TICKS`. For every metadata value of
its queue, the share of the value's queues that alarm is held against the share among all other queues:

    LLR = k ln(q1 / q0) + (m - k) ln((1 - q1) / (1 - q0)),   q1 = k / m,   q0 = outside

the binomial log-likelihood ratio (Kulldorff 1997, a spatial scan statistic without space). The value with the highest
explains best: a value that is too wide has a low q1, one that is too narrow leaves alarms outside. It must beat what
the best of all values tried would reach by chance (Bonferroni). Else the event is an incident of its queue alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.events import Event, find_events
from qad_dl.incidents_file import QUEUE_FIELD, Incident

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.metadata import Record
    from qad_dl.results import Results
    from qad_dl.store import Store

TOGETHER_TICKS: Final = 12
"""Onsets within two hours of each other may have one cause: slow deaths are seen at different times."""

FLAP_TICKS: Final = 36
"""An event of a queue within six hours of the end of its last one goes on with the same incident."""

LEAST_QUEUES: Final = 2
LEAST_SHARE: Final = 0.25
"""At least this many, and this share of the value's queues, must alarm for the value to be told."""

CHANCE: Final = 0.001
"""Chance that a value is told where nothing is shared, over all values tried for an event."""

OTHER: Final = "other"

SHARED_FIELDS: Final = (
    "atlas_site",
    "write_storage",
    "frontier",
    "harvester",
    "nucleus",
    "prod_source",
    "pilot_version",
    "container_type",
    "cloud",
    "vo_name",
)
"""Fields that may name a cause, in the order in which ties are told: what breaks by itself comes first."""

FIELDS_OF_KIND: Final[Mapping[str, tuple[str, ...]]] = {
    "storage_writes": ("write_storage", "atlas_site"),
    "transfer_backlog": ("nucleus", "write_storage"),
    "bad_task": ("prod_source",),
    "frontier": ("frontier", "atlas_site"),
    "rollout": ("pilot_version", "container_type"),
    "harvester_down": ("harvester",),
}
"""Fields that a kind goes by: they win ties."""


@dataclass(frozen=True)
class Found:
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


@dataclass(frozen=True)
class Values:
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


def find_incidents(results: Results, values: Values) -> list[Found]:
    """Incidents of a range, by their start.

    Args:
        results: scored with `flagged` and `kind`.
        values: of the same series.
    """
    events = [
        (event, i)
        for i in range(len(results.series))
        for event in find_events(results.flagged[i], results.score[i], FLAP_TICKS)
    ]
    events.sort(key=lambda e: (e[0].start, e[1]))
    living = (results.reason == 0).any(axis=1)
    found: list[Found] = []
    while events:
        together = [e for e in events if e[0].start < events[0][0].start + TOGETHER_TICKS]
        value = _shared(together, values, living, _kind(results, together[:1]))
        taken = together[:1] if value is None else _grown(events, values.member[value])
        found.append(_told(results, taken, None if value is None else values.names[value]))
        events = [e for e in events if e not in taken]
    return sorted(found, key=lambda f: (f.start, f.field, f.value))


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


def _shared(together: list[tuple[Event, int]], values: Values, living: NDArray[np.bool_], kind: str) -> int | None:
    """The value that explains best why the first of these events is not alone; None where none does."""
    alarmed = np.zeros(len(living), np.bool_)
    alarmed[[i for _, i in together]] = True
    tried = np.flatnonzero(values.member[:, together[0][1]])
    if not tried.size:
        return None
    member = values.member[tried] & living
    m, k = member.sum(axis=1), (member & alarmed).sum(axis=1)
    others, outside = living.sum() - m, alarmed.sum() - k
    q1, q0 = k / np.maximum(m, 1), (outside + 0.5) / (others + 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        miss = np.where(m > k, (m - k) * np.log((1 - q1) / (1 - q0)), 0)
        llr = np.where(q1 > q0, k * np.log(q1 / q0) + miss, 0)
    enough = (k >= LEAST_QUEUES) & (k >= LEAST_SHARE * m) & (llr >= np.log(len(tried) / CHANCE))
    if not enough.any():
        return None
    best = llr[enough].max()
    tied = [int(v) for v, score, ok in zip(tried, llr, enough, strict=True) if ok and score >= best - 1e-9]
    preferred = FIELDS_OF_KIND.get(kind, ())

    def rank(v: int) -> tuple[int, int]:
        field = values.names[v][0]
        return (preferred.index(field) if field in preferred else len(preferred), SHARED_FIELDS.index(field))

    return min(tied, key=rank)


def _grown(events: list[tuple[Event, int]], member: NDArray[np.bool_]) -> list[tuple[Event, int]]:
    """The events of a group: those that begin together with the first, or while any of them lasts or just after."""
    until = events[0][0].start + TOGETHER_TICKS
    taken = []
    for event, i in events:  # ascending by onset
        if member[i] and event.start < until:
            taken.append((event, i))
            until = max(until, event.end + JOIN)
    return taken


JOIN: Final = 3
"""Ticks after the last member's event in which another member's still belongs to the group."""


def _kind(results: Results, taken: Sequence[tuple[Event, int]]) -> str:
    """The kind with the most score behind it."""
    total = np.zeros(len(results.kinds) + 1)
    for event, i in taken:
        ticks = slice(event.start, event.end)
        score = np.nan_to_num(results.score[i, ticks]) * results.flagged[i, ticks]
        np.add.at(total, results.kind[i, ticks], score)
    best = int(total[:-1].argmax()) if len(results.kinds) else -1
    return results.kinds[best] if best >= 0 and total[best] > 0 else OTHER


def _told(results: Results, taken: list[tuple[Event, int]], name: tuple[str, str] | None) -> Found:
    series = tuple(sorted({i for _, i in taken}))
    field, value = name or (QUEUE_FIELD, "")
    return Found(
        field=field,
        value=value,
        series=series,
        start=min(e.start for e, _ in taken),
        end=max(e.end for e, _ in taken),
        kind=_kind(results, taken),
        score=max(float(results.score[i, e.peak]) for e, i in taken),
    )


def values_of(results: Results, store: Store) -> Values:
    """What the series of a backtest share: the metadata at its end, and the prod_sources that their jobs ever had."""
    records = store.metadata().at(results.times[-1])
    sources: dict[str, set[str]] = {}
    for queue, source, _ in store.known_series(results.times[-1] + store.tick.delta):
        sources.setdefault(queue, set()).add(source)
    if QUEUE_FIELD not in results.entity:
        keys = [dict(zip(results.entity, key, strict=True)) for key in results.series]
        return Values.of(keys, [()] * len(keys))
    names = [key[results.entity.index(QUEUE_FIELD)] for key in results.series]
    return Values.of([records.get(n, {}) for n in names], [sorted(sources.get(n, ())) for n in names])
