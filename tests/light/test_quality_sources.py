"""A hash of code: it changes with what runs, and with nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from training.quality.sources import source_digest

if TYPE_CHECKING:
    from pathlib import Path

CODE = {
    "qad_dl/__init__.py": '"""A library."""\n',
    "qad_dl/deep.py": "def depth() -> int:\n    return 3\n",
    "qad_dl/typed.py": "X = 1\n",
    "qad_dl/other.py": "Y = 1\n",
    "training/__init__.py": "",
    "training/work.py": (
        "from typing import TYPE_CHECKING\nimport json\nif TYPE_CHECKING:\n    from qad_dl.typed import X\n"
        "def work():\n    from qad_dl import deep\n    return deep.depth()\n"
    ),
    "configs/a.yaml": "a: 1\n",
}


def digest(tmp_path: Path, name: str, **changed: str) -> str:
    root = tmp_path / name
    for path, text in {**CODE, **{k.replace("__", "/", 1) + ".py": v for k, v in changed.items()}}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return source_digest(["training.work"], ["configs/*.yaml"], root)


def test_it_is_the_same_for_the_same_code(tmp_path: Path) -> None:
    assert digest(tmp_path, "one") == digest(tmp_path, "two")


def test_comments_docstrings_types_and_strangers_do_not_count(tmp_path: Path) -> None:
    before = digest(tmp_path, "before")
    spoken = '"""Deep."""\n\n\ndef depth() -> int:\n    """How deep."""\n    return 3  # no deeper\n'
    assert digest(tmp_path, "spoken", qad_dl__deep=spoken) == before
    assert digest(tmp_path, "typed", qad_dl__typed="X = 2\n") == before
    assert digest(tmp_path, "stranger", qad_dl__other="Y = 2\n") == before


def test_code_that_is_imported_inside_a_function_counts(tmp_path: Path) -> None:
    changed = digest(tmp_path, "changed", qad_dl__deep="def depth() -> int:\n    return 4\n")
    assert changed != digest(tmp_path, "before")


def test_files_count(tmp_path: Path) -> None:
    before = digest(tmp_path, "before")
    (tmp_path / "before" / "configs" / "a.yaml").write_text("a: 2\n", encoding="utf-8")
    assert source_digest(["training.work"], ["configs/*.yaml"], tmp_path / "before") != before


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    digest(tmp_path, "there")
    with pytest.raises(ValueError, match=r"no module 'training\.play'"):
        source_digest(["training.play"], (), tmp_path / "there")
    with pytest.raises(ValueError, match="no file"):
        source_digest(["training.work"], ["data/*"], tmp_path / "there")


def test_the_code_of_a_training_does_not_change_with_the_page() -> None:
    from training.quality.sources import ROOT, _closure

    modules = _closure(["training.train", "training.quality.bundles"], ROOT)
    assert {"qad_dl.nn.modules", "training.fit", "qad_dl.calibration", "qad_dl.grid"} <= modules
    assert not {"training.quality.report", "training.quality.measure", "qad_dl.metrics.vus"} & modules
