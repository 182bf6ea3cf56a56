"""What is needed of the cost, row by row: what `make bench` found; and what a million series would take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "checkpoints" / "bench" / "full" / "results.json"
PAGE = ROOT / "docs" / "performance.md"


@pytest.mark.parametrize("row", range(1, 10))
def test_row(row: int) -> None:
    assert RESULTS.exists(), "run `make bench` first"
    found = [v for v in json.loads(RESULTS.read_text(encoding="utf-8"))["verdicts"] if v["row"] == row]
    for v in found:
        print(f"{v['what']}: {v['value']} (needed: {v['needed']})")
    assert found
    assert all(v["holds"] for v in found)


def test_the_page_works_out_a_million_series() -> None:
    _, _, section = PAGE.read_text(encoding="utf-8").partition("\n## A million series\n")
    print(section)
    for said in ("processor s a tick", "memory GB", "hosts", "EUR a month", "bytes a day", "Where it breaks first:"):
        assert said in section
    assert "not measured" not in section
