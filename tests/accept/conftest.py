"""What the acceptance rows share: a place to work in, commands as a person starts them, the bundle of the demo."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Run(Protocol):
    """Start a command from the top of the checkout, show it, and return what it printed."""

    def __call__(self, *command: str | Path) -> str: ...


@pytest.fixture(scope="session")
def run() -> Run:
    def start(*command: str | Path) -> str:
        words = [str(word) for word in command]
        program = {"qad": [sys.executable, "-m", "qad_dl.cli"], "python": [sys.executable]}[words[0]]
        print("\n$", *words, flush=True)
        began = time.monotonic()
        done = subprocess.run([*program, *words[1:]], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        print(f"{done.stdout}({time.monotonic() - began:.1f} s)", flush=True)
        assert done.returncode == 0, f"exit code {done.returncode} of {' '.join(words)}"
        return done.stdout

    return start


@pytest.fixture(scope="session")
def work() -> Path:
    """Where rows leave what a person may want to look at; git ignores it."""
    path = ROOT / "checkpoints" / "accept"
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data beside the checkout; a row that was skipped shows nothing, so their absence is a failure here."""
    path = ROOT.parent / "shared" / "data"
    assert path.is_dir(), f"no real data at {path}"
    return path


@pytest.fixture(scope="session")
def demo() -> Path:
    """What `make demo` left; the make target of the row sees to it."""
    path = ROOT / "checkpoints" / "demo"
    assert (path / "review.html").exists(), "run `make demo` first"
    return path
