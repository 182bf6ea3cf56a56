"""Any rows to a grid: what the rules say cell by cell, without the future, in any order and in any pieces."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qad_dl.grid import NEVER, build_grid
from qad_dl.metadata import Metadata
from tests.light.made import TICK, at, history, ticks
from tests.light.made_grid import EMPTY, grid_of

QUEUES, SOURCES, STATES = ("A", "B", "C"), ("", "managed"), ("running", "activated", "finished", "odd")
ROW = st.tuples(
    st.integers(0, 7),
    st.sampled_from(QUEUES),
    st.sampled_from(STATES),
    st.integers(0, 3).map(float),
    st.sampled_from([None, None, "online", "offline"]),
    st.sampled_from(SOURCES),
)
RECORD = st.fixed_dictionaries(
    {"cloud": st.sampled_from(["DE", "FR"])}, optional={"status": st.sampled_from(["online", "test"])}
)
DUMP = st.fixed_dictionaries({"A": RECORD}, optional={"B": RECORD, "C": RECORD})
ENTITIES = st.sampled_from([("panda_queue",), ("cloud",), ("prod_source",), ("panda_queue", "prod_source")])


class Naive:
    """The same rules, one cell at a time, from dictionaries."""

    def __init__(self, rows, dumps, changed: int, entity, n: int) -> None:
        self.cells = {(q, s, state, t): (jobs, status) for t, q, state, jobs, status, s in rows}
        self.dumps, self.changed, self.entity, self.n = dumps, changed, entity, n
        self.arrived = [any(c[3] == t for c in self.cells) for t in range(n)]

    def records(self, t: int):
        return self.dumps[0] if t < self.changed else self.dumps[1]

    def key(self, queue: str, source: str, t: int):
        own = {"panda_queue": queue, "prod_source": source}
        return tuple(own[f] if f in own else self.records(t).get(queue, {}).get(f, "") for f in self.entity)

    def rows_of(self, key, t: int):
        return [(c, v) for c, v in self.cells.items() if c[3] == t and self.key(c[0], c[1], t) == key]

    def count(self, key, t: int, state: str) -> float:
        if not self.arrived[t] or not any(self.rows_of(key, u) for u in range(t + 1)):
            return float("nan")
        return sum(v[0] for c, v in self.rows_of(key, t) if c[2] == state)

    def frozen(self, t: int) -> bool:
        before = [u for u in range(t) if self.arrived[u]]
        if not self.arrived[t] or not before:
            return False

        def stocks(u: int):
            return {c[:3]: v[0] for c, v in self.cells.items() if c[3] == u and c[2] != "finished"}

        now, then = stocks(t), stocks(before[-1])
        full = [{k: v for k, v in s.items() if v} for s in (now, then)]
        return bool(now or then) and full[0] == full[1]

    def up(self, queue: str, t: int) -> bool:
        for u in range(t, -1, -1):
            said = [v[1] for c, v in sorted(self.cells.items()) if c[0] == queue and c[3] == u and v[1] is not None]
            if said:
                return said[-1] == "online"
        return self.records(t).get(queue, {}).get("status", "online") == "online"

    def members(self, key, t: int) -> set[str]:
        """Queues of the series that have had a row of it, or are listed."""
        begun = {c[:2] for c in self.cells if c[3] <= t}
        if "prod_source" not in self.entity:
            begun |= {(q, "") for q in self.records(t)}
        return {q for q, s in begun if self.key(q, s, t) == key}

    def online(self, key, t: int) -> bool:
        members = self.members(key, t)
        return not members or any(self.up(q, t) for q in members)

    def known(self, key, t: int) -> bool:
        listed = "prod_source" not in self.entity and any(self.key(q, "", t) == key for q in self.records(t))
        return listed or any(self.rows_of(key, u) for u in range(t + 1))


@settings(max_examples=300, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=30), st.tuples(DUMP, DUMP), st.integers(1, 7), ENTITIES)
def test_the_grid_is_what_the_rules_say(rows, dumps, changed: int, entity) -> None:
    n = 8
    grid = grid_of(rows, n, Metadata(np.array([at(0), at(changed)]), dumps), entity=entity)
    naive = Naive(rows, dumps, changed, entity, n)
    assert grid.arrived.tolist() == naive.arrived
    assert grid.frozen.tolist() == [naive.frozen(t) for t in range(n)]
    for i, key in enumerate(grid.series):
        for t in range(n):
            wanted = [naive.count(key, t, s) for s in grid.states]
            assert np.array_equal(grid.counts[i, t], wanted, equal_nan=True), (key, t)
            assert grid.known[i, t] == naive.known(key, t), (key, t)
            assert grid.online[i, t] == naive.online(key, t), (key, t)
            rows_at = [t - u for u in range(t + 1) if naive.rows_of(key, u)]
            assert grid.quiet[i, t] == (min(rows_at) if rows_at else NEVER), (key, t)
    assert {k for t in range(n) for k in [naive.key(c[0], c[1], t) for c in naive.cells if c[3] == t]} <= set(
        grid.series
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=30), st.tuples(DUMP, DUMP), st.integers(1, 7), ENTITIES, st.integers(1, 8))
def test_later_rows_and_dumps_change_nothing_before(rows, dumps, changed: int, entity, now: int) -> None:
    metadata = Metadata(np.array([at(0), at(changed)]), dumps)
    early = [row for row in rows if row[0] < now]
    full, cut = grid_of(rows, 8, metadata, entity=entity), grid_of(early, now, metadata, entity=entity)
    for i, key in enumerate(full.series):
        if key not in cut.series:
            assert not full.known[i, :now].any()
            continue
        j = cut.series.index(key)
        for name in ("known", "quiet", "online"):
            assert np.array_equal(getattr(full, name)[i, :now], getattr(cut, name)[j]), (name, key)
        for s, state in enumerate(cut.states):
            column = full.counts[i, :now, full.states.index(state)]
            assert np.array_equal(column, cut.counts[j, :, s], equal_nan=True), (key, state)
    assert np.array_equal(full.frozen[:now], cut.frozen)


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    table = history(
        [(int(rng.integers(9)), q, s, float(rng.integers(5))) for q in "ABC" for s in STATES for _ in range(5)]
    )
    shuffled = table.take(pa.array(rng.permutation(table.num_rows)))
    grids = [build_grid(t, ticks(9), TICK, EMPTY) for t in (table, shuffled)]
    assert np.array_equal(grids[0].counts, grids[1].counts, equal_nan=True)
    assert np.array_equal(grids[0].frozen, grids[1].frozen)


@pytest.mark.parametrize("entity", [("panda_queue",), ("cloud",), ("panda_queue", "resource")])
@pytest.mark.parametrize("select", [{}, {"cloud": "X"}])
def test_pieces_make_the_grid_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, entity: tuple[str, ...], select: dict[str, str]
) -> None:
    table = history(_some_rows(np.random.default_rng(5)))
    whole = build_grid(table, ticks(40), TICK, _moving(), entity, select)
    assert whole.frozen.sum() == 1
    assert not whole.arrived[7]
    assert 0.1 < whole.online.mean() < 1
    monkeypatch.setattr("qad_dl.gathering.SLICE_ROWS", 37)
    for size in (table.num_rows, 50):  # rows of one series and state lie in several pieces
        pieces = (table.slice(i, size) for i in range(0, table.num_rows, size))
        grid = build_grid(pieces, ticks(40), TICK, _moving(), entity, select)
        assert (grid.series, grid.states) == (whole.series, whole.states)
        for name in ("counts", "arrived", "frozen", "quiet", "online", "known"):
            assert np.array_equal(getattr(grid, name), getattr(whole, name), equal_nan=name == "counts"), name


def _some_rows(rng: np.random.Generator) -> list[tuple]:
    """Rows with statuses of five queues over 40 ticks, of which one is missing and one is the one before again."""
    keys = [(t, q, s) for t in range(40) for q in "ABCDE" for s in ("running", "failed", "activated")]
    said = ["online", "offline", None]
    rows = [
        (t, q, s, float(rng.integers(4)), said[rng.integers(3)], "", "multi"[: rng.integers(2) * 5])
        for t, q, s in keys
        if t not in (7, 12) and rng.random() < 0.6
    ]
    return rows + [(12, *row[1:]) for row in rows if row[0] == 11]


def _moving() -> Metadata:
    """Every queue goes to the other cloud in the middle, and one of the two, or none, is offline."""
    return Metadata(
        np.array([at(0), at(18)]),
        tuple(
            {
                q: {"cloud": "XY"[(i + k) % 2], "status": "offline" if i == k else "online"}
                for i, q in enumerate("ABCDF")
            }
            for k in (0, 1)
        ),
    )
