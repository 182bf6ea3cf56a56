"""A store on a real S3 server is a store in a folder: the same bytes, the same scores, whatever dies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qad_dl.cli import main as qad
from qad_dl.errors import StoreError
from qad_dl.objects import ObjectPath, _kept
from qad_dl.rows import from_numpy, merge_rows, seconds_of
from qad_dl.schema import Tick
from qad_dl.store import Store
from qad_dl.store.dayfile import TAIL_BYTES, _footer
from qad_dl.store.retention import remove_day
from tests.conftest import ROOT
from tests.light.made import START, TICK
from tests.light.made_bundle import METADATA, made_history
from tests.services.programs import free_port
from tests.services.storage_made import DAY, DAYS, EVER, FROM, UNTIL, World, make_world

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.s3 import S3


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("storage"))


@pytest.fixture(scope="module")
def remote(world: World, s3: S3) -> str:
    """The address of the same store on S3; it is only read."""
    address = f"{s3.bucket()}/some/where"
    assert qad(world.words(address)) == 0
    return address


def objects(address: str) -> dict[str, bytes]:
    """All that is there, by name."""
    return {name: path.read_bytes() for name, path in ObjectPath(address).listed().items()}


def files(store: Path) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*") if p.is_file()}


def process(words: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "qad_dl.cli", *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def test_an_import_gives_the_bytes_that_it_gives_on_a_disk(world: World, remote: str):
    assert objects(remote) == files(world.path / "store")
    assert qad(world.words(remote)) == 0
    assert objects(remote) == files(world.path / "store")


def test_scores_of_a_folder_and_of_s3_are_the_same_bytes(world: World, remote: str, tmp_path: Path):
    for number, store in enumerate((world.path / "store", remote)):
        assert qad(world.backtest(store, tmp_path / f"{number}.parquet")) == 0
    for name in ("parquet", "details.parquet"):
        assert (tmp_path / f"0.{name}").read_bytes() == (tmp_path / f"1.{name}").read_bytes()


@pytest.mark.parametrize(
    "words",
    [
        ["score", "STORE", "--bundle", "BUNDLE", "--format", "json"],
        ["score", "STORE", "--bundle", "BUNDLE", "--format", "json", "--state", "STATE"],
        ["drift", "STORE", "--bundle", "BUNDLE", "--days", "1"],
        ["review", "STORE", "--bundle", "BUNDLE", "--start", str(FROM), "--end", str(UNTIL), "--out", "OUT"],
        ["incidents", "SCORES", "--store", "STORE", "--bundle", "BUNDLE", "--out", "OUT"],
        ["evaluate", "SCORES", "--store", "STORE", "--incidents", "INCIDENTS", "--format", "json"],
    ],
    ids=lambda words: " ".join(words[:1] + [w for w in words if w == "--state"]),
)
def test_every_command_takes_an_address(world: World, remote: str, tmp_path: Path, words: list[str], capsys):
    scores, incidents = tmp_path / "scores.parquet", tmp_path / "incidents.csv"
    assert qad(world.backtest(world.path / "store", scores)) == 0
    incidents.write_text(
        "incident,kind,field,value,start,end,severity,queues\n"
        f"i1,site_down,panda_queue,Q2,{FROM + 6 * TICK.delta},{FROM + 20 * TICK.delta},,Q2\n"
    )
    said = []
    for number, store in enumerate((world.path / "store", remote)):
        place = {"STORE": store, "BUNDLE": world.path / "bundle", "SCORES": scores, "INCIDENTS": incidents}
        place |= {"STATE": tmp_path / f"state-{number}", "OUT": tmp_path / f"{number}.out"}
        capsys.readouterr()
        assert qad([str(place.get(word, word)) for word in words]) == 0
        said.append(capsys.readouterr().out.replace(f"{number}.out", "out"))
    if words[0] != "review":  # its title is the name of the store
        assert said[0] == said[1]


def test_how_many_requests_reading_takes(remote: str, s3: S3):
    opened: list[Store] = []
    assert s3.kinds(lambda: opened.append(Store.open(remote))) == ["GET"]
    store = opened[0]
    # One listing for all days, and each day once.
    assert s3.kinds(lambda: store.read(START, START + DAY)) == ["LIST", "GET"]
    assert s3.kinds(lambda: store.read(START, START + DAYS * DAY)) == ["LIST"] + ["GET"] * DAYS
    _footer.cache_clear()
    assert s3.kinds(store.span) == ["LIST", "GET", "GET"]
    # Footers are read once in the life of a process.
    assert s3.kinds(lambda: store.known_series(EVER[1])) == ["LIST"] + ["GET"] * (DAYS - 2)
    assert s3.kinds(lambda: store.known_series(EVER[1])) == ["LIST"]
    _kept.cache_clear()
    assert s3.kinds(store.metadata) == ["LIST", "GET", "GET"]
    assert s3.kinds(store.metadata) == ["LIST"]
    assert s3.kinds(store.downtimes) == ["LIST"]


def test_how_many_requests_writing_takes(s3: S3):
    """A new day; ticks of a day that is there; the same again; one more, and the files that it stands for."""
    rows = made_history(1)
    at = (seconds_of(rows) - int(START.astype(int))) // TICK.seconds

    def of(first: int, last: int) -> pa.Table:
        return rows.filter(from_numpy((at >= first) & (at < last), pa.bool_()))

    made: list[Store] = []
    create = s3.kinds(lambda: made.append(Store.create(f"{s3.bucket()}/ticks")))
    assert create == ["PUT", "GET", "LIST", "PUT", "PUT", "GET"][: len(create)]
    store = made[0]
    assert s3.kinds(lambda: store.put(of(0, 10))) == ["LIST", "PUT", "LIST"]
    assert s3.kinds(lambda: store.append(of(10, 11))) == ["LIST", "GET", "PUT", "LIST"]
    assert s3.kinds(lambda: store.append(of(11, 12))) == ["LIST", "GET", "PUT", "LIST"]
    assert s3.kinds(lambda: store.put(of(0, 12))) == ["LIST"] + ["GET"] * 3
    assert s3.kinds(lambda: store.put(of(0, 13))) == ["LIST", *["GET"] * 3, "PUT", "LIST", *["DELETE"] * 3]
    assert s3.kinds(lambda: store.put(of(0, 13))) == ["LIST", "GET"]
    assert merge_rows([store.read(*EVER)]).equals(merge_rows([of(0, 13)]))


def test_a_killed_import_leaves_whole_days_and_the_next_completes_it(world: World, s3: S3):
    """Into nothing, and over what was there: every day is wholly old or wholly new."""
    rng = np.random.default_rng(int.from_bytes(b"kill"))
    wanted = files(world.path / "store")
    halfway = 0
    for number in range(6):
        address = f"{s3.bucket()}/killed"
        if number % 2:
            assert qad(world.words(address, "few.parquet")) == 0
        before, begun = objects(address), len(s3.asked())
        running = process(world.words(address))
        target = f"{START.astype('datetime64[D]') + int(rng.integers(3, DAYS - 1))}"
        while running.poll() is None and not any(target in line for line in s3.asked()[begun:]):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.01))
        running.kill()
        _, said = running.communicate(timeout=60)
        assert said == b""
        left = objects(address)
        assert before.items() <= left.items() <= wanted.items()  # the days of the few are whole, and the same
        halfway += len(before) < len(left) < len(wanted)
        assert qad(world.words(address)) == 0
        assert objects(address) == wanted
    assert halfway >= 2


def test_two_importers_at_once_lose_nothing(world: World, s3: S3, tmp_path: Path):
    rows = made_history(3)
    places = np.arange(rows.num_rows)
    for part in range(2):
        pq.write_table(rows.filter(from_numpy(places % 2 == part, pa.bool_())), tmp_path / f"{part}.parquet")
    for _ in range(3):
        address = f"{s3.bucket()}/both"
        running = [process(["import", address, "--jobs", str(tmp_path / f"{part}.parquet")]) for part in range(2)]
        for each in running:
            _, said = each.communicate(timeout=120)
            assert (each.returncode, said) == (0, b"")
        assert merge_rows([Store.open(address).read(*EVER)]).equals(merge_rows([rows]))


def test_writers_of_one_day_at_once_lose_nothing(s3: S3):
    """Eight writers append a tick each to the same day, all at the same moment."""
    import threading

    address, rows = f"{s3.bucket()}/day", made_history(8 / TICK.per_day)
    Store.create(address)
    at = (seconds_of(rows) - int(START.astype(int))) // TICK.seconds
    gate = threading.Barrier(8)

    def write(tick: int) -> None:
        store = Store.open(address)
        gate.wait(30)
        (store.append if tick % 2 else store.put)(rows.filter(from_numpy(at == tick, pa.bool_())))

    threads = [threading.Thread(target=write, args=(tick,)) for tick in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    store = Store.open(address)
    assert merge_rows([store.read(*EVER)]).equals(merge_rows([rows]))
    store.compact(START.astype("datetime64[D]") + DAY)
    assert merge_rows([store.read(*EVER)]).equals(merge_rows([rows]))
    assert len(objects(f"{address}/jobs")) == 1


def test_a_long_footer_is_read_whole(s3: S3, monkeypatch: pytest.MonkeyPatch):
    store = Store.create(f"{s3.bucket()}/long")
    store.put(made_history(1))
    monkeypatch.setattr("qad_dl.store.dayfile.TAIL_BYTES", 100)
    before = len(s3.asked())
    assert len(store.known_series(EVER[1])) == 6
    assert len(s3.asked()) - before == 3
    assert TAIL_BYTES > 100


def test_a_day_that_was_superseded_since_it_was_listed_is_looked_for_again(s3: S3):
    address, rows = f"{s3.bucket()}/moving", made_history(2)
    store = Store.create(address)
    store.put(rows)
    pieces = store.pieces(START, START + 2 * DAY)
    first = next(pieces)
    other = rows.set_column(5, "jobs", from_numpy(np.full(rows.num_rows, 7.0), pa.float64()))
    Store.open(address).put(other)
    second = next(pieces)
    assert first.column("jobs").to_pylist() != [7.0] * first.num_rows
    assert second.column("jobs").to_pylist() == [7.0] * second.num_rows


def test_what_needs_a_folder_says_so(world: World, remote: str):
    with pytest.raises(StoreError, match="is not on a disk, and this needs a folder"):
        remove_day(Store.open(remote), START.astype("datetime64[D]"))


@pytest.mark.parametrize(
    ("address", "environment", "said"),
    [
        ("s3://no-such-bucket/x", {}, "there is no such bucket; make it first"),
        ("s3://", {}, "names no place; write it like s3://BUCKET/PREFIX"),
        ("nothing://x/y", {}, "Protocol not known: nothing"),
        ("gs://x/y", {}, "needs a package that is not installed"),
        ("s3://BUCKET/x", {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "has no credentials: set AWS_"),
        ("s3://BUCKET/x", {"AWS_PROFILE": "nobody"}, "names a profile that is not there: see to AWS_PROFILE"),
        ("s3://BUCKET/x", {"AWS_ENDPOINT_URL": "PORT"}, "cannot be reached: see whether the server runs"),
        ("s3://BUCKET/x", {}, "does not exist; make one with `qad import s3://"),
        ("influxdb://127.0.0.1", {}, "names no host and database; write influxdb://HOST:PORT/DATABASE"),
        ("influxdb://me:secret@127.0.0.1/db", {}, "a password in an address is seen by all"),
        ("influxdb://127.0.0.1/db?password-file=/nowhere", {}, "/nowhere cannot be read"),
        ("influxdb://127.0.0.1:PORT/db", {}, "cannot be reached"),
    ],
)
def test_what_cannot_be_opened_is_one_line_and_exit_code_two(
    world: World, s3: S3, address: str, environment: dict[str, str | None], said: str, tmp_path: Path
):
    port = str(free_port())
    address = address.replace("s3://BUCKET", s3.bucket()).replace("PORT", port)
    given = dict(os.environ)
    for name, value in environment.items():
        given.pop(name, None)
        if value is not None:
            given[name] = value.replace("PORT", f"http://127.0.0.1:{port}")
    command = [sys.executable, "-m", "qad_dl.cli", *world.backtest(address, tmp_path / "out.parquet")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=given, timeout=120)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert "secret" not in done.stderr


def test_a_store_in_memory_is_a_store(tmp_path: Path):
    """Any file system that fsspec knows, with the same content."""
    rows = made_history(2)
    stores = [Store.create("memory://made/store"), Store.create(tmp_path / "store")]
    for store in stores:
        store.put(rows)
        store.add_metadata(METADATA.dumps[0], START)
        assert not store.add_metadata(METADATA.dumps[0], START)
        store.append(rows.slice(0, 5))
        store.compact(START.astype("datetime64[D]") + 2 * DAY)
    one, other = stores
    assert objects("memory://made/store") == files(tmp_path / "store")
    for ask in ("span", "days", "downtimes"):
        assert getattr(one, ask)() == getattr(other, ask)()
    assert one.digests(*EVER) == other.digests(*EVER)
    assert one.metadata_versions(*EVER) == other.metadata_versions(*EVER)
    assert Store.open("memory://made/store/").address == "memory://made/store"
    with pytest.raises(StoreError, match="has ticks of 10 minutes, not 30"):
        Store.create("memory://made/store", Tick(30))
    with pytest.raises(StoreError, match="is no store"):
        Store.open("memory://made/store/jobs")
