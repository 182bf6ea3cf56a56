"""`qad simulate`: the files and their readers, what fixes a world, what is refused, normal life."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qad_dl.cli import main
from qad_dl.downtimes import read_downtimes
from qad_dl.errors import ConfigError, InputError
from qad_dl.history import read_jobs
from qad_dl.incidents_file import hit_queues, read_incidents
from qad_dl.metadata import Metadata, read_cric
from qad_dl.schema import JOBS_COLUMNS, KNOWN_STATES, STATUSES, Tick
from qad_dl.simulator import WorldParams, simulate
from qad_dl.simulator.collector import collection, observe
from qad_dl.simulator.mechanism import REPORTED
from qad_dl.simulator.output import write
from qad_dl.simulator.run import Run, run

if TYPE_CHECKING:
    from pathlib import Path

FILES = ("jobs.parquet", "cric.json", "incidents.csv", "downtimes.csv")
TICK = Tick()
LIVELY = WorldParams(
    days=6, queues=30, seed=4, quiet_days=1.0, missed=0.02, holes=0.7, frozen=1.0, out_of_order=0.05, downtimes=0.03
)
"""A small world in which everything happens that a collection has to bear."""


def hashes(path: Path) -> list[str]:
    return [hashlib.sha256((path / name).read_bytes()).hexdigest() for name in FILES]


def columns(table: pa.Table, *names: str) -> list[Any]:
    """Columns as numpy arrays; dictionaries as text."""
    some = [table[name] for name in names]
    return [(part.cast(pa.string()) if pa.types.is_dictionary(part.type) else part).to_numpy() for part in some]


@pytest.fixture(scope="module")
def lively() -> Run:
    return run(LIVELY)


@pytest.fixture(scope="module")
def files(lively: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four files of LIVELY."""
    out = tmp_path_factory.mktemp("simulated") / "new" / "folder"
    write(lively, out)
    return out


# The files


def test_the_four_files_and_no_more(files: Path) -> None:
    assert sorted(path.name for path in files.iterdir()) == sorted(FILES)


def test_jobs_are_read_back_whole(files: Path) -> None:
    raw, read = pq.read_table(files / "jobs.parquet"), read_jobs(files / "jobs.parquet", TICK)
    assert tuple(raw.column_names) == JOBS_COLUMNS
    assert read.num_rows == raw.num_rows > 50_000, "a row is there twice, or there are none"
    time, state, jobs = columns(raw, "time", "job_status", "jobs")
    assert set(state) == set(REPORTED) <= set(KNOWN_STATES)
    assert jobs.min() == 0
    assert jobs.dtype == np.int32
    assert time.min() == LIVELY.start
    assert time.max() < LIVELY.start + np.timedelta64(6, "D")
    assert (np.diff(time.astype(int)) < 0).any(), "some rows stand behind those of the next tick"


def test_rows_hold_what_the_mechanism_made(files: Path, lively: Run) -> None:
    seen = observe(lively.counts, collection(LIVELY))
    jobs = columns(pq.read_table(files / "jobs.parquet"), "jobs")[0]
    assert jobs.sum() == seen[collection(LIVELY).arrived].sum()


def test_metadata_are_read_back(files: Path) -> None:
    records = read_cric(files / "cric.json")
    queues = set(columns(pq.read_table(files / "jobs.parquet"), "panda_queue")[0])
    assert len(records) == LIVELY.queues
    assert queues <= set(records)
    assert all({"atlas_site", "cloud", "status", "write_storage"} <= set(record) for record in records.values())
    assert {str(type(r["transferringlimit"])) for r in json.loads((files / "cric.json").read_text()).values()} == {
        str(int),
        str(type(None)),
    }, "records are as odd as CRIC's"


def test_incidents_are_read_back(files: Path, lively: Run) -> None:
    incidents, metadata = read_incidents(files / "incidents.csv"), Metadata.single(read_cric(files / "cric.json"))
    assert len(incidents) == len(lively.told) >= 3
    for item, told in zip(incidents, lively.told, strict=True):
        assert (item.kind, item.field, item.value) == (told.kind, told.field, told.value)
        assert TICK.floor(item.start) == item.start < item.end
        assert item.severity == pytest.approx(told.severity, abs=0.005)
        assert hit_queues(item, metadata) == told.queues
        if item.field != "prod_source":
            assert {metadata.at(item.start)[queue].get(item.field, queue) for queue in told.queues} == {item.value}


def test_downtimes_stand_in_the_status(files: Path) -> None:
    downtimes = read_downtimes(files / "downtimes.csv")
    time, queue, state = columns(pq.read_table(files / "jobs.parquet"), "time", "panda_queue", "site_state")
    same = []
    assert {item.status for item in downtimes} == {"offline", "test", "brokeroff"}
    for item in downtimes:
        inside = (queue == item.panda_queue) & (time >= item.start) & (time < item.end)
        assert "online" not in set(state[inside])
        same.append(state[inside] == item.status)
    told = np.concatenate(same)
    assert len(told) > 1000
    assert told.mean() > 0.95
    assert (state == "online").mean() > 0.8


def test_missed_ticks_have_no_rows(files: Path) -> None:
    time = np.unique(columns(pq.read_table(files / "jobs.parquet"), "time")[0]).astype("datetime64[s]")
    arrived = collection(LIVELY).arrived
    every = TICK.range(LIVELY.start, LIVELY.start + np.timedelta64(LIVELY.days, "D"))
    np.testing.assert_array_equal(time, every[arrived])
    assert 5 < (~arrived).sum() < len(arrived) / 4


# What fixes a world


def test_the_same_command_gives_the_same_bytes(tmp_path: Path) -> None:
    options = ["--queues", "10", "--days", "4"]
    assert main(["simulate", str(tmp_path / "a"), *options]) == 0
    code = f"from qad_dl.cli import main; main({['simulate', str(tmp_path / 'b'), *options]!r})"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


def test_another_seed_gives_another_world(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        assert main(["simulate", str(tmp_path / seed), "--queues", "10", "--days", "2", "--seed", seed]) == 0
    one, other = hashes(tmp_path / "1"), hashes(tmp_path / "2")
    assert one[0] != other[0]
    assert one[1] != other[1]


def test_without_incidents_life_is_the_same(tmp_path: Path) -> None:
    options = ["--queues", "40", "--days", "5"]
    assert main(["simulate", str(tmp_path / "with"), *options]) == 0
    assert main(["simulate", str(tmp_path / "none"), *options, "--incidents", "none"]) == 0
    one, none = hashes(tmp_path / "with"), hashes(tmp_path / "none")
    assert one[1] == none[1]
    assert one[3] == none[3]
    assert not read_incidents(tmp_path / "none" / "incidents.csv")
    incidents = read_incidents(tmp_path / "with" / "incidents.csv")
    assert incidents
    hit, first = {queue for item in incidents for queue in (*item.queues, item.value)}, min(i.start for i in incidents)
    parts = [pq.read_table(tmp_path / name / "jobs.parquet") for name in ("with", "none")]
    spared = [part.filter(pa.array(~np.isin(columns(part, "panda_queue")[0], sorted(hit)))) for part in parts]
    before = [part.filter(pa.array(columns(part, "time")[0] < first)) for part in parts]
    assert spared[0].equals(spared[1])
    assert before[0].equals(before[1])
    assert spared[0].num_rows
    assert before[0].num_rows
    assert not parts[0].equals(parts[1])


def test_start_is_floored_to_the_tick(tmp_path: Path) -> None:
    start = "2026-03-01T02:07:00+01:00"
    assert main(["simulate", str(tmp_path), "--queues", "3", "--days", "1", "--start", start]) == 0
    assert columns(pq.read_table(tmp_path / "jobs.parquet"), "time")[0].min() == np.datetime64("2026-03-01T01:00:00")


# Real and made-up dumps


def dump(path: Path, atlas: int, others: int) -> Path:
    records = {f"Q{i:02d}": {"vo_name": "atlas", "status": "online", "type": "production"} for i in range(atlas)}
    records |= {f"X{i:02d}": {"vo_name": "cms", "status": "online"} for i in range(others)}
    path.write_bytes(gzip.compress(json.dumps(records).encode()))
    return path


def test_cric_takes_atlas_records_only(tmp_path: Path) -> None:
    path = dump(tmp_path / "cric.json.gz", atlas=6, others=20)
    for seed in ("1", "2"):
        options = ["--queues", "4", "--days", "1", "--seed", seed, "--cric", str(path)]
        assert main(["simulate", str(tmp_path / seed), *options]) == 0
    chosen = [set(read_cric(tmp_path / seed / "cric.json")) for seed in ("1", "2")]
    assert all(len(names) == 4 and all(name.startswith("Q") for name in names) for names in chosen)
    assert chosen[0] != chosen[1]


def test_cric_with_too_many_queues_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = dump(tmp_path / "cric.json.gz", atlas=6, others=20)
    assert main(["simulate", str(tmp_path / "out"), "--queues", "7", "--cric", str(path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert all(part in line for part in ("7 queues", str(path), "6 records", "ask for fewer"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"[]", b'{"Q": 1}', b"{", b"\x1f\x8b\x08", b"\xff\xfe", None])
def test_a_bad_dump_is_one_line(tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cric.json"
    if content is not None:
        path.write_bytes(content)
    assert main(["simulate", str(tmp_path / "out"), "--queues", "1", "--cric", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line
    assert not (tmp_path / "out").exists()


def test_a_real_dump(tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = shared_data / "cric" / "pandaqueue_2019-08-13.json.gz"
    records = json.loads(gzip.decompress(path.read_bytes()))
    atlas = {key for key, record in records.items() if record["vo_name"] == "atlas"}
    options = ["--days", "1", "--cric", str(path)]
    assert main(["simulate", str(tmp_path), "--queues", str(len(atlas)), *options]) == 0
    assert set(json.loads((tmp_path / "cric.json").read_text())) == atlas
    read = read_jobs(tmp_path / "jobs.parquet", TICK)
    assert read.num_rows == pq.read_metadata(tmp_path / "jobs.parquet").num_rows
    assert set(columns(read, "panda_queue")[0]) <= set(read_cric(path))
    capsys.readouterr()
    assert main(["simulate", str(tmp_path), "--queues", str(len(atlas) + 1), *options]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


# What is refused


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"days": 0}, "days is 0"),
        ({"queues": 0}, "queues is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"missed": -0.1}, "missed is -0.1"),
        ({"noise": float("nan")}, "noise is nan"),
        ({"single_kinds": {"fire": 1.0}}, "'fire'"),
        ({"group_kinds": {"other": 1.0}}, "'other'"),
        ({"start": np.datetime64("2026-01-05T00:03:00", "s")}, "not on a tick"),
    ],
)
def test_worlds_that_cannot_be(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        WorldParams(**change)


@pytest.mark.parametrize("options", [["--days", "0"], ["--queues", "0"], ["--start", "soon"], ["--seed", "-1"]])
def test_bad_options_are_one_line(tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", str(tmp_path / "out"), *options]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_out_must_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="file"):
        simulate(WorldParams(days=1, queues=2), tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_dump_that_is_a_list_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(InputError, match="list"):
        run(WorldParams(days=1, queues=1, cric=tmp_path / "list.json"))


# Normal life


def test_queues_that_are_not_online_get_no_work(lively: Run) -> None:
    status, arrivals = lively.life.status[:, lively.world.layout.queue], lively.life.arrivals
    assert (arrivals[np.isin(status, [STATUSES.index(name) for name in ("offline", "brokeroff", "paused")])] == 0).all()
    assert (arrivals[status == STATUSES.index("online")] > 0).mean() > 0.8


def test_a_declared_downtime_drains_without_failures() -> None:
    made = run(dataclasses.replace(LIVELY, incidents=False, downtimes=0.08))
    long = [w for w in made.life.downtimes if 24 <= w.end - w.begin <= 144]
    drains = [w for w in long if w.status == STATUSES.index("brokeroff")]
    begin, end, failed = np.zeros(2), np.zeros(2), np.zeros(2)
    waiting = [REPORTED.index("assigned"), REPORTED.index("activated")]
    for window in (w for w in drains if w.begin >= 24):
        mine = made.counts[:, made.world.layout.queue == window.queue]
        begin += mine[window.begin - 1][:, waiting].sum(axis=0)
        end += mine[window.end - 1][:, waiting].sum(axis=0)
        for i, at in enumerate((window.begin - 24, window.begin)):
            failed[i] += mine[at : at + 24, :, REPORTED.index("failed")].sum()
    assert begin.sum() > 100
    assert end.sum() < 0.4 * begin.sum()
    assert failed[1] < 2.0 * failed[0]


def test_queues_come_and_go() -> None:
    made = run(WorldParams(days=6, queues=40, seed=6, incidents=False, late_queues=0.25, retired_queues=0.25))
    jobs = np.stack([made.counts[:, made.world.layout.queue == q].sum(axis=(1, 2)) for q in range(40)], axis=1)
    status, offline = made.life.status, STATUSES.index("offline")
    late = [q for q in range(40) if (status[:288, q] == offline).all() and (status[-1, q] == STATUSES.index("online"))]
    assert len(late) >= 4
    for q in late:
        begin = int(np.argmax(status[:, q] != offline))
        assert jobs[:begin, q].max() == 0
        assert begin > 700 or jobs[begin:, q].max() > 0
    gone = [w for w in made.life.downtimes if w.status == offline and w.end == made.params.ticks]
    assert len(gone) >= 4
    for window in gone:
        assert (status[window.begin :, window.queue] == offline).all()
        running = made.counts[:, made.world.layout.queue == window.queue, REPORTED.index("running")].sum(axis=1)
        assert running[window.begin + 48 :].sum() <= 0.3 * running[window.begin - 144 : window.begin - 96].sum()


def test_hpc_queues_burst() -> None:
    made = run(WorldParams(days=6, queues=60, seed=3, incidents=False))
    running = np.stack(
        [made.counts[:, made.world.layout.queue == q, REPORTED.index("running")].sum(1) for q in range(60)], 1
    )
    low, high = running.min(axis=0), running.max(axis=0)
    assert made.world.hpc.any()
    assert ((low == 0) & (high > 300))[made.world.hpc].any()
