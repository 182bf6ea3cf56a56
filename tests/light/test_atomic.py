"""Files and folders appear whole or not at all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from qad_dl.atomic import TEMPORARY, create_file, replace_directory, replace_file, sweep

if TYPE_CHECKING:
    from pathlib import Path


def test_files_appear_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    assert create_file(path, b"one")
    assert not create_file(path, b"two")
    assert path.read_bytes() == b"one"
    replace_file(path, b"three")
    assert path.read_bytes() == b"three"

    def fails(_: int) -> None:
        msg = "disk full"
        raise OSError(msg)

    monkeypatch.setattr("qad_dl.atomic.os.fsync", fails)
    for write in (create_file, replace_file):
        with pytest.raises(OSError, match="disk full"):
            write(path, b"four")
    assert path.read_bytes() == b"three"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_replaced_by_a_whole_one_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr("qad_dl.atomic._exchange", lambda *_: False)
    path = tmp_path / "sub" / "bundle"
    for text in ("one", "two"):
        with replace_directory(path) as folder:
            (folder / "deep").mkdir()
            (folder / "deep" / "file").write_text(text)
        assert (path / "deep" / "file").read_text() == text
    with pytest.raises(FileNotFoundError), replace_directory(path) as folder:
        (folder / "absent" / "file").write_text("three")
    assert (path / "deep" / "file").read_text() == "two"
    assert list(path.parent.iterdir()) == [path]


def test_sweep_leaves_what_is_young_or_not_ours(tmp_path: Path) -> None:
    (tmp_path / f"{TEMPORARY}folder").mkdir()
    (tmp_path / f"{TEMPORARY}folder" / "file").touch()
    (tmp_path / f"{TEMPORARY}file").touch()
    (tmp_path / "other").touch()
    now = time.time()
    assert sweep(tmp_path, now) == 0
    assert sweep(tmp_path, now + 7200) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
