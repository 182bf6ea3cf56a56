"""Row 5: what `qad score` says of a tick is the backtest's row of that tick."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.accept.conftest import Run

TOLERANCE = 1e-5


@pytest.mark.parametrize(
    "tick", ["2026-01-19T00:00:00", "2026-01-21T07:30:00", "2026-01-23T17:50:00", "2026-01-25T23:50:00"]
)
def test_the_tick_is_the_backtests_row(demo: Path, run: Run, tick: str) -> None:
    said = json.loads(
        run("qad", "score", demo / "store", "--bundle", demo / "bundle", "--at", f"{tick}Z", "--format", "json")
    )
    rows = said["scores"]
    table = pq.read_table(demo / "scores.parquet")
    wanted = table.filter(
        pc.equal(table["time"], pa.scalar(tick).cast(pa.timestamp("s")).cast(pa.timestamp("s", "UTC")))
    )
    expected = {str(row["panda_queue"]): row for row in wanted.to_pylist()}
    assert sorted(row["panda_queue"] for row in rows) == sorted(expected)
    assert len(expected) > 90
    for row in rows:
        other = expected[row["panda_queue"]]
        for column in ("flagged", "reason", "expected", "state", "direction"):
            assert row[column] == other[column], (row, other)
        assert (row["score"] is None) == (other["score"] is None)
        assert row["score"] is None or abs(row["score"] - other["score"]) <= TOLERANCE
