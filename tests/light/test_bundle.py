"""The frozen artefact: whole, verified, replaced only by a whole one."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qad_dl import floats
from qad_dl.bundle import FORMAT_VERSION, MANIFEST, MODEL, PARTS, PRIME, SEAL, STEP, Bundle, read_bundle, write_bundle
from qad_dl.errors import BundleError
from qad_dl.lanes import Lane
from qad_dl.scorer import Scorer
from tests.light.made_bundle import write_made_bundle

FILES = (MODEL, PRIME, STEP, *PARTS, MANIFEST, SEAL)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "bundle"
    write_made_bundle(path)
    return path


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "bundle"))


def rewrite(path: Path, bundle: Bundle, **changes) -> str:
    parts = {name: getattr(bundle, name) for name in ("model", "preprocess", "calibration", "detection", "stream")}
    about = {k: v for k, v in bundle.manifest.items() if k not in {"files", "format_version"}}
    return write_bundle(path, **(parts | changes), about=about)


def test_it_has_the_files_it_says_and_no_others(made: Path) -> None:
    assert sorted(p.name for p in made.iterdir()) == sorted(FILES)


def test_there_and_back(made: Path, tmp_path: Path) -> None:
    bundle = read_bundle(made)
    name = rewrite(tmp_path / "again", bundle)
    assert name == bundle.name
    for file in FILES:
        assert (tmp_path / "again" / file).read_bytes() == (made / file).read_bytes()


@pytest.mark.parametrize("where", [0, 0.5, -1], ids=["first", "middle", "last"])
@pytest.mark.parametrize("file", FILES)
def test_one_byte_changed_is_refused_by_name(copy: Path, file: str, where: float) -> None:
    content = bytearray((copy / file).read_bytes())
    place = int(len(content) * where) if where >= 0 else -1
    content[place] ^= 1
    (copy / file).write_bytes(content)
    with pytest.raises(BundleError, match=file) as refused:
        read_bundle(copy)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("file", FILES)
def test_a_file_cut_short_or_missing_is_refused_by_name(copy: Path, file: str) -> None:
    content = (copy / file).read_bytes()
    (copy / file).write_bytes(content[:-2])
    with pytest.raises(BundleError, match=file):
        read_bundle(copy)
    (copy / file).unlink()
    with pytest.raises(BundleError, match=file):
        read_bundle(copy)


def test_another_format_version_is_said_as_such(copy: Path) -> None:
    manifest = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(manifest | {"format_version": FORMAT_VERSION + 1}))
    with pytest.raises(
        BundleError, match=f"format version {FORMAT_VERSION + 1}, wanted 3 or 4 or 5 or {FORMAT_VERSION}:"
    ):
        read_bundle(copy)


def test_one_of_the_format_before_has_the_same_numbers(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its arrays were decimals, however large."""
    monkeypatch.setattr(floats, "FEW", 0)
    rewrite(copy, read_bundle(copy))
    new, manifest = read_bundle(copy), json.loads((copy / MANIFEST).read_bytes())
    assert b"float32" in (copy / PARTS[1]).read_bytes()
    for name in PARTS:
        content = json.dumps(in_decimals(json.loads((copy / name).read_bytes()))).encode()
        (copy / name).write_bytes(content)
        manifest["files"][name] = hashlib.sha256(content).hexdigest()
    content = json.dumps(manifest | {"format_version": 3}).encode()
    (copy / MANIFEST).write_bytes(content)
    (copy / SEAL).write_text(hashlib.sha256(content).hexdigest() + "\n")
    old = read_bundle(copy)
    for part in ("preprocess", "calibration", "detection"):
        assert getattr(old, part).to_json() == getattr(new, part).to_json()


def in_decimals(data: Any) -> Any:
    """The same with every array as nested lists of numbers."""
    if isinstance(data, list):
        return [in_decimals(each) for each in data]
    if not isinstance(data, dict):
        return data
    if data.keys() == {"shape", "float32"}:
        return floats.from_json(data).tolist()
    return {name: in_decimals(each) for name, each in data.items()}


@pytest.mark.parametrize("what", ["nothing", "a file", "an empty folder"])
def test_where_there_is_no_bundle(tmp_path: Path, what: str) -> None:
    path = tmp_path / "bundle"
    if what == "a file":
        path.write_text("x")
    elif what == "an empty folder":
        path.mkdir()
    with pytest.raises(BundleError, match="bundle"):
        read_bundle(path)


def test_a_sealed_bundle_that_cannot_be_understood_is_refused(made: Path, tmp_path: Path) -> None:
    class Odd:
        def to_json(self) -> dict:
            return {"odd": 1}

    rewrite(tmp_path / "odd", read_bundle(made), detection=Odd())
    with pytest.raises(BundleError, match="cannot be understood"):
        read_bundle(tmp_path / "odd")


def test_a_model_that_is_no_model_is_refused(made: Path, tmp_path: Path) -> None:
    rewrite(tmp_path / "odd", read_bundle(made), model=b"not an ONNX file")
    scorer = Scorer.load(tmp_path / "odd")  # which starts no network before one is needed
    with pytest.raises(BundleError, match=MODEL):
        scorer.started()
    stream = read_bundle(made).stream
    assert stream is not None
    for name, changed in ((PRIME, {"prime": b"not an ONNX file"}), (STEP, {"step": b"not an ONNX file"})):
        rewrite(tmp_path / "odd", read_bundle(made), stream=stream._replace(**changed))
        with pytest.raises(BundleError, match=name):
            Scorer.load(tmp_path / "odd").started()


def test_what_is_kept_of_a_network_is_read_as_it_was_written(made: Path) -> None:
    bundle = read_bundle(made)
    assert bundle.stream is not None
    assert bundle.stream.lanes == {"latent": Lane(4, (5,))}
    assert list(bundle.made) == ["errors", "latent"]
    assert list(bundle.judged) == ["errors"]


def test_a_bundle_is_replaced_by_a_whole_one(copy: Path) -> None:
    old = read_bundle(copy)
    (copy / "left over").write_text("x")
    name = write_made_bundle(copy, seed=5)
    assert read_bundle(copy).name == name != old.name
    assert sorted(p.name for p in copy.iterdir()) == sorted(FILES)
    assert [p.name for p in copy.parent.iterdir()] == [copy.name]


def test_a_failure_while_writing_leaves_the_old_one(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = read_bundle(copy)
    written = []
    whole = Path.write_bytes

    def full_disk(self: Path, content: bytes) -> int:
        written.append(self.name)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        return whole(self, content)

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space"):
        rewrite(copy, old, model=b"new")
    monkeypatch.undo()
    assert read_bundle(copy).name == old.name
    assert [p.name for p in copy.parent.iterdir()] == [copy.name]


def test_calibration_survives_bit_by_bit(made: Path, tmp_path: Path) -> None:
    bundle = read_bundle(made)
    rewrite(tmp_path / "again", bundle)
    again = read_bundle(tmp_path / "again")
    assert np.array_equal(again.calibration.spread, bundle.calibration.spread)
    assert again.detection.threshold(0.01) == bundle.detection.threshold(0.01)
