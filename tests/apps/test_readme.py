"""README is true: its commands run, in order, in a copy of the checkout; its make targets exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [body for kind, body in BLOCK.findall(text) if kind == language]


def commands(page: str) -> list[str]:
    return [line for body in blocks(page, "bash") for line in body.splitlines() if line and not line.startswith("#")]


COMMANDS = [line for line in commands("README.md") if not line.startswith("make ")]
TARGETS = sorted(
    {line for page in ("README.md", "CONTRIBUTING.md") for line in commands(page) if line.startswith("make ")}
)
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md"))]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout without history, with this environment where README makes one."""
    top = tmp_path_factory.mktemp("checkout")
    for name in ("training", "configs", "serving", "pyproject.toml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, top / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, top / name)
    (top / "checkpoints").mkdir()
    (top / ".venv").symlink_to(sys.prefix)
    return top


def test_the_commands_run_in_order(copy: Path) -> None:
    assert len(COMMANDS) >= 8
    script = "\n".join(["set -euxo pipefail", *COMMANDS])
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=copy, env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr[-4000:]
    (python,) = blocks("README.md", "python")
    done = subprocess.run(
        [sys.executable, "-c", python], cwd=copy, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert re.search(r"panda_queue +score +flagged +state +direction", done.stdout)
    assert (copy / "checkpoints/first/review.html").stat().st_size > 50_000


@pytest.mark.parametrize("line", TARGETS)
def test_a_make_target_exists(line: str) -> None:
    done = subprocess.run(
        ["make", "-n", *line.split()[1:]], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    assert not [target for target in targets if "://" not in target and not (path.parent / target).exists()]
