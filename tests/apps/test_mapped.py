"""Files of a prepared history, mapped and read as one array."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.errors import ConfigError
from training.shards import mapped

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[np.ndarray, mapped.Mapped]:
    whole = np.arange(7 * 11 * 2, dtype=np.float32).reshape(7, 11, 2)
    paths = [tmp_path / f"{low}.npy" for low in (0, 3, 6)]
    for path, low in zip(paths, (0, 3, 6), strict=True):
        np.save(path, whole[low : low + 3])
    return whole, mapped.Mapped(paths, 3)


@pytest.mark.parametrize(
    "key",
    [
        5,
        slice(2, 6),
        slice(None),
        np.array([6, 0, 3, 0]),
        (4, slice(2, 5)),
        (np.array([6, 0, 3]), slice(1, None)),
        (np.array([[6], [0], [5]]), np.array([[1, 2], [3, 4], [0, 10]])),
        (np.array([], np.int64), slice(1, 4)),
    ],
)
def test_it_gives_what_an_array_gives(pair: tuple[np.ndarray, mapped.Mapped], key) -> None:
    whole, of = pair
    assert len(of) == len(whole)
    assert np.array_equal(of[key], whole[key])
    assert of[key].shape == whole[key].shape


def test_more_files_than_may_be_open_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1000, 1000))
    with pytest.raises(ConfigError, match=r"data.shard_series: 6000 files would be open, 1000 may be"):
        mapped._allow_files(6000)
