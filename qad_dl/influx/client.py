"""A client of InfluxDB 1.x over `requests`: queries with nanoseconds, writes in batches, every error in one line.

What the server says is taken at its word only after three looks: the status of the answer, an error inside an answer of
status 200, and an error per statement inside its results. Of a batch that is refused in part the rest is stored, so a
batch may be sent again: a point with the same tags and time takes the place of the first.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import requests

from qad_dl.errors import InfluxDownError, InfluxError
from qad_dl.influx.line import ends_in_quotes, read_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

CONNECT_S: Final = 10.0
READ_S: Final = 60.0
TRIES: Final = 3
PAUSE_S: Final = 1.0
"""Mean pause before the second try; before the third it is three times as long."""

BATCH_POINTS: Final = 5000
BATCH_BYTES: Final = 4 << 20
"""A batch is sent when it holds this many points or bytes: the server refuses bodies of 25 MB."""

_AGAIN: Final = frozenset({429, 500, 502, 503, 504})
_SHOWN: Final = 200
_TOO_OLD: Final = "points beyond retention policy"
_CONFLICT: Final = re.compile(r'input field "(?P<field>[^"]*)" on measurement .* already exists as type (?P<type>\w+)')


@dataclass(frozen=True)
class Series:
    """A series of a query's answer.

    Attributes:
        name: its measurement.
        tags: the tags that were grouped by, as they were before they were written; unset is ''.
        columns: `time` first, in ns since the epoch.
        values: one row per point, as JSON gives them: None where a field is unset.
    """

    name: str
    tags: Mapping[str, str]
    columns: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Written:
    """What became of points.

    Attributes:
        points: how many were sent.
        too_old: batches of which the server dropped points that its retention policy would delete at once.
    """

    points: int = 0
    too_old: int = 0

    def __add__(self, other: Written) -> Written:
        return Written(self.points + other.points, self.too_old + other.too_old)


@dataclass(frozen=True)
class Influx:
    """A database on a server.

    Attributes:
        url: such as `http://127.0.0.1:8086`.
        database: its name; need not exist yet.
        username, password: if the server wants them.
        ca: file of the certificates to trust in place of the system's.
        until: `time.monotonic()` after which nothing more is tried.
        session: the HTTP session.
        pause: how to wait.
        rng: spreads the pauses, so that many collectors do not come back at once.
    """

    url: str
    database: str
    username: str = ""
    password: str = field(default="", repr=False)
    ca: str | None = None
    until: float = float("inf")
    session: requests.Session = field(default_factory=requests.Session, repr=False, compare=False)
    pause: Callable[[float], None] = field(default=time.sleep, repr=False, compare=False)
    rng: random.Random = field(default_factory=random.Random, repr=False, compare=False)

    def before(self, until: float) -> Influx:
        """The same, with another deadline."""
        return replace(self, until=until)

    def version(self) -> str:
        """The server's version; `InfluxDownError` if it does not answer."""
        return self._send("GET", "/ping").headers.get("X-Influxdb-Version", "unknown")

    def query(self, statement: str) -> list[Series]:
        """Ask one statement, or several separated by `;`: the series of all answers.

        Raises:
            InfluxError: the server refuses it, for all or in part; `InfluxDownError` if it does not answer.
        """
        return list(self.stream(statement))

    def stream(self, statement: str) -> Iterator[Series]:
        """As `query`, one series after the other, so that an answer of any size fits in memory; raises as it goes.

        A series of more than 10,000 points comes in pieces.
        """
        form = {"q": statement, "db": self.database, "epoch": "ns", "chunked": "true"}
        response = self._send("POST", "/query", data=form, stream=True)
        try:
            for document in response.iter_lines(chunk_size=1 << 16):
                self._in_time()
                if document:
                    yield from self._series(json.loads(document), statement)
        except (requests.RequestException, ValueError) as error:
            msg = f"{self.name}: its answer breaks off ({_brief(error)})"
            raise InfluxDownError(msg, slow=True) from error
        finally:
            response.close()

    def write(self, lines: Iterable[str], policy: str) -> Written:
        """Write points to a retention policy, in batches; sending them again changes nothing.

        Args:
            lines: points in line protocol with times in ns.
            policy: name of the retention policy.

        Raises:
            InfluxError: points are refused; what was sent before them is stored.
            InfluxDownError: the server does not answer, or the deadline is over.
        """
        total = Written()
        for batch in _batches(lines):
            total += self._write_batch(batch, policy)
        return total

    def _write_batch(self, lines: list[str], policy: str) -> Written:
        """Send one batch; where a field was of whole numbers before we came, its numbers go as whole numbers."""
        whole: set[str] = set()
        while True:
            body = "\n".join(_as_whole(line, whole) for line in lines) if whole else "\n".join(lines)
            parameters = {"db": self.database, "rp": policy, "precision": "ns"}
            response = self._send("POST", "/write", params=parameters, data=body.encode(), accept={204, 400})
            if response.status_code != 400:
                return Written(len(lines))
            said = _said(response)
            if _TOO_OLD in said:
                return Written(len(lines), 1)
            conflict = _CONFLICT.search(said)
            if conflict is None or conflict["type"] != "integer" or conflict["field"] in whole:
                msg = f"{self.name}: refuses points ({said}); see whether something else writes this measurement"
                raise InfluxError(msg)
            whole.add(conflict["field"])

    def _send(
        self,
        method: str,
        path: str,
        *,
        accept: set[int] | frozenset[int] = frozenset({200, 204}),
        **request: Any,
    ) -> requests.Response:
        """Send a request, up to three times, and return an answer whose status is one of `accept`."""
        for attempt in itertools.count(1):
            self._in_time()
            answer = self._attempt(method, path, accept, request)
            if isinstance(answer, requests.Response):
                return answer
            if attempt >= TRIES:
                raise answer
            self.pause(PAUSE_S * 3 ** (attempt - 1) * self.rng.uniform(0.5, 1.5))
        raise AssertionError

    def _attempt(
        self, method: str, path: str, accept: set[int] | frozenset[int], request: Mapping[str, Any]
    ) -> requests.Response | InfluxError:
        """One try: the answer, or the error to raise if it was the last; raises what another try would not mend."""
        try:
            response = self._once(method, path, request)
        except requests.exceptions.SSLError as error:
            msg = f"{self.name}: its certificate is not trusted ({_brief(error)}); give its authority's file as ca"
            raise InfluxError(msg) from error
        except requests.exceptions.ReadTimeout as error:
            msg = f"{self.name}: gives no answer within {READ_S:g} s; see what keeps it busy"
            raise InfluxDownError(msg, slow=True) from error
        except requests.RequestException as error:
            msg = f"{self.name}: cannot be reached ({_brief(error)}); see whether it runs and the url is right"
            return InfluxDownError(msg)
        if response.status_code in accept:
            return response
        if response.status_code not in _AGAIN:
            raise self._refusal(response)
        return InfluxDownError(f"{self.name}: answers {response.status_code}: {_said(response)}")

    def _once(self, method: str, path: str, request: Mapping[str, Any]) -> requests.Response:
        """One try."""
        left = self.until - time.monotonic()
        return self.session.request(
            method,
            self.url.rstrip("/") + path,
            auth=(self.username, self.password) if self.username else None,
            verify=self.ca if self.ca else True,
            timeout=(min(CONNECT_S, max(left, 0.1)), min(READ_S, max(left, 0.1))),
            allow_redirects=False,
            **request,
        )

    def _in_time(self) -> None:
        """Stop at the deadline."""
        if time.monotonic() >= self.until:
            msg = f"{self.name}: the time for it is over; what is left is done at the next tick"
            raise InfluxDownError(msg)

    def _refusal(self, response: requests.Response) -> InfluxError:
        """The error for an answer that is not wanted."""
        said = f"{response.status_code}: {_said(response)}"
        if response.status_code in {401, 403}:
            return InfluxError(f"{self.name}: refuses the user {self.username!r} ({said}); see to name and password")
        if response.status_code == 404:
            return InfluxError(f"{self.name}: knows no such database or page ({said}); see to url and database")
        return InfluxError(f"{self.name}: answers {said}")

    def _series(self, document: Any, statement: str) -> Iterator[Series]:
        """The series of one document of an answer, if it holds no error."""
        results = document.get("results", []) if isinstance(document, dict) else []
        for error in [document.get("error"), *(result.get("error") for result in results)]:
            if error:
                msg = f"{self.name}: says {str(error)[:_SHOWN]!r} to {statement[:_SHOWN]!r}"
                raise InfluxError(msg)
        for result in results:
            for series in result.get("series", []):
                tags = {name: read_name(value) for name, value in series.get("tags", {}).items()}
                values = tuple(tuple(row) for row in series.get("values", []))
                yield Series(series.get("name", ""), tags, tuple(series["columns"]), values)

    @property
    def name(self) -> str:
        """What to call it in an error: without what may be secret in an address."""
        return f"InfluxDB {_CREDENTIALS.sub('//', self.url)} database {self.database!r}"


_CREDENTIALS: Final = re.compile(r"//[^/@]*@")


def literal(value: str) -> str:
    """A text in InfluxQL, with its quotes."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


def identifier(name: str) -> str:
    """The name of a measurement, policy, tag or field in InfluxQL, with its quotes."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _batches(lines: Iterable[str]) -> Iterator[list[str]]:
    """Cut points into batches; a point that would run into the next one is the last of its batch."""
    batch: list[str] = []
    size, runs_on = 0, False
    for line in lines:
        if batch and (len(batch) >= BATCH_POINTS or size + len(line) > BATCH_BYTES or runs_on):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line)
        runs_on = ends_in_quotes(line)
    if batch:
        yield batch


def _as_whole(line: str, fields: Iterable[str]) -> str:
    """A point whose `fields` go as whole numbers, where they are."""
    for name in fields:
        line = re.sub(rf"(?<=[ ,]){re.escape(name)}=(-?\d+)\.0(?=[ ,])", rf"{name}=\1i", line)
    return line


def _said(response: requests.Response) -> str:
    """What the server says, in short."""
    try:
        text = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        text = response.text
    return " ".join(text.split())[:_SHOWN]


def _brief(error: Exception) -> str:
    """The innermost reason of a failed request, without the address and what it may hold."""
    inner: BaseException = error
    while inner.__cause__ or inner.__context__:
        inner = inner.__cause__ or inner.__context__ or inner
    return f"{type(inner).__name__}: {' '.join(str(inner).split())[:_SHOWN]}"
