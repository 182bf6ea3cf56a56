"""What happens to queues: the histories that are made of a history."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
import pytest

from qad_dl.store import Store
from tests.light.made import START, at, history
from training.quality.life import NEW, NEW_STATE, _split_state, rebuilt, renamed, return_days

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

DAY = np.timedelta64(1, "D")


@pytest.fixture
def rows() -> pa.Table:
    states = (("activated", 5.0), ("running", 8.0))
    return history([(p, q, s, n + p % 2) for p in range(0, 432, 3) for q in ("A", "B") for s, n in states])


@pytest.fixture
def store(tmp_path: Path, rows: pa.Table) -> Store:
    made = Store.create(tmp_path / "store", None)
    made.put(rows)
    made.add_metadata({"A": {"cloud": "DE"}, "B": {}}, START)
    return made


def test_a_new_queue_has_the_rows_of_an_old_one(rows: pa.Table) -> None:
    new = renamed(rows)
    assert new.schema == rows.schema
    assert pc.unique(new["panda_queue"]).to_pylist() == [f"{NEW}A", f"{NEW}B"]
    assert new.drop_columns("panda_queue").equals(rows.drop_columns("panda_queue"))


def test_half_of_the_activated_go_to_a_state_that_nobody_knew(rows: pa.Table) -> None:
    split = _split_state(rows, at(216))
    late = pc.greater_equal(split["time"].cast("int64"), int(at(216).astype(np.int64)))
    by = dict.fromkeys(("activated", "running", NEW_STATE), 0.0)
    for row in split.filter(late).to_pylist():
        by[row["job_status"]] += row["jobs"]
    assert by["activated"] + by[NEW_STATE] == pytest.approx(72 * 2 * 5.5)
    assert by[NEW_STATE] == pytest.approx(72 * 2 * 2.5)  # the half of 5 and of 6, rounded down
    assert by["running"] == pytest.approx(72 * 2 * 8.5)
    early = split.filter(pc.invert(late)).to_pylist()
    assert Counter(r["job_status"] for r in early) == {"activated": 144, "running": 144}


def test_a_rebuilt_store_has_what_is_left(store: Store, tmp_path: Path) -> None:
    def later(rows: pa.Table) -> pa.Table:
        return rows.filter(pc.greater_equal(rows["time"].cast("int64"), int((START + DAY).astype(np.int64))))

    other = rebuilt(store, tmp_path / "other", later)
    span = other.span()
    assert span is not None
    assert span[0] == START + DAY
    assert other.read(START, at(432)).equals(store.read(START + DAY, at(432)))
    assert other.metadata().at(START) == store.metadata().at(START)


def test_as_many_queues_come_back_each_day() -> None:
    names = [f"Q{i:02d}" for i in range(33)]
    returns = return_days(names, START, START + 11 * DAY)
    assert Counter(returns.values()) == {START + i * DAY: 3 for i in range(11)}
    assert returns == return_days(names, START, START + 11 * DAY)
    assert sorted(returns, key=lambda n: (returns[n], n)) != names, "not in the order of their names"
