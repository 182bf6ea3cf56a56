"""Scores files: read, and refused in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qad_dl.errors import InputError
from qad_dl.metrics.scores import read_scores
from qad_dl.schema import Tick

if TYPE_CHECKING:
    from pathlib import Path

T0 = np.datetime64("2026-01-01", "s")


def columns(**changed: Any) -> dict[str, Any]:
    """Two queues, three ticks, unsorted; B has no row at the first."""
    ticks = T0 + np.array([0, 1, 2, 2, 1]) * np.timedelta64(600, "s")
    plain = {
        "time": pa.array(ticks, pa.timestamp("s", "UTC")),
        "panda_queue": pa.array(["A", "A", "A", "B", "B"]),
        "score": pa.array([1.0, None, 3.0, 4.0, 5.0]),
        "flagged": pa.array([False, False, True, True, None]),
        "reason": pa.array(["", "gap", "", "", ""]),
    }
    return {**plain, **changed}


def written(folder: Path, table: dict[str, Any], metadata: dict[str, str] | None = None) -> Path:
    path = folder / "scores.parquet"
    present = {name: column for name, column in table.items() if column is not None}
    pq.write_table(pa.table(present).replace_schema_metadata(metadata), path)
    return path


def test_rows_become_arrays(tmp_path: Path) -> None:
    scores = read_scores(written(tmp_path, columns(), {"qad.budget": "0.01"}), Tick())
    assert scores.series == (("A",), ("B",))
    assert scores.entity == ("panda_queue",)
    assert scores.times.tolist() == (T0 + np.arange(3) * np.timedelta64(600, "s")).tolist()
    np.testing.assert_array_equal(scores.score, [[1, np.nan, 3], [np.nan, 5, 4]])
    assert scores.flagged.tolist() == [[False, False, True], [False, False, True]]
    assert scores.present.tolist() == [[True, True, True], [False, True, True]]
    assert scores.budget == 0.01


def test_no_budget_is_none(tmp_path: Path) -> None:
    assert read_scores(written(tmp_path, columns()), Tick()).budget is None


def test_the_key_may_have_several_columns_of_any_encoding(tmp_path: Path) -> None:
    table = {
        "time": pa.array(np.repeat(T0, 3), pa.timestamp("ns")),
        "atlas_site": pa.array(["X", "X", "W"]).dictionary_encode(),
        "prod_source": pa.array(["user", "managed", "user"], pa.large_string()),
        "score": pa.array([1.0, 2.0, 3.0], pa.float32()),
        "flagged": pa.array([False] * 3),
        "comment": pa.array(["added", "by", "hand"]),
    }
    scores = read_scores(written(tmp_path, table), Tick())
    assert scores.entity == ("atlas_site", "prod_source")
    assert scores.series == (("W", "user"), ("X", "managed"), ("X", "user"))
    assert scores.score[:, 0].tolist() == [3, 2, 1]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"score": None}, "column 'score' is absent"),
        ({"flagged": None}, "column 'flagged' is absent"),
        ({"time": None}, "column 'time' is absent"),
        ({"panda_queue": None}, "no column before 'score' names the series"),
        ({"score": pa.array(["1"] * 5)}, "column 'score' is string"),
        ({"time": pa.array(["2026-01-01"] * 5)}, "column 'time' is string"),
        ({"score": pa.array([1.0, -1.0, 1, 1, 1])}, "row 2 has the score -1.0"),
        ({"score": pa.array([1.0, 1, 1, 1, np.inf])}, "row 5 has the score inf"),
        ({"panda_queue": pa.array(["A", "A", "A", "B", None])}, "column 'panda_queue', which names the series"),
        ({"panda_queue": pa.array([1, 1, 1, 2, 2])}, "column 'panda_queue', which names the series"),
        ({"panda_queue": pa.array(["A"] * 5)}, "2 rows repeat the series and tick"),
        ({"time": pa.array([T0] * 4 + [None], pa.timestamp("s"))}, "1 rows have no time"),
        (
            {"time": pa.array(T0 + np.arange(5) * np.timedelta64(601, "s"), pa.timestamp("s"))},
            "is on no tick of 10 minutes",
        ),
    ],
)
def test_what_is_no_scores_file_is_refused(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    path = written(tmp_path, columns(**changed))
    with pytest.raises(InputError, match=f"scores.parquet: .*{says}"):
        read_scores(path, Tick())


@pytest.mark.parametrize("text", ["much", "nan", "-1"])
def test_a_budget_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"qad\.budget"):
        read_scores(written(tmp_path, columns(), {"qad.budget": text}), Tick())


def test_no_rows_no_parquet_and_no_file_are_refused(tmp_path: Path) -> None:
    empty = {name: column.slice(0, 0) for name, column in columns().items()}
    with pytest.raises(InputError, match="holds no rows"):
        read_scores(written(tmp_path, empty), Tick())
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(written(tmp_path, columns()).read_bytes()[:-20])
    for path in (broken, tmp_path / "absent.parquet", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_scores(path, Tick())
