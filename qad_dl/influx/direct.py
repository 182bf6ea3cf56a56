"""QMonit's InfluxDB as a history that is read where it is: what `qad import --influxdb` would bring, without a store.

    influxdb://[USER@]HOST:PORT/DATABASE[?password-file=FILE]         over http
    influxdb+https://...                                              over https

Rows are those of policy 10m. Tags are the metadata: a set of tags holds from the beginning of the six hours (UTC) in
which it is the newest, which is what an import of the same time makes of them. It knows no downtimes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pyarrow as pa

from qad_dl.errors import ConfigError
from qad_dl.influx.client import Influx, identifier, literal
from qad_dl.influx.history import PIECE_TICKS, read_history, span
from qad_dl.influx.line import stored_name
from qad_dl.influx.qmonit import JOBS, NS, TICK_POLICY, read_metadata
from qad_dl.metadata import Metadata
from qad_dl.rows import concat_rows, merge_rows
from qad_dl.schema import Tick

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from qad_dl.downtimes import Downtime
    from qad_dl.influx.client import Series
    from qad_dl.metadata import Record

SCHEMES: Final = ("influxdb://", "influxdb+https://")

_PORT: Final = 8086
_KEY: Final = ("panda_queue", "prod_source", "resource")
_SOURCE: Final = f"{identifier(TICK_POLICY)}.{identifier(JOBS)}"
_PIECE: Final = PIECE_TICKS * Tick().delta
_PASSWORD_FILE: Final = "password-file"  # noqa: S105  the name of a parameter


def open_influx(address: str) -> InfluxHistory:
    """The history at an address; nothing is asked yet.

    Raises:
        ConfigError: an address that is not as above, or a password file that cannot be read.
    """
    try:
        url = urlsplit(address)
        host, port, asked = url.hostname, url.port or _PORT, parse_qs(url.query, strict_parsing=bool(url.query))
    except ValueError as error:
        raise _bad(address, str(error)) from error
    database = unquote(url.path.strip("/"))
    if not host or not database or url.fragment:
        raise _bad(address, "names no host and database")
    if url.password is not None:
        raise ConfigError("influxdb://: a password in an address is seen by all; give ?password-file=FILE")
    if unknown := set(asked) - {_PASSWORD_FILE}:
        raise _bad(address, f"has an unknown parameter {min(unknown)}")
    scheme = "https" if url.scheme.endswith("https") else "http"
    password = read_password(Path(asked[_PASSWORD_FILE][0])) if asked else ""
    shown = f"[{host}]" if ":" in host else host
    return InfluxHistory(Influx(f"{scheme}://{shown}:{port}", database, unquote(url.username or ""), password), address)


def read_password(path: Path, what: str = "password-file") -> str:
    """The password in a file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{what}: {path} cannot be read ({error}); give the file that holds the password"
        raise ConfigError(msg) from error


def _bad(address: str, why: str) -> ConfigError:
    msg = f"{address}: {why}; write influxdb://HOST:PORT/DATABASE, as in influxdb://127.0.0.1:{_PORT}/monit_jobs"
    return ConfigError(msg)


class InfluxHistory:
    """A history in an InfluxDB (see `qad_dl.histories.protocol.History`).

    What its span, metadata and series are is asked once: what arrives later is seen by the next that is opened.

    Attributes:
        tick: ten minutes, QMonit's.
        name: as it was given.
        address: what opens it again.
    """

    def __init__(self, influx: Influx, address: str) -> None:
        self.tick = Tick()
        self.name = self.address = address
        self._influx = influx
        self._known: dict[np.datetime64, set[tuple[str, str, str]]] = {}

    def span(self) -> tuple[np.datetime64, np.datetime64] | None:
        """The first and the newest tick; raises `InfluxError`, and so does all that follows."""
        return self._span

    def known_series(self, before: np.datetime64) -> set[tuple[str, str, str]]:
        """The (panda_queue, prod_source, resource) with a row on a UTC day before the day of `before`."""
        day = before.astype("datetime64[D]")
        if self.span() is None:
            return set()
        if day not in self._known:
            tags = ", ".join(map(identifier, (*_KEY, "job_status")))
            asked = f"SELECT first(jobs) FROM {_SOURCE} WHERE jobs >= 0 AND time < {_ns(day)} GROUP BY {tags}"  # noqa: S608  quoted names
            found = [series.tags for series in self._influx.stream(asked) if _usable(series.tags)]
            self._known[day] = {(tags["panda_queue"], tags["prod_source"], tags["resource"]) for tags in found}
        return set(self._known[day])

    def pieces(self, start: np.datetime64, end: np.datetime64) -> Iterator[pa.Table]:
        """The rows of [start, end), a day at a time."""
        for low, high in self._days(start, end):
            rows = [piece.rows for piece in read_history(self._influx, low, high, self.tick)]
            # A point stands some part of a second after its tick, and the first tick may begin before `start`.
            day = merge_rows([concat_rows(rows)]) if rows else None
            del rows
            if day is not None and day.num_rows:
                yield day
            del day

    def versions(self, start: np.datetime64, end: np.datetime64) -> dict[str, int]:
        """Of each UTC day how many points it has."""
        counts: dict[str, int] = {}
        for low, high in self._days(*_whole_days(start, end)):
            asked = f"SELECT count(jobs) FROM {_SOURCE} WHERE time >= {_ns(low)} AND time < {_ns(high)}"  # noqa: S608  numbers
            for series in self._influx.query(asked):
                counts[str(low.astype("datetime64[D]"))] = int(series.values[0][1])
        return counts

    def digests(self, start: np.datetime64, end: np.datetime64) -> dict[str, str]:
        """A hash of the rows of each UTC day."""
        found: dict[str, str] = {}
        for rows in self.pieces(*_whole_days(start, end)):
            day = rows.column("time")[0].as_py().date()
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, rows.schema) as stream:
                stream.write_table(rows)
            found[str(day)] = hashlib.sha256(sink.getvalue()).hexdigest()
        return found

    def metadata(self, start: np.datetime64 | None = None) -> Metadata:
        """What the tags say, with their history; with `start` only what holds from then on."""
        whole = self._metadata
        if start is None:
            return whole
        first = max(int(np.searchsorted(whole.times, start, side="right")) - 1, 0)
        return Metadata(whole.times[first:], whole.dumps[first:])

    def metadata_versions(self, start: np.datetime64, end: np.datetime64) -> tuple[str, ...]:
        """'TIME HASH' of each set of records that holds in [start, end)."""
        held = self.metadata(start)
        return tuple(
            f"{time} {hashlib.sha256(json.dumps(dump, sort_keys=True).encode()).hexdigest()}"
            for number, (time, dump) in enumerate(zip(held.times, held.dumps, strict=True))
            if number == 0 or time < end
        )

    def downtimes(self) -> Sequence[Downtime]:
        """None: QMonit writes no downtimes."""
        return []

    @cached_property
    def _span(self) -> tuple[np.datetime64, np.datetime64] | None:
        return span(self._influx, self.tick)

    @cached_property
    def _metadata(self) -> Metadata:
        times: list[np.datetime64] = []
        dumps: list[Mapping[str, Record]] = []
        known: Mapping[str, Record] = {}
        for piece, said in sorted(self._said().items()):
            if any(known.get(queue) != record for queue, record in said.items()):
                known = {**known, **said}
                times.append(np.datetime64(0, "s") + piece * _PIECE)
                dumps.append(known)
        return Metadata(np.array(times, "datetime64[s]"), tuple(dumps))

    def _said(self) -> dict[int, dict[str, Record]]:
        """By the number of the six hours since the epoch: the newest record of each queue, where it may be another."""
        if self.span() is None:
            return {}
        found = [s for s in self._influx.stream(f"SELECT first(jobs) FROM {_SOURCE} GROUP BY *") if _usable(s.tags)]  # noqa: S608  quoted names
        of_queue: dict[str, list[Series]] = {}
        for series in found:
            of_queue.setdefault(series.tags["panda_queue"], []).append(series)
        return self._by_piece(of_queue)

    def _by_piece(self, of_queue: Mapping[str, Sequence[Series]]) -> dict[int, dict[str, Record]]:
        """As `_said`, from the first point of each set of tags."""
        said: dict[int, dict[str, Record]] = {}
        for queue, several in of_queue.items():
            records = [read_metadata(series.tags) for series in several]
            if all(record == records[0] for record in records):
                first = min(series.values[0][0] for series in several)
                said.setdefault(_piece(first), {})[queue] = records[0]
            else:
                for piece, record in self._changing(queue):
                    said.setdefault(piece, {})[queue] = record
        return said

    def _changing(self, queue: str) -> Iterator[tuple[int, Record]]:
        """The newest record of a queue in each six hours, as of `history.read_piece`."""
        asked = f"SELECT jobs FROM {_SOURCE} WHERE panda_queue = {literal(stored_name(queue))} GROUP BY *"  # noqa: S608  quoted
        newest: dict[int, tuple[tuple[int, int], Any]] = {}
        for series in self._influx.stream(asked):
            if not _usable(series.tags):
                continue
            record = read_metadata(series.tags)
            for piece, times in itertools.groupby((row[0] for row in series.values), _piece):
                ends = list(times)
                order = ends[-1], ends[0]
                if piece not in newest or order >= newest[piece][0]:
                    newest[piece] = order, record
        yield from ((piece, record) for piece, (_, record) in newest.items())

    def _days(self, start: np.datetime64, end: np.datetime64) -> Iterator[tuple[np.datetime64, np.datetime64]]:
        """The part of each UTC day of [start, end) in which there are points."""
        have = self.span()
        if have is None:
            return
        low, high = max(self.tick.ceil(start), have[0]), min(self.tick.ceil(end), have[1] + self.tick.delta)
        while low < high:
            midnight = (low.astype("datetime64[D]") + np.timedelta64(1, "D")).astype("datetime64[s]")
            yield low, min(midnight, high)
            low = midnight


def _whole_days(start: np.datetime64, end: np.datetime64) -> tuple[np.datetime64, np.datetime64]:
    """The UTC days that [start, end) touches."""
    last = (end - np.timedelta64(1, "s")).astype("datetime64[D]")
    return start.astype("datetime64[D]"), last + np.timedelta64(1, "D")


def _usable(tags: Mapping[str, str]) -> bool:
    """Whether points with these tags are counts of a queue."""
    return bool(tags.get("panda_queue") and tags.get("job_status"))


def _piece(time: int) -> int:
    """The number of the six hours in which a time in ns is."""
    return time // (NS * int(_PIECE.astype(np.int64)))


def _ns(time: np.datetime64) -> int:
    return int(time.astype("datetime64[s]").astype(np.int64)) * NS
