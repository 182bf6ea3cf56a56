"""Rows of the job history merged and cut into days, against a naive model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from qad_dl.history import normalise_jobs
from qad_dl.rows import concat_rows, merge_rows, seconds_of, series_of, split_days
from qad_dl.schema import Tick
from tests.light.jobs_made import rows

if TYPE_CHECKING:
    import pytest

TICK = Tick()

EVENT = st.tuples(
    st.integers(0, 3 * 86400),
    st.sampled_from(["A", "B", "ab", "é"]),
    st.sampled_from(["", "managed"]),
    st.sampled_from(["", "MCORE"]),
    st.sampled_from(["running", "failed", "new"]),
    st.integers(0, 5),
    st.sampled_from([None, "online", "test"]),
)
ORIGIN = np.datetime64("2020-01-01", "s").astype(np.int64)


def frame_of(events: list[tuple[Any, ...]]) -> pa.Table:
    """Events as a table as a user might give it."""
    columns = list(zip(*events, strict=True)) if events else [()] * 7
    return pa.table(
        {
            "time": pa.array([int(ORIGIN) + s for s in columns[0]], pa.timestamp("s")),
            "panda_queue": pa.array(columns[1], pa.string()),
            "prod_source": pa.array(columns[2], pa.string()),
            "resource": pa.array(columns[3], pa.string()),
            "job_status": pa.array(columns[4], pa.string()),
            "jobs": pa.array(columns[5], pa.int64()),
            "site_state": pa.array(columns[6], pa.string()),
        }
    )


def model(events: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """What must come out: a dictionary, last one counts, sorted."""
    known = {(*event[1:5], (ORIGIN + event[0]) // 600 * 600): event[5:] for event in events}
    return [
        (str(np.datetime64(int(key[4]), "s")), *key[:4], float(jobs), state)
        for key, (jobs, state) in sorted(known.items())
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(EVENT, max_size=20), max_size=4))
def test_merging_is_a_dictionary_in_which_the_last_counts(batches: list[list[tuple[Any, ...]]]) -> None:
    tables = [normalise_jobs(frame_of(events), TICK, "x") for events in batches]
    merged = merge_rows(tables)
    everything = [event for events in batches for event in events]
    assert rows(merged) == model(everything)
    assert merge_rows([merged]).equals(merged)
    assert merged.equals(normalise_jobs(frame_of(everything), TICK, "x"))
    assert series_of(merged) == {event[1:4] for event in everything}


@settings(max_examples=30, deadline=None)
@given(st.lists(EVENT, max_size=30))
def test_days_are_a_partition(events: list[tuple[Any, ...]]) -> None:
    table = concat_rows([normalise_jobs(frame_of(events[i : i + 3]), TICK, "x") for i in range(0, len(events), 3)])
    days = list(split_days(table))
    assert [day for day, _ in days] == sorted({day for day, _ in days})
    assert all((seconds_of(part).view("datetime64[s]").astype("datetime64[D]") == day).all() for day, part in days)
    assert sum(part.num_rows for _, part in days) == table.num_rows
    assert merge_rows([part for _, part in days]).equals(merge_rows([table]))


def test_many_names_do_not_overflow_the_sort_key(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    events = [
        (int(s), f"q{q}", f"p{p}", f"r{r}", f"s{c}", 1, None)
        for s, q, p, r, c in rng.integers(0, 50, (500, 5)) * [600, 1, 1, 1, 1]
    ]
    monkeypatch.setattr("qad_dl.rows._LIMIT", 2500)
    assert rows(normalise_jobs(frame_of(events), TICK, "x")) == model(events)
