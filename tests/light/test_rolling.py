"""The grid that is carried on from tick to tick is the grid that is made from the whole history."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from qad_dl.arrow import from_numpy
from qad_dl.backtest import read_grid
from qad_dl.downtimes import Downtime
from qad_dl.grid import NEVER, times_of
from qad_dl.history import normalise_jobs
from qad_dl.reconstruction import Earlier
from qad_dl.rolling import Rolling, load, roll, save
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


def bundle_for(**changes: Any) -> Any:
    return SimpleNamespace(name="made", preprocess=replace(fitted(), tick=HOUR, **changes), sight=70)


def assert_same(kept: Rolling, store: Store, bundle: Any, end: np.datetime64) -> None:
    """All that a score of the last tick looks at is as in the grid of the whole history."""
    whole, grid = read_grid(store, bundle.preprocess, end, end + HOUR.delta, store.metadata()), kept.grid
    made = whole.newest(bundle.sight)
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
@pytest.mark.parametrize("entity", [("panda_queue",), ("cloud",), ("panda_queue", "prod_source")])
def test_a_grid_that_is_carried_on_is_the_grid_of_the_whole_history(
    tmp_path: Path, seed: int, entity: tuple[str, ...]
) -> None:
    rng = np.random.default_rng(seed)
    store = Store.create(tmp_path / "store", HOUR)
    bundle = bundle_for(entity=entity, select={"cloud": "DE"} if seed % 2 else {})
    store.add_metadata(dump(rng), at(0))
    for position in range(FIRST):
        store.append(table(tick_rows(rng, position)))
    kept = None
    for position in range(FIRST, 240, 2 + seed % 3):
        if rng.random() < 0.1:
            store.add_metadata(dump(rng), at(position))
        if rng.random() < 0.05:
            store.add_downtimes([Downtime("A", at(position + 1), at(position + 9), "offline")])
        if rng.random() > 0.1:
            rows = table(tick_rows(rng, position))
            if rows.num_rows:
                store.append(rows)
        kept, _ = roll(kept, store, bundle, at(position))
        if position % 13 == 0:
            assert_same(kept, store, bundle, at(position))
            save(tmp_path / "kept", kept)
            kept = load(tmp_path / "kept")
            assert kept is not None


@pytest.fixture
def carried(tmp_path: Path) -> tuple[Store, Any, Rolling]:
    """A store with a grid of its 30 ticks."""
    rng = np.random.default_rng(1)
    store = Store.create(tmp_path / "store", HOUR)
    store.add_metadata(dump(rng), at(0))
    for position in range(30):
        store.append(table(tick_rows(rng, position)))
    bundle = bundle_for()
    return store, bundle, roll(None, store, bundle, at(29))[0]


def test_rows_of_an_older_tick_make_it_anew(carried: tuple[Store, Any, Rolling]) -> None:
    store, bundle, kept = carried
    store.append(table(tick_rows(np.random.default_rng(9), 20)))
    store.append(table(tick_rows(np.random.default_rng(9), 30)))
    assert_same(roll(kept, store, bundle, at(30))[0], store, bundle, at(30))


def test_a_day_that_was_imported_again_makes_it_anew(carried: tuple[Store, Any, Rolling]) -> None:
    store, bundle, kept = carried
    store.put(table(tick_rows(np.random.default_rng(9), 5)))
    assert_same(roll(kept, store, bundle, at(30))[0], store, bundle, at(30))


def test_a_downtime_of_the_past_makes_it_anew(carried: tuple[Store, Any, Rolling]) -> None:
    store, bundle, kept = carried
    store.add_downtimes([Downtime("A", at(25), at(40), "offline")])
    assert_same(roll(kept, store, bundle, at(30))[0], store, bundle, at(30))


def test_metadata_of_the_past_make_it_anew(carried: tuple[Store, Any, Rolling]) -> None:
    store, bundle, kept = carried
    store.add_metadata(dump(np.random.default_rng(4)), at(3))
    assert_same(roll(kept, store, bundle, at(30))[0], store, bundle, at(30))


def test_an_older_tick_than_the_kept_one_is_made_from_the_store(carried: tuple[Store, Any, Rolling]) -> None:
    store, bundle, kept = carried
    assert_same(roll(kept, store, bundle, at(27))[0], store, bundle, at(27))


def test_ticks_that_were_there_before_their_time_are_in_the_grid(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    store, bundle = Store.create(tmp_path / "store", HOUR), bundle_for()
    store.add_metadata(dump(rng), at(0))
    for position in range(68):
        store.append(table(tick_rows(rng, position)))
    kept = None
    for position in range(62, 68):  # a tick that is done late: the store has those after it
        kept = roll(kept, store, bundle, at(position))[0]
        assert kept.grid.arrived[-1]
        assert_same(kept, store, bundle, at(position))


def test_what_is_damaged_is_made_anew(carried: tuple[Store, Any, Rolling], tmp_path: Path) -> None:
    path = tmp_path / "kept"
    assert load(path) is None
    save(path, carried[2])
    content = path.read_bytes()
    assert load(path) is not None
    for cut in (0, 10, len(content) // 2, len(content) - 5):
        path.write_bytes(content[:cut])
        assert load(path) is None


def test_a_reconstruction_that_is_carried_on_gives_the_same_scores(tmp_path: Path) -> None:
    write_made_bundle(tmp_path / "bundle")
    scorer = Scorer.load(tmp_path / "bundle")
    store = Store.create(tmp_path / "store")
    rows = made_history(2.6)
    times = times_of(rows)
    old = 2 * 144 - 3
    store.put(rows.filter(from_numpy(times < START + old * TICK.delta, pa.bool_())))
    store.add_metadata(METADATA.dumps[0], START)
    kept, earlier = None, None
    for position in range(old, old + 45):  # over the end of a window
        now = START + position * TICK.delta
        if position % 7:
            part = rows.filter(from_numpy(times == now, pa.bool_()))
            late = history([(position, "NEW", "running", 5.0)]) if position > old + 20 else part.slice(0, 0)
            store.append(merge_rows([part, late]))
        kept, metadata = roll(kept, store, scorer.bundle, now)
        results, earlier = scorer.score_last(kept.grid, metadata, None, earlier)
        save(tmp_path / "kept", replace(kept, memory=earlier.to_arrays()))
        kept = load(tmp_path / "kept")
        assert kept is not None
        earlier = Earlier.from_arrays(kept.memory)
        if position % 4 == 0 or position in (old + 21, old + 22):
            held = store.metadata()
            grid = read_grid(store, scorer.bundle.preprocess, now, now + TICK.delta, held)
            made = scorer.score_grid(grid, held, len(grid.times) - 1, details=True)
            assert results.series == made.series
            np.testing.assert_allclose(results.score, made.score, atol=1e-9)
            np.testing.assert_array_equal(results.reason, made.reason)
            np.testing.assert_allclose(results.details.reconstruction, made.details.reconstruction, rtol=1e-6)
