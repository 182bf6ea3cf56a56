"""Scores as a file: interfaces, section 5."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qad_dl.errors import ConfigError
from qad_dl.results import Details, Results
from qad_dl.scores_file import details_path, details_table, scores_table, write_table
from tests.light.made import ticks

if TYPE_CHECKING:
    from pathlib import Path

VALUES = np.array([[1.5, np.nan], [0.0, 9.0]])
CELLS = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
RESULTS = Results(
    entity=("panda_queue", "prod_source"),
    series=(("A", ""), ("B", "user")),
    times=ticks(2),
    score=VALUES,
    alone=VALUES,
    flagged=np.array([[False, False], [False, True]]),
    reason=np.array([[0, 3], [0, 0]], np.int8),
    known=np.array([[True, True], [False, True]]),
    expected=np.array([[False, True], [False, False]]),
    state=np.array([[2, -1], [0, 1]], np.int16),
    direction=np.array([[-1, 0], [1, 1]], np.int8),
    kind=np.full((2, 2), -1, np.int8),
    kinds=(),
    states=("running", "finished", "failed"),
    budget=0.02,
    threshold=4.5,
    details=Details(*(np.where(np.isnan(VALUES)[:, :, None], np.float32(np.nan), CELLS + i) for i in range(5))),
)


@pytest.fixture
def written(tmp_path: Path) -> pa.Table:
    path = tmp_path / "deep" / "scores.parquet"
    write_table(path, scores_table(RESULTS, "abc"))
    assert [p.name for p in path.parent.iterdir()] == ["scores.parquet"]
    return pq.read_table(path)


def test_columns_and_types(written: pa.Table) -> None:
    kinds = {field.name: field.type for field in written.schema}
    assert list(kinds) == [
        "time", "panda_queue", "prod_source", "score", "flagged", "reason", "expected", "state", "direction",
    ]  # fmt: skip
    assert pa.types.is_timestamp(kinds["time"])
    assert kinds["time"].tz == "UTC"
    assert kinds["score"] == pa.float64()
    assert kinds["flagged"] == kinds["expected"] == pa.bool_()
    for name in ("panda_queue", "prod_source", "reason", "state", "direction"):
        assert kinds[name] == pa.string()


def test_rows_are_the_known_series_by_time_with_null_where_unscored(written: pa.Table) -> None:
    rows = [tuple(r.values())[1:] for r in written.to_pylist()]
    assert rows == [
        ("A", "", 1.5, False, "", False, "failed", "low"),
        ("A", "", None, False, "missing_tick", True, None, None),
        ("B", "user", 9.0, True, "", False, "finished", "high"),
    ]
    assert written["time"].to_numpy().astype("datetime64[s]").tolist() == ticks(2)[[0, 1, 1]].tolist()


def test_the_files_metadata(written: pa.Table) -> None:
    assert written.schema.metadata[b"qad.budget"] == b"0.02"
    assert written.schema.metadata[b"qad.bundle"] == b"abc"


def test_details(tmp_path: Path) -> None:
    path = details_path(tmp_path / "scores.parquet")
    assert path.name == "scores.details.parquet"
    write_table(path, details_table(RESULTS, "abc"))
    table = pq.read_table(path)
    numbers = ["observed", "reconstruction", "lower", "upper", "contribution"]
    assert table.column_names == ["time", "panda_queue", "prod_source", "job_status", *numbers]
    assert table.num_rows == 3 * 3
    rows = table.to_pylist()
    assert [r["job_status"] for r in rows[:3]] == list(RESULTS.states)
    assert [r["observed"] for r in rows] == [0, 1, 2, None, None, None, 9, 10, 11]
    assert rows[0]["contribution"] == 4


def test_details_that_were_not_asked_for() -> None:
    with pytest.raises(ValueError, match="without details"):
        details_table(dataclasses.replace(RESULTS, details=None), "abc")


def test_a_place_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path, tmp_path / "file" / "scores.parquet"):
        with pytest.raises(ConfigError, match="cannot be written"):
            write_table(place, scores_table(RESULTS, "abc"))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
