"""The house keeps its own rules: what imports what, what is where, what is public."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from qad_dl import errors
from qad_dl.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "qad_dl"
ROOMS = ("qad_dl", "configs", "training", "serving", "checkpoints", "tests", "docs")
FILES = ("pyproject.toml", "constraints.txt", "Makefile", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE")
TICKS_PATH = ("store", "grid", "preprocess", "bundle", "scorer", "backtest", "scores_file")
HEAVY = (
    "torch",
    "pytorch_lightning",
    "lightning",
    "lightning_fabric",
    "hydra",
    "omegaconf",
    "onnx",
    "onnxscript",
    "sklearn",
    "uplot",
    "flask",
    "waitress",
    "dask",
    "distributed",
    "fsspec",
    "s3fs",
    "botocore",
)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = sorted(PACKAGE.rglob("*.py"))
LIGHT_MODULES = [module_name(p) for p in SOURCES if "nn" not in p.parts and p.name != "__main__.py"]


def loaded_after(*modules: str) -> set[str]:
    """Top-level packages in sys.modules of a fresh process that imported `modules`."""
    code = f"import sys\nfor m in {modules!r}: __import__(m)\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.split())


@pytest.mark.everywhere
def test_no_light_module_imports_the_heavy_ones() -> None:
    assert len(LIGHT_MODULES) > 5
    assert not loaded_after(*LIGHT_MODULES).intersection(HEAVY)


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.everywhere
def test_the_ticks_path_imports_no_pandas() -> None:
    assert "pandas" not in loaded_after(*(f"qad_dl.{name}" for name in TICKS_PATH), "serving.tick")


def test_the_top_level_is_as_it_was_asked_for() -> None:
    assert not [name for name in ROOMS if not (ROOT / name).is_dir()]
    assert not [name for name in FILES if not (ROOT / name).is_file()]
    assert (ROOT / "checkpoints" / ".gitkeep").is_file()


def test_nothing_is_called_utils() -> None:
    names = {path.stem for room in ("qad_dl", "training", "serving") for path in (ROOT / room).rglob("*.py")}
    assert not names.intersection({"utils", "util", "helpers", "common", "misc"})


def test_hooks_fetch_nothing() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"repo: (.*)", text) == ["local"]
    assert len(re.findall(r"- id:", text)) == len(re.findall(r"language: system", text))


def test_every_pin_is_exact_and_every_dependency_is_pinned() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    pinned = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines}
    assert all("==" in line for line in lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(w for extra in project["optional-dependencies"].values() for w in extra)]
    names = {re.split(r"[\[<>=!~ ]", want)[0].lower().replace("_", "-") for want in wanted} - {project["name"]}
    assert len(names) > 20
    assert names <= pinned


DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_the_fixed_form(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {path.name[:4]} ")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Turned down", "Consequences"]
    assert path.name in (path.parent / "README.md").read_text(encoding="utf-8")


# --- what others build on: a change here is a change of the doors ---


def test_the_commands() -> None:
    scoring = ["score", "backtest", "evaluate", "incidents"]
    assert list(COMMANDS) == ["simulate", "import", *scoring, "preview", "drift", "bundles", "review", "tune", "labels"]
    for name in COMMANDS:
        module = importlib.import_module(f"qad_dl.cli.cmd_{name}")
        assert callable(module.add_arguments)
        assert callable(module.run)


def test_the_errors() -> None:
    tree = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind)}
    assert set(tree) == {
        "QadError",
        "InputError",
        "StoreError",
        "ConfigError",
        "ShardError",
        "StoppedError",
        "ClusterError",
        "BundleError",
        "InfluxError",
        "SourceError",
        "InfluxDownError",
        "SinkError",
        "SinkDownError",
        "SinkAccessError",
    }
    assert all(issubclass(kind, errors.QadError) for kind in tree.values())
    assert {name for name, kind in tree.items() if kind.exit_code != 2} == {"SourceError", "StoppedError"}


def test_the_scorer() -> None:
    from qad_dl.scorer import Scorer

    assert list(inspect.signature(Scorer.load).parameters) == ["path", "threads"]
    parameters = inspect.signature(Scorer.score).parameters
    assert list(parameters) == ["self", "history", "metadata", "at", "queues", "budget"]
    assert all(parameters[name].default is None for name in ("metadata", "at", "queues", "budget"))
