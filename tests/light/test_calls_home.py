"""Nothing that is installed tells anybody what is scored here."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SCORES = """
from qad_dl.reconstruction import Model
from tests.light.made_bundle import fitted, persistence
preprocess = fitted()
Model(persistence(preprocess, preprocess.plan.stride), 1)
"""


def test_onnxruntime_notes_nothing_of_what_it_runs(tmp_path: Path) -> None:
    """Its database, in the home of who runs it, is what it sends; only in a CI it has none by itself."""
    of_ours = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", SCORES], env=of_ours, check=True)
    assert list(tmp_path.rglob("*")) == []
