"""What the page shows, gathered from the results: an index for the list, and a packed block for each series."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from qad_dl.errors import InputError
from qad_dl.events import Event, find_events
from qad_dl.evidence import Tuned
from qad_dl.incident_features import NOTABLE
from qad_dl.incidents_file import QUEUE_FIELD
from qad_dl.novel import Novel, series_called
from qad_dl.review.fields import Fields
from qad_dl.review.incidents import incident_line, place
from qad_dl.review.packing import (
    COARSE,
    EXPECTED,
    FINE,
    FLAGGED,
    UNKNOWN,
    UNSCORED,
    Quanta,
    Quantum,
    deflate,
    pack_columns,
    zigzag,
)
from qad_dl.review.spark import sparkline
from qad_dl.schema import FLOW_STATES, INCIDENT_KINDS, REASONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.downtimes import Downtime
    from qad_dl.incidents_file import Incident
    from qad_dl.metadata import Record
    from qad_dl.results import Details, Results
    from qad_dl.tuning.order import Order

BEFORE_TICKS: Final = 6
"""An event's evidence begins before it is flagged; so far back is looked for it."""

LARGEST_BYTES: Final = 27e6
"""What the packed blocks of a page may take before they are packed coarsely; the page has to stay under 30 MB."""

SAMPLE: Final = 32
"""So many series tell how large the page will be."""

Json = dict[str, Any]
Past: TypeAlias = "NDArray[np.float32] | None"


def ranking(results: Results) -> list[int]:
    """Series indices, the highest score first, then the most flagged ticks, then the name; unscored ones last."""
    top, flagged = highest(results), results.flagged.sum(axis=1)
    return sorted(range(len(results.series)), key=lambda i: (-top[i], -int(flagged[i]), series_name(results, i)))


def highest(results: Results) -> NDArray[np.float64]:
    """The highest score of each series, [N]; -1 where it has none in the range."""
    tops: NDArray[np.float64] = np.where(np.isfinite(results.score), results.score, -1.0).max(axis=1, initial=-1.0)
    return tops


def series_name(results: Results, i: int) -> str:
    """What people call series `i`; an empty part of its key is shown as such."""
    return " / ".join(part or "(none)" for part in results.series[i])


def details_of(results: Results) -> Details:
    """The details of `results`.

    Raises:
        InputError: there are none, or there are no ticks or series to show.
    """
    if results.details is None:
        msg = "review: the results carry no per-state details; score with details=True"
        raise InputError(msg)
    if results.times.size == 0 or not results.series:
        found = f"{len(results.series)} series and {results.times.size} ticks"
        msg = f"review: nothing to show in this range: {found}; choose another --start and --end"
        raise InputError(msg)
    return results.details


def build_index(
    results: Results,
    metadata: Mapping[str, Record],
    downtimes: Sequence[Downtime],
    order: Sequence[int],
    incidents: Sequence[Incident] = (),
    unknown: Novel | None = None,
    taught: Order | None = None,
) -> tuple[Json, Fields]:
    """What the list needs at once, as JSON: the range, the fields to filter by, and a line for each series.

    Args:
        results: scores with details.
        metadata: queue -> its metadata at the end of the range.
        downtimes: declared downtimes; those of a series are shown if its key names a queue.
        order: series indices in the order of the list.
        incidents: what was found in the range, under names that last.
        unknown: what the bundle that scored them was not trained on.
        taught: the order of incidents that reviewers taught; by score where it is None.

    Returns:
        The index, and the metadata by field.
    """
    details = details_of(results)
    fields = Fields.of([series_record(results, metadata, i) for i in order])
    declared: dict[str, list[Downtime]] = {}
    for downtime in downtimes:
        declared.setdefault(downtime.panda_queue, []).append(downtime)
    seconds = results.times.astype("datetime64[s]").astype(np.int64)
    index: Json = {
        "start": int(seconds[0]),
        "step": int(seconds[1] - seconds[0]) if seconds.size > 1 else 600,
        "ticks": int(seconds.size),
        "states": list(results.states),
        "flow": [state in FLOW_STATES for state in results.states],
        "reasons": list(REASONS),
        "entity": list(results.entity),
        "budget": results.budget,
        "threshold": round(float(results.threshold), 4),
        "fields": fields.listing(),
        "common": dict(fields.common),
        "rest": deflate(json.dumps([fields.rest(row) for row in range(len(order))]).encode("utf-8")),
        "kinds": list(INCIDENT_KINDS),
        "series": [series_line(results, i, fields, row, declared) for row, i in enumerate(order)],
        "features": list(NOTABLE),
    }
    add_unknown(index, unknown or Novel(), [results.series[i] for i in order])
    rank = {i: row for row, i in enumerate(order)}
    sizes = fields.sizes()
    index["incidents"] = [
        incident_line(placed, results, details, rank, sizes.get((placed.incident.field, placed.incident.value), 0))
        for placed in place(incidents, results, metadata, taught)
    ]
    return index, fields


def add_unknown(index: Json, unknown: Novel, keys: Sequence[tuple[str, ...]]) -> None:
    """Mark the series that the bundle does not know; name the states that it does not, with the rows that have them."""
    strange = set(unknown.keys)
    for line, key in zip(index["series"], keys, strict=True):
        line.update({"nw": 1} if key in strange else {})
    named = [series_called(index["entity"], key) for key in keys]
    index["strange"] = {
        state: [row for row, name in enumerate(named) if name in names]
        for state, names in ((state, set(names)) for state, names in unknown.having.items())
    }


def series_record(results: Results, metadata: Mapping[str, Record], i: int) -> dict[str, str]:
    """The metadata of series `i`: its own key where that is more than a queue, then its queue's record."""
    key = dict(zip(results.entity, results.series[i], strict=True))
    queue = key.pop(QUEUE_FIELD, None)
    record = metadata.get(queue, {}) if queue is not None else {}
    return {**{k: v for k, v in key.items() if v}, **record}


def series_line(results: Results, i: int, fields: Fields, row: int, declared: Mapping[str, Sequence[Downtime]]) -> Json:
    """One series of the list; the keys are short because there are thousands of them."""
    score, flagged = results.score[i], results.flagged[i]
    top = np.where(np.isfinite(score), score, -1.0).max()
    return {
        "n": series_name(results, i),
        "top": round(float(top), 2) if top >= 0 else None,
        "f": int(flagged.sum()),
        "s": sparkline(score, flagged, own_threshold(results, i) or results.threshold),
        "e": [event_line(results, i, event) for event in find_events(flagged, score)],
        "d": downtime_lines(results, i, declared),
        "m": fields.codes(row),
        "st": [int(s) for s in active_states(details_of(results), i)],
        **({"x": 1} if results.expected[i].any() else {}),
        **({"h": own} if (own := own_threshold(results, i)) is not None else {}),
        **({"u": last} if (last := int(status_codes(results, i)[-1]) & UNSCORED) else {}),
    }


def own_threshold(results: Results, i: int) -> float | None:
    """The threshold of series `i` at the end of the range; None where it is the one that all share."""
    by = float(results.offset[i, -1]) if isinstance(results, Tuned) else 0.0
    return round(results.threshold + by, 4) if by else None


def event_line(results: Results, i: int, event: Event) -> list[Any]:
    """[start, end, score, state, direction, worst, observed, expected, lower, upper, kind] of an event.

    The score is that of its peak; state, direction and kind are of the tick in which it shows the most by itself.
    Worst is the tick at which that state is farthest off, and the counts are of that tick: evidence is accumulated, so
    that at the peak itself the counts may look healthy again. The kind is an index into `schema.INCIDENT_KINDS`, -1
    where it is not told.
    """
    details, shown = details_of(results), np.nan_to_num(results.alone[i, event.start : event.end], nan=-1.0)
    most = event.start + int(shown.argmax())
    state, direction = int(results.state[i, most]), int(results.direction[i, most])
    worst = farthest(details, i, state, direction, event)
    arrays = (details.observed, details.reconstruction, details.lower, details.upper)
    counts = [short(float(a[i, worst, state])) for a in arrays]
    told = int(results.kind[i, most])
    kind = INCIDENT_KINDS.index(results.kinds[told]) if told >= 0 else -1
    return [event.start, event.end, short(float(results.score[i, event.peak])), state, direction, worst, *counts, kind]


def farthest(details: Details, i: int, state: int, direction: int, event: Event) -> int:
    """The tick, from `BEFORE_TICKS` before the event on, at which the state is the most band widths off to its side."""
    ticks = slice(max(0, event.start - BEFORE_TICKS), event.end)
    observed, expected, lower, upper = (
        np.log1p(array[i, ticks, state].astype(np.float64))
        for array in (details.observed, details.reconstruction, details.lower, details.upper)
    )
    distance = direction * (observed - expected) / np.maximum(upper - lower, 1e-6)
    distance = np.where(np.isfinite(distance), distance, -np.inf)
    return ticks.start + int(np.argmax(distance)) if distance.max() > 0 else event.peak


def short(value: float) -> float | None:
    """`value` to two decimals; None where it is not finite."""
    return round(value, 2) if np.isfinite(value) else None


def downtime_lines(results: Results, i: int, declared: Mapping[str, Sequence[Downtime]]) -> list[list[Any]]:
    """[start, end, status] of the downtimes of series `i` that touch the range, in seconds since the epoch."""
    if QUEUE_FIELD not in results.entity:
        return []
    queue = results.series[i][results.entity.index(QUEUE_FIELD)]
    first, last = results.times[0], results.times[-1]
    mine = (d for d in declared.get(queue, ()) if d.start <= last and d.end > first)
    return [[epoch(d.start), epoch(d.end), d.status] for d in mine]


def epoch(time: np.datetime64) -> int:
    """Seconds since the epoch."""
    return int(time.astype("datetime64[s]").astype(np.int64))


def active_states(details: Details, i: int) -> NDArray[np.int64]:
    """Indices of the states in which series `i` ever had, or was expected to have, half a job or more."""
    seen = np.fmax(np.nan_to_num(details.observed[i]), np.nan_to_num(details.reconstruction[i]))
    return np.flatnonzero(seen.max(axis=0, initial=0.0) >= 0.5)


def pack_series(results: Results, i: int, quanta: Quanta = FINE, past: Past = None) -> str:
    """Everything the plots of series `i` need, deflated, in base64.

    The columns are, in this order: score, status (reason and bits), 1 + state where flagged; then for the active states
    observed, expected, the two columns of `band_codes`, and the state's part of the score. If anything is known of the
    week before, columns of hours follow: the mean of each active state.

    Args:
        results: scores with details.
        i: the series.
        quanta: how finely.
        past: [N, H, S] of `past.week_before`.
    """
    details = details_of(results)
    states = active_states(details, i)
    observed, expected, lower, upper, share = (
        array[i][:, states].T
        for array in (details.observed, details.reconstruction, details.lower, details.upper, details.contribution)
    )
    columns = [
        quanta["score"].encode(results.score[i])[None],
        status_codes(results, i)[None],
        np.where(results.flagged[i], results.state[i].astype(np.int64) + 1, 0)[None],
        quanta["observed"].encode(observed),
        quanta["expected"].encode(expected),
        *band_codes(expected, lower, upper, quanta["band"]),
        quanta["weight"].encode(share * results.alone[i]),
    ]
    blocks = [pack_columns(np.concatenate(columns))]
    if past is not None and states.size and np.isfinite(past[i][:, states]).any():
        blocks.append(pack_columns(quanta["past"].encode(past[i][:, states].T)))
    return deflate(*blocks)


def band_codes(
    expected: NDArray[np.floating], lower: NDArray[np.floating], upper: NDArray[np.floating], quantum: Quantum
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Codes of the band, all arrays [S, T]: the distance of its lower edge, and how the upper one differs.

    Distances are in ln(1 + jobs): smoother than the edges, mostly the same to both sides, and they enclose the line as
    drawn. An edge at 0 jobs cannot be seen to be lower: it is written like the upper edge, which costs nothing.
    """
    middle = np.log1p(expected)
    below = quantum.encode(middle - np.log1p(np.maximum(lower, 0)))
    above = quantum.encode(np.log1p(upper) - middle)
    below = np.where(lower <= 0, np.maximum(below, above), below)
    return below, zigzag(above - below)


def status_codes(results: Results, i: int) -> NDArray[np.int64]:
    """Reason, flagged, expected and known of each tick of series `i` in one number, [T]."""
    bits = FLAGGED * results.flagged[i] + EXPECTED * results.expected[i] + UNKNOWN * ~results.known[i]
    codes: NDArray[np.int64] = results.reason[i].astype(np.int64) + bits
    return codes


def choose_quanta(results: Results, order: Sequence[int], past: Past = None) -> Quanta:
    """Fine packing, or coarse if the page, judged by a sample of its series, would be too large."""
    sample = order[:: max(1, len(order) // SAMPLE)]
    taken = sum(len(pack_series(results, i, past=past)) for i in sample)
    return FINE if taken / len(sample) * len(order) <= LARGEST_BYTES else COARSE


def pack_all(results: Results, order: Sequence[int], quanta: Quanta, past: Past = None) -> Iterator[str]:
    """The packed blocks in the order of the list."""
    for i in order:
        yield pack_series(results, i, quanta, past)
