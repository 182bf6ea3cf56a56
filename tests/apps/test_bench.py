"""What things cost, measured in the small: rows alone, what is kept, and what is held against it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from training.bench.flops import flops_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.apps.conftest import World


class Bench:
    """`python -m training.bench scale=smoke` on the grid of the tests; its tenth day at noon is the tick."""

    def __init__(self, root: Path, folder: Path, world: World, bundle: Path) -> None:
        self.root, self.folder = root, folder
        made = folder / "made"
        made.mkdir()
        for name, place in (("store", world.store), ("jobs.parquet", world.jobs), ("bundle", bundle)):
            (made / name).symlink_to(place)
        small = [
            "queues=9",
            "base=9",
            "world.days=10",
            "rows=20000",
            "seconds=0.05",
            "batches=[8,32]",
            "keys=[4]",
            "repeats=1",
        ]
        sizes = [f"sizes.smoke.{one}" for one in (*small, f"made={made}")]
        self.words = ["scale=smoke", "attempts=1", f"work={folder}", f"baseline={folder / 'base.json'}", *sizes]

    def __call__(self, *overrides: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "training.bench", *self.words, *overrides]
        return subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False)

    def result(self, name: str) -> dict:
        (path,) = (self.folder / "smoke" / "row" / name).glob("*/result.json")
        return json.loads(path.read_text(encoding="utf-8"))["result"]


@pytest.fixture(scope="module")
def bench(root: Path, tmp_path_factory: pytest.TempPathFactory, world: World, bundle: Path) -> Bench:
    made = Bench(root, tmp_path_factory.mktemp("bench"), world, bundle)
    done = made("keep=true")
    assert done.returncode == 0, done.stderr[-3000:]
    return made


def test_a_cold_tick_and_its_parts(bench: Bench) -> None:
    tick = bench.result("1/tick")
    assert tick["number"] == 9
    assert 7 <= tick["scored"] <= tick["rows"]
    assert {"import", "read", "grid", "network", "calibration", "write"} <= set(tick["parts"])
    assert 0 < tick["python"]["wall_s"] < tick["whole"]["wall_s"]
    assert sum(part["grown_mb"] for part in tick["parts"].values()) < tick["whole"]["peak_mb"] * 1.2


def test_a_tick_that_finds_what_was_kept(bench: Bench) -> None:
    (tick,) = bench.result("3/sizes")["sizes"]
    assert tick["number"] == 300
    assert tick["rows"] == 300
    assert tick["scored"] > 200
    assert {"what is kept", "the tick's column", "network", "calibration", "write"} <= set(tick["parts"])
    assert tick["kept_bytes"] > 300 * 1e4


def test_a_tick_from_what_was_kept_says_what_a_backtest_says(bench: Bench) -> None:
    same = bench.result("9/same")
    assert same["ticks"] == 3
    assert same["scores"] > 100
    assert (same["flags"], same["reasons"]) == (0, 0)
    assert same["worst"] <= 1e-5


def test_rates(bench: Bench, bundle: Path) -> None:
    rates = bench.result("4/tcn")
    assert [one["batch"] for one in rates["network"]["batches"]] == [8, 32]
    assert all(0 < one["share"] < 1.5 and one["memory_mb"] > 1 for one in rates["network"]["batches"])
    assert rates["network"]["flops"] == flops_of((bundle / "model.onnx").read_bytes()) > 1e7
    scoring = rates["scoring"]
    assert scoring["remembered"]["per_s"] > scoring["newest"]["per_s"]


def test_history_and_averages(bench: Bench) -> None:
    assert bench.result("7/import")["rows"] == 20000
    assert bench.result("7/read")["grid_mb"] > 0
    (size,) = bench.result("8/averages")["sizes"]
    assert size["qmonit_s"] > 0


def test_what_has_been_measured_is_kept_and_a_loss_fails(bench: Bench) -> None:
    path = bench.folder / "base.json"
    kept = json.loads(path.read_text())
    done = bench()
    assert done.returncode == 0, done.stdout
    assert "8 parts, 8 are there" in done.stderr
    (one,) = kept.values()
    assert one["made"]["command"] == "make bench-baseline"
    assert one["made"]["numpy"] == version("numpy")
    halves = {name: value / 2 for name, value in one["figures"].items()}
    path.write_text(json.dumps({processor: {**one, "figures": halves} for processor in kept}))
    done = bench("row=4")
    assert done.returncode == 1
    assert "WORSE" in done.stdout
    path.write_text(json.dumps(kept))


@pytest.mark.parametrize(
    ("words", "said"),
    [(["row=12"], "row/12/"), (["sizes.smoke.made=nowhere"], "make trained"), (["scale=big"], "scale")],
)
def test_what_is_asked_wrongly_is_one_line_and_exit_code_2(bench: Bench, words: list[str], said: str) -> None:
    done = bench(*words)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert said in done.stderr
