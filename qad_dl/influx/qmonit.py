"""QMonit's measurements: which tags, fields and times a point has, written and read.

    jobs            a count of a series and state at a tick; in policies 1h and 1d downsampled:
                    jobs, resource_factor, corepower, HS06_benchmark, federation_HS06_pledge
    jobs_average    QMonit's moving averages of four states: current, avg1h, avg6h, avg12h, avg24h, avg7d, avg30d
    queue_anomaly   a verdict on a queue at a tick: score, flagged, expected, reason, state, direction, kind
                    and with the tag job_status the same per state: observed, reconstruction, lower, upper, contribution

Points of `jobs` and `jobs_average` stand some hundred million nanoseconds after their tick: the first nine digits of
the MD5 sum of their series and state, as QMonit writes them. Verdicts stand at the tick. A field that has no value is
left out; truth values are 1 and 0, so that Grafana can add them up. Whoever sums over `queue_anomaly` chooses a bundle.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.arrow import one_chunk, to_numpy
from qad_dl.columns import UNSET
from qad_dl.downsampling import added, last_points, take
from qad_dl.influx.line import KEY_BYTES, cut_tags, write_number, write_tags, write_text
from qad_dl.rows import SERIES, seconds_of
from qad_dl.schema import REASONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from qad_dl.metadata import Record
    from qad_dl.results import Details, Results

JOBS: Final = "jobs"
AVERAGES: Final = "jobs_average"
ANOMALY: Final = "queue_anomaly"

KEYS: Final = (*SERIES, "job_status")
"""The tags that name a point of `jobs`, in the order in which QMonit hashes them."""

METADATA_TAGS: Final = (
    "atlas_site",
    "resource_type",
    "type",
    "cloud",
    "country",
    "site_state",
    "tier",
    "pilot_manager",
    "pilot_version",
    "frontier",
    "harvester",
    "workflow",
    "fts_server",
    "nucleus",
    "container_type",
    "federation",
    "pledge_type",
)
"""Tags of `jobs` that say what the queue is."""

STATUS_FIELD: Final = "status"
"""What CRIC, and our metadata, call QMonit's `site_state`."""

TICK_POLICY: Final = "10m"
NS: Final = 10**9

AVERAGED_STATES: Final = ("assigned", "activated", "failed", "running")
TICK_AVERAGES: Final = {"avg1h": 1, "avg6h": 6, "avg12h": 12, "avg24h": 24}
"""Hours of ten-minute points that each average is over."""

DAY_AVERAGES: Final = {"avg7d": 7, "avg30d": 30}
"""Points of days that each average is over."""

_EMPTY: Final = {"frontier": "No value", "fts_server": "No value"}
"""QMonit writes "No value" where a list was empty, and "None" where there was no entry."""

_SUFFIX_DIGITS: Final = 9
_BYTES_A_LETTER: Final = 4  # at most, in UTF-8
_MULTICORE: Final = "MCORE"
_CORES: Final = 8.0
_DIRECTIONS: Final = {1: "high", -1: "low"}


def suffix(queue: str, source: str, resource: str, state: str) -> int:
    """Nanoseconds after the tick at which QMonit puts a point, to keep points of one tick apart."""
    digest = hashlib.md5(f"{queue}{source}{resource}{state}".encode(), usedforsecurity=False).hexdigest()
    return int(str(int(digest, 16))[:_SUFFIX_DIGITS])


def metadata_tags(record: Record) -> dict[str, str]:
    """QMonit's tags from what is known of a queue; what is not known is spelt as QMonit spells it."""
    values = {tag: record.get(STATUS_FIELD if tag == "site_state" else tag) for tag in METADATA_TAGS}
    return {tag: value or _EMPTY.get(tag, "None") for tag, value in values.items()}


def read_metadata(tags: Mapping[str, str]) -> dict[str, str]:
    """What QMonit's tags say of a queue, by the names of our metadata; what is unset is absent."""
    known = {STATUS_FIELD if tag == "site_state" else tag: tags.get(tag, "") for tag in METADATA_TAGS}
    return {name: value for name, value in known.items() if value.strip() not in UNSET}


def job_lines(rows: pa.Table, metadata: Mapping[str, Record]) -> Iterator[str]:
    """Points of `jobs`, one per row.

    Args:
        rows: a table of `JOBS_SCHEMA`, of one tick or of ticks with the same metadata.
        metadata: what held then, queue -> record. A row's `site_state` goes before it.
    """
    fields = _Fields(metadata)
    status = rows.column("site_state").to_pylist()
    for key, second, jobs, state in zip(_keys(rows), seconds_of(rows).tolist(), _jobs(rows), status, strict=True):
        queue, _, resource, _ = key
        tags = fields.tags(key, state)
        yield f"{JOBS}{tags} jobs={write_number(jobs)},{fields.of(queue, resource)} {second * NS + suffix(*key)}"


def average_lines(
    ticks: pa.Table, days: pa.Table, at: np.datetime64, points_per_hour: int, metadata: Mapping[str, Record]
) -> Iterator[str]:
    """Points of `jobs_average` at a tick, for each series and state that has a row in the 24 h before.

    Args:
        ticks: canonical `averaged_rows` of the 24 h that end with the tick, the tick included.
        days: canonical `averaged_rows` of days, of the 30 days that end with the tick.
        at: the tick, `datetime64[s]`.
        points_per_hour: ticks in an hour.
        metadata: what holds at the tick.
    """
    fields = _Fields(metadata)
    long = _averages(days, DAY_AVERAGES)
    second = int(at.astype("datetime64[s]").astype(np.int64))
    hours = {name: hours * points_per_hour for name, hours in TICK_AVERAGES.items()}
    for key, averages in _averages(ticks, {"current": 1, **hours}).items():
        values = ",".join(f"{name}={write_number(value)}" for name, value in (averages | long.get(key, {})).items())
        yield f"{AVERAGES}{fields.tags(key, None)} {values} {second * NS + suffix(*key)}"


def anomaly_lines(results: Results, at: np.datetime64, bundle: str, metadata: Mapping[str, Record]) -> Iterator[str]:
    """Points of `queue_anomaly` of the series known at a tick, and per state where there are details.

    Args:
        results: scores of a block of ticks.
        at: one of its ticks.
        bundle: name of the bundle; a tag.
        metadata: what holds at the tick; its tags are written where the series are queues.

    Raises:
        ValueError: the results hold no such tick.
    """
    (column,) = np.flatnonzero(results.times == at).tolist() or (-1,)
    if column < 0:
        msg = f"these results hold no tick {at}"
        raise ValueError(msg)
    time = int(at.astype("datetime64[s]").astype(np.int64)) * NS
    for n in np.flatnonzero(results.known[:, column]).tolist():
        names = dict(zip(results.entity, results.series[n], strict=True)) | {"bundle": bundle}
        about = metadata_tags(metadata.get(names["panda_queue"], {})) if "panda_queue" in names else {}
        yield f"{ANOMALY}{write_tags(cut_tags(about | names))} {_verdict(results, n, column)} {time}"
        if results.details is not None:
            yield from _state_lines(results.details, results.states, (n, column), names, time)


def _state_lines(
    details: Details, states: Sequence[str], where: tuple[int, int], names: Mapping[str, str], time: int
) -> Iterator[str]:
    """The points per state of one verdict; none where it has no score."""
    fields = {name: getattr(details, name)[where].tolist() for name in DETAILS}
    for i, state in enumerate(states):
        values = {name: column[i] for name, column in fields.items() if np.isfinite(column[i])}
        if values:
            written = ",".join(f"{name}={write_number(value)}" for name, value in values.items())
            yield f"{ANOMALY}{write_tags(cut_tags({**names, 'job_status': state}))} {written} {time}"


DETAILS: Final = ("observed", "reconstruction", "lower", "upper", "contribution")


def _verdict(results: Results, n: int, column: int) -> str:
    """The fields of one verdict."""
    score, state, kind = (float(results.score[n, column]), int(results.state[n, column]), int(results.kind[n, column]))
    words = {
        "reason": REASONS[int(results.reason[n, column])],
        "state": results.states[state] if state >= 0 else "",
        "direction": _DIRECTIONS.get(int(results.direction[n, column]), ""),
        "kind": results.kinds[kind] if 0 <= kind < len(results.kinds) else "",
    }
    numbers = {"flagged": float(results.flagged[n, column]), "expected": float(results.expected[n, column])}
    if np.isfinite(score):
        numbers = {"score": score, **numbers}
    fields = [f"{name}={write_number(value)}" for name, value in numbers.items()]
    return ",".join([*fields, *(f"{name}={write_text(word)}" for name, word in words.items() if word)])


class _Fields:
    """What the points of one queue have in common, made once."""

    def __init__(self, metadata: Mapping[str, Record]) -> None:
        self._metadata = metadata
        self._common: dict[tuple[str, str | None], str] = {}
        self._numbers: dict[tuple[str, bool], str] = {}

    def tags(self, key: tuple[str, str, str, str], status: str | None) -> str:
        """The tags of a point, as they stand in its line."""
        common = self._common.get((key[0], status))
        if common is None:
            common = self._common[key[0], status] = write_tags(self._about(key[0], status))
        names = dict(zip(KEYS, key, strict=True))
        written = write_tags(names) + common
        if len(written) * _BYTES_A_LETTER <= KEY_BYTES:
            return written
        return write_tags(cut_tags(self._about(key[0], status) | names))

    def _about(self, queue: str, status: str | None) -> dict[str, str]:
        """The tags that say what a queue is."""
        return metadata_tags(self._metadata.get(queue, {})) | ({"site_state": status} if status else {})

    def of(self, queue: str, resource: str) -> str:
        """The fields of a point besides its count."""
        many = _MULTICORE in resource
        if (queue, many) not in self._numbers:
            record = self._metadata.get(queue, {})
            numbers = {
                "resource_factor": _number(record, "corecount", _CORES) if many else 1.0,
                "corepower": _number(record, "corepower", 1.0),
                "HS06_benchmark": _number(record, "HS06_benchmark", 0.0),
                "federation_HS06_pledge": _number(record, "federation_HS06_pledge", 0.0),
            }
            self._numbers[queue, many] = ",".join(f"{name}={write_number(value)}" for name, value in numbers.items())
        return self._numbers[queue, many]


def _number(record: Record, name: str, default: float) -> float:
    """A number of the metadata; the default where it is unset, zero or no number, as QMonit has it."""
    try:
        number = float(record.get(name, ""))
    except ValueError:
        return default
    return number if np.isfinite(number) and number else default


def averaged_rows(rows: pa.Table) -> pa.Table:
    """The rows of the states that are averaged, canonical as `rows` are."""
    column = one_chunk(rows.column("job_status"))
    wanted = [i for i, name in enumerate(column.dictionary.to_pylist()) if name in AVERAGED_STATES]
    index = np.flatnonzero(np.isin(to_numpy(column.indices), wanted))
    return take(rows, index)


def _averages(rows: pa.Table, widths: Mapping[str, int]) -> dict[tuple[str, str, str, str], dict[str, float]]:
    """Means over the last points of each series and state, rounded as QMonit rounds them."""
    newest, values, counts = last_points(rows, max(widths.values()))
    columns: dict[str, list[float]] = {}
    for name, width in widths.items():
        sums = added(values[:, :width]).tolist()
        there = np.minimum(counts, width).tolist()
        columns[name] = [round(total / n, 2) for total, n in zip(sums, there, strict=True)]
    keys = _keys(take(rows, newest))
    return {key: {name: columns[name][i] for name in widths} for i, key in enumerate(keys)}


def _keys(rows: pa.Table) -> list[tuple[str, str, str, str]]:
    """Series and state of each row."""
    columns: list[list[Any]] = [rows.column(name).to_pylist() for name in KEYS]
    return list(zip(*columns, strict=True))


def _jobs(rows: pa.Table) -> list[float]:
    """The count of each row."""
    counts: list[float] = to_numpy(one_chunk(rows.column("jobs"))).tolist()
    return counts
