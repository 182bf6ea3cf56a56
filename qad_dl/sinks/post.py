"""A POST of JSON, with errors in one line that never shows the address: a webhook's address is its password."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import requests

from qad_dl.errors import SinkDownError, SinkError

if TYPE_CHECKING:
    from pathlib import Path

CONNECT_S: Final = 5.0
READ_S: Final = 15.0

RETRIED: Final = frozenset({408, 425, 429})
"""Refusals that are none: the same may be taken later."""


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
        try:
            answer = requests.post(
                self.url,
                json=body,
                auth=(self.user, self.password) if self.user else None,
                timeout=(CONNECT_S, READ_S),
                verify=True if self.ca_file is None else str(self.ca_file),
                allow_redirects=False,
            )
        except (requests.RequestException, OSError) as error:
            msg = f"{self.what} at {self.host}: {_said(error)}"
            raise SinkDownError(msg) from None  # the cause names the whole address
        if answer.ok and not answer.is_redirect:
            return
        said = " ".join(answer.text[:400].split())[:160].replace(self.url, "(its address)")
        msg = f"{self.what} at {self.host}: {answer.status_code} {answer.reason}: {said}"
        down = answer.status_code >= 500 or answer.status_code in RETRIED
        raise SinkDownError(msg) if down else SinkError(msg)

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
