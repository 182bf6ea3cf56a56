"""From the config to InfluxDB: where history comes from, where counts and verdicts go, how long what is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import requests

from qad_dl.errors import InfluxError, SourceError
from qad_dl.influx.client import Influx
from qad_dl.influx.history import new_rows, next_start, read_history, take_in
from qad_dl.influx.policies import Policies
from qad_dl.influx.sink import EVERYTHING, InfluxSink
from qad_dl.rows import empty_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from qad_dl.metadata import Record
    from qad_dl.store import Store
    from serving import config as configs


def influx_source(config: configs.SourceConfig, session: requests.Session | None = None) -> Influx:
    """The InfluxDB that `[source]` of kind `influxdb` names."""
    return _connect(config, session)


def influx_target(config: configs.InfluxSink, session: requests.Session | None = None) -> Influx:
    """The InfluxDB that `[sink.influxdb]` names."""
    return _connect(config, session)


@dataclass(frozen=True)
class Fetched:
    """What an InfluxDB gave for a tick.

    Attributes:
        rows: of the tick and the few before it, where they would change the store; a table of `JOBS_SCHEMA`.
        queues: metadata from the tags, queue -> record; queues without a point are as they were.
        ignored: points that are no counts.
    """

    rows: pa.Table
    queues: Mapping[str, Record]
    ignored: int


def fetch_influx(influx: Influx, store: Store, at: np.datetime64, history_days: int, *, metadata: bool) -> Fetched:
    """Read up to a tick. A cold start reads older history in pieces and stores each at once, so that it can be resumed.

    Args:
        influx: QMonit's database, with its deadline.
        store: what is here already.
        at: the tick.
        history_days: how far back a cold start goes.
        metadata: whether its tags are the metadata: no where CRIC is asked.

    Raises:
        SourceError: it does not answer in time, or refuses; what was read before is stored.
    """
    have = store.span()
    start = next_start(have[1] if have else None, at, store.tick, np.timedelta64(history_days, "D"))
    ignored = 0
    try:
        for piece in read_history(influx, start, at + np.timedelta64(1, "s"), store.tick):
            ignored += piece.ignored
            if piece.end > at:
                known = store.metadata().at(at) if metadata else {}
                return Fetched(new_rows(store, piece), {**known, **piece.queues} if metadata else {}, ignored)
            take_in(store, piece, metadata=metadata)
    except InfluxError as error:
        raise SourceError(str(error)) from error
    return Fetched(empty_rows(), {}, ignored)


def influx_sink(config: configs.Config, store: Store, session: requests.Session | None = None) -> InfluxSink | None:
    """The sink that `[sink.influxdb]` names; None without that section."""
    section = config.sink.influxdb
    if section is None:
        return None
    written = EVERYTHING if section.jobs else EVERYTHING - {"jobs", "jobs_average"}
    return InfluxSink(influx_target(section, session), store, config.state.path / "influxdb", policies(config), written)


def policies(config: configs.Config) -> Policies:
    """What `[retention]` says of InfluxDB."""
    kept = config.retention
    return Policies(kept.influxdb_ticks, kept.influxdb_hours, kept.influxdb_days)


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
