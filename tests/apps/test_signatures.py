"""Learning signatures, in the small: two tiny worlds, a network of a few batches."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qad_dl.signatures import Signatures
from training.signatures import Lessons, _recovering

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "qad_dl" / "signatures.json"
SHIPPED_LINEAR = ROOT / "qad_dl" / "signatures_linear.json"


def learn(out: Path, work: Path, *more: str) -> subprocess.CompletedProcess[str]:
    worlds = "[{seed: 1},{seed: 2, noise: 0.8}]"
    small = [
        "world.days=9",
        "world.queues=25",
        "world.pollution=1.0",
        "scored_days=3",
        "network.steps=20",
        f"worlds={worlds}",
    ]
    network = "networks=['trainer=smoke','data.held_out=0.6']"
    files = [f"out={out}", f"linear={linear_of(out)}", f"work={work}"]
    command = [sys.executable, "-m", "training.signatures", *files, *small, network, *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def linear_of(out: Path) -> Path:
    return out.with_suffix(".linear.json")


def read(path: Path) -> Signatures:
    return Signatures.from_json(json.loads(path.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("signatures")
    done = learn(place / "signatures.json", place / "work")
    assert done.returncode == 0, done.stderr[-3000:]
    return place / "signatures.json", place / "work"


def test_they_can_be_read_and_know_normal_life(learned: tuple[Path, Path]) -> None:
    for signatures in (read(learned[0]), read(linear_of(learned[0]))):
        assert len(signatures.kinds) >= 4
        assert not {"central", "brokerage_stop"} & set(signatures.kinds)
        assert (np.diff(signatures.healthy.values) >= 0).all()
        assert np.isfinite(signatures.enter).all()


def test_what_is_learned_is_what_the_defaults_of_training_read(learned: tuple[Path, Path]) -> None:
    for file, shipped in ((learned[0], SHIPPED), (linear_of(learned[0]), SHIPPED_LINEAR)):
        assert read(file).channels == read(shipped).channels
        assert read(file).states == read(shipped).states
    assert not any(way for _, _, *way in read(SHIPPED_LINEAR).channels)
    assert read(SHIPPED_LINEAR).channels == read(SHIPPED).channels[:5]


def test_evidence_of_the_linear_part_has_no_doubt_and_one_spread(learned: tuple[Path, Path]) -> None:
    for kept in learned[1].glob("*.npz"):
        with np.load(kept) as one:
            ways = [json.loads(channel)[2:] for channel in one["channels"].tolist()]
            doubts = [way == ["doubt"] for way in ways]
            assert not one["linear"][:, :, doubts].any()
            assert one["scaled"][:, :, doubts].any()
            linear, whole = (one[name].astype(np.float32) for name in ("linear", "scaled"))
            assert np.allclose(linear[:, :, ways.index(["own"])], linear[:, :, 0], atol=0.01)
            assert not np.allclose(whole[:, :, ways.index(["own"])], whole[:, :, 0], atol=0.01)


def test_a_run_that_goes_on_from_kept_evidence_learns_the_same(learned: tuple[Path, Path], tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in learned[1].glob("*.npz")}
    assert len(before) == 2
    assert learn(tmp_path / "again.json", learned[1]).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in learned[1].glob("*.npz")} == before
    again = tmp_path / "again.json"
    for file, before_it in ((again, learned[0]), (linear_of(again), linear_of(learned[0]))):
        assert file.read_bytes() == before_it.read_bytes()


def test_normal_life_can_be_measured_anew_with_the_network_that_is_there(
    learned: tuple[Path, Path], tmp_path: Path
) -> None:
    done = learn(tmp_path / "kept.json", learned[1], "learn=false")
    assert done.returncode == 0, done.stderr[-3000:]
    for file, of in ((tmp_path / "kept.json", SHIPPED), (linear_of(tmp_path / "kept.json"), SHIPPED_LINEAR)):
        kept, shipped = read(file), read(of)
        assert np.array_equal(kept.enter, shipped.enter)
        assert not np.array_equal(kept.healthy.values, shipped.healthy.values)


def coming_back(seed: int, oddness: float) -> dict[str, np.ndarray]:
    """Evidence of a world of forty queues, half of which come back all the time and look so much wilder."""
    shipped, rng = read(SHIPPED), np.random.default_rng(seed)
    scaled = rng.normal(0, 1, (40, 720, len(shipped.channels), len(shipped.states)))
    scaled[20:] *= oddness
    back = np.zeros((40, 720), bool)
    back[20:] = True
    known = {"scaled": scaled.astype(np.float16), "normal": ~np.zeros_like(back), "scored": ~np.zeros_like(back)}
    return {**known, "recovering": back, "states": np.array(shipped.states), "seed": np.array(seed)}


def test_days_of_coming_back_are_judged_by_what_was_learned_from_other_worlds(monkeypatch: pytest.MonkeyPatch) -> None:
    learned_from, shipped = [], read(SHIPPED)

    def fit(_plain: object, lessons: Lessons) -> Signatures:
        learned_from.append([int(one["seed"]) for one in lessons.made])
        return shipped

    monkeypatch.setattr("training.signatures._fit", fit)
    off = {}
    for oddness in (1.0, 1.5):
        made = [coming_back(seed, oddness) for seed in range(3)]
        off[oddness] = _recovering({}, Lessons(made, shipped.kinds, shipped.channels))
    assert learned_from == [[1], [0, 2]] * 2
    assert off[1.5] > off[1.0] + 1
