"""Learning signatures, in the small: two tiny worlds, a network of a few batches."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qad_dl.signatures import Signatures

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "qad_dl" / "signatures.json"


def learn(out: Path, work: Path, *more: str) -> subprocess.CompletedProcess[str]:
    worlds = "[{seed: 1},{seed: 2, noise: 0.8}]"
    small = [
        "world.days=9",
        "world.queues=25",
        "world.pollution=1.0",
        "scored_days=3",
        "network.steps=60",
        f"worlds={worlds}",
    ]
    network = "networks=['trainer=smoke','data.held_out=0.6']"
    command = [sys.executable, "-m", "training.signatures", f"out={out}", f"work={work}", *small, network, *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("signatures")
    done = learn(place / "signatures.json", place / "work")
    assert done.returncode == 0, done.stderr[-3000:]
    return place / "signatures.json", place / "work"


def test_they_can_be_read_and_know_normal_life(learned: tuple[Path, Path]) -> None:
    signatures = Signatures.from_json(json.loads(learned[0].read_text(encoding="utf-8")))
    assert len(signatures.kinds) >= 4
    assert not {"central", "brokerage_stop"} & set(signatures.kinds)
    assert (np.diff(signatures.healthy.values) >= 0).all()
    assert np.isfinite(signatures.enter).all()


def test_a_run_that_goes_on_from_kept_evidence_learns_the_same(learned: tuple[Path, Path], tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in learned[1].glob("*.npz")}
    assert len(before) == 2
    assert learn(tmp_path / "again.json", learned[1]).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in learned[1].glob("*.npz")} == before
    assert (tmp_path / "again.json").read_bytes() == learned[0].read_bytes()


def test_normal_life_can_be_measured_anew_with_the_network_that_is_there(
    learned: tuple[Path, Path], tmp_path: Path
) -> None:
    done = learn(tmp_path / "kept.json", learned[1], "learn=false")
    assert done.returncode == 0, done.stderr[-3000:]
    kept, shipped = (Signatures.from_json(json.loads(p.read_text("utf-8"))) for p in (tmp_path / "kept.json", SHIPPED))
    assert np.array_equal(kept.enter, shipped.enter)
    assert not np.array_equal(kept.healthy.values, shipped.healthy.values)
