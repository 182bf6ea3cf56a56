"""Training by several processes: the steps of one, one that writes, and an end for all of them."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
import numpy as np
import pytest
import torch

from qad_dl.bundle import read_bundle
from qad_dl.errors import ConfigError
from tests.apps.conftest import START, TRAINED
from tests.apps.test_train import SMALL, fitted
from training import ranks
from training.settings import read_settings
from training.start import CONFIGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from tests.apps.conftest import Train, World

FEW = ("trainer.limit_batches=4", "trainer.batch_size=7", "trainer.epochs=2")
PLAIN = ("model.masking.ids=0",)  # what is drawn by each process for itself
WAIT_S = 60


def losses(run_dir: Path) -> dict[str, list[float]]:
    """What metrics.csv has in each column of losses."""
    rows = list(csv.DictReader((run_dir / "metrics.csv").read_text().splitlines()))
    return {name: [float(r[name]) for r in rows if r[name]] for name in ("train_loss", "val_loss")}


def trainer_settings(*overrides: str) -> Mapping[str, Any]:
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return read_settings(hydra.compose("train", ["store=x", "bundle=y", *overrides])).trainer


def test_two_processes_take_the_steps_of_one_and_one_of_them_writes(
    world: World, train: Train, tmp_path: Path, capfd
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    fitted(world, f"bundle={one}", *FEW, *PLAIN)
    assert train(f"bundle={two}", SMALL, *FEW, *PLAIN, "trainer.devices=2") == 0
    said = [line for line in capfd.readouterr().err.splitlines() if "linear highway" not in line]
    assert [line.split()[0] for line in said] == ["bundle"], said
    expected, got = losses(one.with_name("one.run")), losses(two.with_name("two.run"))
    assert len(got["val_loss"]) == len(got["train_loss"]) == 2
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], rtol=0, atol=1e-5)
    files = {path.name for path in two.with_name("two.run").iterdir()}
    assert files == {path.name for path in one.with_name("one.run").iterdir()}
    assert read_bundle(two).manifest["parity"] < 2e-4


def test_half_precision_learns_what_whole_precision_learns(world: World, tmp_path: Path) -> None:
    for name in ("32-true", "bf16-mixed"):
        fitted(world, f"bundle={tmp_path / name}", *FEW, f"trainer.precision={name}")
    whole, half = (losses(tmp_path / f"{name}.run")["val_loss"] for name in ("32-true", "bf16-mixed"))
    assert whole != half
    np.testing.assert_allclose(half, whole, rtol=0, atol=5e-3)


@pytest.fixture
def running(world: World, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A training by two processes that has written a checkpoint and would go on for long; the two."""
    period = (f"store={world.store}", f"data.start={START}", f"data.end={TRAINED}", "trainer=ddp", SMALL)
    options = (f"bundle={tmp_path / 'bundle'}", "trainer.epochs=900", "trainer.patience=900", "trainer.limit_batches=2")
    command = [sys.executable, "-m", "training.train", *period, *options]
    process = subprocess.Popen(
        command, cwd=CONFIGS.parent, stderr=subprocess.PIPE, text=True, preexec_fn=_in_the_background
    )
    until = time.monotonic() + WAIT_S
    while not (tmp_path / "bundle.run" / "last.ckpt").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.1)
    yield process, children(process.pid)
    if process.poll() is None:
        process.kill()
    process.communicate()


def _in_the_background() -> None:
    """As a shell starts what it does not wait for: it ignores interrupts, and so does all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def children(pid: int) -> list[int]:
    found = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def gone(pids: list[int]) -> bool:
    until = time.monotonic() + WAIT_S
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < until:
        time.sleep(0.1)
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_process_that_is_killed_ends_all(running: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, of = running
    assert len(of) == 2
    os.kill(of[1], signal.SIGKILL)
    _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert len(said.splitlines()) == 1, said
    assert said.startswith("training.train: process 1 of 2 was killed by SIGKILL")
    assert "resume=true" in said
    assert gone(of)


def test_an_interrupt_ends_all(running: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, of = running
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert len(said.splitlines()) == 1, said
    assert "interrupted; resume=true goes on from" in said
    assert gone(of)


class TestAccelerator:
    def test_the_gpu_config_asks_for_half_precision_on_one_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        config = trainer_settings("trainer=gpu")
        assert (config["accelerator"], config["devices"], config["precision"]) == ("gpu", 1, "bf16-mixed")
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
        ranks.check_accelerator(config)
        with ranks.many(config) as strategy:
            assert strategy == "auto"

    def test_all_gpus_are_a_process_each(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
        with ranks.many(trainer_settings("trainer=gpu", "trainer.devices=-1")) as strategy:
            assert isinstance(strategy, ranks.OneMachine)
            assert strategy.meeting.parent.is_dir()
        assert not strategy.meeting.parent.exists()

    def test_more_than_there_are_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        with pytest.raises(ConfigError, match="there are 2 GPUs"):
            ranks.check_accelerator(trainer_settings("trainer=gpu", "trainer.devices=3"))

    def test_what_makes_no_sense_is_refused(self) -> None:
        for wrong in ("trainer.devices=0", "trainer.devices=-1", "trainer.timeout_s=0"):
            with pytest.raises(ConfigError, match=wrong.split("=")[0]):
                trainer_settings("trainer=ddp", wrong)

    def test_torchrun_says_how_many_machines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        given = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "6", "RANK": "3"}
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        assert ranks.placement({"devices": 1}) == {"devices": 2, "num_nodes": 3}
        assert not ranks.is_first()
