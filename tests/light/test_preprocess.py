"""The one door into every model."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from qad_dl.downtimes import Downtime
from qad_dl.errors import BundleError, InputError
from qad_dl.grid import build_grid, times_of
from qad_dl.metadata import Metadata
from qad_dl.preprocess import Preprocess, calendar
from qad_dl.preprocess_fit import fit_preprocess, fit_preprocess_parts
from qad_dl.rows import merge_rows
from qad_dl.scaling import Quantity
from qad_dl.schema import Tick
from qad_dl.tally import MIN_STATE_SHARE
from tests.light.made import START, TICK, at, history, ticks
from tests.light.made_bundle import METADATA, QUEUES, STATES, fitted, made_history

if TYPE_CHECKING:
    from qad_dl.prepared import Prepared

DAY = TICK.per_day


def _joined(*tables: pa.Table) -> pa.Table:
    return merge_rows(tables)


def _not_at(table: pa.Table, places: list[int]) -> pa.Array:
    return pa.array(~np.isin(times_of(table), [at(p) for p in places]))


PLAN = fitted().plan


@pytest.fixture(scope="module")
def preprocess() -> Preprocess:
    return fitted()


def prepared_of(preprocess: Preprocess, rows, n: int, metadata: Metadata = METADATA, first: int = 0, **options):
    table = rows if hasattr(rows, "schema") else history(rows)
    grid = build_grid(table, ticks(n, first), TICK, metadata, **options)
    return preprocess.prepare(grid, metadata)


class TestFit:
    @pytest.mark.parametrize("size", [1, 2, 3])
    def test_some_series_at_a_time_teach_the_same(self, size: int) -> None:
        grid = build_grid(made_history(3, seed=2), ticks(3 * DAY), TICK, METADATA)
        use = np.random.default_rng(1).random(grid.online.shape) < 0.9
        blocks = np.split(np.arange(len(grid.series)), range(size, len(grid.series), size))
        whole = fit_preprocess(grid, METADATA, use)
        parts = fit_preprocess_parts(lambda: ((grid.of(block), use[block]) for block in blocks), METADATA)
        assert parts.to_json() == whole.to_json()

    def test_it_learns_states_series_and_the_values_of_the_fields(self, preprocess: Preprocess) -> None:
        assert preprocess.states == STATES
        assert preprocess.vocabularies[0].values == QUEUES
        assert preprocess.vocabularies[1].values == ("DE", "FR")

    def test_it_learns_from_the_ticks_in_use_only(self, preprocess: Preprocess) -> None:
        rows = made_history(2)
        later = history([(2 * DAY + t, q, "running", 90000.0) for t in range(DAY) for q in QUEUES])
        table = _joined(rows, later)
        grid = build_grid(table, ticks(3 * DAY), TICK, METADATA)
        use = np.ones((len(QUEUES), 3 * DAY), bool)
        use[:, 2 * DAY :] = False
        again = fit_preprocess(grid, METADATA, use, ("cloud",))
        assert np.array_equal(again.series_scale.loc, preprocess.series_scale.loc)
        assert np.array_equal(again.series_scale.scale, preprocess.series_scale.scale)

    def test_a_rare_state_is_no_channel(self) -> None:
        odd = [(5, "Q0", "odd", 1.0), *((t, "Q1", "some", 1.0) for t in range(3))]
        grid = build_grid(_joined(made_history(6), history(odd)), ticks(6 * DAY), TICK, METADATA)
        use = np.ones((len(QUEUES), 6 * DAY), bool)
        assert 1 / use.sum() < MIN_STATE_SHARE < 3 / use.sum()
        assert fit_preprocess(grid, METADATA, use).states == (*STATES, "some")

    def test_a_series_of_less_than_a_day_is_not_known(self) -> None:
        table = _joined(made_history(2), history([(2 * DAY - 1 - t, "SHORT", "running", 5.0) for t in range(DAY - 1)]))
        grid = build_grid(table, ticks(2 * DAY), TICK, METADATA)
        use = np.ones((len(QUEUES) + 1, 2 * DAY), bool)
        assert fit_preprocess(grid, METADATA, use).vocabularies[0].values == QUEUES

    def test_too_little_history_is_refused(self) -> None:
        grid = build_grid(made_history(0.5), ticks(DAY // 2), TICK, METADATA)
        with pytest.raises(InputError, match="day of usable ticks"):
            fit_preprocess(grid, METADATA, np.ones((len(QUEUES), DAY // 2), bool))

    def test_a_history_of_zeros_is_refused(self) -> None:
        grid = build_grid(history([(t, "A", "running", 0.0) for t in range(2 * DAY)]), ticks(2 * DAY), TICK, METADATA)
        with pytest.raises(InputError, match="are 0"):
            fit_preprocess(grid, METADATA, np.ones((len(grid.series), 2 * DAY), bool))

    def test_json_keeps_every_bit(self, preprocess: Preprocess) -> None:
        again = Preprocess.from_json(json.loads(json.dumps(preprocess.to_json(), allow_nan=False)))
        for field in dataclasses.fields(Preprocess):
            ours, theirs = getattr(preprocess, field.name), getattr(again, field.name)
            if field.name.endswith("scale"):
                assert np.array_equal(ours.loc, theirs.loc)
                assert np.array_equal(ours.scale, theirs.scale)
            else:
                assert ours == theirs, field.name


class TestPrepare:
    def test_another_tick_or_entity_is_refused(self, preprocess: Preprocess) -> None:
        grid = build_grid(made_history(1), Tick(20).range(START, at(DAY)), Tick(20), METADATA)
        with pytest.raises(BundleError, match="20-minute"):
            preprocess.prepare(grid, METADATA)
        grid = build_grid(made_history(1), ticks(DAY), TICK, METADATA, ("cloud",))
        with pytest.raises(BundleError, match="cloud"):
            preprocess.prepare(grid, METADATA)

    def test_a_state_that_the_model_does_not_know_changes_nothing(self, preprocess: Preprocess) -> None:
        rows = made_history(1, seed=4)
        odd = _joined(rows, history([(t, "Q0", "levitating", 7.0) for t in range(DAY)]))
        plain, other = (prepared_of(preprocess, table, DAY) for table in (rows, odd))
        assert np.array_equal(plain.values, other.values)

    def test_a_state_without_a_row_in_the_range_is_zero(self, preprocess: Preprocess) -> None:
        prepared = prepared_of(preprocess, [(t, q, "running", 5.0 + t) for t in range(3) for q in QUEUES], 3)
        failed = preprocess.states.index("failed")
        assert (prepared.x[:, :, failed] == 0).all()

    def test_a_known_series_has_begun_and_a_new_one_begins_at_its_first_row(self, preprocess: Preprocess) -> None:
        rows = [(t, "Q0", "running", 5.0 + t) for t in range(4)] + [(2, "NEW", "running", 3.0)]
        prepared = prepared_of(preprocess, rows, 4)
        series = [key[0] for key in prepared.grid.series]
        assert prepared.usable[series.index("Q1")].all()
        assert prepared.usable[series.index("NEW")].tolist() == [False, False, True, True]
        assert prepared.x[series.index("Q1")].max() == 0

    def test_missing_and_frozen_ticks_are_not_usable(self, preprocess: Preprocess) -> None:
        rows = [(t, q, "running", float(n)) for t, n in ((0, 5), (1, 6), (3, 7), (4, 7)) for q in QUEUES]
        prepared = prepared_of(preprocess, rows, 5)
        assert prepared.usable[0].tolist() == [True, True, False, True, False]
        assert np.isnan(prepared.values[:, 2]).all()

    def test_unchanged_stocks_are_the_truth_where_nothing_ended_and_old_where_something_did(
        self, preprocess: Preprocess
    ) -> None:
        running = [(t, q, "running", 7.0) for t in range(4) for q in QUEUES]
        finished = [(t, QUEUES[0], "finished", float(n)) for t, n in ((0, 3), (1, 0), (2, 4), (3, 0))]
        prepared = prepared_of(preprocess, running + finished, 4)
        assert prepared.grid.frozen.tolist() == [False, True, True, True]
        assert prepared.usable[3].tolist() == [True, True, False, True]

    def test_a_fall_is_expected_while_not_online_and_while_it_ramps_up_after(self, preprocess: Preprocess) -> None:
        n = PLAN.grace + 20
        rows = [(t, q, "running", 5.0 + t) for t in range(n) for q in QUEUES]
        prepared = prepared_of(preprocess, rows, n, downtimes=[Downtime("Q2", at(4), at(6), "OUTAGE")])
        expected = np.zeros(n, bool)
        expected[4 : 6 + PLAN.grace] = True
        assert prepared.expected[2].tolist() == expected.tolist()
        assert not prepared.expected[3].any()

    def test_what_comes_back_is_given_a_day(self, preprocess: Preprocess) -> None:
        n = 4 * DAY
        gone = {"Q3": range(DAY, 2 * DAY + 10), "Q4": range(DAY, 2 * DAY - 20), "Q1": range(DAY, n)}
        rows = [(t, q, "running", 5.0 + t % 9) for t in range(n) for q in QUEUES if t not in gone.get(q, ())]
        prepared = prepared_of(preprocess, rows, n, downtimes=[Downtime("Q2", at(2 * DAY), at(2 * DAY + 6), "OUTAGE")])
        recovering = {key[0]: prepared.recovering[i] for i, key in enumerate(prepared.grid.series)}
        ticks_ = np.arange(n)
        assert np.array_equal(recovering["Q2"], (ticks_ >= 2 * DAY) & (ticks_ < 3 * DAY + 6))
        assert np.array_equal(recovering["Q3"], (ticks_ >= 2 * DAY + 10) & (ticks_ < 3 * DAY + 10))
        assert not recovering["Q4"].any()  # away for less than a day
        assert not recovering["Q1"].any()  # not back

    def test_restated_it_is_as_if_it_had_been_prepared_so(self, preprocess: Preprocess) -> None:
        grid, new = build_grid(made_history(1), ticks(DAY), TICK, METADATA), preprocess.as_if_new()
        restated = new.restate(preprocess.prepare(grid, METADATA, in_training=True), METADATA)
        wanted = new.prepare(grid, METADATA, in_training=True)
        for name in ("x", "values", "usable", "last_row", "static_cat"):
            assert np.array_equal(getattr(restated, name), getattr(wanted, name), equal_nan=True), name
        assert np.array_equal(restated.scale.loc, wanted.scale.loc)

    def test_as_if_new_it_knows_no_series_and_all_else(self, preprocess: Preprocess) -> None:
        known, new = (prepared_of(p, made_history(1), DAY) for p in (preprocess, preprocess.as_if_new()))
        assert (known.static_cat[:, :, 0] > 0).all()
        assert (new.static_cat[:, :, 0] == 0).all()
        assert np.array_equal(new.static_cat[:, :, 1:], known.static_cat[:, :, 1:])
        assert np.array_equal(new.x, known.x)
        assert not np.array_equal(new.scale.loc, known.scale.loc)

    def test_an_unknown_series_borrows_the_scale_of_its_group_then_of_all(self) -> None:
        group = {"type": "production", "resource_type": "GRID", "capability": "score"}
        metadata = Metadata.single({"A": group, "B": group, "C": {"type": "analysis"}, "N": group})
        levels = {"A": 10, "B": 100, "C": 5000}
        rows = [(t, q, "running", float(n + t % 7)) for t in range(2 * DAY) for q, n in levels.items()]
        grid = build_grid(history(rows), ticks(2 * DAY), TICK, metadata)
        use = np.ones((len(grid.series), 2 * DAY), bool)
        learned = fit_preprocess(grid, metadata, use)
        prepared = prepared_of(learned, [(t, q, "running", 5.0) for t in range(3) for q in "ANX"], 3, metadata)
        place = {key[0]: i for i, key in enumerate(prepared.grid.series)}
        a, b = learned.series_scale.loc[:2]
        assert np.array_equal(prepared.scale.loc[0, place["A"]], a)
        assert np.allclose(prepared.scale.loc[0, place["N"]], (a + b) / 2)
        assert np.array_equal(prepared.scale.loc[0, place["X"]], learned.global_scale.loc)
        assert prepared.static_cat[0, [place[q] for q in "ANX"], 0].tolist() == [1, 0, 0]

    def test_metadata_ids_follow_the_dump_and_an_unseen_value_is_unknown(self, preprocess: Preprocess) -> None:
        dumps = ({"Q0": {"cloud": "FR"}}, {"Q0": {"cloud": "DE"}}, {"Q0": {"cloud": "MARS"}})
        metadata = Metadata(np.array([at(0), at(2), at(3)]), dumps)
        prepared = prepared_of(preprocess, [(t, "Q0", "running", 5.0 + t) for t in range(4)], 4, metadata)
        assert prepared.segment.tolist() == [0, 0, 1, 2]
        assert prepared.static_cat[:, 0].tolist() == [[1, 2], [1, 1], [1, 0]]

    def test_a_sum_has_the_values_that_all_of_its_queues_share(self) -> None:
        metadata = Metadata.single(
            {
                "A": {"atlas_site": "X", "cloud": "DE", "tier": "1"},
                "B": {"atlas_site": "X", "cloud": "DE", "tier": "2"},
                "C": {"atlas_site": "Y", "cloud": "FR", "tier": "2"},
            }
        )
        rows = history([(t, q, "running", 5.0 + t % 5) for t in range(2 * DAY) for q in "ABC"])
        grid = build_grid(rows, ticks(2 * DAY), TICK, metadata, ("atlas_site",))
        learned = fit_preprocess(grid, metadata, np.ones((2, 2 * DAY), bool), ("cloud", "tier"))
        ids = learned.prepare(grid, metadata).static_cat[0]
        assert ids.tolist() == [[1, 1, 0], [2, 2, 1]]


@pytest.fixture(scope="module")
def prepared(preprocess: Preprocess):
    table = made_history(3, seed=5)
    return prepared_of(preprocess, table.filter(_not_at(table, [200, 201, 300])), 3 * DAY)


class TestCut:
    def test_a_window_is_the_ticks_around_its_first_output(self, preprocess: Preprocess, prepared) -> None:
        first = 2 * DAY
        window = preprocess.cut(prepared, np.array([3]), np.array([first]), PLAN.stride)
        assert window.values.shape == (1, PLAN.length, len(STATES))
        seen = window.observed[0].astype(bool)
        own = prepared.values[3, first - PLAN.context : first + PLAN.stride]
        assert np.array_equal(seen, np.isfinite(own))
        assert np.array_equal(window.values[0][seen], own[seen])
        assert np.array_equal(window.calendar[0], calendar(prepared.times)[first - PLAN.context : first + PLAN.stride])
        assert np.isfinite(window.values).all()

    def test_ticks_off_the_grid_are_not_observed(self, preprocess: Preprocess, prepared) -> None:
        window = preprocess.cut(prepared, np.array([0, 0]), np.array([10, 3 * DAY - 5]), PLAN.stride)
        assert not window.observed[0, : PLAN.context - 10].any()
        assert not window.observed[1, PLAN.context + 5 :].any()
        assert window.observed[1, PLAN.context + 4].all()

    def test_hidden_cells_are_carried_over(self, preprocess: Preprocess, prepared) -> None:
        hidden = np.zeros((1, PLAN.length, len(STATES)), bool)
        hidden[0, 50, 1] = True
        args = prepared, np.array([2]), np.array([2 * DAY])
        plain, window = (preprocess.cut(*args, PLAN.stride, h) for h in (None, hidden))
        assert window.observed[0, 50].tolist() == [1, 0, 1, 1]
        assert window.values[0, 50, 1] == plain.values[0, 49, 1]
        assert np.array_equal(window.values[0, 51:], plain.values[0, 51:])

    def test_a_window_does_not_depend_on_its_batch(self, preprocess: Preprocess, prepared) -> None:
        series, firsts = np.array([0, 4, 2]), np.array([400, 396, 290])
        together = preprocess.cut(prepared, series, firsts, PLAN.stride).feeds()
        for i in range(3):
            alone = preprocess.cut(prepared, series[i : i + 1], firsts[i : i + 1], PLAN.stride).feeds()
            assert all(np.array_equal(alone[k][0], together[k][i]) for k in alone)

    def test_a_row_older_than_the_memory_does_not_prove_that_a_series_has_begun(self, preprocess: Preprocess) -> None:
        n = 7 * DAY
        rows = [(t, "Q0", "running", 5.0 + t % 9) for t in range(n)] + [(0, "NEW", "running", 3.0)]
        prepared = prepared_of(preprocess, rows, n)
        new = [key[0] for key in prepared.grid.series].index("NEW")
        seen = [
            preprocess.cut(prepared, np.array([new]), np.array([first]), PLAN.stride).observed.any()
            for first in (PLAN.memory, PLAN.memory + 1)
        ]
        assert seen == [True, False]


def test_the_calendar_knows_the_hour_and_the_weekday() -> None:
    day = calendar(ticks(8 * DAY))
    assert np.allclose(day[:DAY, :4], day[DAY : 2 * DAY, :4], atol=1e-5)
    assert not np.allclose(day[0, 4:], day[DAY, 4:], atol=0.1)
    assert np.allclose(day[0], day[7 * DAY], atol=1e-5)


class TestMeasurements:
    """Values that are no counts: taken as they are, in whatever unit, and never made up."""

    def fitted(self, values: np.ndarray) -> tuple[Preprocess, Prepared]:
        grid = dataclasses.replace(build_grid(made_history(4), ticks(4 * DAY), TICK, METADATA), counts=values)
        use = np.ones(values.shape[:2], bool)
        preprocess = fit_preprocess(grid, METADATA, use, (), quantity=Quantity.MEASUREMENTS)
        return preprocess, preprocess.prepare(grid, METADATA)

    def values(self) -> np.ndarray:
        rng = np.random.default_rng(0)
        values = rng.normal(-5, 2, (len(QUEUES), 4 * DAY, len(STATES))).astype(np.float32)
        values[..., 1] = 3
        values[0, 100] = np.nan
        return values

    def test_they_are_their_own_x_and_a_missing_one_is_not_zero(self) -> None:
        values = self.values()
        preprocess, prepared = self.fitted(values)
        assert preprocess.states == STATES, "one that never moves is a state too"
        np.testing.assert_array_equal(prepared.x, values)
        assert not prepared.usable[0, 100]
        assert abs(float(np.nanstd(prepared.values[..., 0])) - 1) < 0.1

    def test_their_unit_does_not_matter(self) -> None:
        values, unit = self.values(), np.float32(4096)
        windows = []
        for scaled in (values, values * unit):
            preprocess, prepared = self.fitted(scaled)
            windows.append(preprocess.cut(prepared, np.arange(len(QUEUES)), np.full(len(QUEUES), 3 * DAY), 6))
        for name, array in windows[0].feeds().items():
            moving = [s for s in range(len(STATES)) if s != 1]
            other = windows[1].feeds()[name]
            if name == "values":
                array, other = array[..., moving], other[..., moving]
            np.testing.assert_allclose(array, other, atol=1e-4, err_msg=name)

    def test_a_bundle_without_the_word_is_of_counts(self, preprocess: Preprocess) -> None:
        old = {k: v for k, v in preprocess.to_json().items() if k != "quantity"}
        assert Preprocess.from_json(old).quantity is Quantity.COUNTS
