"""A history in mapped shards: the numbers of memory, bit for bit; nothing stale; less memory."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import hydra
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from qad_dl.bundle import read_bundle
from qad_dl.errors import ShardError
from qad_dl.nn.data import Masking, WindowBatches
from qad_dl.store import Store
from tests.apps.conftest import START, TRAINED
from tests.apps.test_ranks import losses
from tests.apps.test_reviewed import on, write
from tests.apps.test_train import SMALL, fitted, weights
from tests.conftest import ROOT
from training.bench.shards import make_store, measure
from training.period import load_period
from training.settings import read_settings
from training.shards import build
from training.start import CONFIGS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.apps.conftest import Train, World
    from training.period import Period

FILES = ("model.onnx", "preprocess.json", "calibration.json", "detection.json")
BOUND_MB = 450
"""More than a training on the history below takes with shards, and less than in memory."""


def period_of(store: Path, *overrides: str) -> Period:
    given = [f"store={store}", "bundle=none", f"data.start={START}", f"data.end={TRAINED}"]
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return load_period(read_settings(hydra.compose("train", [*given, *overrides])))


def in_shards(folder: Path, size: int = 5) -> tuple[str, str]:
    return f"data.shards={folder}", f"data.shard_series={size}"


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return tmp_path / "shards"


@pytest.fixture
def made(world: World, shards: Path) -> Path:
    """Shards of the world, of five series each."""
    period_of(world.store, *in_shards(shards))
    return shards


@pytest.fixture(scope="module")
def changing(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world with queues that change their cloud in the middle of a day, and days of several files."""
    path = tmp_path_factory.mktemp("changing") / "store"
    store, whole = Store.create(path), Store.open(world.store)
    rows = whole.read(np.datetime64(START, "s"), np.datetime64(TRAINED, "s"))
    at = pc.cast(rows["time"], pa.timestamp("s")).to_numpy().astype("datetime64[s]")
    noon = at.astype("datetime64[D]") + np.timedelta64(12, "h")
    for half in (at < noon, at >= noon):
        store.append(rows.filter(pa.array(half)))
    queues = dict(whole.metadata().dumps[0])
    store.add_metadata(queues, np.datetime64(START, "s"))
    moved = {name: {**record, "cloud": "MOVED"} if i % 3 else record for i, (name, record) in enumerate(queues.items())}
    store.add_metadata(moved, np.datetime64("2026-01-07T05:10", "s"))
    store.add_downtimes(whole.downtimes())
    return path


class TestSameNumbers:
    @pytest.mark.parametrize(
        "overrides",
        [
            (),
            ("data.entity=[panda_queue,prod_source,resource]",),
            ("data.entity=[cloud]",),
            ("data.select={cloud: MOVED}",),
            ("data.start=2026-01-05T07:30", "data.end=2026-01-10T18:20"),
        ],
        ids=["queues", "finer", "clouds", "select", "within days"],
    )
    @pytest.mark.parametrize("size", [1, 5, 64])
    def test_a_period_is_the_one_in_memory(
        self, changing: Path, shards: Path, overrides: tuple[str, ...], size: int
    ) -> None:
        memory, disk = period_of(changing, *overrides), period_of(changing, *overrides, *in_shards(shards, size))
        same_period(memory, disk)

    def test_with_labels_too(self, world: World, shards: Path, tmp_path: Path) -> None:
        labels = tmp_path / "labels.jsonl"
        write(labels, on(world.queues[0], "2026-01-07T03:00:00Z", "2026-01-07T09:00:00Z"))
        write(labels, on(world.queues[7], "2026-01-10T06:00:00Z", "2026-01-10T12:00:00Z", word="expected"))
        memory = period_of(world.store, f"labels={labels}")
        disk = period_of(world.store, f"labels={labels}", *in_shards(shards))
        same_period(memory, disk)
        assert memory.labels is not None
        assert disk.labels == memory.labels
        assert memory.labels["problem"]["queue_hours"] > 0
        write(labels, on(world.queues[1], "2026-01-07T03:00:00Z", "2026-01-07T09:00:00Z"))
        with pytest.raises(ShardError, match="the labels changed"):
            period_of(world.store, f"labels={labels}", *in_shards(shards))

    def test_batches_are_those_of_memory_for_every_process(self, world: World, made: Path) -> None:
        kinds = [period_of(world.store), period_of(world.store, *in_shards(made))]
        plain, disk = (
            WindowBatches(p.preprocess, p.prepared, p.weight, p.fit, 36, 16, Masking(), seed=3) for p in kinds
        )
        for epoch in (0, 1):
            for batches in (plain, disk):
                batches.set_epoch(epoch)
            assert len(plain) == len(disk) > 2
            for rank in range(3):
                for i in range(len(plain)):
                    one, other = plain.share(rank, 3)[i], disk.share(rank, 3)[i]
                    assert all(np.array_equal(one[name], other[name]) for name in one)

    def test_a_bundle_and_its_losses_are_those_of_memory_and_shards_are_found_again(
        self, world: World, train: Train, shards: Path, bundle: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "bundle"
        assert train(f"bundle={path}", "model=tcn", *in_shards(shards)) == 0
        for name in FILES:
            assert (path / name).read_bytes() == (bundle / name).read_bytes(), name
        assert losses(path.with_name("bundle.run")) == losses(bundle.with_name("bundle.run"))
        assert read_bundle(path).manifest["config"]["data"]["shards"] == str(shards)
        assert not (shards / "days").exists()
        written = {p: p.stat().st_mtime_ns for p in (shards / "shards").rglob("*.npy")}
        assert written
        same_period(period_of(world.store), period_of(world.store, *in_shards(shards)))
        assert {p: p.stat().st_mtime_ns for p in (shards / "shards").rglob("*.npy")} == written

    def test_a_run_in_memory_goes_on_with_shards(self, world: World, shards: Path, tmp_path: Path) -> None:
        fitted(world, f"bundle={tmp_path / 'bundle'}")
        fitted(world, f"bundle={tmp_path / 'bundle'}", *in_shards(shards), "resume=true")

    def test_two_processes_map_the_same_files(self, world: World, shards: Path, tmp_path: Path) -> None:
        few = ("trainer.devices=2", "trainer.epochs=1")
        memory = fitted(world, f"bundle={tmp_path / 'memory'}", *few)
        disk = fitted(world, f"bundle={tmp_path / 'disk'}", *few, *in_shards(shards))
        assert np.array_equal(weights(memory), weights(disk))
        assert losses(tmp_path / "memory.run") == losses(tmp_path / "disk.run")

    def test_another_process_is_sent_names_and_no_numbers(self, world: World, made: Path) -> None:
        period = period_of(world.store, *in_shards(made))
        sent = pickle.dumps((period.prepared, period.weight))
        assert len(sent) < 100_000 < sum(p.stat().st_size for p in made.rglob("values.npy"))
        prepared, weight = pickle.loads(sent)
        assert np.array_equal(prepared.values[:], period.prepared.values[:], equal_nan=True)
        assert np.array_equal(weight[:], period.weight[:])


def same_period(memory: Period, disk: Period) -> None:
    every = np.arange(len(memory.prepared.series))
    assert disk.prepared.series == memory.prepared.series
    assert disk.preprocess.to_json() == memory.preprocess.to_json()
    assert (disk.fit, disk.validation, disk.calibration) == (memory.fit, memory.validation, memory.calibration)
    for as_if_new in (False, True):
        parts = [p.part(every).as_if_new() if as_if_new else p.part(every) for p in (memory, disk)]
        assert np.array_equal(parts[0].weight, parts[1].weight)
        one, other = (part.prepared for part in parts)
        for name in (
            "x",
            "values",
            "usable",
            "last_row",
            "expected",
            "recovering",
            "segment",
            "static_cat",
        ):
            same(getattr(one, name), getattr(other, name), name)
        for name in ("loc", "scale"):
            same(getattr(one.scale, name), getattr(other.scale, name), name)
        for name in ("times", "arrived", "frozen", "quiet", "rest"):
            same(getattr(one.grid, name), getattr(other.grid, name), name)
        same(one.grid.at_rest(), other.grid.at_rest(), "rest")


def same(one: np.ndarray, other: np.ndarray, name: str) -> None:
    assert one.dtype == other.dtype, name
    assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), name


def refused(train: Train, capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    """Train and fail with one line."""
    capsys.readouterr()
    assert train("bundle=/nowhere", *overrides) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1, said
    return said


class TestRefused:
    @pytest.mark.parametrize(
        ("override", "said"),
        [
            ("data.entity=[cloud]", "data.entity is ['panda_queue'] there, here ['cloud']"),
            ("data.held_out=0.4", "data.held_out is 0.3 there, here 0.4"),
            ("data.metadata=[cloud]", "data.metadata is"),
            ("data.end=2026-01-10", "data.end is"),
            ("data.shard_series=7", "data.shard_series is 5 there, here 7"),
        ],
    )
    def test_other_settings(self, train: Train, made: Path, capsys, override: str, said: str) -> None:
        before = {p: p.stat().st_mtime_ns for p in made.rglob("*.npy")}
        line = refused(train, capsys, *in_shards(made), override)
        assert said in line
        assert "give another folder, or remove this one" in line
        assert {p: p.stat().st_mtime_ns for p in made.rglob("*.npy")} == before

    def test_other_rows_metadata_and_downtimes(self, world: World, train: Train, tmp_path: Path, capsys) -> None:
        path, shards = tmp_path / "store", tmp_path / "shards"
        shutil.copytree(world.store, path)
        store = Store.open(path)
        period_of(path, *in_shards(shards))
        store.add_downtimes([type(d)(d.panda_queue, d.start, d.end, "again") for d in store.downtimes()[:1]])
        assert "the downtimes of the store changed" in refused(train, capsys, f"store={path}", *in_shards(shards))
        shutil.rmtree(path)
        shutil.copytree(world.store, path)
        store.add_metadata({"NEW": {"cloud": "DE"}}, np.datetime64("2026-01-07", "s"))
        assert "the metadata of the store changed" in refused(train, capsys, f"store={path}", *in_shards(shards))
        shutil.rmtree(path)
        shutil.copytree(world.store, path)
        day = store.read(np.datetime64("2026-01-08", "s"), np.datetime64("2026-01-09", "s")).slice(0, 1)
        more = pc.add(day["jobs"], 1.0)
        store.append(day.set_column(day.column_names.index("jobs"), day.schema.field("jobs"), more))
        assert "the rows of 2026-01-08 changed" in refused(train, capsys, f"store={path}", *in_shards(shards))

    def test_files_joined_to_one_are_the_same_rows(self, changing: Path, shards: Path, tmp_path: Path) -> None:
        path = tmp_path / "store"
        shutil.copytree(changing, path)
        period_of(path, *in_shards(shards))
        Store.open(path).compact(np.datetime64(TRAINED, "s"))
        assert Store.open(path).scattered(np.datetime64(TRAINED, "s")) == []
        period_of(path, *in_shards(shards))

    def test_a_truncated_shard_and_one_byte_that_changed(self, train: Train, made: Path, capsys) -> None:
        path = made / "shards" / "00001" / "values.npy"
        content = path.read_bytes()
        path.write_bytes(content[:-1000])
        assert f"{path}: cannot be used (has {len(content) - 1000} bytes, not" in refused(
            train, capsys, *in_shards(made)
        )
        path.write_bytes(content[:-1000] + bytes([content[-1000] ^ 1]) + content[-999:])
        assert "its content is not what was written" in refused(train, capsys, *in_shards(made))
        path.unlink()
        assert "No such file" in refused(train, capsys, *in_shards(made))

    @pytest.mark.parametrize("name", ["preprocess.json", "ticks/ticks.npy", "whole.json"])
    def test_what_else_was_written(self, train: Train, made: Path, capsys, name: str) -> None:
        (made / name).write_bytes((made / name).read_bytes()[:-20])
        assert "cannot be used" in refused(train, capsys, *in_shards(made))

    def test_another_format(self, train: Train, made: Path, capsys) -> None:
        path = made / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "format": 0}))
        assert "is of format 0, this program reads 1" in refused(train, capsys, *in_shards(made))

    def test_other_code(self, train: Train, made: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("training.shards.manifest.source_digest", lambda _: "other")
        assert "the code that prepares a history changed" in refused(train, capsys, *in_shards(made))

    def test_a_folder_with_something_else(self, train: Train, tmp_path: Path, capsys) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.txt").write_text("text")
        assert "there is something else" in refused(train, capsys, *in_shards(tmp_path / "mine"))
        assert "cannot be written (Not a directory)" in refused(
            train, capsys, *in_shards(tmp_path / "mine" / "thesis.txt" / "x")
        )

    def test_a_full_disk(self, train: Train, world: World, shards: Path, capsys) -> None:
        """A limit on the size of files is told as a full disk is: by the call that writes."""
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
        try:
            line = refused(train, capsys, *in_shards(shards))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert "cannot be written (File too large)" in line
        assert "what is finished is kept" in line
        same_period(period_of(world.store), period_of(world.store, *in_shards(shards)))

    def test_a_store_that_is_changed_meanwhile(self, world: World, shards: Path, monkeypatch) -> None:
        whole = Store.digests
        monkeypatch.setattr(
            Store, "digests", lambda *a: {d: h if len(whole(*a)) > 1 else "other" for d, h in whole(*a).items()}
        )
        with pytest.raises(ShardError, match="the rows of 2026-01-05 were changed while they were read"):
            period_of(world.store, *in_shards(shards))


class TestKilled:
    def test_finished_days_and_shards_are_kept(self, world: World, shards: Path, monkeypatch) -> None:
        whole = build._shard

        def dying(recipe: build.Recipe, blocks: build._Blocks, preprocess: object, k: int) -> dict[str, object]:
            if k == 2:
                raise RuntimeError("the host goes down")
            return whole(recipe, blocks, preprocess, k)

        monkeypatch.setattr(build, "_shard", dying)
        with pytest.raises(RuntimeError, match="goes down"):
            period_of(world.store, *in_shards(shards))
        kept = {p: p.stat().st_mtime_ns for p in (shards / "shards").rglob("*.npy")}
        assert len({p.parent for p in kept}) == 2
        monkeypatch.setattr(build, "_shard", whole)
        monkeypatch.setattr(Store, "pieces", lambda *_: pytest.fail("the days are on the disk already"))
        disk = period_of(world.store, *in_shards(shards))
        assert {p: p.stat().st_mtime_ns for p in kept} == kept
        monkeypatch.undo()
        same_period(period_of(world.store), disk)

    def test_killed_at_any_moment_it_goes_on_to_the_same(self, world: World, shards: Path) -> None:
        given = [f"store={world.store}", "bundle=/nowhere", f"data.start={START}", f"data.end={TRAINED}"]
        program = (
            "import sys, hydra\n"
            "from training.start import CONFIGS\nfrom training.settings import read_settings\n"
            "from training.period import load_period\nimport training.shards.load\n"
            "with hydra.initialize_config_dir(str(CONFIGS), version_base='1.3'):\n"
            "    settings = read_settings(hydra.compose('train', sys.argv[1:]))\n"
            "print('go', flush=True)\nload_period(settings)\n"
        )
        rng, killed = np.random.default_rng(5), 0
        for _ in range(8):
            command = [sys.executable, "-c", program, *given, *in_shards(shards, 1)]
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == b"go\n"
                time.sleep(float(rng.uniform(0.0, 0.25)))
                killed += process.poll() is None
                os.kill(process.pid, signal.SIGKILL)
        assert killed >= 4
        disk = period_of(world.store, *in_shards(shards, 1))
        same_period(period_of(world.store), disk)
        assert not list(shards.rglob(".tmp-*"))


@pytest.fixture(scope="module")
def long_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 300 queues, four weeks: ready to train on, it takes some hundred MB."""
    return make_store(tmp_path_factory.mktemp("long"), 300, 28)


def test_a_training_stays_below_what_it_takes_in_memory(long_history: Path, tmp_path: Path) -> None:
    few = ("trainer=smoke", SMALL, "trainer.limit_batches=2", "trainer.batch_size=8")
    memory = measure(long_history, tmp_path / "memory", *few)
    disk = measure(long_history, tmp_path / "disk", *few, f"data.shards={tmp_path / 'shards'}", "data.shard_series=32")
    assert disk["anonymous_mb"] < BOUND_MB < memory["anonymous_mb"]
    for name in FILES:
        assert (tmp_path / "memory" / name).read_bytes() == (tmp_path / "disk" / name).read_bytes(), name
