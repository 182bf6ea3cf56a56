"""What the light tests share: a bundle that was trained elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import absent

VARIABLE = "QAD_TEST_BUNDLE"


@pytest.fixture(scope="session")
def trained() -> Path:
    """The folder that `make trained` fills: `bundle`, the `store` it was trained on, and `scores.parquet`."""
    name = os.environ.get(VARIABLE)
    if not name:
        absent(f"no trained bundle: {VARIABLE} names none; `make test` trains one first")
    path = Path(name or "")
    assert (path / "scores.parquet").exists(), f"{VARIABLE}={path}: run `make trained`"
    return path
