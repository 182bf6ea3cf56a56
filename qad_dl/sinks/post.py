"""A POST of JSON, with errors in one line that never shows the address: a webhook's address is its password."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import requests

from qad_dl.errors import SinkAccessError, SinkDownError, SinkError

if TYPE_CHECKING:
    from pathlib import Path

CONNECT_S: Final = 5.0
READ_S: Final = 15.0

RETRIED: Final = frozenset({408, 425, 429})
"""Refusals that are none: the same may be taken later."""

NOT_READ: Final = 501
"""An answer of some servers to a GET where they take posts only."""


@dataclass(frozen=True)
class Poster:
    """Where to post.

    Attributes:
        what: what it is called in errors.
        url: where.
        user, password: for basic authentication, where it wants any.
        ca_file: certificates to trust instead of the system's.
    """

    what: str
    url: str = field(repr=False)
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None

    def post(self, body: Any) -> None:
        """Send it.

        Raises:
            SinkDownError: nobody answers, or an answer that promises that it may work later.
            SinkError: it is refused.
        """
        answer = self._ask("POST", json=body)
        if answer.ok and not answer.is_redirect:
            return
        raise self._refusal(answer)

    def check(self, *, readable: bool) -> None:
        """See whether somebody is there who would take a post, without posting.

        Args:
            readable: whether the address can be read, too; a webhook's cannot, and says so in its own way.

        Raises:
            SinkDownError, SinkError: as `post`.
        """
        answer = self._ask("GET")
        refused = not answer.ok or answer.is_redirect
        down = answer.status_code >= 500 and answer.status_code != NOT_READ
        if refused and (readable or down):
            raise self._refusal(answer)

    def _ask(self, method: str, **more: Any) -> requests.Response:
        try:
            return requests.request(
                method,
                self.url,
                auth=(self.user, self.password) if self.user else None,
                timeout=(CONNECT_S, READ_S),
                verify=True if self.ca_file is None else str(self.ca_file),
                allow_redirects=False,
                **more,
            )
        except (requests.RequestException, OSError) as error:
            msg = f"{self.what} at {self.host}: {_said(error)}"
            untrusted = isinstance(error, requests.exceptions.SSLError)
            raise (SinkAccessError if untrusted else SinkDownError)(msg) from None  # the cause names the whole address

    def _refusal(self, answer: requests.Response) -> SinkError:
        said = " ".join(answer.text[:400].split())[:160].replace(self.url, "(its address)")
        msg = f"{self.what} at {self.host}: {answer.status_code} {answer.reason}: {said}"
        down = answer.status_code >= 500 or answer.status_code in RETRIED
        return SinkDownError(msg) if down else SinkError(msg)

    @property
    def host(self) -> str:
        """Host and port of the address."""
        parts = urlsplit(self.url)
        return parts.netloc.rpartition("@")[2] or "(no host)"


def _said(error: Exception) -> str:
    """What went wrong, without the address."""
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted; give the right address, or its CA as ca_file"
    if isinstance(error, requests.Timeout):
        return "does not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "cannot be reached"
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema):
        return "the address is none; it begins with https://"
    return type(error).__name__
