"""The collector's configuration: one TOML file (interfaces, section 9) as frozen dataclasses.

Each section is a dataclass below, and its fields are the keys that the section knows: a key that nobody knows is an
error that names the nearest one that somebody does. Paths are relative to the file that names them. A secret is never
written into the file: `KEY_file` names a file that only its owner may read, `KEY_env` a variable of the environment.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import stat
import tomllib
from collections import Counter
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Final, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from qad_dl.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCES: Final = ("panda", "influxdb", "files")
PANDA_URL: Final = "https://pandaserver.cern.ch:25443"
CRIC_URL: Final = "https://atlas-cric.cern.ch"
OTHERS_MAY: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Secret:
    """A password, token or address that nobody should see; `reveal` is the one way to it."""

    value: str = field(repr=False)

    def reveal(self) -> str:
        """The secret."""
        return self.value

    def __str__(self) -> str:
        return "(secret)"


@dataclass(frozen=True)
class SourceConfig:
    """`[source]`: where job counts come from.

    Attributes:
        kind: one of `SOURCES`.
        url: PanDA's server, or the InfluxDB; for files the folder they are dropped in.
        database: of the InfluxDB.
        user, password: of the InfluxDB, where it wants any.
        token: for PanDA, where it wants one; it does not.
        ca_file: certificates to trust instead of the system's.
        history_days: how much history the InfluxDB is asked for when the store is new.
    """

    kind: str
    url: str = ""
    database: str = "monit_jobs"
    user: str = ""
    password: Secret | None = None
    token: Secret | None = None
    ca_file: Path | None = None
    history_days: int = 30


@dataclass(frozen=True)
class CricConfig:
    """`[cric]`: where queue metadata come from.

    Attributes:
        url: of the server; its own paths are appended.
        federations_url: of the WLCG's CRIC with federations and pledges; none are fetched where it is empty.
        ca_file: certificates to trust instead of the system's.
        client_cert, client_key: certificate and key to show, where the server wants them; only their owner may read
            the key.
    """

    url: str = CRIC_URL
    federations_url: str = ""
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None


@dataclass(frozen=True)
class DowntimesConfig:
    """`[downtimes]`: where declared downtimes come from; CRIC's own where the section is absent.

    Attributes:
        url: of the server; its own path is appended.
    """

    url: str = ""


@dataclass(frozen=True)
class StateConfig:
    """`[state]`: what ticks leave for the next one.

    Attributes:
        path: a folder on a local disk; `state` beside the config where it is not given.
    """

    path: Path = Path("state")


@dataclass(frozen=True)
class DeadlineConfig:
    """`[deadline]`: how long a tick may take.

    Attributes:
        seconds: of the whole tick; must leave time before the next one.
        fetch_seconds: of all fetches together.
    """

    seconds: float = 480.0
    fetch_seconds: float = 300.0


@dataclass(frozen=True)
class MetricsConfig:
    """`[metrics]`: for Prometheus.

    Attributes:
        textfile: a `.prom` file in the folder of the node exporter's textfile collector.
        pushgateway: address of a gateway.
    """

    textfile: Path | None = None
    pushgateway: str = ""


@dataclass(frozen=True)
class RetentionConfig:
    """`[retention]`: days that are kept; 0 is for ever.

    Attributes:
        ticks, hours, days: of the embedded store; models train on its ticks.
        influxdb_ticks, influxdb_hours, influxdb_days: of the policies `10m`, `1h` and `1d` of the InfluxDB that is
            written to, when they are made; those that exist stay as they are.
    """

    ticks: int = 90
    hours: int = 730
    days: int = 0
    influxdb_ticks: int = 7
    influxdb_hours: int = 730
    influxdb_days: int = 0


@dataclass(frozen=True)
class ReviewConfig:
    """`[review]`: the page, live.

    Attributes:
        host, port: where it listens; elsewhere than on this machine's loopback only with `user_header`.
        user_header: header in which a proxy names the user; where it is empty whoever writes gives a name.
        proxies: addresses or networks whose `user_header` is believed; nobody else is answered then. This machine where
            it is empty.
        origins: addresses under which people see the page, like `https://qad.example.org`; that of `[message]
            review_url` counts too.
        labels: the file of labels.
        days: how many days are shown.
        bundle: whose scores are shown, by the name of its folder; the first of `bundles` where it is empty.
    """

    host: str = "127.0.0.1"
    port: int = 8085
    user_header: str = ""
    proxies: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    labels: Path = Path("labels.jsonl")
    days: int = 7
    bundle: str = ""

    @property
    def loopback(self) -> bool:
        """Whether it listens on this machine's loopback only."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback


@dataclass(frozen=True)
class MessageConfig:
    """`[message]`: what is told.

    Attributes:
        review_url: address of the review page, for links; no link where it is empty.
    """

    review_url: str = ""


@dataclass(frozen=True)
class QuietConfig:
    """`[quiet]`: hours in which only what is severe is told at once; the rest waits for their end.

    Attributes:
        start, end: time of day, `22:00`; the same for both is never.
        timezone: whose time of day.
        least_score: from this score on it is told all the same.
    """

    start: str = "00:00"
    end: str = "00:00"
    timezone: str = "UTC"
    least_score: float = 8.0


@dataclass(frozen=True)
class CapConfig:
    """`[cap]`: at most so many messages; what is more comes as one digest.

    Attributes:
        per_hour: messages per channel and hour; 0 is no cap.
    """

    per_hour: int = 12


@dataclass(frozen=True)
class RouteConfig:
    """`[[route]]`: who is told what. All routes that match count, and nobody is told twice.

    A sink without a route is told everything. The collector's own troubles go to a sink's own recipients, unless one
    of its routes matches everything or `kind = "monitor"`.

    Attributes:
        sink: `mail`, `mattermost`, `alertmanager`, `jsonl` or `apprise`.
        match: metadata that a queue of the incident must have, for example `{cloud = "DE"}`, all of them; or `kind`,
            `bundle`, `panda_queue`. Everything where empty.
        to: recipients (mail), channel (mattermost); those of the sink where empty.
    """

    sink: str
    match: dict[str, str] = field(default_factory=dict)
    to: tuple[str, ...] = ()


@dataclass(frozen=True)
class InfluxSink:
    """`[sink.influxdb]`: counts and scores are written back in QMonit's schema.

    Attributes:
        url, database: where to.
        user, password: where it wants any.
        ca_file: certificates to trust instead of the system's.
        jobs: also write the counts; no where QMonit itself writes them.
    """

    url: str
    database: str = "monit_jobs"
    user: str = ""
    password: Secret | None = None
    ca_file: Path | None = None
    jobs: bool = True


@dataclass(frozen=True)
class AlertmanagerSink:
    """`[sink.alertmanager]`: its address."""

    url: str
    user: str = ""
    password: Secret | None = None
    ca_file: Path | None = None


@dataclass(frozen=True)
class MailSink:
    """`[sink.mail]`: a mail server.

    Attributes:
        host, port: of the server.
        sender: address of the collector.
        to: recipients where no route names others.
        user, password: where the server wants any.
        tls: `none`, `starttls` or `tls`.
        ca_file: certificates to trust instead of the system's.
    """

    host: str
    sender: str
    to: tuple[str, ...]
    port: int = 25
    user: str = ""
    password: Secret | None = None
    tls: str = "none"
    ca_file: Path | None = None


@dataclass(frozen=True)
class MattermostSink:
    """`[sink.mattermost]`: an incoming webhook, whose address is a secret."""

    url: Secret
    ca_file: Path | None = None


@dataclass(frozen=True)
class JsonlSink:
    """`[sink.jsonl]`: a file to which a line is added for all that is told."""

    path: Path


@dataclass(frozen=True)
class AppriseSink:
    """`[sink.apprise]`: any other channel, by apprise's addresses, one a line; they are secrets."""

    urls: Secret


@dataclass(frozen=True)
class SinksConfig:
    """`[sink.NAME]`, each where it is given."""

    influxdb: InfluxSink | None = None
    alertmanager: AlertmanagerSink | None = None
    mail: MailSink | None = None
    mattermost: MattermostSink | None = None
    jsonl: JsonlSink | None = None
    apprise: AppriseSink | None = None


@dataclass(frozen=True)
class Config:
    """The whole file.

    Attributes:
        store: folder of the history; it is made if there is none.
        bundles: folders of the trained bundles, all scored at each tick.
        source: where counts come from.
        budget: false alarm episodes per queue and day that flags are set to.
        path: the file that it was read from.
    """

    store: Path
    bundles: tuple[Path, ...]
    source: SourceConfig
    budget: float = 0.01
    cric: CricConfig | None = None
    downtimes: DowntimesConfig | None = None
    state: StateConfig = StateConfig()
    deadline: DeadlineConfig = DeadlineConfig()
    metrics: MetricsConfig = MetricsConfig()
    retention: RetentionConfig = RetentionConfig()
    review: ReviewConfig = ReviewConfig()
    message: MessageConfig = MessageConfig()
    quiet: QuietConfig = QuietConfig()
    cap: CapConfig = CapConfig()
    route: tuple[RouteConfig, ...] = ()
    sink: SinksConfig = SinksConfig()
    path: Path = Path()

    @property
    def folder(self) -> Path:
        """The folder of a source of files."""
        return self.path.parent / Path(self.source.url).expanduser()


def read_config(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """Read and check a config.

    Args:
        path: the TOML file.
        environment: where `KEY_env` looks; `os.environ` if not given.

    Raises:
        ConfigError: one line with the file, the key, and what is wrong with it.
    """
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{path}: cannot be read as TOML ({' '.join(str(error).split())[:160]})"
        raise ConfigError(msg) from error
    reader = _Reader(path, os.environ if environment is None else environment)
    config: Config = reader.section(Config, document, "")
    _check(config)
    return config


def _check(config: Config) -> None:
    """What one key alone does not show."""
    _in(config, "source.kind", config.source.kind, SOURCES)
    if not config.bundles:
        raise _bad(config.path, "bundles", "names no bundle; give the folders of trained bundles")
    twice = [name for name, n in Counter(path.name for path in config.bundles).items() if n > 1]
    if twice:
        raise _bad(config.path, "bundles", f"names two folders called {twice[0]!r}; they are told apart by that name")
    if config.source.kind != "panda" and not config.source.url:
        raise _bad(config.path, "source.url", f"is missing; kind {config.source.kind!r} needs it")
    if not 0 < config.budget <= 1:
        raise _bad(config.path, "budget", f"is {config.budget}; give episodes per queue and day, 0.01 or so")
    _check_numbers(config)
    _check_addresses(config)
    _check_certificates(config)
    _check_telling(config)
    _check_review(config)


def _check_numbers(config: Config) -> None:
    """Numbers are in their range."""
    numbers: list[tuple[str, float, float, float]] = [
        *(
            (f"retention.{item.name}", getattr(config.retention, item.name), 0, 36500)
            for item in fields(config.retention)
        ),
        ("source.history_days", config.source.history_days, 1, 3650),
        ("review.port", config.review.port, 1, 65535),
        ("review.days", config.review.days, 1, 60),
        ("cap.per_hour", config.cap.per_hour, 0, 10000),
        ("sink.mail.port", config.sink.mail.port if config.sink.mail else 25, 1, 65535),
    ]
    for key, value, low, high in numbers:
        if not low <= value <= high:
            raise _bad(config.path, key, f"is {value}; it can be {low} to {high}")
    for name in ("seconds", "fetch_seconds"):
        if not 0 < getattr(config.deadline, name) < 600:
            raise _bad(config.path, f"deadline.{name}", "must be above 0 and below 600, the length of a tick")


def _check_addresses(config: Config) -> None:
    """URLs are URLs, without a password in them."""
    names = ("source", "cric", "downtimes", "metrics", "message")
    sections = [(name, getattr(config, name)) for name in names]
    sections += [(f"sink.{item.name}", getattr(config.sink, item.name)) for item in fields(config.sink)]
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
        raise _bad(path, key, f"is {value.rpartition('@')[2]!r}; write an address like https://host.example.org:8443")
    if parts.username or parts.password:
        raise _bad(path, key, "holds a user or a password; put them into keys of their own")
    if parts.query or parts.fragment:
        raise _bad(path, key, f"is {value!r}; leave out what begins with ? or #")


def _check_certificates(config: Config) -> None:
    """Certificates can be read, and private keys by their owner alone."""
    sections = [("source", config.source), ("cric", config.cric)]
    sections += [(f"sink.{item.name}", getattr(config.sink, item.name)) for item in fields(config.sink)]
    for where, section in sections:
        ca_file = getattr(section, "ca_file", None)
        if ca_file is not None:
            _certificates(config.path, f"{where}.ca_file", ca_file, None, None)
    cric = config.cric
    if cric is not None and cric.client_key is not None:
        if cric.client_cert is None:
            raise _bad(config.path, "cric.client_cert", "is missing; client_key is the key of a certificate")
        if cric.client_key.exists() and cric.client_key.stat().st_mode & OTHERS_MAY:
            raise _others_may(config.path, "cric.client_key", cric.client_key)
    if cric is not None and cric.client_cert is not None:
        _certificates(config.path, "cric.client_cert", None, cric.client_cert, cric.client_key)


def _certificates(path: Path, key: str, ca_file: Path | None, cert: Path | None, private: Path | None) -> None:
    from qad_dl.sources.http import check_certificates

    try:
        check_certificates(ca_file, cert, private)
    except ConfigError as error:
        raise _bad(path, key, f"names {error}") from error


def _check_telling(config: Config) -> None:
    """Routes name sinks that are given; hours are hours."""
    for number, route in enumerate(config.route, 1):
        if getattr(config.sink, route.sink, None) is None or route.sink == "influxdb":
            told = [f.name for f in fields(config.sink) if getattr(config.sink, f.name) and f.name != "influxdb"]
            _in(config, f"route {number}: sink", route.sink, tuple(told))
    for name in ("start", "end"):
        if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", getattr(config.quiet, name)):
            raise _bad(config.path, f"quiet.{name}", f"is {getattr(config.quiet, name)!r}; write a time like 22:00")
    try:
        if config.quiet.start != config.quiet.end:  # a host without time zones does without quiet hours
            ZoneInfo(config.quiet.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        msg = f"is {config.quiet.timezone!r}, which is no time zone; write one like Europe/Zurich"
        raise _bad(config.path, "quiet.timezone", msg) from error
    mail = config.sink.mail
    if mail:
        _in(config, "sink.mail.tls", mail.tls, ("none", "starttls", "tls"))
        asked = [("sink.mail.sender", mail.sender), *(("sink.mail.to", to) for to in mail.to)]
        asked += [("route: to", to) for route in config.route if route.sink == "mail" for to in route.to]
        for key, address in asked:
            if not re.fullmatch(r"[^@\s<>,;]+@[^@\s<>,;]+", address):
                raise _bad(config.path, key, f"is {address!r}; write an address like name@example.org")


def _check_review(config: Config) -> None:
    """The page listens where nobody can write under another's name."""
    review, path = config.review, config.path
    if review.host != "localhost" and not _is_address(review.host):
        raise _bad(path, "review.host", f"is {review.host!r}; give an address of this machine, like 127.0.0.1")
    if review.user_header and not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", review.user_header):
        raise _bad(path, "review.user_header", f"is {review.user_header!r}; write a header like X-Remote-User")
    if not review.loopback and not review.user_header:
        what = f"is {review.host!r}, and user_header is not given: everybody could write under any name"
        raise _bad(path, "review.host", f"{what}; listen on 127.0.0.1 behind a proxy that names its users")
    if not review.loopback and not review.proxies:
        raise _bad(path, "review.proxies", f"is missing; on {review.host} it must say whose user_header counts")
    if review.bundle:
        _in(config, "review.bundle", review.bundle, tuple(bundle.name for bundle in config.bundles))
    _check_seen(config)


def _check_seen(config: Config) -> None:
    """Who asks for the page, and under which address."""
    review, path = config.review, config.path
    for proxy in review.proxies:
        if not _is_network(proxy):
            raise _bad(path, "review.proxies", f"names {proxy!r}; give addresses or networks, like 192.0.2.7")
    for origin in review.origins:
        _check_address(path, "review.origins", origin)
        if urlsplit(origin).path:
            raise _bad(path, "review.origins", f"is {origin!r}; leave out what follows the host")
    if review.user_header and not (review.origins or config.message.review_url):
        raise _bad(path, "review.origins", "is missing; give the address under which people see the page")


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


def _in(config: Config, key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise _bad(config.path, key, f"is {value!r}; it can be {', '.join(allowed) or 'nothing: no sink is given'}")


def _bad(path: Path, key: str, what: str) -> ConfigError:
    return ConfigError(f"{path}: {key} {what}")


def _others_may(path: Path, key: str, secret: Path) -> ConfigError:
    return _bad(path, key, f"names {secret}, which others may read: chmod 600 {secret}")


@dataclass(frozen=True)
class _Reader:
    """Turns tables into dataclasses."""

    path: Path
    environment: Mapping[str, str]

    def section(self, kind: Any, table: Any, where: str) -> Any:
        """One table as the dataclass `kind`."""
        if not isinstance(table, dict):
            raise _bad(self.path, where, f"is a {_toml(table)}; it must be a section [{where}]")
        hints = get_type_hints(kind)
        known = {f.name: f for f in fields(kind) if not (kind is Config and f.name == "path")}
        secret = {name for name in known if _plain(hints[name]) is Secret}
        accepted = (known.keys() - secret) | {f"{name}_{how}" for name in secret for how in ("file", "env")}
        for key in table:
            if key not in accepted:
                raise self._unknown(where, key, accepted, secret)
        values: dict[str, Any] = {"path": self.path} if kind is Config else {}
        for name, item in known.items():
            key = f"{where}.{name}" if where else name
            if name in secret:
                values[name] = self._secret(table, name, key, needed=hints[name] is Secret)
            elif name in table:
                values[name] = self._value(hints[name], table[name], key)
            elif item.default is MISSING and item.default_factory is MISSING:
                raise _bad(self.path, key, "is missing")
            elif is_dataclass(item.default):
                values[name] = self.section(_plain(hints[name]), {}, key)  # its paths are relative, too
            elif isinstance(item.default, Path):
                values[name] = self._path(str(item.default))
        return kind(**values)

    def _unknown(self, where: str, key: str, accepted: set[str], secret: set[str]) -> ConfigError:
        name = f"{where}.{key}" if where else key
        if key in secret:
            return _bad(self.path, name, f"is a secret: put it into a file and write {key}_file, or {key}_env")
        near = difflib.get_close_matches(key, accepted, 1, 0.5)
        return _bad(self.path, name, f"is not known{f'; did you mean {near[0]}?' if near else ''}")

    def _value(self, hint: Any, value: Any, key: str) -> Any:
        """One value, checked against the type of its field."""
        kind = _plain(hint)
        if is_dataclass(kind):
            return self.section(kind, value, key)
        if get_origin(kind) is tuple:
            item = get_args(kind)[0]
            if not isinstance(value, list):
                raise _bad(self.path, key, f"is a {_toml(value)}; it must be a list")
            return tuple(self._value(item, v, f"{key} {i}") for i, v in enumerate(value, 1))
        if get_origin(kind) is dict:
            if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
                raise _bad(self.path, key, 'must be a table of texts, like {cloud = "DE"}')
            return dict(value)
        wanted = str if kind is Path else kind
        right = (float, int) if wanted is float else (wanted,)
        if not isinstance(value, right) or (isinstance(value, bool) and wanted is not bool):
            raise _bad(self.path, key, f"is a {_toml(value)}; it must be a {_NAMES[wanted]}")
        return self._path(str(value)) if kind is Path else wanted(value)

    def _path(self, text: str) -> Path:
        return self.path.parent / Path(text).expanduser()

    def _secret(self, table: Mapping[str, Any], name: str, key: str, *, needed: bool) -> Secret | None:
        file, variable = table.get(f"{name}_file"), table.get(f"{name}_env")
        if file is not None and variable is not None:
            raise _bad(self.path, key, f"is given twice; keep {name}_file or {name}_env")
        if file is not None:
            return Secret(self._secret_file(self._value(Path, file, f"{key}_file"), f"{key}_file"))
        if variable is not None:
            found = self.environment.get(self._value(str, variable, f"{key}_env"))
            if not found:
                raise _bad(self.path, f"{key}_env", f"names {variable}, which is not set in the environment")
            return Secret(found)
        if needed:
            raise _bad(self.path, key, f"is missing; it is a secret: give {name}_file or {name}_env")
        return None

    def _secret_file(self, path: Path, key: str) -> str:
        try:
            mode = path.stat().st_mode
            content = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            msg = f"names {path}, which cannot be read ({getattr(error, 'strerror', None) or error})"
            raise _bad(self.path, key, msg) from error
        if mode & OTHERS_MAY:
            raise _others_may(self.path, key, path)
        if not content:
            raise _bad(self.path, key, f"names {path}, which is empty")
        return content


_NAMES: Final = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def _plain(hint: Any) -> Any:
    """The type without `| None`."""
    if get_origin(hint) in (Union, UnionType):
        return next(part for part in get_args(hint) if part is not type(None))
    return hint


def _toml(value: Any) -> str:
    names = {str: "text", bool: "truth value", int: "whole number", float: "number", list: "list", dict: "section"}
    return names.get(type(value), type(value).__name__)
