"""What the sink leaves in a real InfluxDB: whole, once, and the same whatever happened on the way."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import time
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from qad_dl.downsampling import DAYS, HOURS
from qad_dl.errors import InfluxDownError, InfluxError, StoreError
from qad_dl.influx.client import Influx
from qad_dl.influx.policies import Policies
from qad_dl.influx.qmonit import KEYS
from qad_dl.influx.sink import EVERYTHING, InfluxSink
from qad_dl.metadata import Metadata
from qad_dl.rows import seconds_of
from qad_dl.store import Store
from qad_dl.store.retention import Keep, archive, keep_up
from tests.killing import kill_often
from tests.services.influx_made import METADATA, TICK, everything, last_tick, made_rows, rows_of
from tests.services.influxd import Influxd
from tests.services.programs import free_port
from tests.services.synthetic_results import STATES, make_results

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.program("influxd")

DAY = np.timedelta64(1, "D")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


@pytest.fixture
def sink(influxd: Influxd, store: Store, tmp_path: Path) -> InfluxSink:
    return InfluxSink(influxd.database(), store, tmp_path / "influx")


def results_at(tick: np.datetime64, seed: int = 1):
    """Verdicts that end at a tick."""
    made = make_results(2, 320, seed, names=tuple(METADATA.dumps[0]))
    return dataclasses.replace(made, times=tick - np.arange(319, -1, -1) * TICK.delta)


def one_tick(store: Store, sink: InfluxSink, rows: pa.Table, tick: np.datetime64, *, flush: bool = True) -> None:
    """What a tick does."""
    store.append(rows.filter(pa.array(seconds_of(rows).view("datetime64[s]") == tick)))
    keep_up(store, tick, Keep())
    sink.stage(results_at(tick), tick, "bundle", METADATA)
    if flush:
        sink.flush(tick, METADATA)


def test_a_tick_is_there_whole(store: Store, sink: InfluxSink):
    tick = last_tick()
    rows = rows_of(
        [
            (tick, "CERN-PROD", "managed", "MCORE", "running", 340),
            (tick, "CERN-PROD", "managed", "MCORE", "finished", 25),
            (tick, "DESY-HH_MCORE", "user", "SCORE", "running", 7, "brokeroff"),
            (tick, "UNKNOWN", "", "", "weird", 1),
        ]
    )
    one_tick(store, sink, rows, tick)
    ns = int(tick.astype(np.int64)) * 10**9

    jobs = {
        dict(key[2])["panda_queue"] + dict(key[2])["job_status"]: (key, fields)
        for key, fields in everything(sink.influx).items()
        if key[1] == "jobs" and key[0] == "10m"
    }
    assert len(jobs) == 4
    key, fields = jobs["CERN-PRODrunning"]
    digest = hashlib.md5(b"CERN-PRODmanagedMCORErunning").hexdigest()
    assert key[3] == ns + int(str(int(digest, 16))[:9])
    assert fields == {
        "jobs": 340,
        "resource_factor": 8,
        "corepower": 10.5,
        "HS06_benchmark": 0,
        "federation_HS06_pledge": 1500,
    }
    assert dict(key[2]) == {
        "panda_queue": "CERN-PROD", "prod_source": "managed", "resource": "MCORE", "job_status": "running",
        "atlas_site": "CERN-PROD", "cloud": "CERN", "country": "Switzerland", "site_state": "online", "tier": "T0",
        "type": "production", "resource_type": "GRID", "harvester": "CERN_central_A", "frontier": "frontier.cern.ch",
        "federation": "CH-CERN", "pilot_manager": "None", "pilot_version": "None", "workflow": "None",
        "fts_server": "No value", "nucleus": "None", "container_type": "None", "pledge_type": "None",
    }  # fmt: skip
    assert dict(jobs["DESY-HH_MCORErunning"][0][2])["site_state"] == "brokeroff"
    assert jobs["DESY-HH_MCORErunning"][1]["resource_factor"] == 1
    unknown = dict(jobs["UNKNOWNweird"][0][2])
    assert unknown["atlas_site"] == "None"
    assert unknown.get("prod_source", "") == ""


def test_verdicts_and_their_states(store: Store, sink: InfluxSink):
    tick = last_tick()
    results = results_at(tick)
    results.score[1, -1], results.reason[1, -1] = np.nan, 3
    for values in results.details:
        values[1, -1] = np.nan
    sink.stage(results, tick, "the bundle", METADATA)
    sink.flush(tick, METADATA)
    found = {
        key[2]: fields
        for key, fields in everything(sink.influx).items()
        if key[1] == "queue_anomaly" and key[0] == "10m"
    }
    verdicts = {
        dict(tags)["panda_queue"]: (dict(tags), fields)
        for tags, fields in found.items()
        if not dict(tags).get("job_status")
    }
    tags, fields = verdicts["CERN-PROD"]
    assert tags["bundle"] == "the bundle"
    assert tags["harvester"] == "CERN_central_A"
    assert fields["score"] == pytest.approx(results.score[0, -1])
    assert fields["flagged"] == float(results.flagged[0, -1])
    assert fields["expected"] == float(results.expected[0, -1])
    assert fields["state"] == STATES[results.state[0, -1]]
    assert fields["direction"] == ("high" if results.direction[0, -1] > 0 else "low")
    assert verdicts["DESY-HH_MCORE"][1] == {
        "flagged": float(results.flagged[1, -1]),
        "expected": float(results.expected[1, -1]),
        "reason": "missing_tick",
        "state": STATES[results.state[1, -1]],
        "direction": verdicts["DESY-HH_MCORE"][1]["direction"],
    }
    states = {dict(tags)["job_status"]: fields for tags, fields in found.items() if dict(tags).get("job_status")}
    assert set(states) == set(STATES)
    i = STATES.index("running")
    assert states["running"] == {
        name: pytest.approx(float(getattr(results.details, name)[0, -1, i]))
        for name in ("observed", "reconstruction", "lower", "upper", "contribution")
    }


def test_averages_are_qmonits(store: Store, sink: InfluxSink):
    newest = last_tick()
    rows = made_rows(160, newest)
    store.put(rows)
    keep_up(store, newest, Keep())
    sink.flush(newest, METADATA)
    averages = {key: fields for key, fields in everything(sink.influx).items() if key[1] == "jobs_average"}
    assert {dict(key[2])["job_status"] for key in averages} == {"assigned", "activated", "failed", "running"}
    table = rows.to_pylist()
    for tick in (newest, newest - TICK.delta * 5):
        of_tick = {key: fields for key, fields in averages.items() if key[3] // 10**9 == int(tick.astype(np.int64))}
        assert len(of_tick) == 16
        for key, fields in of_tick.items():
            tags = dict(key[2])
            points = sorted(
                ((row["time"], row["jobs"]) for row in table
                 if all(row[name] == tags[name] for name in KEYS)
                 and tick - DAY < np.datetime64(row["time"].replace(tzinfo=None), "s") <= tick),
                reverse=True,
            )  # fmt: skip
            values = [jobs for _, jobs in points]
            assert fields["current"] == round(values[0], 2)
            for name, n in (("avg1h", 6), ("avg6h", 36), ("avg12h", 72), ("avg24h", 144)):
                assert fields[name] == round(sum(values[:n]) / len(values[:n]), 2)
    days = archive(store, DAYS).read(newest - 30 * DAY, newest + 1).to_pylist()
    for key, fields in averages.items():
        of_key = [row["jobs"] for row in days if all(row[name] == dict(key[2])[name] for name in KEYS)]
        if key[3] // 10**9 == int(newest.astype(np.int64)):
            assert of_key
            assert fields["avg7d"] == fields["avg30d"] == round(sum(of_key) / len(of_key), 2)


def test_hours_and_days_go_to_their_policies(store: Store, sink: InfluxSink):
    newest = last_tick()
    store.put(made_rows(2 * 144, newest))
    keep_up(store, newest, Keep())
    done = sink.flush(newest, METADATA)
    assert done.waiting == 0
    found = everything(sink.influx)
    for level in (HOURS, DAYS):
        kept = archive(store, level).read(newest - 3 * DAY, newest + 1)
        written = {
            (
                key[3] // 10**9,
                *(dict(key[2])[n] for n in KEYS),
            ): fields["jobs"]
            for key, fields in found.items()
            if key[:2] == (level.name, "jobs")
        }
        names = ("panda_queue", "prod_source", "resource", "job_status", "jobs")
        columns = (kept.column(name).to_pylist() for name in names)
        assert written == {tuple(row[:-1]): row[-1] for row in zip(seconds_of(kept).tolist(), *columns, strict=True)}
        assert len(written) >= 20


def test_policies_are_made_and_those_of_others_stay(influxd: Influxd, store: Store, tmp_path: Path):
    influx = influxd.created()
    influx.query(f'CREATE RETENTION POLICY "10m" ON "{influx.database}" DURATION 30d REPLICATION 1')
    sink = InfluxSink(influx, store, tmp_path / "influx", Policies(hours=100))
    for _ in range(2):
        sink.flush(last_tick(), METADATA)
    (series,) = influx.query(f'SHOW RETENTION POLICIES ON "{influx.database}"')
    policies = {row[0]: (row[1], row[4]) for row in series.values}
    assert policies == {
        "autogen": ("0s", True),
        "10m": ("720h0m0s", False),
        "1h": ("2400h0m0s", False),
        "1d": ("0s", False),
    }
    fresh = influxd.database()
    InfluxSink(fresh, store, tmp_path / "other").flush(last_tick(), METADATA)
    (series,) = fresh.query(f'SHOW RETENTION POLICIES ON "{fresh.database}"')
    assert {row[0]: (row[1], row[4]) for row in series.values}["10m"] == ("168h0m0s", True)


def test_verdicts_are_condensed_to_hours(store: Store, sink: InfluxSink):
    hour = HOURS.tick.floor(last_tick())
    ticks = TICK.range(hour - np.timedelta64(110, "m"), hour + np.timedelta64(1, "s"))
    results = results_at(ticks[-1])
    for tick in ticks:
        sink.stage(results, tick, "b", METADATA)
        sink.flush(tick, METADATA)
    found = {key: fields for key, fields in everything(sink.influx).items() if key[:2] == ("1h", "queue_anomaly")}
    ns = int(hour.astype(np.int64)) * 10**9
    verdict = next(
        f
        for key, f in found.items()
        if key[3] == ns and dict(key[2])["panda_queue"] == "CERN-PROD" and not dict(key[2]).get("job_status")
    )
    assert verdict["score"] == results.score[0, -6:].max()
    assert verdict["flagged"] == float(results.flagged[0, -6:].max())
    for state, how in (("running", np.mean), ("failed", np.sum)):
        point = next(
            f
            for key, f in found.items()
            if key[3] == ns and dict(key[2]).get("job_status") == state and dict(key[2])["panda_queue"] == "CERN-PROD"
        )
        i = STATES.index(state)
        assert point["observed"] == pytest.approx(how(results.details.observed[0, -6:, i].astype(float)))
        assert point["contribution"] == pytest.approx(np.mean(results.details.contribution[0, -6:, i].astype(float)))


def test_again_is_the_same(store: Store, sink: InfluxSink):
    newest = last_tick()
    rows = made_rows(4, newest)
    for tick in np.unique(seconds_of(rows)).view("datetime64[s]"):
        one_tick(store, sink, rows, tick)
    before = everything(sink.influx)
    sink.late(np.unique(seconds_of(rows)).view("datetime64[s]"))
    sink.stage(results_at(newest), newest, "bundle", METADATA)
    assert sink.flush(newest, METADATA).ticks == 4
    assert everything(sink.influx) == before
    assert sink.flush(newest, METADATA) == dataclasses.replace(sink.flush(newest, METADATA))
    assert sink.flush(newest, METADATA).ticks == 0


def test_nothing_is_lost_while_the_server_is_down(store: Store, tmp_path: Path):
    newest = last_tick()
    rows = made_rows(12, newest)
    ticks = np.unique(seconds_of(rows)).view("datetime64[s]")
    server = Influxd(tmp_path / "server", free_port()).start()
    down, up = (
        InfluxSink(Influx(server.url, name, pause=lambda _: None), store, tmp_path / name) for name in ("down", "up")
    )
    try:
        one_tick(store, down, rows, ticks[0])
        server.stop()
        for tick in ticks[1:-1]:
            one_tick(store, down, rows, tick, flush=False)
            with pytest.raises(InfluxDownError, match="cannot be reached"):
                down.flush(tick, METADATA)
        server.start()
        one_tick(store, down, rows, ticks[-1])
        for tick in ticks:
            up.stage(results_at(tick), tick, "bundle", METADATA)
        up.flush(newest, METADATA)
        one, other = everything(down.influx), everything(up.influx)
        assert {key: value for key, value in one.items() if key[0] == "10m"} == {
            key: value for key, value in other.items() if key[0] == "10m"
        }
        assert len([key for key in one if key[1] == "jobs" and key[0] == "10m"]) == rows.num_rows
        assert not list((tmp_path / "down" / "verdicts").iterdir())
    finally:
        server.stop()


def test_what_is_refused_does_not_keep_the_rest(store: Store, sink: InfluxSink):
    tick = last_tick()
    sink.flush(tick, METADATA)
    sink.influx.write([f'jobs,panda_queue=other jobs="text" {int(tick.astype(np.int64)) * 10**9}'], "10m")
    store.append(made_rows(1, tick))
    sink.stage(results_at(tick), tick, "b", METADATA)
    with pytest.raises(InfluxError, match="already exists as type string"):
        sink.flush(tick, METADATA)
    assert any(key[1] == "queue_anomaly" for key in everything(sink.influx))
    assert json.loads((sink.folder / "written.json").read_text())["10m"]["waiting"] == [str(tick)]


def test_no_time_is_no_harm(store: Store, sink: InfluxSink):
    newest = last_tick()
    store.put(made_rows(3, newest))
    assert sink.flush(newest, METADATA, until=time.monotonic()).waiting == 3
    assert sink.flush(newest, METADATA).ticks == 3


def test_a_damaged_memory_is_one_line(sink: InfluxSink):
    sink.folder.mkdir()
    (sink.folder / "written.json").write_text("{")
    with pytest.raises(StoreError, match=r"written.json: cannot be read .*remove it"):
        sink.flush(last_tick(), METADATA)


def test_beside_qmonit_only_verdicts_are_written(store: Store, sink: InfluxSink):
    beside = dataclasses.replace(sink, measurements=EVERYTHING - {"jobs", "jobs_average"})
    one_tick(store, beside, made_rows(1), last_tick())
    assert {key[1] for key in everything(sink.influx)} == {"queue_anomaly"}


def test_scores_of_other_series_than_queues(sink: InfluxSink):
    tick = last_tick()
    made = dataclasses.replace(results_at(tick), entity=("cloud", "tier"), series=(("DE", "T2D"), ("UK", "T1")))
    sink.stage(made, tick, "clouds", Metadata.empty())
    sink.flush(tick, METADATA)
    verdicts = [
        dict(key[2]) for key in everything(sink.influx) if not dict(key[2]).get("job_status") and key[0] == "10m"
    ]
    assert sorted((tags["cloud"], tags["tier"], tags["bundle"]) for tags in verdicts) == [
        ("DE", "T2D", "clouds"),
        ("UK", "T1", "clouds"),
    ]


def test_what_a_killed_writer_left_is_not_sent(sink: InfluxSink):
    folder = sink.folder / "verdicts"
    folder.mkdir(parents=True)
    (folder / ".tmp-1-x").write_bytes(gzip.compress(b"half"))
    assert sink.flush(last_tick(), METADATA).verdicts == 0


PROGRAM = """
import sys
import numpy as np
from pathlib import Path
from qad_dl.influx.client import Influx
from qad_dl.influx.sink import InfluxSink
from qad_dl.store import Store
from tests.services.influx_made import METADATA
url, database, store, folder, now = sys.argv[1:]
sink = InfluxSink(Influx(url, database), Store.open(Path(store)), Path(folder))
print("go", flush=True)
sink.flush(np.datetime64(now, "s"), METADATA)
"""


def test_killed_at_any_moment_it_ends_as_if_not(influxd: Influxd, store: Store, tmp_path: Path):
    newest = last_tick()
    store.put(made_rows(60, newest))
    keep_up(store, newest, Keep())
    calm, shot = (InfluxSink(influxd.database(), store, tmp_path / name) for name in ("calm", "shot"))
    for sink in (calm, shot):
        for back in range(30):
            sink.stage(results_at(newest), newest - back * TICK.delta, "b", METADATA)
    calm.flush(newest, METADATA)
    words = [influxd.url, shot.influx.database, store.path, shot.folder, newest]
    assert kill_often(PROGRAM, words, np.random.default_rng(5), 0.02, 0.3)
    shot.flush(newest, METADATA)
    assert everything(shot.influx) == everything(calm.influx)
