"""Row 6: a score depends on the history up to its tick and on the bundle, and on nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.accept.conftest import Run

START, END = "2026-01-19", "2026-01-26"
MIDDLE = "2026-01-22T10:20:00"


def rows_of(path: Path, start: str, end: str, queues: list[str] | None = None) -> list[dict[str, object]]:
    table = pq.read_table(path)
    limits = [pa.scalar(t).cast(pa.timestamp("s")).cast(pa.timestamp("s", "UTC")) for t in (start, end)]
    table = table.filter(pc.and_(pc.greater_equal(table["time"], limits[0]), pc.less(table["time"], limits[1])))
    rows = sorted(table.to_pylist(), key=lambda r: (r["time"], r["panda_queue"]))
    return [r for r in rows if queues is None or r["panda_queue"] in queues]


def assert_same(left: list[dict[str, object]], right: list[dict[str, object]]) -> None:
    assert len(left) == len(right) > 100
    for column in ("time", "panda_queue", "flagged", "reason", "expected", "state", "direction"):
        assert [r[column] for r in left] == [r[column] for r in right], column
    a, b = (np.array([r["score"] for r in rows], dtype=float) for rows in (left, right))
    assert np.array_equal(np.isnan(a), np.isnan(b))
    print(f"{len(left)} rows; largest difference of a score {np.nanmax(np.abs(a - b)):.2e}")
    assert np.nanmax(np.abs(a - b)) <= 1e-5


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


def test_without_the_future(demo: Path, place: Path, run: Run) -> None:
    history = pq.read_table(demo / "world" / "jobs.parquet")
    time = history["time"].cast(pa.timestamp("s", "UTC"))
    limit = pa.scalar(MIDDLE).cast(pa.timestamp("s")).cast(pa.timestamp("s", "UTC"))
    pq.write_table(history.filter(pc.less(time, limit)), place / "jobs.parquet")
    run(
        "qad", "import", place / "store", "--jobs", place / "jobs.parquet", "--cric", demo / "world" / "cric.json",
        "--downtimes", demo / "world" / "downtimes.csv",
    )  # fmt: skip
    run(
        "qad",
        "backtest",
        place / "store",
        "--bundle",
        demo / "bundle",
        "--start",
        START,
        "--end",
        MIDDLE,
        "--out",
        place / "s.parquet",
    )
    assert_same(rows_of(place / "s.parquet", START, MIDDLE), rows_of(demo / "scores.parquet", START, MIDDLE))


def test_one_queue_of_many(demo: Path, place: Path, run: Run) -> None:
    table = pq.read_table(demo / "scores.parquet")
    queue = str(table.filter(table["flagged"])["panda_queue"][0])
    run(
        "qad", "backtest", demo / "store", "--bundle", demo / "bundle", "--start", START, "--end", END,
        "--queue", queue, "--out", place / "s.parquet",
    )  # fmt: skip
    assert_same(rows_of(place / "s.parquet", START, END), rows_of(demo / "scores.parquet", START, END, [queue]))


@pytest.mark.parametrize("start", ["2026-01-20T00:10:00", "2026-01-22T13:00:00", "2026-01-24T23:50:00"])
def test_another_start(demo: Path, place: Path, run: Run, start: str) -> None:
    run(
        "qad",
        "backtest",
        demo / "store",
        "--bundle",
        demo / "bundle",
        "--start",
        start,
        "--end",
        END,
        "--out",
        place / "s.parquet",
    )
    assert_same(rows_of(place / "s.parquet", start, END), rows_of(demo / "scores.parquet", start, END))
