"""Who asks, and whether they may: every request is looked at before anything is done with it.

Where a proxy names the users (`[review] user_header`), only the proxy is answered, and only what it says of the user
counts. Elsewhere the page is on the loopback of one machine, and whoever writes gives a name. Whoever writes must also
come from the page: with its address as Origin, and with the token that only the page's own reader can know.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ipaddress
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from qad_dl.atomic import temporary_name
from qad_dl.errors import InputError, StoreError
from qad_dl.labels.event import author_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from serving.config import Config

LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
TOKEN_HEADER: Final = "X-QAD-CSRF"  # noqa: S105  the name of a header
SECRET_BYTES: Final = 32


class RefusedError(Exception):
    """A request that is not answered.

    Attributes:
        status: the HTTP status that says so.
        text: why, in one line.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True)
class Guard:
    """The rules of one server.

    Attributes:
        user_header: header in which a proxy names the user; '' where whoever writes gives a name.
        proxies: networks from which requests come, where there is such a header.
        origins: addresses under which people see the page, lower case.
        hosts: hosts that a request may name, lower case, with their port where it is not the usual one.
        secret: what tokens are made with.
    """

    user_header: str
    proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    origins: frozenset[str]
    hosts: frozenset[str]
    secret: bytes

    @classmethod
    def of(cls, config: Config, secret: bytes) -> Guard:
        """The rules that follow from a config."""
        review = config.review
        own = {f"{host}:{review.port}" for host in ("127.0.0.1", "localhost", "[::1]", _in_url(review.host))}
        outside = {origin_of(url) for url in (*review.origins, config.message.review_url) if url}
        seen = outside if review.user_header else outside | {f"http://{host}" for host in own}
        return cls(
            user_header=review.user_header,
            proxies=tuple(map(ipaddress.ip_network, review.proxies or LOOPBACK)),
            origins=frozenset(seen),
            hosts=frozenset(own | {origin.split("//")[1] for origin in outside}),
            secret=secret,
        )

    def enter(self, peer: str, host: str) -> None:
        """Whether a request is answered at all.

        Args:
            peer: the address that it comes from.
            host: the host that it names: another one is a name that somebody made point here.

        Raises:
            RefusedError: it is not.
        """
        if host.lower() not in self.hosts:
            raise RefusedError(421, "this server has another name")
        if self.user_header and not any(_address(peer) in network for network in self.proxies):
            raise RefusedError(403, "this server is reached through its proxy only")

    def user(self, header: Callable[[str], str]) -> str:
        """Who asks, by the proxy's word; '' where nobody is named.

        Args:
            header: the value of a header, '' where it is not there.

        Raises:
            RefusedError: the name cannot be read, or there are two.
        """
        if not self.user_header:
            return ""
        value = header(self.user_header).strip()
        if "," in value:  # how a header that is there twice comes in: one of them was not the proxy's
            raise RefusedError(401, f"{self.user_header} names two users")
        try:
            return author_of(value.encode("latin-1").decode("utf-8"), self.user_header) if value else ""
        except (UnicodeError, InputError) as error:
            raise RefusedError(401, f"{self.user_header} is not a name that can be read") from error

    def write(self, header: Callable[[str], str], user: str) -> None:
        """Whether whoever asks may write.

        Args:
            header: the value of a header, '' where it is not there.
            user: who asks.

        Raises:
            RefusedError: the request does not come from the page, or nobody is named.
        """
        if header("Origin").lower() not in self.origins:
            raise RefusedError(403, "Origin is not the page's: labels are written from the page itself")
        if header("Sec-Fetch-Site") not in {"", "same-origin"}:
            raise RefusedError(403, "Sec-Fetch-Site is not same-origin: labels are written from the page itself")
        if not hmac.compare_digest(header(TOKEN_HEADER).encode(), self.token(user).encode()):
            raise RefusedError(403, f"{TOKEN_HEADER} is not the page's; load the page again")
        if self.user_header and not user:
            raise RefusedError(401, "nobody is named: log in")

    def token(self, user: str) -> str:
        """What the page of a user sends with all that it writes; the same after a restart."""
        return hmac.new(self.secret, f"qad-csrf\0{user}".encode(), hashlib.sha256).hexdigest()


def origin_of(url: str) -> str:
    """Scheme and host of an address as browsers write them in Origin."""
    parts = urlsplit(url.lower())
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    host = _in_url(parts.hostname or "")
    return f"{parts.scheme}://{host}" if parts.port in (None, usual) else f"{parts.scheme}://{host}:{parts.port}"


def read_secret(path: Path) -> bytes:
    """What tokens are made with: kept, so that a page stays good over a restart; made if there is none.

    Raises:
        StoreError: it cannot be read or made, or is none of ours.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _make_secret(path)
        secret = path.read_bytes()
    except OSError as error:
        msg = f"{path}: cannot be read or made ({error.strerror or error})"
        raise StoreError(msg) from error
    if len(secret) != SECRET_BYTES:
        msg = f"{path}: is no secret of this server; remove it, and pages that are open are loaded again"
        raise StoreError(msg)
    return secret


def _make_secret(path: Path) -> None:
    """Whole or not at all, and for nobody else's eyes at any moment; of two servers that start at once one makes it."""
    temporary = temporary_name(path)
    with contextlib.suppress(FileExistsError), open(os.open(temporary, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:  # noqa: PTH123
        file.write(secrets.token_bytes(SECRET_BYTES))
        file.flush()
        os.fsync(file.fileno())
        os.link(temporary, path)
    temporary.unlink()


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _address(peer: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address; one of IPv4 that came in by IPv6 is one of IPv4."""
    address = ipaddress.ip_address(peer)
    return getattr(address, "ipv4_mapped", None) or address
