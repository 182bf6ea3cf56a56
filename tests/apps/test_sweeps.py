"""Sweeps: each run in a folder of its own, what failed is told, and nothing is written twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from qad_dl.bundle import read_bundle
from tests.apps.conftest import start_in_process
from tests.apps.test_train import SMALL
from training.sweeps import claim_sweep

if TYPE_CHECKING:
    from pathlib import Path

    from tests.apps.conftest import Train

FEW = (SMALL, "trainer.limit_batches=1")


def outcomes(folder: Path, runs: int) -> list[dict[str, object]]:
    return [json.loads((folder / str(n) / "outcome.json").read_bytes()) for n in range(runs)]


def test_runs_have_folders_of_their_own_and_one_that_fails_leaves_the_others(
    train: Train, tmp_path: Path, capsys
) -> None:
    bundle, folder = tmp_path / "b", tmp_path / "b.sweep"
    assert train("--multirun", f"bundle={bundle}", *FEW, "seed=1,no") == 1
    good, bad = outcomes(folder, 2)
    assert read_bundle(folder / "0" / "bundle").manifest["config"]["seed"] == 1
    assert (folder / "0" / "run" / "best.ckpt").exists()
    assert good["error"] is None
    assert isinstance(good["val_loss"], float)
    assert "seed='no'" in str(bad["error"])
    assert not bundle.exists()
    table = capsys.readouterr().err.splitlines()[-3:]
    assert [line.split()[0] for line in table] == ["run", "0", "1"]
    assert f"{good['val_loss']:.6f}" in table[1]
    before = (folder / "0" / "outcome.json").stat().st_mtime_ns
    assert train("--multirun", f"bundle={bundle}", *FEW, "seed=1,2") == 2
    assert "another sweep has written there" in capsys.readouterr().err
    assert (folder / "0" / "outcome.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("launcher", ["local", "jobs"])
def test_the_launchers_give_each_run_its_folder(train: Train, tmp_path: Path, capfd, launcher: str) -> None:
    """With runs that are refused at once: what they are asked is another test's matter."""
    bundle, folder = tmp_path / "b", tmp_path / "b.sweep"
    assert train("--multirun", f"sweep={launcher}", f"bundle={bundle}", "seed=-1,-2") == 1
    assert [str(o["error"])[:8] for o in outcomes(folder, 2)] == ["seed=-1:", "seed=-2:"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["seeed=1,2"], "seeed"),
        (["sweep=nowhere", "seed=1,2"], "nowhere"),
        (["sweep=slurm", "seed=1,2"], "no sbatch here"),
        (["bundle=a,b"], "give one"),
        (["seed=interval(1,2)"], "INTERVAL_SWEEP"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_makes_no_sense_is_one_line_and_exit_code_2(
    train: Train, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch, overrides: list[str], said: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    given = overrides if "bundle" in overrides[0] else [f"bundle={tmp_path / 'b'}", *overrides]
    assert train("--multirun", *given) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert said in lines[0]
    assert not list(tmp_path.iterdir())


def test_other_programs_make_one_run(capsys) -> None:
    from training.benchmark.__main__ import main

    assert start_in_process("--multirun", "dataset=x", "out=y", "seed=1,2", main=main, name="benchmark") == 2
    assert "makes one run" in capsys.readouterr().err


def test_of_two_sweeps_at_once_one_gets_the_folder(tmp_path: Path) -> None:
    from qad_dl.errors import ConfigError

    assert claim_sweep(str(tmp_path / "b")).is_dir()
    with pytest.raises(ConfigError, match="another sweep"):
        claim_sweep(str(tmp_path / "b"))
