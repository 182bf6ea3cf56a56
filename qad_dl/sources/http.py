"""One way to ask a server over HTTP: time limits, tries, a hard deadline over all of them, and no secret in any error.

An answer is whole or there is none: a body that ends early, that trickles past the deadline or that is larger than
anything we expect is an error like a server that is down.
"""

from __future__ import annotations

import json
import random
import ssl
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import requests

from qad_dl import __version__
from qad_dl.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

CONNECT_S: Final = 10.0
READ_S: Final = 60.0
TRIES: Final = 3
PAUSE_S: Final = 2.0
"""Mean pause before the second try; doubled before each further one, and spread by half of it to either side."""

MOST_BYTES: Final = 256 << 20
CHUNK: Final = 1 << 16

AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that may be another one at the next try."""

T = TypeVar("T")


class TryAgainError(Exception):
    """This answer is of no use, and the next one may be; `str` says why, without the address."""


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
        session: carries certificates and connections; see `open_session`.
        until: `time.monotonic()` after which nothing is tried any more, and nothing waited for.
        rng: spreads the pauses, so that many collectors do not come back at once.
        pause: how to wait.
        connect_s, read_s: how long one try waits for a connection, and for the next bytes.
        tries: how often it is tried at most.
    """

    session: requests.Session = field(default_factory=lambda: open_session(), repr=False)
    until: float = float("inf")
    rng: random.Random = field(default_factory=random.Random, repr=False)
    pause: Callable[[float], None] = field(default=time.sleep, repr=False)
    connect_s: float = CONNECT_S
    read_s: float = READ_S
    tries: int = TRIES

    def get(
        self,
        url: str,
        read: Callable[[Answer], T],
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """Ask until there is a whole answer of status 200 or 304 that can be read.

        Args:
            url: of the document.
            read: makes something of an answer; raises `TryAgainError` where it cannot.
            params: of the query.
            headers: of the request.

        Raises:
            SourceError: there is none; one line that names the server, the path and the last trouble.
        """
        where, said, tried = shown(url), "", 0
        while tried < self.tries and time.monotonic() < self.until:
            tried += 1
            try:
                return read(self._within(lambda: self._once(url, params, headers)))
            except TryAgainError as error:
                said = str(error)
            except requests.exceptions.SSLError as error:
                msg = f"{where}: {_untrusted(error)}"
                raise SourceError(msg) from None  # the cause may show the whole address
            except (requests.RequestException, OSError) as error:
                said = brief(error)
            if tried < self.tries:
                self.pause(max(0.0, min(self._pause(tried), self.until - time.monotonic())))
        if tried < self.tries:
            said = f"{said}; the time for it is over" if said else "the time for it was over before it was asked"
        msg = f"{where}: {said} (tried {tried} {'time' if tried == 1 else 'times'})"
        raise SourceError(msg)

    def _pause(self, tried: int) -> float:
        return float(PAUSE_S * 2 ** (tried - 1) * self.rng.uniform(0.5, 1.5))

    def _within(self, ask: Callable[[], Answer]) -> Answer:
        """Wait for an answer until the deadline and no longer.

        It is asked in a thread of its own: the limits of a socket know nothing of a name server that is silent, nor of
        a byte every now and then. A thread that is given up ends with its socket, at the latest with the process.
        """
        future: Future[Answer] = Future()

        def work() -> None:
            try:
                future.set_result(ask())
            except BaseException as error:  # noqa: BLE001  it is raised again by whoever waits
                future.set_exception(error)

        threading.Thread(target=work, daemon=True, name="qad-get").start()
        try:
            return future.result(None if self.until == float("inf") else max(0.0, self.until - time.monotonic()))
        except FutureTimeoutError:
            raise TryAgainError("no whole answer") from None

    def _once(self, url: str, params: Mapping[str, str | int] | None, headers: Mapping[str, str] | None) -> Answer:
        left = max(0.1, self.until - time.monotonic())
        limits = min(self.connect_s, left), min(self.read_s, left)
        # Given with the request: REQUESTS_CA_BUNDLE in the environment goes before what a session says.
        verify = self.session.verify if isinstance(self.session.verify, str) else None
        with self.session.get(
            url, params=params, headers=headers, timeout=limits, verify=verify, stream=True
        ) as answer:
            body = self._body(answer)
        if answer.status_code in (200, 304):
            return Answer(answer.status_code, answer.headers, body)
        said = f"HTTP {answer.status_code} {text_of(body)!r}"
        if answer.status_code in AGAIN:
            raise TryAgainError(said)
        msg = f"{shown(url)}: {said}: {_ADVICE.get(answer.status_code, _NO_ADVICE)}"
        raise SourceError(msg)

    def _body(self, answer: requests.Response) -> bytes:
        pieces, size = [], 0
        for piece in answer.iter_content(CHUNK):
            size += len(piece)
            if size > MOST_BYTES:
                msg = f"its answer is larger than {MOST_BYTES >> 20} MB"
                raise TryAgainError(msg)
            if time.monotonic() >= self.until:
                raise TryAgainError("no whole answer")
            pieces.append(piece)
        return b"".join(pieces)


_ADVICE: Final = {
    401: "see to the token or client certificate",
    403: "see to the token or client certificate, and whether the url is right",
    404: "see whether the url is right",
}
_NO_ADVICE: Final = "see whether the url is right and the server well"


def open_session(
    ca_file: Path | None = None, client_cert: Path | None = None, client_key: Path | None = None
) -> requests.Session:
    """A session that trusts the system's certificates, or those of `ca_file` instead.

    A `.netrc` is not looked at: a password that somebody keeps there for a host would take the place of our token.

    Raises:
        ConfigError: a file cannot be read, or is no certificate or key.
    """
    session = requests.Session()
    session.headers["User-Agent"] = f"qad-dl/{__version__}"
    session.auth = _as_it_is
    if ca_file is not None:
        check_certificates(ca_file)
        session.verify = str(ca_file)
    if client_cert is not None:
        check_certificates(None, client_cert, client_key)
        session.cert = str(client_cert) if client_key is None else (str(client_cert), str(client_key))
    return session


def check_certificates(ca_file: Path | None, client_cert: Path | None = None, client_key: Path | None = None) -> None:
    """Look whether files are what they are given as.

    Raises:
        ConfigError: one cannot be read, or is no certificate or key.
    """
    given = ", ".join(str(path) for path in (ca_file, client_cert, client_key) if path is not None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if ca_file is not None:
            context.load_verify_locations(ca_file)
        if client_cert is not None:
            context.load_cert_chain(client_cert, client_key, password="")  # asks nobody for it
    except ssl.SSLError as error:
        msg = f"{given}: no certificate in PEM form, or a key that does not fit it or has a password ({_reason(error)})"
        raise ConfigError(msg) from error
    except OSError as error:
        msg = f"{given}: cannot be read ({error.strerror or error})"
        raise ConfigError(msg) from error


def read_json(answer: Answer) -> Any:
    """The JSON of an answer; `TryAgainError` where it is something else."""
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        msg = f"answered something else than JSON: {text_of(answer.body)!r}"
        raise TryAgainError(msg) from None


def shown(url: str) -> str:
    """A URL as it may be shown: without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def text_of(body: bytes) -> str:
    """The beginning of a body that was not what was asked for, on one line."""
    return " ".join(body[:400].decode("utf-8", errors="replace").split())[:120]


def brief(error: BaseException) -> str:
    """What went wrong, in few words and without the address, which may hold a secret."""
    names: dict[type[BaseException], str] = {
        requests.exceptions.ProxyError: "its proxy cannot be reached",
        requests.exceptions.ConnectTimeout: "does not answer",
        requests.exceptions.ReadTimeout: "began no answer, or stopped in it, for too long",
        requests.exceptions.ChunkedEncodingError: "broke off in its answer",
        requests.exceptions.ContentDecodingError: "sent an answer that cannot be decompressed",
        requests.exceptions.TooManyRedirects: "sends us round in circles",
        requests.exceptions.ConnectionError: "cannot be reached",
    }
    said = next((text for kind, text in names.items() if isinstance(error, kind)), type(error).__name__)
    inner = _innermost(error)
    detail = getattr(inner, "strerror", None) if isinstance(inner, OSError) else None
    return f"{said} ({detail})" if detail else said


def _untrusted(error: BaseException) -> str:
    """A trouble with TLS."""
    inner = _innermost(error)
    if isinstance(inner, ssl.SSLCertVerificationError):
        why = inner.verify_message.rstrip(".")
        return f"its certificate is not trusted ({why}): name the authority that signed it as ca_file, or mend the url"
    return f"TLS fails ({_reason(inner)}): see to the port, to http:// or https://, and to the client certificate"


def _reason(error: BaseException) -> str:
    return str(getattr(error, "reason", None) or " ".join(str(error).split())[:100] or type(error).__name__)


def _innermost(error: BaseException) -> BaseException:
    """Where it began: libraries wrap one error into another, as arguments, reasons and causes."""
    seen = {id(error)}
    while True:
        reason = getattr(error, "reason", None)
        inside = [reason, *error.args, error.__cause__, error.__context__]
        found = next((e for e in inside if isinstance(e, BaseException) and id(e) not in seen), None)
        if found is None:
            return error
        seen.add(id(found))
        error = found


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
