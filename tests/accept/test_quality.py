"""What is needed of the alarms, row by row: what `make quality` found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

VERDICTS = Path(__file__).resolve().parents[2] / "checkpoints" / "quality" / "verdicts.json"


@pytest.mark.parametrize("row", [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12])
def test_row(row: int) -> None:
    assert VERDICTS.exists(), "run `make quality` first"
    found = [v for v in json.loads(VERDICTS.read_text(encoding="utf-8")) if v["row"] == row]
    for v in found:
        print(f"{v['figure']}: {v['measured']} (needed: {v['needed']})")
    assert found
    assert all(v["holds"] for v in found)
