"""The grid that is carried on from tick to tick is the grid that is made from the whole history."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from qad_dl.arrow import from_numpy
from qad_dl.backtest import read_grid
from qad_dl.carrying import roll
from qad_dl.downtimes import Downtime
from qad_dl.gathering import ROW_FIELDS
from qad_dl.grid import NEVER, Grid, times_of
from qad_dl.history import normalise_jobs
from qad_dl.lanes import Lane
from qad_dl.rolling import forget, load
from qad_dl.rows import merge_rows
from qad_dl.schema import STATUS_CARRIED_DAYS, Tick
from qad_dl.scorer import Scorer
from qad_dl.store import Store
from tests.light.made import START, TICK, history
from tests.light.made_bundle import METADATA, fitted, made_history, write_made_bundle

if TYPE_CHECKING:
    from pathlib import Path


HOUR = Tick(60)
QUEUES = ("A", "B", "C", "D", "E")
STATES = ("activated", "running", "finished", "odd")
FIRST = 20
"""Ticks in the store before the first that is carried on."""


def at(position: int) -> np.datetime64:
    return START + position * HOUR.delta


def tick_rows(rng: np.random.Generator, position: int) -> dict[str, list[Any]]:
    rows: dict[str, list[Any]] = {
        name: [] for name in ("time", "panda_queue", "prod_source", "resource", "job_status", "jobs", "site_state")
    }
    for i, queue in enumerate(QUEUES):
        if rng.random() < 0.3 or position < 12 * i or (queue == "B" and position > 40):
            continue
        for state in STATES[: 3 + (position > 30)]:
            for source in ("managed", "user")[: 1 + i % 2]:
                status = ["online", "offline", None][int(rng.choice(3, p=[0.3, 0.1, 0.6]))]
                values = (f"{at(position)}Z", queue, source, "", state, int(rng.poisson(5)), status)
                for name, value in zip(rows, values, strict=True):
                    rows[name].append(value)
    return rows


def table(rows: dict[str, list[Any]]) -> pa.Table:
    typed = {k: pa.array(v, pa.float64() if k == "jobs" else pa.string()) for k, v in rows.items()}
    return normalise_jobs(pa.table(typed), HOUR, "made")


def dump(rng: np.random.Generator) -> dict[str, dict[str, str]]:
    listed = [*QUEUES, "LISTED"][: int(rng.integers(4, 7))]
    return {q: {"cloud": str(rng.choice(["DE", "FR"])), "status": str(rng.choice(["online", "test"]))} for q in listed}


class Calibrated(SimpleNamespace):
    """What is kept depends on this of a bundle."""

    sight, recent = 70, 61
    manifest = MappingProxyType({"horizons": (1, 6)})
    made = MappingProxyType({"errors": Lane.of_all(8, 30), "layer": Lane(2, (5, 3))})


def bundle_for(**changes: Any) -> Any:
    return Calibrated(name="made", preprocess=replace(fitted(), tick=HOUR, **changes))


class Keeper:
    """A collector's tick after the other: each finds on the disk what the one before it saved."""

    def __init__(self, path: Path, store: Store, bundle: Any) -> None:
        self.path, self.store, self.bundle = path, store, bundle

    def roll(self, position: int, save: bool = True) -> Grid:
        """All that is kept as of a tick, its series in their order."""
        kept, _ = roll(self.path, self.store, self.bundle, at(position))
        with closing(kept):
            grids = [kept.grid(group, self.bundle.sight) for group in kept.groups]
            if save:
                kept.save()
        return joined(grids)

    def check(self, position: int) -> None:
        """All that a score of the last tick looks at is as in the grid of the whole history."""
        assert_same(self.roll(position), self.store, self.bundle, at(position))


def joined(grids: list[Grid]) -> Grid:
    series = [key for grid in grids for key in grid.series]
    order = sorted(range(len(series)), key=series.__getitem__)
    names = ("counts", "quiet", "online", "known")
    arrays: dict[str, Any] = {name: np.concatenate([getattr(grid, name) for grid in grids])[order] for name in names}
    return replace(grids[0], series=tuple(series[i] for i in order), **arrays)


def assert_same(grid: Grid, store: Store, bundle: Any, end: np.datetime64) -> None:
    whole = read_grid(store, bundle.preprocess, end, end + HOUR.delta, store.metadata())
    made = whole.newest(bundle.sight)
    np.testing.assert_array_equal(grid.at_rest(), made.at_rest())
    assert len(grid.times) == bundle.sight
    np.testing.assert_array_equal(grid.before, made.before)
    told, mine = (np.flatnonzero(g.known[:, -1] & (g.quiet[:, -1] != NEVER)) for g in (made, grid))
    assert [made.series[i] for i in told] == [grid.series[i] for i in mine]
    if "prod_source" not in grid.entity:
        # Of parts of a queue only those that were selected when they had rows are known to the whole history.
        assert {made.series[i] for i in np.flatnonzero(made.known[:, -1])} == {
            grid.series[i] for i in np.flatnonzero(grid.known[:, -1])
        }
    np.testing.assert_array_equal(grid.times, made.times)
    np.testing.assert_array_equal(grid.arrived, made.arrived)
    np.testing.assert_array_equal(grid.frozen, made.frozen)
    np.testing.assert_array_equal(grid.quiet[mine], made.quiet[told])
    carried = max(0, STATUS_CARRIED_DAYS * HOUR.per_day - len(made.before))
    np.testing.assert_array_equal(grid.online[mine, carried:], made.online[told, carried:])
    for k, state in enumerate(made.states):
        here = (
            grid.counts[mine][..., grid.states.index(state)] if state in grid.states else 0 * made.counts[told][..., k]
        )
        np.testing.assert_array_equal(here, made.counts[told][..., k])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("entity", [("panda_queue",), ("cloud",), ("panda_queue", "prod_source"), ROW_FIELDS])
def test_a_grid_that_is_carried_on_is_the_grid_of_the_whole_history(
    tmp_path: Path, seed: int, entity: tuple[str, ...]
) -> None:
    rng = np.random.default_rng(seed)
    store = Store.create(tmp_path / "store", HOUR)
    bundle = bundle_for(entity=entity, select={"cloud": "DE"} if seed % 2 else {})
    store.add_metadata(dump(rng), at(0))
    for position in range(FIRST):
        store.append(table(tick_rows(rng, position)))
    keeper = Keeper(tmp_path / "kept", store, bundle)
    for position in range(FIRST, 240, 2 + seed % 3):
        if rng.random() < 0.1:
            store.add_metadata(dump(rng), at(position))
        if rng.random() < 0.05:
            store.add_downtimes([Downtime("A", at(position + 1), at(position + 9), "offline")])
        if rng.random() > 0.1:
            rows = table(tick_rows(rng, position))
            if rows.num_rows:
                store.append(rows)
        if position % 13 == 0:
            keeper.check(position)
        else:
            keeper.roll(position)


@pytest.fixture
def carried(tmp_path: Path) -> Keeper:
    """A store of 30 ticks, of which what is to be kept is kept."""
    rng = np.random.default_rng(1)
    store = Store.create(tmp_path / "store", HOUR)
    store.add_metadata(dump(rng), at(0))
    for position in range(30):
        store.append(table(tick_rows(rng, position)))
    keeper = Keeper(tmp_path / "kept", store, bundle_for())
    keeper.check(29)
    return keeper


def rings(keeper: Keeper) -> list[str]:
    return sorted(path.name for path in keeper.path.parent.glob("kept.*.ring"))


def test_a_tick_is_added_to_the_file_that_is_there(carried: Keeper) -> None:
    files = []
    for position in range(31, 36):  # from the second on with no state that is new
        carried.store.append(table(tick_rows(np.random.default_rng(position), position)))
        carried.check(position)
        files.append(rings(carried))
    assert files[1:] == files[:-1]


def test_rows_of_an_older_tick_make_it_anew(carried: Keeper) -> None:
    before = rings(carried)
    carried.store.append(table(tick_rows(np.random.default_rng(9), 20)))
    carried.store.append(table(tick_rows(np.random.default_rng(9), 30)))
    carried.check(30)
    assert len(rings(carried)) == 1
    assert rings(carried) != before


def test_a_day_that_was_imported_again_makes_it_anew(carried: Keeper) -> None:
    carried.store.put(table(tick_rows(np.random.default_rng(9), 5)))
    carried.check(30)


def test_a_downtime_of_the_past_makes_it_anew(carried: Keeper) -> None:
    carried.store.add_downtimes([Downtime("A", at(25), at(40), "offline")])
    carried.check(30)


def test_metadata_of_the_past_make_it_anew(carried: Keeper) -> None:
    carried.store.add_metadata(dump(np.random.default_rng(4)), at(3))
    carried.check(30)


def test_an_older_tick_than_the_kept_one_is_made_from_the_store(carried: Keeper) -> None:
    carried.check(27)


def test_a_state_that_comes_up_makes_it_anew(carried: Keeper) -> None:
    before = rings(carried)
    rows = tick_rows(np.random.default_rng(9), 30)
    rows["job_status"][0] = "never_seen"
    carried.store.append(table(rows))
    carried.check(30)
    assert rings(carried) != before


def test_ticks_that_were_there_before_their_time_are_in_the_grid(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    store = Store.create(tmp_path / "store", HOUR)
    store.add_metadata(dump(rng), at(0))
    for position in range(68):
        store.append(table(tick_rows(rng, position)))
    keeper = Keeper(tmp_path / "kept", store, bundle_for())
    for position in range(62, 68):  # a tick that is done late: the store has those after it
        assert keeper.roll(position).arrived[-1]
        keeper.check(position)


def test_what_a_tick_wrote_before_it_was_killed_is_as_if_it_had_not_been(carried: Keeper) -> None:
    rng = np.random.default_rng(5)
    for position in range(30, 110):  # once around the file
        carried.store.append(table(tick_rows(rng, position)))
        if position % 3:
            carried.roll(position, save=False)
        if position % 9 == 8:
            assert_same(carried.roll(position - 1), carried.store, carried.bundle, at(position - 1))
        carried.check(position)


def test_a_kill_while_several_ticks_are_added_makes_it_anew(carried: Keeper) -> None:
    rng = np.random.default_rng(5)
    for position in range(30, 36):
        carried.store.append(table(tick_rows(rng, position)))
    before = rings(carried)
    carried.roll(33, save=False)
    carried.check(33)
    assert rings(carried) != before
    for position in (36, 37, 38):
        carried.store.append(table(tick_rows(rng, position)))
    carried.roll(38, save=False)
    carried.check(35)


def test_a_store_without_a_row(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store", HOUR)
    store.add_metadata(dump(np.random.default_rng(1)), at(0))
    keeper = Keeper(tmp_path / "kept", store, bundle_for())
    for position in (3, 4, 5):
        grid = keeper.roll(position)
        assert not grid.arrived.any()
        assert len(grid.series) >= 4  # those that the metadata list
    store.append(table(tick_rows(np.random.default_rng(2), 6)))
    keeper.check(6)


def test_many_series_that_come_up_by_and_by(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store", HOUR)
    keeper = Keeper(tmp_path / "kept", store, bundle_for(select={}))
    for position in range(8):
        names = [f"Q{k:04d}" for k in range(100 * position, 100 * position + 250)]  # three groups, some fall silent
        rows = {name: [] for name in ("time", "panda_queue", "prod_source", "resource", "job_status", "jobs")}
        for name in names:
            for column, value in zip(rows, (f"{at(position)}Z", name, "", "", "running", position + 1), strict=True):
                rows[column].append(value)
        store.append(table(rows))
        keeper.check(position)
    assert len(rings(keeper)) == 1


def test_what_is_damaged_is_made_anew(carried: Keeper) -> None:
    about = carried.path.with_name("kept.json")
    content, ring = about.read_bytes(), carried.path.with_name(rings(carried)[0])
    for cut in (0, 10, len(content) // 2, len(content) - 5):
        about.write_bytes(content[:cut])
        assert load(carried.path) is None
        carried.check(29)
    about.write_bytes(content)
    assert load(carried.path) is None  # its file is gone
    carried.check(29)
    os.truncate(carried.path.with_name(rings(carried)[0]), 1000)
    assert load(carried.path) is None
    carried.check(29)
    assert not ring.exists()


def test_nothing_is_left_of_what_is_forgotten(carried: Keeper) -> None:
    forget(carried.path)
    assert load(carried.path) is None
    assert not list(carried.path.parent.glob("kept*"))


def test_a_reconstruction_that_is_carried_on_gives_the_same_scores(tmp_path: Path) -> None:
    write_made_bundle(tmp_path / "bundle")
    scorer = Scorer.load(tmp_path / "bundle")
    store = Store.create(tmp_path / "store")
    rows = made_history(2.6)
    times = times_of(rows)
    old = 2 * 144 - 3
    store.put(rows.filter(from_numpy(times < START + old * TICK.delta, pa.bool_())))
    store.add_metadata(METADATA.dumps[0], START)
    for position in range(old, old + 45):  # over the end of a window
        now = START + position * TICK.delta
        if position % 7:
            part = rows.filter(from_numpy(times == now, pa.bool_()))
            late = history([(position, "NEW", "running", 5.0)]) if position > old + 20 else part.slice(0, 0)
            store.append(merge_rows([part, late]))
        if position % 11 == 5:  # the tick was missed, its counts came all the same
            continue
        for save in (False, True) if position % 5 == 0 else (True,):  # the first was killed before it was done
            kept, metadata = roll(tmp_path / "kept", store, scorer.bundle, now)
            with closing(kept):
                results = scorer.score_last(kept, metadata)
                if save:
                    kept.save()
        if position % 4 == 0 or position in (old + 21, old + 22):
            held = store.metadata()
            grid = read_grid(store, scorer.bundle.preprocess, now, now + TICK.delta, held)
            made = scorer.score_grid(grid, held, len(grid.times) - 1, details=True)
            assert results.series == made.series
            np.testing.assert_allclose(results.score, made.score, atol=1e-6)
            for name in ("reason", "known", "expected", "state", "direction", "flagged"):
                np.testing.assert_array_equal(getattr(results, name), getattr(made, name), err_msg=name)
            np.testing.assert_allclose(results.details.reconstruction, made.details.reconstruction, rtol=1e-6)
