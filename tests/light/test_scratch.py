"""Room on the disk: the numbers of memory, nothing left behind, and one line where there is none."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl import calibration_fit, stretch
from qad_dl.calibration_fit import fit_calibration, unseen_statistics
from qad_dl.detection import fit_detection
from qad_dl.errors import ShardError
from qad_dl.metrics import episodes
from qad_dl.metrics.episodes import count_episodes
from qad_dl.scratch import IN_MEMORY, Scratch
from qad_dl.signatures import shipped_signatures
from qad_dl.survival import survival_curve
from tests.light.test_calibration import DAY, EVIDENCE, STATES, everything, healthy

if TYPE_CHECKING:
    from pathlib import Path


def test_an_array_on_the_disk_is_one_without_a_name(tmp_path: Path) -> None:
    array = Scratch(tmp_path).empty((3, 5), np.float32)
    array[:] = np.arange(15).reshape(3, 5)
    assert isinstance(array, np.memmap)
    assert array.sum() == 105
    assert list(tmp_path.iterdir()) == []
    assert Scratch(tmp_path).empty((0, 5), np.bool_).shape == (0, 5)
    assert not isinstance(IN_MEMORY.empty((3, 5), np.float32), np.memmap)


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(ShardError, match=r"no room for 8 MB to work with \(File too large\)"):
            Scratch(tmp_path).empty((1000, 1000), np.float64)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    with pytest.raises(ShardError, match="No such file"):
        Scratch(tmp_path / "gone").empty((2,), np.float64)


@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
def test_episodes_and_survival_are_those_of_memory(tmp_path: Path, monkeypatch, chunk: int) -> None:
    rng = np.random.default_rng(1)
    scores, where = rng.exponential(size=(9, 80)).round(1).astype(np.float32), rng.random((9, 80)) < 0.8
    memory = count_episodes(scores, where, 30)
    monkeypatch.setattr(episodes, "CHUNK", chunk)
    disk = count_episodes(scores, where, 30, Scratch(tmp_path))
    assert np.array_equal(memory.threshold, disk.threshold)
    assert np.array_equal(memory.episodes, disk.episodes)
    assert memory.threshold.dtype == disk.threshold.dtype
    peak = int(np.argmax(memory.episodes)) + 1
    for most in (0.0, 0.5, 2.0, 1e9):
        within = np.flatnonzero(memory.episodes[:peak] / 3.0 <= most)
        assert disk.lowest_rate(3.0, most) == (int(within[-1]) if within.size else None)
    for value in (-1.0, 0.3, 1.05, 99.0):
        assert disk.above(value) == int((memory.threshold > value).sum())
    assert survival_curve(scores.ravel()).to_json() == survival_curve(scores.ravel(), Scratch(tmp_path)).to_json()


@pytest.mark.parametrize("block", [1, 3, 64])
@pytest.mark.parametrize("whiten", [False, True])
def test_a_calibration_is_the_one_in_memory_however_many_series_at_a_time(
    tmp_path: Path, monkeypatch, block: int, whiten: bool
) -> None:
    data, new = healthy(days=6), healthy(days=6, seed=5, width=2.0)
    use = everything(data)
    use[2, :200] = use[:, 300:310] = False
    memory = fit_calibration(data, use, EVIDENCE, STATES, 9, DAY, None, whiten, as_new=(new, use))
    plain = memory.score(unseen_statistics(memory, data, use, DAY))
    monkeypatch.setattr(calibration_fit, "SERIES_BLOCK", block)
    monkeypatch.setattr(calibration_fit, "ROWS_BLOCK", 1000)
    room = Scratch(tmp_path)
    disk = fit_calibration(data, use, EVIDENCE, STATES, 9, DAY, None, whiten, as_new=(new, use), scratch=room)
    assert disk.to_json() == memory.to_json()
    scores = disk.score(unseen_statistics(disk, data, use, DAY, room))
    assert np.array_equal(plain, scores)
    assert fit_detection(plain, use, DAY).to_json() == fit_detection(scores, use, DAY, room).to_json()


def test_signatures_are_stretched_as_in_memory(tmp_path: Path, monkeypatch) -> None:
    """What is unlike known normal life in most of its ticks is stretched by what its episodes are."""
    shipped = shipped_signatures()
    rng = np.random.default_rng(3)
    statistic = rng.normal(-3, 2, (40, 12 * DAY)).astype(np.float32)
    use, doubtful = np.ones(statistic.shape, np.bool_), rng.random(statistic.shape) < 0.9
    for said in (use, doubtful):
        memory = stretch.stretch_of(statistic, use, said, shipped.healthy, DAY, IN_MEMORY)
        with monkeypatch.context() as patch:
            patch.setattr(stretch, "SERIES_BLOCK", 7)
            patch.setattr(episodes, "CHUNK", 1000)
            assert stretch.stretch_of(statistic, use, said, shipped.healthy, DAY, Scratch(tmp_path)) == memory
        assert memory != 1.0
