"""The collector's configuration: one TOML file (interfaces, section 9) as frozen dataclasses.

Each section is a dataclass, here or in `qad_dl.sinks.configured`, and its fields are the keys that the section knows
(see `qad_dl.sections`).
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from qad_dl.followed import Rules
from qad_dl.objects import is_address
from qad_dl.sections import Reader, Secret, bad, read_document
from qad_dl.sinks.configured import (
    SINKS,
    CapConfig,
    MessageConfig,
    PolicyConfig,
    QuietConfig,
    RouteConfig,
)
from qad_dl.store.retention import Keep
from serving.config_checks import check_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qad_dl.sinks.policy import Policy

PANDA_URL: Final = "https://pandaserver.cern.ch:25443"
CRIC_URL: Final = "https://atlas-cric.cern.ch"


class SourceConfig(NamedTuple):
    """`[source]`: where job counts come from.

    Attributes:
        kind: one of `config_checks.SOURCES`.
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


class CricConfig(NamedTuple):
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


class DowntimesConfig(NamedTuple):
    """`[downtimes]`: where declared downtimes come from; CRIC's own where the section is absent.

    Attributes:
        url: of the server; its own path is appended.
    """

    url: str = ""


class StateConfig(NamedTuple):
    """`[state]`: what ticks leave for the next one.

    Attributes:
        path: a folder on a local disk; `state` beside the config where it is not given.
    """

    path: Path = Path("state")


class DeadlineConfig(NamedTuple):
    """`[deadline]`: how long a tick may take.

    Attributes:
        seconds: of the whole tick; must leave time before the next one.
        fetch_seconds: of all fetches together.
    """

    seconds: float = 480.0
    fetch_seconds: float = 300.0


class MetricsConfig(NamedTuple):
    """`[metrics]`: for Prometheus.

    Attributes:
        textfile: a `.prom` file in the folder of the node exporter's textfile collector.
        pushgateway: address of a gateway.
    """

    textfile: Path | None = None
    pushgateway: str = ""


class RetentionConfig(NamedTuple):
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

    @property
    def keep(self) -> Keep:
        """What it says of the store."""
        return Keep(self.ticks, self.hours, self.days)


class ReviewConfig(NamedTuple):
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
        bundle: whose scores are shown, by what people call it (`bundles.label_of`); the first of `bundles` where it is
            empty.
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


class InfluxSink(NamedTuple):
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


class AlertmanagerSink(NamedTuple):
    """`[sink.alertmanager]`: its address."""

    url: str
    user: str = ""
    password: Secret | None = None
    ca_file: Path | None = None


class MailSink(NamedTuple):
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


class MattermostSink(NamedTuple):
    """`[sink.mattermost]`: an incoming webhook, whose address is a secret."""

    url: Secret
    ca_file: Path | None = None


class JsonlSink(NamedTuple):
    """`[sink.jsonl]`: a file to which a line is added for all that is told."""

    path: Path


class AppriseSink(NamedTuple):
    """`[sink.apprise]`: any other channel, by apprise's addresses, one a line; they are secrets."""

    urls: Secret


class SinksConfig(NamedTuple):
    """`[sink.NAME]`, each where it is given."""

    influxdb: InfluxSink | None = None
    alertmanager: AlertmanagerSink | None = None
    mail: MailSink | None = None
    mattermost: MattermostSink | None = None
    jsonl: JsonlSink | None = None
    apprise: AppriseSink | None = None


class Config(NamedTuple):
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
    rules: Rules = Rules()
    quiet: QuietConfig = QuietConfig()
    cap: CapConfig = CapConfig()
    route: tuple[RouteConfig, ...] = ()
    sink: SinksConfig = SinksConfig()
    path: Path = Path()

    @property
    def folder(self) -> Path:
        """The folder of a source of files."""
        return self.path.parent / Path(self.source.url).expanduser()

    @property
    def recipients(self) -> dict[str, tuple[str, ...]]:
        """Of each sink that tells: its own recipients, none where it has but one end."""
        given = [name for name in SINKS if getattr(self.sink, name)]
        return {name: self.sink.mail.to if name == "mail" and self.sink.mail else () for name in given}

    @property
    def policy_config(self) -> PolicyConfig:
        """The sections that decide about messages."""
        return PolicyConfig(*(getattr(self, name) for name in PolicyConfig._fields))

    @property
    def policy(self) -> Policy:
        """What decides about messages."""
        from qad_dl.sinks.policy import policy_of  # loaded where somebody is told

        return policy_of(self.policy_config, self.recipients)


def read_config(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """Read and check a config.

    Args:
        path: the TOML file.
        environment: where `KEY_env` looks; `os.environ` if not given.

    Raises:
        ConfigError: one line with the file, the key, and what is wrong with it.
    """
    path = Path(path)
    reader = Reader(path, os.environ if environment is None else environment)
    document = read_document(path)
    if is_address(str(document.get("store", ""))):
        # A tick must not hang on a network: what it has to read and write is on a disk of its own.
        raise bad(path, "store", "is an address; the collector keeps its history in a folder on a local disk, name one")
    config: Config = reader.section(Config, document, "")
    check_config(config)
    return config
