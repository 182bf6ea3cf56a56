"""A history in InfluxDB beside stores that were imported from it: the same numbers and scores."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from qad_dl.cli import main as qad
from qad_dl.errors import ConfigError
from qad_dl.histories import open_history
from qad_dl.influx.qmonit import job_lines
from qad_dl.rows import from_numpy, merge_rows, seconds_of
from tests.light.made import START, TICK
from tests.light.made_bundle import METADATA, made_history
from tests.services.storage_made import DAY, DAYS, EVER, FROM, World, make_world

if TYPE_CHECKING:
    from pathlib import Path

    from qad_dl.influx.client import Influx
    from qad_dl.metadata import Metadata
    from tests.services.influxd import Influxd
    from tests.services.s3 import S3


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("storage"))


def moved(record: dict[str, str]) -> dict[str, str]:
    return {**record, "cloud": "IT"}


@pytest.fixture(scope="module")
def influx(influxd: Influxd) -> Influx:
    """QMonit's points of the made history; in the middle of a piece of six hours two queues get other tags."""
    made = influxd.created()
    made.query(f'CREATE RETENTION POLICY "10m" ON "{made.database}" DURATION INF REPLICATION 1')
    rows, change = made_history(DAYS), START + 8 * DAY + 33 * TICK.delta
    before = {queue: dict(record) for queue, record in METADATA.dumps[0].items()}
    after = {queue: moved(record) if queue in {"Q1", "Q4"} else record for queue, record in before.items()}
    times = seconds_of(rows).view("datetime64[s]")
    for chosen, records in ((times < change, before), (times >= change, after)):
        made.write(job_lines(rows.filter(from_numpy(chosen, pa.bool_())), records), "10m")
    return made


@pytest.mark.program("influxd")
def test_influxdb_and_stores_of_it_are_one_history_and_score_the_same(
    influx: Influx, world: World, s3: S3, tmp_path: Path
):
    address = influx.url.replace("http", "influxdb") + f"/{influx.database}"
    span = ["--start", str(START - DAY), "--end", str(START + 30 * DAY)]
    addresses = [tmp_path / "store", f"{s3.bucket()}/of/influx", address]
    for store in addresses[:2]:
        assert qad(["import", str(store), "--influxdb", influx.url, "--database", influx.database, *span]) == 0
    local, remote, direct = map(open_history, addresses)
    for other in (remote, direct):
        assert other.span() == local.span()
        assert other.tick == local.tick
        for before in (START, START + DAY, FROM, EVER[1]):
            assert other.known_series(before) == local.known_series(before)
        for start, end in (EVER, (START + 7 * TICK.delta, START + DAY + 9 * TICK.delta)):
            found = list(other.pieces(start, end))
            assert [merge_rows([piece]) for piece in found] == [
                merge_rows([piece]) for piece in local.pieces(start, end)
            ]
        assert sorted(other.versions(*EVER)) == sorted(local.versions(*EVER))
        assert same(other.metadata(), local.metadata())
        assert same(other.metadata(FROM + DAY), local.metadata(FROM + DAY))
        assert other.downtimes() == local.downtimes() == []
    assert len(local.metadata().times) == 2
    assert sorted(direct.digests(*EVER)) == sorted(local.digests(*EVER))
    for number, store in enumerate(addresses):
        assert qad(world.backtest(store, tmp_path / f"{number}.parquet")) == 0
    for name in ("parquet", "details.parquet"):
        content = {(tmp_path / f"{number}.{name}").read_bytes() for number in range(3)}
        assert len(content) == 1
    shutil.rmtree(tmp_path / "store")


def same(one: Metadata, other: Metadata) -> bool:
    return np.array_equal(one.times, other.times) and list(one.dumps) == list(other.dumps)


@pytest.mark.program("influxd")
def test_a_history_in_influxdb_keeps_no_state(influx: Influx, world: World, tmp_path: Path, capsys):
    address = influx.url.replace("http", "influxdb") + f"/{influx.database}"
    words = ["score", address, "--bundle", str(world.path / "bundle")]
    assert qad(words) == 0
    assert qad([*words, "--state", str(tmp_path / "state")]) == 2
    assert "--state: keeps what it knows of the files of a store" in capsys.readouterr().err


@pytest.mark.program("influxd")
def test_an_empty_database_has_no_history(influxd: Influxd, world: World, tmp_path: Path, capsys):
    empty = influxd.created()
    address = empty.url.replace("http", "influxdb") + f"/{empty.database}"
    assert qad(world.backtest(address, tmp_path / "out.parquet")) == 2
    assert "has no job history" in capsys.readouterr().err
    assert open_history(address).known_series(EVER[1]) == set()


def test_an_address_of_an_influxdb_is_read_as_it_is_written():
    found = open_history("influxdb+https://reader@[::1]:9999/monit%20jobs")
    assert found._influx.url == "https://[::1]:9999"
    assert (found._influx.database, found._influx.username) == ("monit jobs", "reader")
    with pytest.raises(ConfigError, match="unknown parameter policy"):
        open_history("influxdb://host/db?policy=1h")
