"""The InfluxDB that gets counts and verdicts in QMonit's schema, as the config has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qad_dl.influx.client import Influx
from qad_dl.influx.sink import EVERYTHING, InfluxSink

if TYPE_CHECKING:
    from qad_dl.store import Store
    from serving.config import Config
    from serving.state import State


def influx_sink(config: Config, store: Store, state: State) -> InfluxSink | None:
    """The sink; None where the config has none."""
    wanted = config.sink.influxdb
    if wanted is None:
        return None
    influx = Influx(
        wanted.url,
        wanted.database,
        wanted.user,
        wanted.password.reveal() if wanted.password else "",
        str(wanted.ca_file) if wanted.ca_file else None,
    )
    measurements = EVERYTHING if wanted.jobs else EVERYTHING - {"jobs"}
    return InfluxSink(influx, store, state.path / "influxdb", measurements=measurements)
