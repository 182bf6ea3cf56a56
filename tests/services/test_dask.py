"""Backtest, import and evaluation on a real Dask scheduler: the bytes that one core gives, whoever dies meanwhile."""

from __future__ import annotations

import filecmp
import gzip
import os
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from qad_dl import backtest_parts, cluster, history
from qad_dl.bundle import read_bundle
from qad_dl.cli import main as qad
from qad_dl.errors import ClusterError
from qad_dl.store import Store
from tests.conftest import ROOT
from tests.light.made import START
from tests.light.made_bundle import METADATA
from tests.services.dask_made import Dask, names
from tests.services.dask_world import FROM, UNTIL, World, make_world
from tests.services.programs import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.services.s3 import S3


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine days are three ranges, a file of three hundred thousand rows several parts."""
    monkeypatch.setattr(backtest_parts, "PIECE_DAYS", 3)
    monkeypatch.setattr(history, "_BATCH_ROWS", 100_000)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backtest_parts, "PIECE_DAYS", 3)
        return make_world(tmp_path_factory.mktemp("dask_world"))


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory, s3: S3) -> Iterator[Dask]:  # workers know S3 by their environment
    made = Dask(tmp_path_factory.mktemp("dask"))
    made.start()
    try:
        made.add("one")
        made.add("two")
        yield made
    finally:
        made.stop()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Dask]:
    """A scheduler that has no worker yet."""
    (tmp_path / "alone").mkdir()
    made = Dask(tmp_path / "alone")
    made.start()
    try:
        yield made
    finally:
        made.stop()


def same_files(one: Path, other: Path) -> None:
    """Two folders hold the same names with the same bytes."""
    files = sorted(str(p.relative_to(one)) for p in one.rglob("*") if p.is_file())
    assert files == sorted(str(p.relative_to(other)) for p in other.rglob("*") if p.is_file())
    assert len(files) > 3
    assert filecmp.cmpfiles(one, other, files, shallow=False)[1:] == ([], [])


def kept_runs() -> list[str]:
    """On a worker: the runs of commands for which it keeps something."""
    return [*cluster._Kept.runs]


def complaint(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that ends with 2."""
    capsys.readouterr()
    assert qad(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_the_files_of_a_backtest(world: World, dask: Dask, tmp_path: Path) -> None:
    out = tmp_path / "one.parquet"
    assert qad(world.backtest(out, "--details", "--scheduler", dask.address)) == 0
    for name in ("one.parquet", "one.details.parquet"):
        assert (tmp_path / name).read_bytes() == (world.path / name).read_bytes(), name
    parts = dask.begun("scoring-")
    assert len(parts) == 6  # three ranges, two blocks of series
    assert all(len(given) == 1 for given in parts.values())
    dask.wait_for(lambda client: not any(client.run(kept_runs).values()))


def test_workers_open_a_store_on_s3_themselves(
    world: World, dask: Dask, s3: S3, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, address = tmp_path / "one.parquet", f"{s3.bucket()}/store"
    assert qad(["import", address, "--jobs", str(world.path / "jobs.parquet")]) == 0
    Store.open(address).add_metadata(METADATA.dumps[0], START)
    words = ["backtest", address, *world.range, "--out", str(out), "--details", "--scheduler", dask.address]
    assert qad(words) == 0
    for name in ("one.parquet", "one.details.parquet"):
        assert (tmp_path / name).read_bytes() == (world.path / name).read_bytes(), name
    said = []
    for more in ([], ["--scheduler", dask.address]):
        capsys.readouterr()
        assert qad([word if word != str(world.path / "store") else address for word in world.evaluate(*more)]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    line = complaint(
        ["import", address, "--jobs", str(world.path / "jobs.parquet"), "--scheduler", "tcp://x:1"], capsys
    )
    assert "import into a folder" in line


def test_a_range_in_pieces_is_the_range_in_one(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backtest_parts, "PIECE_DAYS", 28)
    assert qad(world.backtest(tmp_path / "whole.parquet")) == 0
    whole, cut = (pq.read_table(path) for path in (tmp_path / "whole.parquet", world.path / "one.parquet"))
    assert whole.drop(["score"]).equals(cut.drop(["score"]))
    a, b = (table["score"].to_numpy() for table in (whole, cut))
    assert np.allclose(a, b, rtol=0, atol=1e-5, equal_nan=True)


def test_some_queues_by_a_scheduler_file(
    world: World, dask: Dask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = ["--queue", "Q3", "--queue", "Q39"]
    assert qad(world.backtest(tmp_path / "here.parquet", *some)) == 0
    assert qad(world.backtest(tmp_path / "there.parquet", *some, "--scheduler", str(dask.file))) == 0
    assert (tmp_path / "here.parquet").read_bytes() == (tmp_path / "there.parquet").read_bytes()
    assert "'nobody'" in complaint(
        world.backtest(tmp_path / "no", "--queue", "nobody", "--scheduler", dask.address), capsys
    )


def test_the_files_of_a_store(world: World, dask: Dask, tmp_path: Path) -> None:
    table = pq.read_table(world.path / "jobs.parquet")
    again = table.slice(0, 5000).set_column(3, "jobs", pa.array(np.arange(5000)))
    pacsv.write_csv(again, tmp_path / "again.csv")
    third = table.slice(2500, 5000).set_column(3, "jobs", pa.array(np.arange(5000) * 2))
    with gzip.open(tmp_path / "third.csv.gz", "wb") as file:
        pacsv.write_csv(third, file)
    files = [str(f) for f in (world.path / "jobs.parquet", tmp_path / "again.csv", tmp_path / "third.csv.gz")]
    here, there = tmp_path / "here", tmp_path / "there"
    assert qad(["import", str(here), "--jobs", *files]) == 0
    assert qad(["import", str(there), "--jobs", *files, "--scheduler", dask.address]) == 0
    same_files(here, there)
    assert len(dask.begun("reading-")) > 4
    assert qad(["import", str(there), "--jobs", *files, "--scheduler", dask.address]) == 0
    same_files(here, there)


def test_what_is_refused_is_refused_alike(
    world: World, dask: Dask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pq.read_table(world.path / "jobs.parquet")
    wrong = np.array(table["jobs"])
    wrong[250_000] = -1
    pq.write_table(table.set_column(3, "jobs", pa.array(wrong)), tmp_path / "wrong.parquet", row_group_size=40_000)
    words = [
        "import",
        str(tmp_path / "store"),
        "--jobs",
        str(world.path / "jobs.parquet"),
        str(tmp_path / "wrong.parquet"),
    ]
    here, there = complaint(words, capsys), complaint([*words, "--scheduler", dask.address], capsys)
    assert here == there
    assert "row 250001" in there
    assert not (tmp_path / "store").exists()
    absent = ["import", str(tmp_path / "store"), "--jobs", str(tmp_path / "absent.csv")]
    (world.path / "odd.csv").write_text("incident,kind\n")
    odd = [str(word).replace("incidents.csv", "odd.csv") for word in world.evaluate()]
    unscored = [str(word).replace("one.parquet", "absent.parquet") for word in world.evaluate()]
    for words in (absent, odd, unscored):
        assert complaint(words, capsys) == complaint([*words, "--scheduler", dask.address], capsys)


def test_what_workers_have_no_part_in(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nobody = ["--scheduler", "tcp://127.0.0.1:1"]
    store, scores = str(world.path / "store"), str(world.path / "one.parquet")
    labels = ["evaluate", scores, "--store", store, "--labels", str(tmp_path / "labels.json"), *nobody]
    assert "--scheduler is for --incidents" in complaint(labels, capsys)
    assert "--scheduler is for the files of --jobs" in complaint(
        ["import", store, "--cric", str(tmp_path / "cric.json"), *nobody], capsys
    )


def test_the_figures_of_an_evaluation(world: World, dask: Dask, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert qad(world.evaluate()) == 0
    here = capsys.readouterr().out
    assert qad(world.evaluate("--scheduler", dask.address)) == 0
    assert capsys.readouterr().out == here
    assert len(dask.begun("figures-")) > 4


def test_a_worker_that_dies_costs_its_part(
    world: World, alone: Dask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "one.parquet"
    with ThreadPoolExecutor(1) as pool:
        command = pool.submit(qad, world.backtest(out, "--details", "--scheduler", alone.address))
        alone.add("victim")
        alone.wait_for(lambda client: names(client).get("victim"))
        alone.kill("victim")
        alone.add("other")
        assert command.result(120) == 0
    for name in ("one.parquet", "one.details.parquet"):
        assert (tmp_path / name).read_bytes() == (world.path / name).read_bytes(), name
    times = sorted(len(given) for given in alone.begun("scoring-").values())
    assert times == [1, 1, 1, 1, 1, 2]
    assert "has no worker yet" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["import", "evaluate"])
def test_what_is_made_when_a_worker_dies(
    world: World, alone: Dask, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    there, jobs_ = tmp_path / "there", str(world.path / "jobs.parquet")
    words = world.evaluate() if command == "evaluate" else ["import", str(there), "--jobs", jobs_]
    capsys.readouterr()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(qad, [*words, "--scheduler", alone.address])
        alone.add("victim")
        alone.wait_for(lambda client: names(client).get("victim"))
        alone.kill("victim")
        alone.add("other")
        assert done.result(120) == 0
    if command == "evaluate":
        figures = capsys.readouterr().out
        assert qad(words) == 0
        assert capsys.readouterr().out == figures
    else:
        assert qad(["import", str(tmp_path / "here"), "--jobs", jobs_]) == 0
        same_files(tmp_path / "here", there)


def test_a_part_at_which_workers_die(alone: Dask) -> None:
    alone.add("one")
    alone.add("two")
    with pytest.raises(ClusterError, match="2 workers died at it"), cluster.connect(alone.address) as workers:
        list(workers.run(os._exit, [(1,)], [], "leaving"))


def test_a_scheduler_that_dies(world: World, alone: Dask, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    with ThreadPoolExecutor(1) as pool:
        command = pool.submit(qad, world.backtest(tmp_path / "one.parquet", "--scheduler", alone.address))
        alone.wait_for(lambda client: client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))
        alone.scheduler.kill()
        assert command.result(60) == 2
    assert "scheduler" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "one.parquet").exists()


def test_where_no_scheduler_is(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_S", 2.0)

    def told(scheduler: object) -> str:
        begun = time.monotonic()
        line = complaint(world.backtest(tmp_path / "out.parquet", "--scheduler", str(scheduler)), capsys)
        assert time.monotonic() - begun < 15
        return line

    assert "no scheduler answers" in told(f"tcp://127.0.0.1:{free_port()}")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "no scheduler answers" in told("tcp://{}:{}".format(*silent.getsockname()))
    assert "neither an address" in told(tmp_path / "absent.json")
    (tmp_path / "odd.json").write_text("[]")
    assert "dask scheduler --scheduler-file" in told(tmp_path / "odd.json")


def test_without_dask(world: World, tmp_path: Path) -> None:
    words = world.backtest(tmp_path / "out.parquet", "--scheduler", "tcp://127.0.0.1:1")
    code = f"import sys; sys.modules['distributed'] = None; from qad_dl.cli import main; sys.exit(main({words!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "pip install" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_workers_of_other_code(world: World, alone: Dask, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(ROOT / "qad_dl", tmp_path / "other" / "qad_dl", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "other" / "qad_dl" / "scoring.py").open("a") as file:
        file.write("\nAN_EXPERIMENT = 1\n")
    alone.add("other", tmp_path / "other")
    line = complaint(world.backtest(tmp_path / "out.parquet", "--scheduler", alone.address), capsys)
    assert "qad-dl 0.1.0 (code " in line
    assert "install the same checkout" in line


def test_workers_without_our_code(
    world: World, alone: Dask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other" / "qad_dl").mkdir(parents=True)
    (tmp_path / "other" / "qad_dl" / "__init__.py").touch()
    alone.add("other", tmp_path / "other")
    line = complaint(world.backtest(tmp_path / "out.parquet", "--scheduler", alone.address), capsys)
    assert "cannot do the work" in line
    assert "ModuleNotFoundError" in line
    assert "install the same checkout" in line


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere", r"does not see .*/nowhere: put it on a file system that all workers share"),
        ("there", r"sees a file of 3 bytes and the client a file of 7 bytes at .*/there: put it"),
    ],
)
def test_workers_that_do_not_see_the_files(
    dask: Dask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, says: str
) -> None:
    (tmp_path / "there").write_bytes(b"abc")
    monkeypatch.setattr(cluster, "_seen", lambda path: "a file of 7 bytes")
    with (
        pytest.raises(ClusterError, match=rf"worker tcp://127.0.0.1:\d+ on .* {says}"),
        cluster.connect(dask.address) as workers,
    ):
        list(workers.run(len, [("abc",)], [tmp_path / name], "counting"))


def test_another_bundle_or_store_under_the_same_name(world: World, dask: Dask) -> None:
    asked = backtest_parts.Asked(FROM, UNTIL)
    store, bundle = world.path / "store", world.path / "bundle"
    name = read_bundle(bundle).name
    with cluster.connect(dask.address) as workers:
        part = (store, (bundle, "another"), asked, (0, 1), {})
        with pytest.raises(ClusterError, match="give one for all"):
            list(workers.run(backtest_parts.score_share, [part], [store], "scoring"))
        part = (store, (bundle, name), asked, (0, 1), {str(FROM.astype("datetime64[D]")): 99})
        with pytest.raises(ClusterError, match="is another store"):
            list(workers.run(backtest_parts.score_share, [part], [store], "scoring"))
