"""What makes no sense in a collector's configuration (`serving.config`) although each key alone can be read."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from qad_dl.bundles import label_of
from qad_dl.errors import ConfigError
from qad_dl.sections import OTHERS_MAY, bad, one_of, others_may
from qad_dl.sinks.configured import check_mail_address, check_policy

if TYPE_CHECKING:
    from pathlib import Path

    from serving.config import Config

SOURCES: Final = ("panda", "influxdb", "files")


def check_config(config: Config) -> None:
    """Refuse what one key alone does not show.

    Raises:
        ConfigError: one line with the file, the key, and what is wrong with it.
    """
    one_of(config.path, "source.kind", config.source.kind, SOURCES)
    if not config.bundles:
        raise bad(config.path, "bundles", "names no bundle; give the folders of trained bundles")
    twice = [name for name, n in Counter(map(label_of, config.bundles)).items() if n > 1]
    if twice:
        raise bad(config.path, "bundles", f"names two folders called {twice[0]!r}; they are told apart by that name")
    if config.source.kind != "panda" and not config.source.url:
        raise bad(config.path, "source.url", f"is missing; kind {config.source.kind!r} needs it")
    mail = config.sink.mail
    if mail:
        one_of(config.path, "sink.mail.tls", mail.tls, ("none", "starttls", "tls"))
        check_mail_address(config.path, "sink.mail.sender", mail.sender)
    _check_numbers(config)
    _check_addresses(config)
    _check_certificates(config)
    _check_review(config)
    check_policy(config.path, config.policy_config, config.recipients)


def _check_numbers(config: Config) -> None:
    """Numbers are in their range."""
    numbers: list[tuple[str, float, float, float]] = [
        *((f"retention.{name}", value, 0, 36500) for name, value in config.retention._asdict().items()),
        ("source.history_days", config.source.history_days, 1, 3650),
        ("review.port", config.review.port, 1, 65535),
        ("review.days", config.review.days, 1, 60),
        ("sink.mail.port", config.sink.mail.port if config.sink.mail else 25, 1, 65535),
    ]
    for key, value, low, high in numbers:
        if not low <= value <= high:
            raise bad(config.path, key, f"is {value}; it can be {low} to {high}")
    for name in ("seconds", "fetch_seconds"):
        if not 0 < getattr(config.deadline, name) < 600:
            raise bad(config.path, f"deadline.{name}", "must be above 0 and below 600, the length of a tick")


def _check_addresses(config: Config) -> None:
    """URLs are URLs, without a password in them."""
    names = ("source", "cric", "downtimes", "metrics", "message")
    sections = [(name, getattr(config, name)) for name in names]
    sections += [(f"sink.{name}", sink) for name, sink in config.sink._asdict().items()]
    for where, section in sections:
        for name in ("url", "federations_url", "pushgateway", "review_url"):
            value = getattr(section, name, "")
            files = where == "source" and config.source.kind == "files"
            if isinstance(value, str) and value and not files:
                _check_address(config.path, f"{where}.{name}", value)


def _check_address(path: Path, key: str, value: str) -> None:
    try:
        parts = urlsplit(value)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise bad(path, key, f"is {value.rpartition('@')[2]!r}; write an address like https://host.example.org:8443")
    if parts.username or parts.password:
        raise bad(path, key, "holds a user or a password; put them into keys of their own")
    if parts.query or parts.fragment:
        raise bad(path, key, f"is {value!r}; leave out what begins with ? or #")


def _check_certificates(config: Config) -> None:
    """Certificates can be read, and private keys by their owner alone."""
    sections = [("source", config.source), ("cric", config.cric)]
    sections += [(f"sink.{name}", sink) for name, sink in config.sink._asdict().items()]
    for where, section in sections:
        ca_file = getattr(section, "ca_file", None)
        if ca_file is not None:
            _certificates(config.path, f"{where}.ca_file", ca_file, None, None)
    cric = config.cric
    if cric is not None and cric.client_key is not None:
        if cric.client_cert is None:
            raise bad(config.path, "cric.client_cert", "is missing; client_key is the key of a certificate")
        if cric.client_key.exists() and cric.client_key.stat().st_mode & OTHERS_MAY:
            raise others_may(config.path, "cric.client_key", cric.client_key)
    if cric is not None and cric.client_cert is not None:
        _certificates(config.path, "cric.client_cert", None, cric.client_cert, cric.client_key)


def _certificates(path: Path, key: str, ca_file: Path | None, cert: Path | None, private: Path | None) -> None:
    from qad_dl.sources.http import check_certificates

    try:
        check_certificates(ca_file, cert, private)
    except ConfigError as error:
        raise bad(path, key, f"names {error}") from error


def _check_review(config: Config) -> None:
    """The page listens where nobody can write under another's name."""
    review, path = config.review, config.path
    if review.host != "localhost" and not _is_address(review.host):
        raise bad(path, "review.host", f"is {review.host!r}; give an address of this machine, like 127.0.0.1")
    if review.user_header and not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", review.user_header):
        raise bad(path, "review.user_header", f"is {review.user_header!r}; write a header like X-Remote-User")
    if not review.loopback and not review.user_header:
        what = f"is {review.host!r}, and user_header is not given: everybody could write under any name"
        raise bad(path, "review.host", f"{what}; listen on 127.0.0.1 behind a proxy that names its users")
    if not review.loopback and not review.proxies:
        raise bad(path, "review.proxies", f"is missing; on {review.host} it must say whose user_header counts")
    if review.bundle:
        one_of(path, "review.bundle", review.bundle, tuple(map(label_of, config.bundles)))
    _check_seen(config)


def _check_seen(config: Config) -> None:
    """Who asks for the page, and under which address."""
    review, path = config.review, config.path
    for proxy in review.proxies:
        if not _is_network(proxy):
            raise bad(path, "review.proxies", f"names {proxy!r}; give addresses or networks, like 192.0.2.7")
    for origin in review.origins:
        _check_address(path, "review.origins", origin)
        if urlsplit(origin).path:
            raise bad(path, "review.origins", f"is {origin!r}; leave out what follows the host")
    if review.user_header and not (review.origins or config.message.review_url):
        raise bad(path, "review.origins", "is missing; give the address under which people see the page")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True
