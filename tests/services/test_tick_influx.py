"""The tick and InfluxDB: what it writes is what the store holds, late counts too; and an InfluxDB as its source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from qad_dl.influx.qmonit import job_lines
from qad_dl.rows import seconds_of
from tests.light.made import at
from tests.services.collector import FIRST, make_collector, tick_rows
from tests.services.influx_made import everything

if TYPE_CHECKING:
    from pathlib import Path

    from qad_dl.influx.client import Influx
    from qad_dl.store import Store
    from tests.services.influxd import Influxd

pytestmark = pytest.mark.program("influxd")

RETENTION = "influxdb_ticks = 0\ninfluxdb_hours = 0\ninfluxdb_days = 0"  # the made history is older than a week


def sections(influx: Influx, name: str) -> dict[str, str]:
    return {name: f'url = "{influx.url}"\ndatabase = "{influx.database}"', "retention": RETENTION}


def counts(influx: Influx) -> dict[tuple, float]:
    found = (key for key in everything(influx).items() if key[0][:2] == ("10m", "jobs"))
    return {(key[3] // 10**9, dict(key[2])["panda_queue"], dict(key[2])["job_status"]): f["jobs"] for key, f in found}


def stored(store: Store, end: int) -> dict[tuple, float]:
    rows = store.read(at(0), at(end))
    names = (rows.column(name).to_pylist() for name in ("panda_queue", "job_status", "jobs"))
    return {tuple(row[:-1]): row[-1] for row in zip(seconds_of(rows).tolist(), *names, strict=True)}


def test_what_the_tick_writes_is_what_the_store_holds(influxd: Influxd, tmp_path: Path):
    influx = influxd.database()
    collector = make_collector(tmp_path / "collector", sections(influx, "sink.influxdb"))
    for position in (FIRST, FIRST + 2):
        collector.drop(position)
        assert collector.run(position)["pending"]["influxdb"] == 0
    assert counts(influx) == stored(collector.store, FIRST + 3)
    collector.drop(FIRST + 1)  # late: a newer one is written already
    collector.drop(FIRST + 3)
    collector.run(FIRST + 3)
    written = counts(influx)
    assert written == stored(collector.store, FIRST + 4)
    assert {seconds for seconds, *_ in written} >= {int(at(FIRST + 1).astype(int))}
    found = everything(influx)
    for measurement in ("jobs_average", "queue_anomaly"):
        assert int(at(FIRST + 3).astype(int)) in {key[3] // 10**9 for key in found if key[1] == measurement}
    fields = {name for key, values in found.items() if key[:2] == ("10m", "queue_anomaly") for name in values}
    assert fields >= {"score", "flagged", "expected", "observed", "reconstruction", "contribution"}
    assert {key[0] for key in found if key[1] == "jobs"} == {"10m", "1h", "1d"}


def test_a_tick_whose_source_is_an_influxdb(influxd: Influxd, tmp_path: Path):
    influx = influxd.database()
    writer = make_collector(tmp_path / "writer", sections(influx, "sink.influxdb"))
    reader = make_collector(
        tmp_path / "reader", {"source": f'kind = "influxdb"\nurl = "{influx.url}"\ndatabase = "{influx.database}"'}
    )
    for position in (FIRST, FIRST + 1):
        writer.drop(position)
        writer.run(position)
        assert reader.run(position)["verdict"] == "ok"
    assert stored(reader.store, FIRST + 2) == stored(writer.store, FIRST + 2)
    assert reader.run(FIRST + 2)["verdict"] == "missing"


def test_a_bad_snapshot_that_others_wrote_is_a_trouble_and_no_counts(influxd: Influxd, tmp_path: Path):
    influx = influxd.database()
    writer = make_collector(tmp_path / "writer", sections(influx, "sink.influxdb"))
    reader = make_collector(
        tmp_path / "reader", {"source": f'kind = "influxdb"\nurl = "{influx.url}"\ndatabase = "{influx.database}"'}
    )
    for position in (FIRST, FIRST + 1):
        writer.drop(position)
        writer.run(position)
        reader.run(position)
    whole = tick_rows(FIRST + 2)
    kept = pc.starts_with(whole.column("panda_queue").cast(pa.string()), "Q1")
    half = whole.filter(kept)
    influx.write(job_lines(half, {}), "10m")
    line = reader.run(FIRST + 2)
    assert (line["verdict"], line["rows"]) == ("partial", 0)
    assert reader.told[-1]["value"] == "partial"
    influx.write(job_lines(whole, {}), "10m")  # it was only half way
    writer.drop(FIRST + 3)
    writer.run(FIRST + 3)
    assert reader.run(FIRST + 3)["verdict"] == "ok"
    assert reader.store.read(at(FIRST + 2), at(FIRST + 3)).num_rows == whole.num_rows
    frozen = tick_rows(FIRST + 3).set_column(0, "time", tick_rows(FIRST + 4).column("time"))
    influx.write(job_lines(frozen, {}), "10m")
    assert reader.run(FIRST + 4)["verdict"] == "frozen"
    assert reader.store.read(at(FIRST + 4), at(FIRST + 5)).num_rows == 0
