"""From the config to InfluxDB: where history comes from, where counts and verdicts go, how long what is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import requests

from qad_dl.influx.client import Influx
from qad_dl.influx.policies import Policies
from qad_dl.influx.sink import EVERYTHING, InfluxSink
from qad_dl.store.retention import Keep

if TYPE_CHECKING:
    from qad_dl.store import Store
    from serving import config as configs


def influx_source(config: configs.SourceConfig, session: requests.Session | None = None) -> Influx:
    """The InfluxDB that `[source]` of kind `influxdb` names."""
    return _connect(config, session)


def influx_sink(config: configs.Config, store: Store, session: requests.Session | None = None) -> InfluxSink | None:
    """The sink that `[sink.influxdb]` names; None without that section."""
    section = config.sink.influxdb
    if section is None:
        return None
    written = EVERYTHING if section.jobs else EVERYTHING - {"jobs", "jobs_average"}
    return InfluxSink(_connect(section, session), store, config.state.path / "influxdb", policies(config), written)


def policies(config: configs.Config) -> Policies:
    """What `[retention]` says of InfluxDB."""
    kept = config.retention
    return Policies(kept.influxdb_ticks, kept.influxdb_hours, kept.influxdb_days)


def keep(config: configs.Config) -> Keep:
    """What `[retention]` says of the store."""
    return Keep(config.retention.ticks, config.retention.hours, config.retention.days)


def _connect(section: configs.SourceConfig | configs.InfluxSink, session: requests.Session | None) -> Influx:
    """A client of the database of a section."""
    return Influx(
        section.url,
        section.database,
        section.user,
        section.password.reveal() if section.password else "",
        str(section.ca_file) if section.ca_file else None,
        session=session or requests.Session(),
    )
