"""The embedded store: merging, spans, and what is on disk."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qad_dl.atomic import TEMPORARY, create_file
from qad_dl.downtimes import Downtime
from qad_dl.errors import StoreError
from qad_dl.history import JOBS_SCHEMA
from qad_dl.rows import empty_rows, merge_rows, seconds_of
from qad_dl.schema import Tick
from qad_dl.store import Store
from tests.light.store_rows import EVER, block, content, files, t, table, values

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


# ---------------------------------------------------------------- opening


def test_a_store_knows_its_tick(tmp_path: Path) -> None:
    made = Store.create(tmp_path / "a" / "s", Tick(30))
    assert Store.open(made.path).tick == Tick(30)
    assert Store.create(made.path).tick == Tick(30)
    assert Store.open(made.path, Tick(30)).tick == Tick(30)
    for again in (Store.open, Store.create, Store.find):
        with pytest.raises(StoreError, match="has ticks of 30 minutes, not 10"):
            again(made.path, Tick(10))


def test_what_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist; make one with `qad import"):
        Store.open(tmp_path / "absent")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    for way in (Store.open, Store.create, Store.find):
        with pytest.raises(StoreError, match="is no store"):
            way(tmp_path / "other")
    with pytest.raises(StoreError, match="settings of a store"):
        Store.create(tmp_path / "other" / "file")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / f"{TEMPORARY}1-2").touch()
    assert Store.find(tmp_path / "empty") is None
    assert Store.create(tmp_path / "empty").tick == Tick()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ('{"format": 2, "tick_minutes": 10}', "store of format 2, this program reads 1"),
        ('{"format": 1}', "settings of a store"),
        ('{"format": 1, "tick_minutes": 7}', "settings of a store"),
        ("[]", "settings of a store"),
        ("", "settings of a store"),
    ],
)
def test_settings_that_are_refused(store: Store, settings: str, reason: str) -> None:
    (store.path / "store.json").write_text(settings)
    with pytest.raises(StoreError, match=reason) as error:
        Store.open(store.path)
    assert "\n" not in str(error.value)


def test_an_empty_store(store: Store) -> None:
    assert store.read(*EVER).equals(empty_rows())
    assert store.span() is None
    assert store.known_series(t("2030-01-01")) == set()
    assert store.metadata().dumps == ()
    assert store.downtimes() == []
    assert store.put(empty_rows()) == 0
    store.append(empty_rows())
    store.compact(t("2030-01-01"))
    assert list(files(store)) == ["store.json"]


# ---------------------------------------------------------------- rows


def test_rows_merge_and_the_last_counts(store: Store) -> None:
    assert store.put(table([("2020-01-01T00:00", "A", 1), ("2020-01-02T00:00", "A", 2)])) == 2
    assert store.put(table([("2020-01-01T00:00", "A", 3), ("2020-01-01T00:10", "B", 4)])) == 1
    assert store.put(table([("2020-01-01T00:00", "A", 5)], state="failed")) == 1
    rows = store.read(*EVER)
    assert rows.schema == JOBS_SCHEMA
    assert rows.column("jobs").to_pylist() == [5, 3, 4, 2]
    assert len([name for name in files(store) if name.startswith("jobs/2020-01-01")]) == 1


def test_the_same_again_changes_no_byte(store: Store) -> None:
    rows = block(Tick().range(t("2020-01-01T20:00"), t("2020-01-03")), 5, 7)
    assert store.put(rows) == 2
    before = files(store)
    assert store.put(rows) == 0
    assert store.put(rows.slice(3, 20)) == 0
    assert files(store) == before


def test_ranges_are_half_open(store: Store) -> None:
    ticks = Tick().range(t("2020-01-01"), t("2020-01-04"))
    store.put(block(ticks, 2, 1))
    for start, end in [
        ("2020-01-01", "2020-01-04"),
        ("2020-01-01T23:50", "2020-01-02T00:10"),
        ("2020-01-02", "2020-01-02"),
    ]:
        wanted = ticks[(ticks >= t(start)) & (ticks < t(end))]
        found = seconds_of(store.read(t(start), t(end))).view("datetime64[s]")
        assert np.array_equal(np.unique(found), wanted)
        assert len(found) == 2 * len(wanted)
    assert store.span() == (ticks[0], ticks[-1])


def test_times_off_the_ticks_are_refused(store: Store) -> None:
    off = table([("2020-01-01T00:00", "A", 1)]).set_column(
        0, JOBS_SCHEMA.field("time"), pa.array([1577836801], pa.timestamp("s", "UTC"))
    )
    for write in (store.put, store.append):
        with pytest.raises(StoreError, match="off the 10-minute ticks"):
            write(off)


def test_known_series_are_those_of_earlier_days(store: Store) -> None:
    store.put(table([("2020-01-01T12:00", "A", 1)], source="managed"))
    store.append(table([("2020-01-02T12:00", "B", 1)]))
    store.append(table([("2020-01-02T12:10", "C", 1)]))
    assert store.known_series(t("2020-01-01T23:50")) == set()
    assert store.known_series(t("2020-01-02")) == {("A", "managed", "")}
    assert store.known_series(t("2020-01-02T23:50")) == {("A", "managed", "")}
    assert store.known_series(t("2020-01-03")) == {("A", "managed", ""), ("B", "", ""), ("C", "", "")}


def test_rows_with_other_units_are_the_same_rows(store: Store, tmp_path: Path) -> None:
    rows = table([("2026-01-05T00:00", "A", 5.0), ("2026-01-05T00:10", "A", 6.0)])
    pq.write_table(rows, tmp_path / "rows.parquet")
    read = pq.read_table(tmp_path / "rows.parquet")
    assert read.schema.field("time").type != rows.schema.field("time").type  # Parquet has no seconds
    store.append(read)
    assert content(store).equals(merge_rows([rows]))
    assert store.put(read) == 0


def test_ticks_are_appended_read_and_compacted(store: Store) -> None:
    store.put(table([("2020-01-01T00:00", "A", 1)]))
    store.append(table([("2020-01-01T00:10", "A", 2)]))
    store.append(table([("2020-01-01T00:10", "A", 3), ("2020-01-02T00:00", "A", 9)]))
    wanted = {("2020-01-01T00:00", "A"): 1, ("2020-01-01T00:10", "A"): 3, ("2020-01-02T00:00", "A"): 9}
    assert values(store) == wanted
    assert store.span() == (t("2020-01-01"), t("2020-01-02"))
    store.compact(t("2020-01-01T23:50"))
    assert len(files(store)) == 5
    store.compact(t("2020-01-02"))
    store.compact(t("2020-01-02"))
    assert sorted(files(store)) == [
        "jobs/2020-01-01/00000004.parquet",
        "jobs/2020-01-02/00000001.parquet",
        "store.json",
    ]
    assert values(store) == wanted
    store.append(table([("2020-01-01T00:00", "A", 8)]))
    assert store.put(table([("2020-01-01T00:10", "A", 3)])) == 0
    assert store.put(table([("2020-01-01T00:10", "B", 4)])) == 1
    assert values(store) == wanted | {("2020-01-01T00:00", "A"): 8, ("2020-01-01T00:10", "B"): 4}


def test_a_day_of_parts_alone_is_compacted(store: Store) -> None:
    store.append(table([("2020-01-01T00:00", "A", 1)]))
    store.append(table([("2020-01-01T00:10", "A", 2)]))
    store.compact(t("2020-01-02"))
    assert sorted(files(store)) == ["jobs/2020-01-01/00000003.parquet", "store.json"]
    assert values(store) == {("2020-01-01T00:00", "A"): 1, ("2020-01-01T00:10", "A"): 2}


OPERATION = st.tuples(
    st.sampled_from(["put", "append", "compact"]),
    st.lists(st.tuples(st.integers(0, 300), st.sampled_from("ABC"), st.integers(0, 9)), min_size=1, max_size=6),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(OPERATION, max_size=8), st.integers(0, 300), st.integers(0, 300))
def test_a_store_is_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, Any]], low: int, high: int
) -> None:
    store = Store.create(tmp_path_factory.mktemp("s"))
    known: dict[tuple[np.datetime64, str], float] = {}
    origin = t("2020-01-01")
    for what, events in operations:
        if what == "compact":
            store.compact(origin + events[0][0] * Tick().delta)
            continue
        rows = [(origin + i * Tick().delta, queue, float(jobs)) for i, queue, jobs in events]
        getattr(store, what)(table((str(w), q, j) for w, q, j in rows))
        known.update({(when, queue): jobs for when, queue, jobs in rows})
    start, end = (origin + i * Tick().delta for i in (low, high))
    for inside in (lambda _: True, lambda when: start <= when < end):
        wanted = {(str(w.astype("datetime64[m]")), q): j for (w, q), j in known.items() if inside(w)}
        rows = store.read(*(EVER if inside(end) else (start, end)))
        names = rows.column("panda_queue").to_pylist()
        times = seconds_of(rows).view("datetime64[s]").astype("datetime64[m]")
        assert len(names) == len(wanted)
        assert (
            dict(zip(zip(map(str, times), names, strict=True), rows.column("jobs").to_pylist(), strict=True)) == wanted
        )
    if known:
        assert store.span() == (min(w for w, _ in known), max(w for w, _ in known))


# ---------------------------------------------------------------- metadata and downtimes


def test_metadata_have_a_history(store: Store) -> None:
    a, b, c = ({"Q": {"status": name}} for name in "abc")
    assert store.add_metadata(b, t("2020-01-05"))
    assert store.add_metadata(a, t("2020-01-01T00:00:30"))
    assert store.add_metadata(b, t("2020-01-09"))
    before = files(store)
    assert not store.add_metadata(b, t("2020-01-09"))
    assert files(store) == before
    assert store.add_metadata(c, t("2020-01-05"))
    metadata = store.metadata()
    assert (
        metadata.times.tolist()
        == np.array(["2020-01-01T00:00:30", "2020-01-05", "2020-01-09"], "datetime64[s]").tolist()
    )
    assert [metadata.at(t(f"2020-01-0{day}"))["Q"]["status"] for day in (1, 4, 5, 8, 9)] == ["a", "a", "c", "c", "b"]


def test_a_dump_that_returns_is_kept_once(store: Store) -> None:
    store.add_metadata({"Q": {"status": "a"}}, t("2020-01-01"))
    store.add_metadata({"Q": {"status": "a"}}, t("2020-01-02"))
    assert len(list((store.path / "cric" / "dumps").iterdir())) == 1
    metadata = store.metadata()
    assert metadata.dumps[0] is metadata.dumps[1]


def test_a_damaged_dump_is_named(store: Store) -> None:
    store.add_metadata({"Q": {"status": "a"}}, t("2020-01-01"))
    (dump,) = (store.path / "cric" / "dumps").iterdir()
    dump.write_bytes(dump.read_bytes()[:-3])
    with pytest.raises(StoreError, match=rf"{dump.name}: is damaged"):
        store.metadata()
    (store.path / "cric" / "2020-01-01T000000Z.json").write_text("{}")
    with pytest.raises(StoreError, match=r"2020-01-01T000000Z\.json: is damaged"):
        store.metadata()


def test_downtimes_are_a_set(store: Store) -> None:
    one = Downtime("A", t("2020-01-01"), t("2020-01-02"), "x")
    two = Downtime("B", t("2020-01-01"), t("2020-01-02"), "")
    assert store.add_downtimes([two, two])
    before = files(store)
    assert not store.add_downtimes([two])
    assert not store.add_downtimes([])
    assert files(store) == before
    assert store.add_downtimes([one, two])
    assert store.downtimes() == [one, two]
    assert len(list((store.path / "downtimes").iterdir())) == 1


def test_downtimes_that_are_withdrawn_end(store: Store) -> None:
    start, later, end = (np.datetime64(f"2020-01-0{day}", "s") for day in (1, 2, 3))
    down = Downtime("Q", start, end, "OUTAGE")
    assert store.declare_downtimes([down], "OUTAGE", {"Q"}, start)
    assert not store.declare_downtimes([down], "OUTAGE", {"Q"}, later)
    assert store.declare_downtimes([], "OUTAGE", {"Q"}, later)
    assert store.downtimes() == [Downtime("Q", start, later, "OUTAGE")]


# ---------------------------------------------------------------- damage, leftovers


def day_of(store: Store, day: str = "2020-01-01") -> Path:
    return store.path / "jobs" / day


def test_superseded_entries_and_temporary_files_are_not_read(store: Store) -> None:
    store.put(table([("2020-01-01T00:00", "A", 1)]))
    old = (day_of(store) / "00000001.parquet").read_bytes()
    store.put(table([("2020-01-01T00:00", "A", 2)]))
    (day_of(store) / "00000001.parquet").write_bytes(old)  # as if killed before it was removed
    (day_of(store) / f"{TEMPORARY}1-2").write_bytes(old)
    (store.path / "jobs" / "2020-01-02").mkdir()  # as if killed before the file was there
    assert values(store) == {("2020-01-01T00:00", "A"): 2}
    assert store.span() == (t("2020-01-01"), t("2020-01-01"))
    assert store.put(table([("2020-01-01T00:00", "A", 2)])) == 0
    assert sorted(path.name for path in day_of(store).iterdir()) == [f"{TEMPORARY}1-2", "00000002.parquet"]


def test_what_killed_writers_left_is_removed_when_it_is_old(store: Store) -> None:
    store.put(table([("2020-01-01T00:00", "A", 1)]))
    old, young = day_of(store) / f"{TEMPORARY}old", day_of(store) / f"{TEMPORARY}young"
    hours_ago = time.time() - 2 * 3600
    for write in (lambda: store.put(table([("2020-01-01T00:00", "A", 2)])), lambda: store.compact(t("2020-01-01"))):
        for path in (old, young):
            path.touch()
        os.utime(old, (hours_ago, hours_ago))
        write()
        assert not old.exists()
        assert young.exists()


def test_a_damaged_file_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qad_dl.store.log.TRIES", 3)
    store.put(block(Tick().range(t("2020-01-01"), t("2020-01-02")), 20, 1))
    path = day_of(store) / "00000001.parquet"
    good = path.read_bytes()
    middle = len(good) // 3
    for bad in (good[:-20], b"", good[:4] + bytes(middle) + good[4 + middle :]):
        path.write_bytes(bad)
        with pytest.raises(StoreError, match=r"00000001\.parquet: is damaged") as error:
            store.read(*EVER)
        assert "\n" not in str(error.value)
    path.write_bytes(good)
    store.append(block(Tick().range(t("2020-01-01"), t("2020-01-02")), 20, 2))
    path.unlink()
    with pytest.raises(StoreError, match=r"2020-01-01: entries are missing below 00000002\.parquet"):
        store.read(*EVER)


def test_a_folder_that_cannot_be_written_is_one_line(store: Store) -> None:
    (store.path / "jobs").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be read") as error:
        store.put(table([("2020-01-01T00:00", "A", 1)]))
    assert "\n" not in str(error.value)
    (store.path / "cric").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written") as error:
        store.add_metadata({"Q": {}}, t("2020-01-01"))
    assert "\n" not in str(error.value)


def test_a_slow_writer_does_not_undo_others(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one prepares entry 2, others make 2 and 3 and remove 1 and 2: its number is free again, its content old."""
    store.put(table([("2020-01-01T00:00", "A", 1)]))
    other = Store.open(store.path)
    meanwhile = [
        lambda: other.put(table([("2020-01-01T00:10", "B", 2)])),
        lambda: other.put(table([("2020-01-01T00:20", "C", 3)])),
    ]

    def slow(path: Path, data: bytes) -> bool:
        while meanwhile and path.parent == day_of(store):
            meanwhile.pop(0)()
        return create_file(path, data)

    monkeypatch.setattr("qad_dl.store.log.create_file", slow)
    for write in (store.put, store.append):
        before = len(values(store))
        write(table([(f"2020-01-01T0{before}:00", "D", 4)]))
        assert ("2020-01-01T00:20", "C") in values(store)
        assert (f"2020-01-01T0{before}:00", "D") in values(store)
        meanwhile += [
            lambda: other.append(table([("2020-01-01T00:30", "E", 5)])),
            lambda: other.append(table([("2020-01-01T00:40", "F", 6)])),
            lambda: other.compact(t("2020-01-02")),
        ]
    assert len(values(store)) == 7


def test_settings_are_plain(store: Store) -> None:
    assert json.loads((store.path / "store.json").read_text()) == {"kind": "qad store", "format": 1, "tick_minutes": 10}
    assert content(store).num_rows == 0


def test_a_digest_is_of_the_rows_and_not_of_the_files(tmp_path: Path) -> None:
    store, days = Store.create(tmp_path / "a"), (t("2026-01-01"), t("2026-01-03"))
    store.append(table([("2026-01-01T00:00", "A", 1), ("2026-01-02T00:00", "A", 1)]))
    store.append(table([("2026-01-02T00:10", "B", 2)]))
    found = store.digests(*days)
    assert list(found) == ["2026-01-01", "2026-01-02"]
    assert list(store.digests(t("2026-01-02"), t("2026-01-02T00:10"))) == ["2026-01-02"]
    store.compact(days[1])
    assert store.digests(*days) == found
    other = Store.create(tmp_path / "b")
    other.put(content(store))
    assert other.digests(*days) == found
    other.put(table([("2026-01-02T00:10", "B", 3)]))
    changed = other.digests(*days)
    assert (changed["2026-01-01"], changed["2026-01-02"] == found["2026-01-02"]) == (found["2026-01-01"], False)
