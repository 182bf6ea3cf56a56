"""The benchmark: one model over all entities, scored causally, figures only where there are labels."""

from __future__ import annotations

import json
import re
import shutil
import sys
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qad_dl.bundle import read_bundle
from qad_dl.errors import InputError
from qad_dl.grid import NEVER
from qad_dl.scaling import Quantity
from qad_dl.schema import Tick
from training.benchmark.__main__ import main
from training.benchmark.dataset import read_dataset, read_labels
from training.benchmark.scores import figures, rows_of, table
from training.start import start

if TYPE_CHECKING:
    from pathlib import Path

QUICK = (
    "trainer.epochs=1",
    "trainer.limit_batches=4",
    "model.settings={channels: 8, levels: 2, kernel: 3, dropout: 0.0}",
)
# An hour is too coarse for horizons of 18 and 72 ticks.
HOURLY = ("tick_minutes=60", "model.horizons=[1,6]", "calibration.channels=[[1,1.0],[1,0.3],[6,1.0]]", *QUICK)


def run(*overrides: str) -> int:
    """`python -m training.benchmark OVERRIDES`, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["training.benchmark", *overrides])
        try:
            start(main, "benchmark", "training.benchmark")
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0


def write(path: Path, columns: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def machine(seed: int, rows: int, first: int = 0) -> np.ndarray:
    """Three measurements that share a daily wave, one of them below 0 and one that never moves, [rows, 4]."""
    rng = np.random.default_rng(seed)
    wave = np.sin(2 * np.pi * (first + np.arange(rows)) / 24)[:, None] * [0.3, -50.0, 1e-3, 0.0]
    return wave + rng.normal(size=(rows, 4)) * [0.05, 5.0, 1e-4, 0.0] + [0.5, -200.0, 0.0, 7.0]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two entities of hourly samples, with train parts of different lengths and an incident in each test part."""
    folder = tmp_path_factory.mktemp("benchmark") / "data"
    for n, (name, train) in enumerate((("a", 480), ("b", 400))):
        test, label = machine(10 + n, 200), np.zeros(200, np.int8)
        test[100:112, :2] += [1.0, 150.0]
        label[100:112] = 1
        for part, values in (("train", machine(n, train, -train)), ("test", test)):
            write(folder / part / f"{name}.parquet", {f"m{i}": values[:, i].astype(np.float32) for i in range(4)})
        write(folder / "label" / f"{name}.parquet", {"label": label})
    return folder


@pytest.fixture(scope="module")
def out(dataset: Path) -> Path:
    """A run with two peers."""
    path = dataset.parent / "out"
    assert run(f"dataset={dataset}", f"out={path}", "peers=[ridge,pca]", *HOURLY) == 0
    return path


def scores(out: Path, name: str) -> np.ndarray:
    found = pq.read_table(out / f"{name}.parquet")
    assert found.column_names == ["score"]
    return found["score"].to_numpy()


class TestRun:
    def test_every_row_of_every_entity_has_a_finite_score(self, out: Path) -> None:
        for name in "ab":
            assert len(scores(out, name)) == 200
            assert np.isfinite(scores(out, name)).all()

    def test_an_incident_stands_out(self, out: Path) -> None:
        summary = json.loads((out / "summary.json").read_text())
        assert summary["mean"]["auc_pr"] > 0.5
        for name in "ab":
            assert scores(out, name)[100] > np.quantile(scores(out, name)[:100], 0.98)

    def test_the_summary_has_each_entity_and_their_mean(self, out: Path) -> None:
        summary = json.loads((out / "summary.json").read_text())
        assert list(summary) == ["a", "b", "mean"]
        for key in ("vus_pr", "auc_pr"):
            assert summary["mean"][key] == pytest.approx((summary["a"][key] + summary["b"][key]) / 2)

    def test_the_peers_are_judged_alike(self, out: Path) -> None:
        peers = json.loads((out / "peers.json").read_text())
        assert list(peers) == ["ridge", "pca"]
        assert all(0 < peers[name]["mean"][key] <= 1 for name in peers for key in ("vus_pr", "auc_pr"))

    def test_the_bundle_knows_that_these_are_no_counts(self, out: Path) -> None:
        bundle = read_bundle(out / "bundle")
        assert bundle.preprocess.quantity is Quantity.MEASUREMENTS
        assert bundle.preprocess.states == tuple(f"column m{i}" for i in range(4))
        assert bundle.calibration.signatures is None

    def test_neither_labels_nor_later_rows_have_a_say(
        self, dataset: Path, out: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        blind, again = dataset.parent / "blind", dataset.parent / "again"
        shutil.copytree(dataset, blind)
        shutil.rmtree(blind / "label")
        for name in "ab":
            path = blind / "test" / f"{name}.parquet"
            pq.write_table(pq.read_table(path).slice(0, 90), path)
        again.mkdir()
        (again / "summary.json").write_text("{}")
        assert run(f"dataset={blind}", f"out={again}", *HOURLY) == 0
        said = capsys.readouterr()
        assert said.out == ""
        assert [line for line in said.err.splitlines() if "label" in line] == [
            f"{blind / 'label'}: there are no labels, so there are no figures"
        ]
        assert not (again / "summary.json").exists(), "that of another run would be taken for this one's"
        for name in "ab":
            np.testing.assert_allclose(scores(again, name), scores(out, name)[:90], atol=1e-5)

    def test_what_is_missing_is_not_made_up(self, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
        holes, again = dataset.parent / "holes", dataset.parent / "holes-out"
        shutil.copytree(dataset, holes)
        path = holes / "test" / "a.parquet"
        found = pq.read_table(path)
        values = found["m1"].to_numpy().copy()
        values[40:43] = np.nan
        pq.write_table(found.set_column(1, "m1", pa.array(values, from_pandas=True)), path)
        assert run(f"dataset={holes}", f"out={again}", *HOURLY) == 0
        assert "3 of 400 rows could not be scored (missing values) and count as 0" in capsys.readouterr().err
        assert scores(again, "a")[40:43].tolist() == [0, 0, 0]
        assert scores(again, "a")[43] < scores(again, "a")[100]

    @pytest.mark.parametrize(
        ("override", "said"),
        [
            ("tick_minutes=7", "tick_minutes=7: a tick of 7 minutes does not divide a day"),
            ("tick_minutes=0", "tick_minutes=0: give a whole number of at least 1"),
            ("peers=[prophet]", r"peers=\['prophet'\]: give all, none, or a list of ridge, "),
            ("dataset=/nowhere", "/nowhere/train: there is no NAME.parquet"),
        ],
    )
    def test_what_is_wrong_is_said_in_one_line(
        self, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, said: str
    ) -> None:
        assert run(f"dataset={dataset}", f"out={tmp_path / 'out'}", override) == 2
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1
        assert re.search(said, error)
        assert not (tmp_path / "out" / "bundle").exists()


class TestDataset:
    def test_parts_meet_at_one_tick_and_what_is_not_there_is_not_observed(self, dataset: Path) -> None:
        data = read_dataset(dataset, Tick(60))
        assert data.names == ("a", "b")
        assert data.split == 480
        assert data.samples == (200, 200)
        assert np.isnan(data.grid.counts[1, :80]).all()
        assert (data.grid.quiet[1, :80] == NEVER).all()
        assert np.isfinite(data.grid.counts[1, 80:]).all()
        assert data.train().counts.shape == (2, 480, 4)
        assert data.train().times[-1] + np.timedelta64(1, "h") == np.datetime64("2000-01-03")

    def test_columns_are_told_apart_by_name(self, dataset: Path, tmp_path: Path) -> None:
        shutil.copytree(dataset, tmp_path / "data")
        path = tmp_path / "data" / "test" / "b.parquet"
        found = pq.read_table(path)
        pq.write_table(found.select(["m3", "m1", "m0", "m2"]), path)
        one, two = (read_dataset(folder, Tick(60)).grid.counts for folder in (dataset, tmp_path / "data"))
        np.testing.assert_array_equal(one, two)

    @pytest.mark.parametrize(
        ("part", "columns", "said"),
        [
            ("train", {"m0": [1.0], "m1": [1.0], "m2": [1.0]}, r"train/b.parquet: its columns are not .*\(m3\)"),
            ("test", {f"m{i}": ["x"] for i in range(4)}, "test/b.parquet: column m0 is of string; give numbers"),
            ("test", {f"m{i}": [1.0, np.inf] for i in range(4)}, "row 1 of column m0 is infinite"),
            ("test", {f"m{i}": pa.array([], pa.float64()) for i in range(4)}, "test/b.parquet: holds no samples"),
        ],
    )
    def test_refused(self, dataset: Path, tmp_path: Path, part: str, columns: dict[str, object], said: str) -> None:
        shutil.copytree(dataset, tmp_path / "data")
        write(tmp_path / "data" / part / "b.parquet", columns)
        with pytest.raises(InputError, match=said):
            read_dataset(tmp_path / "data", Tick(60))

    def test_a_truncated_file_and_a_missing_part_are_refused(self, dataset: Path, tmp_path: Path) -> None:
        shutil.copytree(dataset, tmp_path / "data")
        path = tmp_path / "data" / "test" / "b.parquet"
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(InputError, match=r"test/b.parquet: cannot be read as Parquet"):
            read_dataset(tmp_path / "data", Tick(60))
        path.unlink()
        with pytest.raises(InputError, match=r"train/b.parquet: test has no file of that name"):
            read_dataset(tmp_path / "data", Tick(60))

    @pytest.mark.parametrize("label", [[0, 1], [0] * 199 + [2]])
    def test_labels_that_do_not_fit_are_refused(self, dataset: Path, tmp_path: Path, label: list[int]) -> None:
        shutil.copytree(dataset, tmp_path / "data")
        write(tmp_path / "data" / "label" / "a.parquet", {"label": label})
        with pytest.raises(InputError, match=r"label/a.parquet: holds "):
            read_labels(tmp_path / "data", read_dataset(tmp_path / "data", Tick(60)))


class TestFigures:
    def test_means_leave_out_an_entity_without_an_anomaly(self) -> None:
        labels = {"a": np.arange(400) >= 390, "b": np.zeros(400, bool)}
        found = figures({name: np.arange(400.0) for name in labels}, labels)
        assert found["a"]["auc_pr"] == 1
        assert found["b"] == {"vus_pr": None, "auc_pr": None}
        assert found["mean"] == found["a"]

    def test_the_table_holds_the_model_against_the_best_peer(self) -> None:
        found = {
            n: {"mean": {"vus_pr": v, "auc_pr": a}} for n, v, a in (("m", 0.6, 0.9), ("p", 0.4, 0.3), ("q", 0.3, 0.6))
        }
        lines = [line.split() for line in table(found, "m").splitlines()[1:]]
        assert lines == [
            ["m", "0.600", "1.50", "0.900", "1.50"],
            ["q", "0.300", "0.75", "0.600", "1.00"],
            ["p", "0.400", "1.00", "0.300", "0.50"],
        ]

    def test_rows_without_a_score_count_as_nothing_odd(self, dataset: Path) -> None:
        data = read_dataset(dataset, Tick(60))
        rows = rows_of(np.where(np.arange(200) == 3, np.nan, 1.0) * np.ones((2, 1)), data)
        assert rows["a"][3] == 0
        assert rows["b"].sum() == 199


def test_real_servers_in_the_small(tmp_path: Path, shared_data: Path) -> None:
    for part in ("train", "test", "label"):
        for name in ("omi-1", "omi-12"):  # the second has a shorter train part
            found = pq.read_table(shared_data / "asd" / part / f"{name}.parquet")
            rows = found.slice(found.num_rows - 2880) if part == "train" else found.slice(0, 1440)
            write(tmp_path / "data" / part / f"{name}.parquet", dict(zip(rows.column_names, rows.columns, strict=True)))
    assert (
        run(f"dataset={tmp_path / 'data'}", f"out={tmp_path / 'out'}", "peers=[ridge]", "trainer.epochs=2", *QUICK[1:])
        == 0
    )
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    share = np.mean(
        [
            pq.read_table(tmp_path / "data" / "label" / f"{n}.parquet")["label"].to_numpy().mean()
            for n in ("omi-1", "omi-12")
        ]
    )
    assert summary["mean"]["auc_pr"] > 1.5 * share, "better than chance"
