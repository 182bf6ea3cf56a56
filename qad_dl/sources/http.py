"""One way to ask a server over HTTP: time limits, tries, a hard deadline over all of them, and no secret in any error.

An answer is whole or there is none: a body that ends early, that trickles past the deadline or that is larger than
anything we expect is an error like a server that is down.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import requests
import urllib3

from qad_dl.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONNECT_S: Final = 10.0
READ_S: Final = 60.0
TRIES: Final = 3
PAUSE_S: Final = 2.0
"""Mean pause before the second try; doubled before each further one, and spread by half of it to either side."""

MOST_BYTES: Final = 256 << 20
CHUNK: Final = 1 << 16

AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that may be another one at the next try."""


@dataclass(frozen=True)
class Answer:
    """What a server said.

    Attributes:
        status: 200, or 304 where nothing has changed.
        headers: of the answer; names in any case.
        body: whole.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Client:
    """Asks servers.

    Attributes:
        session: carries certificates and connections.
        until: `time.monotonic()` after which nothing is tried any more.
        rng: spreads the pauses, so that many collectors do not come back at once.
        pause: how to wait.
    """

    session: requests.Session = field(default_factory=requests.Session, repr=False)
    until: float = float("inf")
    rng: random.Random = field(default_factory=random.Random, repr=False)
    pause: Callable[[float], None] = field(default=time.sleep, repr=False)

    def get(
        self, url: str, params: Mapping[str, str | int] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask until there is a whole answer of status 200 or 304, at most `TRIES` times.

        Raises:
            SourceError: there is none; one line that names the server, the path and the last trouble.
        """
        where, said = shown(url), ""
        for attempt in range(TRIES):
            if attempt:
                self.pause(min(self._pause(attempt), max(0.0, self.until - time.monotonic())))
            if time.monotonic() >= self.until:
                said = f"{said or 'not tried'}; the deadline has passed"
                break
            try:
                return self._once(url, params, headers)
            except _AgainError as error:
                said = str(error)
            except requests.RequestException as error:
                said = brief(error)
        msg = f"{where}: {said} (tried {attempt + 1} times): see whether it is up and reachable from here"
        raise SourceError(msg)

    def _pause(self, attempt: int) -> float:
        return float(PAUSE_S * 2 ** (attempt - 1) * self.rng.uniform(0.5, 1.5))

    def _once(self, url: str, params: Mapping[str, str | int] | None, headers: Mapping[str, str] | None) -> Answer:
        left = max(0.1, self.until - time.monotonic())
        limits = min(CONNECT_S, left), min(READ_S, left)
        with self.session.get(url, params=params, headers=headers, timeout=limits, stream=True) as answer:
            if answer.status_code in AGAIN:
                msg = f"HTTP {answer.status_code} {text_of(answer.raw.read(400, decode_content=True))}"
                raise _AgainError(msg)
            body = self._body(answer)
            if answer.status_code not in (200, 304):
                msg = f"{shown(url)}: HTTP {answer.status_code} {text_of(body)}"
                raise SourceError(msg)
            return Answer(answer.status_code, answer.headers, body)

    def _body(self, answer: requests.Response) -> bytes:
        pieces, size = [], 0
        try:
            # What has arrived, not a full chunk: a server that trickles would never fill one.
            while piece := answer.raw.read1(CHUNK, decode_content=True):
                size += len(piece)
                if size > MOST_BYTES:
                    msg = f"the answer is larger than {MOST_BYTES >> 20} MB"
                    raise _AgainError(msg)
                if time.monotonic() >= self.until:
                    msg = "the answer took longer than the deadline"
                    raise _AgainError(msg)
                pieces.append(piece)
        except urllib3.exceptions.HTTPError as error:
            msg = f"broke off in its answer after {size} bytes"
            raise _AgainError(msg) from error
        expected = answer.headers.get("Content-Length")
        if expected and not answer.headers.get("Content-Encoding") and size != int(expected):
            msg = f"broke off in its answer after {size} of {expected} bytes"
            raise _AgainError(msg)
        return b"".join(pieces)


class _AgainError(Exception):
    """This try gave nothing; the next one may."""


def shown(url: str) -> str:
    """A URL as it may be shown: without user, password and query."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


def text_of(body: bytes) -> str:
    """The beginning of a body that was not what was asked for, on one line."""
    return " ".join(body[:400].decode("utf-8", errors="replace").split())[:120]


def brief(error: requests.RequestException) -> str:
    """What went wrong, in few words and without the address, which may hold a secret."""
    names = {
        requests.exceptions.SSLError: "its certificate is not trusted",
        requests.exceptions.ConnectTimeout: "does not answer",
        requests.exceptions.ReadTimeout: "began no answer, or stopped in it, for too long",
        requests.exceptions.ChunkedEncodingError: "broke off in its answer",
        requests.exceptions.ConnectionError: "cannot be reached",
    }
    said = next((text for kind, text in names.items() if isinstance(error, kind)), type(error).__name__)
    reason = getattr(error.args[0], "reason", None) if error.args else None
    detail = f" ({' '.join(str(reason).split())[-100:]})" if reason is not None else ""
    return said + detail
