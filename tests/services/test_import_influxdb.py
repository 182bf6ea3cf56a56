"""`qad import --influxdb`: QMonit's own history in, resumable; and an InfluxDB as the source of a tick."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.backtest import newest_tick
from qad_dl.cli import main
from qad_dl.downsampling import DAYS, HOURS
from qad_dl.errors import SourceError
from qad_dl.influx.client import Influx
from qad_dl.influx.history import OVERLAP_TICKS, PIECE_TICKS
from qad_dl.influx.sink import InfluxSink
from qad_dl.metadata import Metadata
from qad_dl.rows import merge_rows, seconds_of
from qad_dl.schema import Tick
from qad_dl.store import Store
from qad_dl.store.retention import Keep, archive, keep_up
from serving.influx import fetch_influx
from tests.services.influx_made import METADATA, TICK, last_tick, made_rows
from tests.services.programs import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.influxd import Influxd

pytestmark = pytest.mark.program("influxd")

DAY = np.timedelta64(1, "D")


@pytest.fixture(scope="module")
def filled(influxd: Influxd, tmp_path_factory: pytest.TempPathFactory) -> tuple[Influx, Store]:
    """A database that holds two days and a half, and the store that it was written from; read by all tests."""
    newest, folder = last_tick(), tmp_path_factory.mktemp("filled")
    store = Store.create(folder / "store")
    store.put(made_rows(360, newest))
    keep_up(store, newest, Keep())
    influx = influxd.database()
    InfluxSink(influx, store, folder / "sink", measurements=frozenset({"jobs"})).flush(newest, METADATA)
    return influx, store


def words(influx: Influx, store: Path, start: np.datetime64, end: np.datetime64) -> list[str]:
    source = ["--influxdb", influx.url, "--database", influx.database]
    return ["import", str(store), *source, "--start", str(start), "--end", str(end)]


def test_history_hours_and_days_come_in(filled, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    influx, known = filled
    newest = newest_tick(known)  # a tick may have passed since it was filled
    path = tmp_path / "store"
    # The first part alone is what an import leaves that was stopped.
    for end in (newest - DAY, newest + TICK.delta, newest + TICK.delta):
        assert main(words(influx, path, newest - 40 * DAY, end)) == 0
    said = capsys.readouterr().out.splitlines()[-3:]
    assert [line.split(", ")[-1] for line in said] == ["0 new rows"] * 3
    store = Store.open(path)
    for one, other in ((store, known), *((archive(store, level), archive(known, level)) for level in (HOURS, DAYS))):
        got, wanted = (merge_rows([each.read(newest - 3 * DAY, newest + 1)]) for each in (one, other))
        assert got.num_rows > 10
        assert got.drop_columns("site_state").equals(wanted.drop_columns("site_state"))
    assert store.metadata().at(newest)["CERN-PROD"]["harvester"] == "CERN_central_A"
    assert len(store.metadata().times) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--start"], "--influxdb, --start and --end go together"),
        (["--influxdb", "http://127.0.0.1:1"], "cannot be reached"),
        (["--database", "nothing"], "database not found: nothing"),
        (["--start", "2026-11-20", "--end", "2026-11-20"], "is not before --end"),
        (["--start", "2001-01-01", "--end", "2001-01-02"], "holds no points of jobs between 2001-01-01 and 2001-01-02"),
        (["--tick", "30"], "QMonit's ticks are of 10 minutes"),
        (["--password-file", "/nowhere"], "--password-file: /nowhere cannot be read"),
    ],
)
def test_what_is_refused_is_one_line(filled, tmp_path: Path, capsys, monkeypatch, change: list[str], said: str):
    monkeypatch.setattr("time.sleep", lambda _: None)
    line = words(filled[0], tmp_path / "store", last_tick() - DAY, last_tick())
    if change == ["--start"]:
        line = line[: line.index("--start")]
    else:
        line += change
    assert main(line) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_store_of_other_ticks_is_refused(filled, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    Store.create(tmp_path / "store", Tick(30))
    assert main(words(filled[0], tmp_path / "store", last_tick() - DAY, last_tick())) == 2
    assert "has ticks of 30 minutes, not 10" in capsys.readouterr().err


def test_a_tick_reads_a_cold_start_and_then_only_the_last_ticks(filled, tmp_path: Path):
    influx, known = filled
    newest = newest_tick(known)  # a tick may have passed since it was filled
    store = Store.create(tmp_path / "store")
    asked: list[str] = []
    real = influx.stream

    class Counting(Influx):
        def stream(self, statement: str):
            asked.append(statement)
            return real(statement)

    counting = Counting(influx.url, influx.database)
    early = fetch_influx(counting, store, newest - TICK.delta, 3, metadata=True)
    assert len(asked) == 13
    assert set(seconds_of(early.rows).tolist())
    store.add_metadata(early.queues, newest - TICK.delta)
    store.append(early.rows)
    asked.clear()
    now = fetch_influx(counting, store, newest, 3, metadata=True)
    read = newest - np.arange(OVERLAP_TICKS + 1) * TICK.delta  # those of before again, and the tick
    assert len(asked) == len(set((TICK.index(read) // PIECE_TICKS).tolist()))  # one, but at 0, 6, 12 and 18 h UTC
    assert set(seconds_of(now.rows).tolist()) == {int(newest.astype(np.int64))}
    assert now.queues["DESY-HH_MCORE"] == METADATA.dumps[0]["DESY-HH_MCORE"]
    store.append(now.rows)
    whole, wanted = (merge_rows([each.read(newest - 3 * DAY, newest + 1)]) for each in (store, known))
    assert whole.drop_columns("site_state").equals(wanted.drop_columns("site_state"))
    assert fetch_influx(counting, store, newest, 3, metadata=False).queues == {}


def test_queues_without_a_point_stay_known(filled, tmp_path: Path):
    store = Store.create(tmp_path / "store")
    store.add_metadata({"IDLE": {"cloud": "US"}}, last_tick() - 10 * DAY)
    assert fetch_influx(filled[0], store, last_tick(), 1, metadata=True).queues["IDLE"] == {"cloud": "US"}
    assert store.metadata().at(last_tick() - 9 * DAY) == Metadata.single({"IDLE": {"cloud": "US"}}).dumps[0]


def test_a_source_that_is_down_is_a_source_error(tmp_path: Path):
    gone = Influx(f"http://127.0.0.1:{free_port()}", "x", pause=lambda _: None)
    with pytest.raises(SourceError, match="cannot be reached"):
        fetch_influx(gone, Store.create(tmp_path / "store"), last_tick(), 1, metadata=True)
