"""QMonit's schema both ways, with QMonit's own client: what it writes we read, and its queries find what we write."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from influxdb import InfluxDBClient

from qad_dl.downsampling import DAYS, HOURS
from qad_dl.errors import InfluxDownError, InfluxError
from qad_dl.influx import client as client_module
from qad_dl.influx import history as history_module
from qad_dl.influx.client import Influx
from qad_dl.influx.history import PIECE_TICKS, Piece, new_rows, next_start, read_history, read_piece, span
from qad_dl.influx.policies import Policies, prepare
from qad_dl.influx.qmonit import KEYS, METADATA_TAGS
from qad_dl.influx.sink import InfluxSink
from qad_dl.metadata import Metadata
from qad_dl.rows import concat_rows, empty_rows, seconds_of
from qad_dl.schema import FLOW_STATES
from qad_dl.store import Store
from qad_dl.store.retention import Keep, keep_up
from tests.services.influx_made import METADATA, TICK, last_tick, made_rows, rows_of
from tests.services.test_influx_client import HOSTILE

if TYPE_CHECKING:
    import pyarrow as pa

    from tests.services.influxd import Influxd

pytestmark = pytest.mark.program("influxd")

FIELDS = {"resource_factor": 1.0, "corepower": 10.0, "HS06_benchmark": 0.0, "federation_HS06_pledge": 0}
TAGS = dict.fromkeys(METADATA_TAGS, "None") | {"cloud": "DE", "site_state": "online", "frontier": "No value"}


def their_client(influx: Influx) -> InfluxDBClient:
    """influxdb-python, asking for JSON as it did in QMonit's time: its MessagePack cuts times to microseconds."""
    address = urlsplit(influx.url)
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    return InfluxDBClient(address.hostname, address.port, database=influx.database, headers=headers)


def their_point(tick: np.datetime64, key: tuple[str, str, str, str], jobs: int, **tags: str) -> dict[str, Any]:
    """A count as QMonit writes it: whole numbers stay whole, the hash of the key is the time's tail."""
    tail = str(int(hashlib.md5("".join(key).encode()).hexdigest(), 16))[:9]
    return {
        "measurement": "jobs",
        "tags": {**TAGS, **dict(zip(KEYS, key, strict=True)), **tags},
        "time": int(tick.astype(np.int64)) * 10**9 + int(tail),
        "fields": {"jobs": jobs, **FIELDS},
    }


def whole(influx: Influx, start: np.datetime64, end: np.datetime64) -> Piece:
    """A history in one piece: where pieces begin depends on the time of day."""
    first, *more = read_history(influx, start, end, TICK)
    for piece in more:
        rows = concat_rows([first.rows, piece.rows])
        queues, ignored = {**first.queues, **piece.queues}, first.ignored + piece.ignored
        first = replace(first, rows=rows, queues=queues, ignored=ignored, end=piece.end)
    return first


def as_counts(rows: pa.Table) -> dict[tuple, float]:
    columns = (rows.column(name).to_pylist() for name in (*KEYS, "jobs"))
    return {tuple(row[:-1]): row[-1] for row in zip(seconds_of(rows).tolist(), *columns, strict=True)}


@pytest.fixture
def influx(influxd: Influxd) -> Influx:
    made = influxd.database()
    prepare(made, Policies())
    return made


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.create(tmp_path / "store")


def test_their_points_are_our_rows(influx: Influx):
    newest = last_tick()
    rows = made_rows(20, newest)
    points = [
        their_point(np.datetime64(row["time"].replace(tzinfo=None), "s"), tuple(row[k] for k in KEYS), int(row["jobs"]))
        for row in rows.to_pylist()
    ]
    their_client(influx).write_points(points, time_precision="n", retention_policy="10m")
    piece = whole(influx, newest - TICK.delta * 19, newest + 1)
    assert piece.ignored == 0
    assert as_counts(piece.rows) == as_counts(rows)
    assert set(piece.rows.column("site_state").to_pylist()) == {"online"}
    assert piece.queues == {queue: {"cloud": "DE", "status": "online"} for queue in METADATA.dumps[0]}
    assert span(influx, TICK) == (newest - TICK.delta * 19, newest)


def test_their_queries_find_what_we_write(influx: Influx, store: Store, tmp_path):
    newest = last_tick()
    rows = made_rows(150, newest)
    store.put(rows)
    keep_up(store, newest, Keep())
    InfluxSink(influx, store, tmp_path / "sink").flush(newest, METADATA)
    asked = 'select * from "10m"."jobs" where time > now() - 26h and "prod_source" != \'\' group by ' + ", ".join(KEYS)
    found: dict[tuple, float] = {}
    for series in their_client(influx).query(asked).raw["series"]:
        key = tuple(series["tags"][name] for name in KEYS)
        tail = str(int(hashlib.md5("".join(key).encode()).hexdigest(), 16))[:9]
        place = series["columns"].index("jobs")
        for values in series["values"]:
            moment, _, fraction = values[0].rstrip("Z").partition(".")
            assert int(fraction.ljust(9, "0")) == int(tail)
            found[int(np.datetime64(moment, "s").astype(np.int64)), *key] = values[place]
            assert values[series["columns"].index("atlas_site")] == METADATA.dumps[0][key[0]]["atlas_site"]
    assert found == as_counts(rows)


def test_what_we_write_we_read(influx: Influx, store: Store, tmp_path):
    newest = last_tick()
    rows = made_rows(20, newest)
    store.put(rows)
    InfluxSink(influx, store, tmp_path / "sink").flush(newest, METADATA)
    piece = whole(influx, newest - TICK.delta * 19, newest + 1)
    assert as_counts(piece.rows) == as_counts(rows)
    numbers = ("corepower", "corecount", "federation_HS06_pledge")  # fields, or not QMonit's
    expected = {q: {k: v for k, v in record.items() if k not in numbers} for q, record in METADATA.dumps[0].items()}
    assert piece.queues == expected


def test_beside_their_whole_numbers_we_write_on(influx: Influx, store: Store, tmp_path):
    newest = last_tick()
    key = ("CERN-PROD", "managed", "MCORE", "running")
    point = their_point(newest - TICK.delta, key, 12)
    their_client(influx).write_points([point], time_precision="n", retention_policy="10m")
    store.append(rows_of([(newest, *key, 13)]))
    InfluxSink(influx, store, tmp_path / "sink").flush(newest, METADATA)
    piece = whole(influx, newest - TICK.delta * 3, newest + 1)
    assert list(as_counts(piece.rows).values()) == [12, 13]


def test_of_two_points_at_one_tick_the_newer_counts(influx: Influx):
    newest = last_tick()
    key = ("Q", "managed", "SCORE", "running")
    old = [their_point(newest - TICK.delta * back, key, 10 + back, cloud="DE") for back in (3, 2, 1)]
    new = [their_point(newest - TICK.delta * back, key, 20 + back, cloud="UK", site_state="test") for back in (1, 0)]
    their_client(influx).write_points(new + old, time_precision="n", retention_policy="10m")
    piece = whole(influx, newest - TICK.delta * 3, newest + 1)
    assert piece.rows.column("jobs").to_pylist() == [13, 12, 21, 20]
    assert piece.rows.column("site_state").to_pylist() == ["online", "online", "test", "test"]
    assert piece.queues == {"Q": {"cloud": "UK", "status": "test"}}
    cut = whole(influx, newest - TICK.delta * 3, newest)  # both end with the tick that both have
    assert cut.rows.column("jobs").to_pylist() == [13, 12, 21]


def test_a_cold_start_in_pieces_and_then_the_last_ticks(influx: Influx, store: Store):
    newest = last_tick()
    rows = made_rows(100, newest)
    points = [
        their_point(np.datetime64(row["time"].replace(tzinfo=None), "s"), tuple(row[k] for k in KEYS), int(row["jobs"]))
        for row in rows.to_pylist()
    ]
    client = their_client(influx)
    cut = int((newest - TICK.delta * 2).astype(np.int64))
    early = [point for point in points if point["time"] // 10**9 < cut]
    client.write_points(early, time_precision="n", retention_policy="10m", batch_size=5000)
    start = next_start(None, newest - TICK.delta * 3, TICK, np.timedelta64(1, "D"))
    assert start == newest - TICK.delta * 147
    pieces = list(read_history(influx, start, newest - TICK.delta * 2, TICK))
    assert len(pieces) == 5
    for piece in pieces:
        store.append(new_rows(store, piece))
    client.write_points(points, time_precision="n", retention_policy="10m", batch_size=5000)
    start = next_start(store.span()[1], newest, TICK, np.timedelta64(1, "D"))
    assert start == newest - TICK.delta * 5
    piece = whole(influx, start, newest + 1)
    fresh = new_rows(store, piece)
    assert set(seconds_of(fresh).tolist()) == {int((newest - TICK.delta * back).astype(np.int64)) for back in (0, 1, 2)}
    store.append(fresh)
    assert as_counts(store.read(newest - np.timedelta64(2, "D"), newest + 1)) == as_counts(rows)
    assert new_rows(store, piece).num_rows == 0


def test_a_piece_that_takes_too_long_is_asked_for_in_halves(influx: Influx, monkeypatch: pytest.MonkeyPatch):
    piece = PIECE_TICKS * TICK.delta  # pieces begin at multiples of their width, so where the first one ends is chosen
    newest = TICK.time(TICK.index(np.array([last_tick()])) // PIECE_TICKS * PIECE_TICKS)[0] - piece + TICK.delta * 19
    points = [their_point(newest - TICK.delta * back, ("Q", "m", "S", "running"), back) for back in range(20)]
    their_client(influx).write_points(points, time_precision="n", retention_policy="10m")
    widths = []
    real = read_piece

    def slow(influx: Influx, low: np.datetime64, high: np.datetime64, *rest: Any):
        widths.append((high - low) // TICK.delta)
        if widths[-1] > 4:
            raise InfluxDownError("slow", slow=True)
        return real(influx, low, high, *rest)

    monkeypatch.setattr(history_module, "read_piece", slow)
    pieces = list(read_history(influx, newest - TICK.delta * 19, newest + 1, TICK))
    assert widths == [20, 18, 9, 4, 4, 4, 4, 4]
    assert sum(piece.rows.num_rows for piece in pieces) == 20

    def dead(*_: Any):
        raise InfluxDownError("slow", slow=True)

    monkeypatch.setattr(history_module, "read_piece", dead)
    with pytest.raises(InfluxDownError):
        list(read_history(influx, newest - TICK.delta * 19, newest + 1, TICK))


def test_a_server_that_hangs_or_breaks_off_is_slow(monkeypatch: pytest.MonkeyPatch):
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if "hangs" in self.rfile.read(int(self.headers["Content-Length"])).decode():
                time.sleep(1)
                return
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"results": [{"series": [{"name": "jobs", "colu')

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(client_module, "READ_S", 0.3)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    influx = Influx(f"http://127.0.0.1:{server.server_port}", "x", pause=lambda _: None)
    try:
        for statement, said in (("hangs", "gives no answer within"), ("breaks", "its answer breaks off")):
            with pytest.raises(InfluxDownError, match=said) as caught:
                influx.query(statement)
            assert caught.value.slow
    finally:
        server.shutdown()
        server.server_close()
        influx.session.close()


def test_points_that_are_no_counts_are_counted_and_left(influx: Influx):
    newest = last_tick()
    key = ("Q", "m", "S", "running")
    points = [their_point(newest, key, 5), their_point(newest, ("Q", "m", "S", "sent"), -1)]
    nameless = their_point(newest, ("R", "m", "S", "running"), 7)
    del nameless["tags"]["panda_queue"]
    their_client(influx).write_points([*points, nameless], time_precision="n", retention_policy="10m")
    (piece,) = read_history(influx, newest, newest + 1, TICK)
    assert (as_counts(piece.rows), piece.ignored) == ({(int(newest.astype(np.int64)), *key): 5}, 2)


def test_an_empty_database(influx: Influx, influxd: Influxd):
    newest = last_tick()
    (piece,) = read_history(influx, newest, newest + 1, TICK)
    assert piece.rows.equals(empty_rows())
    assert span(influx, TICK) is None
    with pytest.raises(InfluxError, match="database not found"):
        list(read_history(influxd.database(), newest, newest + 1, TICK))


def test_hours_and_days_are_what_qmonits_rules_make_of_the_same_points(influx: Influx, store: Store, tmp_path):
    """Its rules, run on its own answers from the server at each full hour, against what we wrote."""
    newest = last_tick()
    rows = made_rows(3 * 144, newest)
    store.put(rows)
    keep_up(store, newest, Keep())
    InfluxSink(influx, store, tmp_path / "sink").flush(newest, METADATA)
    client = their_client(influx)
    for level, finer, last in ((HOURS, "10m", 6), (DAYS, "1h", 24)):
        stamps = level.tick.range(newest - np.timedelta64(3, "D") + level.tick.delta, newest + 1)
        for stamp in stamps:
            expected = their_rule(client, finer, stamp, level.tick.seconds, last)
            low, high = (int(stamp.astype(np.int64)) + add for add in (0, 1))
            asked = f'select jobs from "{level.name}"."jobs" where time >= {low}s and time < {high}s group by *'
            found = {tuple(s.tags[k] for k in KEYS): s.values[0][1] for s in influx.query(asked)}
            assert found == expected
            assert len(found) == 20


def their_rule(client: InfluxDBClient, policy: str, stamp: np.datetime64, length: int, last: int) -> dict[tuple, float]:
    """The last points of the past two lengths per key, summed for flow states, else averaged, to two digits."""
    end = int(stamp.astype(np.int64)) + 1
    asked = (
        f'select * from "{policy}"."jobs" where time > {end - 2 * length}s and time < {end}s group by {", ".join(KEYS)}'
    )
    made = {}
    for series in client.query(asked).raw["series"]:
        place = series["columns"].index("jobs")
        values = [row[place] for row in reversed(series["values"])][:last]
        total = float(sum(values))
        flow = series["tags"]["job_status"] in FLOW_STATES
        made[tuple(series["tags"][k] for k in KEYS)] = round(total if flow else total / len(values), 2)
    return made


def test_hostile_names_go_through_and_nothing_is_injected(influx: Influx, store: Store, tmp_path):
    newest = last_tick()
    influx.write(["kept n=1.0"], "10m")
    names = [name for name in HOSTILE if name.strip()]
    rows = rows_of((newest, name, "managed", "SCORE", "running", i) for i, name in enumerate(names))
    metadata = Metadata.single({name: {"cloud": name, "atlas_site": name, "harvester": name} for name in names})
    store.append(rows)
    keep_up(store, newest, Keep())
    InfluxSink(influx, store, tmp_path / "sink").flush(newest, metadata)
    (piece,) = read_history(influx, newest, newest + 1, TICK)
    assert dict(
        zip(piece.rows.column("panda_queue").to_pylist(), piece.rows.column("jobs").to_pylist(), strict=True)
    ) == {name: float(i) for i, name in enumerate(names)}
    assert {queue: record["cloud"].strip() for queue, record in piece.queues.items()} == {n: n.strip() for n in names}
    measurements = {row[0] for series in influx.query("SHOW MEASUREMENTS") for row in series.values}
    assert measurements == {"kept", "jobs", "jobs_average"}
    assert requests.get(f"{influx.url}/ping", timeout=5).ok
