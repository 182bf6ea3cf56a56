"""Long rows to a grid: interfaces, section 1, to the letter."""

from __future__ import annotations

import numpy as np
import pytest

from qad_dl.downtimes import Downtime
from qad_dl.errors import ConfigError
from qad_dl.grid import NEVER, Grid, series_before
from qad_dl.metadata import Metadata
from tests.light.made import START, TICK, at, history
from tests.light.made_grid import grid_of

DAY = TICK.per_day


def counts(grid: Grid, key, state: str) -> list[float]:
    key = (key,) if isinstance(key, str) else key
    return grid.counts[grid.series.index(key), :, grid.states.index(state)].tolist()


def same(left: list[float], right: list[float]) -> bool:
    return bool(np.array_equal(left, right, equal_nan=True))


class TestCounts:
    def test_a_state_without_a_row_is_zero_in_a_tick_that_arrived(self) -> None:
        grid = grid_of([(0, "A", "running", 5), (0, "A", "failed", 1), (1, "A", "running", 6)], 2)
        assert counts(grid, "A", "failed") == [1, 0]

    def test_a_series_without_a_row_is_zero_in_a_tick_that_arrived(self) -> None:
        grid = grid_of([(0, "A", "running", 5), (0, "B", "running", 2), (1, "B", "running", 3)], 2)
        assert counts(grid, "A", "running") == [5, 0]
        assert grid.quiet.tolist() == [[0, 1], [0, 0]]

    def test_a_tick_without_any_row_is_missing_and_never_zero(self) -> None:
        grid = grid_of([(0, "A", "running", 5), (2, "A", "running", 6)], 3)
        assert same(counts(grid, "A", "running"), [5, np.nan, 6])
        assert grid.arrived.tolist() == [True, False, True]

    def test_a_series_begins_at_its_first_row(self) -> None:
        grid = grid_of(
            [(0, "B", "running", 1), (1, "B", "running", 1), (1, "A", "running", 0), (2, "B", "running", 2)], 3
        )
        assert same(counts(grid, "A", "running"), [np.nan, 0, 0])
        assert grid.quiet[0].tolist() == [NEVER, 0, 1]
        assert grid.known[0].tolist() == [False, True, True]

    def test_rows_outside_the_range_are_left_out(self) -> None:
        grid = grid_of([(0, "A", "running", 5), (1, "A", "running", 6), (2, "A", "running", 7)], 1, first=1)
        assert counts(grid, "A", "running") == [6]

    def test_a_range_without_rows(self) -> None:
        grid = grid_of([], 3, known={("A", "", "")})
        assert grid.series == (("A",),)
        assert grid.states == ()
        assert not grid.arrived.any()
        assert grid.known.all()
        assert (grid.quiet == NEVER).all()

    def test_an_unknown_state_is_a_stock_at_the_end(self) -> None:
        grid = grid_of([(0, "A", "levitating", 5), (0, "A", "failed", 1)], 1)
        assert grid.states == ("failed", "levitating")


class TestEntity:
    rows = (
        (0, "A", "running", 1, None, "managed", "SCORE"),
        (0, "A", "running", 2, None, "managed", "MCORE"),
        (0, "A", "running", 4, None, "user", "SCORE"),
        (0, "B", "running", 8, None, "user", "SCORE"),
        (0, "C", "running", 16, None, "user", "SCORE"),
    )
    metadata = Metadata.single(
        {"A": {"atlas_site": "X", "cloud": "DE"}, "B": {"atlas_site": "X", "cloud": "DE"}, "C": {"cloud": "FR"}}
    )

    def test_a_queue_is_the_sum_over_sources_and_resources(self) -> None:
        grid = grid_of(self.rows, 1)
        assert [counts(grid, q, "running") for q in "ABC"] == [[7], [8], [16]]

    def test_the_full_key(self) -> None:
        grid = grid_of(self.rows, 1, entity=("panda_queue", "prod_source", "resource"))
        assert counts(grid, ("A", "managed", "MCORE"), "running") == [2]
        assert len(grid.series) == 5

    def test_a_metadata_field_sums_over_its_queues_and_an_unset_one_is_the_empty_name(self) -> None:
        grid = grid_of(self.rows, 1, self.metadata, entity=("atlas_site",))
        assert counts(grid, "X", "running") == [15]
        assert counts(grid, "", "running") == [16]

    def test_two_fields(self) -> None:
        grid = grid_of(self.rows, 1, self.metadata, entity=("cloud", "prod_source"))
        assert counts(grid, ("DE", "user"), "running") == [12]

    def test_select_by_metadata_and_by_column(self) -> None:
        assert grid_of(self.rows, 1, self.metadata, select={"cloud": "DE"}).series == (("A",), ("B",))
        grid = grid_of(self.rows, 1, self.metadata, select={"prod_source": "user", "cloud": "DE"})
        assert [counts(grid, q, "running") for q in "AB"] == [[4], [8]]

    def test_a_selection_does_not_hide_that_a_tick_arrived(self) -> None:
        rows = [(0, "A", "running", 1), (1, "C", "running", 1), (2, "A", "running", 2)]
        grid = grid_of(rows, 3, self.metadata, select={"cloud": "DE"})
        assert counts(grid, "A", "running") == [1, 0, 2]
        assert counts(grid, "A", "running") == [1, 0, 2]

    @pytest.mark.parametrize("options", [{"entity": ("atlas_sight",)}, {"select": {"clout": "DE"}}])
    def test_an_unknown_field_is_refused_by_name(self, options) -> None:
        with pytest.raises(ConfigError, match=r"atlas_sight|clout"):
            grid_of(self.rows, 1, self.metadata, **options)

    def test_without_metadata_any_field_is_unknown(self) -> None:
        with pytest.raises(ConfigError, match="no metadata"):
            grid_of(self.rows, 1, entity=("cloud",))


class TestMetadataHistory:
    metadata = Metadata(
        np.array([at(0), at(2)]),
        ({"A": {"cloud": "DE"}, "B": {"cloud": "FR"}}, {"A": {"cloud": "FR"}, "B": {"cloud": "FR"}}),
    )
    rows = tuple((p, q, "running", n) for p in range(4) for q, n in (("A", 1), ("B", 10)))

    def test_a_dump_changes_membership_from_its_tick_on(self) -> None:
        grid = grid_of(self.rows, 4, self.metadata, entity=("cloud",))
        assert counts(grid, "DE", "running") == [1, 1, 0, 0]
        assert counts(grid, "FR", "running") == [10, 10, 11, 11]

    def test_a_selection_follows_the_metadata(self) -> None:
        grid = grid_of(self.rows, 4, self.metadata, select={"cloud": "FR"})
        assert same(counts(grid, "A", "running"), [np.nan, np.nan, 1, 1])

    def test_a_dump_between_two_ticks_holds_from_the_second(self) -> None:
        metadata = Metadata(np.array([at(0), at(1) + np.timedelta64(1, "s")]), self.metadata.dumps)
        grid = grid_of(self.rows, 4, metadata, entity=("cloud",))
        assert counts(grid, "DE", "running") == [1, 1, 0, 0]

    def test_the_first_dump_holds_for_all_time_before(self) -> None:
        metadata = Metadata(np.array([at(3)]), self.metadata.dumps[:1])
        assert counts(grid_of(self.rows, 4, metadata, entity=("cloud",)), "DE", "running") == [1, 1, 1, 1]

    def test_two_dumps_in_one_tick(self) -> None:
        times = np.array([at(0), at(1) + np.timedelta64(10, "s"), at(1) + np.timedelta64(20, "s")])
        last = {"A": {"cloud": "US"}, "B": {"cloud": "US"}}
        grid = grid_of(self.rows, 4, Metadata(times, (*self.metadata.dumps, last)), entity=("cloud",))
        assert counts(grid, "US", "running")[2:] == [11, 11]
        assert counts(grid, "FR", "running") == [10, 10, 0, 0]


class TestOnline:
    def test_a_status_holds_until_the_next_row_that_carries_one(self) -> None:
        rows = [(0, "A", "running", 1, "offline"), (1, "A", "running", 1), (3, "A", "running", 1, "online")]
        grid = grid_of([*rows, (2, "B", "running", 1)], 5)
        assert grid.online[0].tolist() == [False, False, False, True, True]
        assert grid.online[1].all()

    @pytest.mark.parametrize("status", ["offline", "test", "brokeroff", "paused", "nonsense"])
    def test_only_online_gets_work(self, status: str) -> None:
        assert not grid_of([(0, "A", "running", 1, status)], 1).online.any()

    def test_unset_is_the_metadata_then_online(self) -> None:
        metadata = Metadata.single({"A": {"status": "test"}, "B": {"cloud": "DE"}})
        rows = [(p, q, "running", 1) for p in range(2) for q in "ABC"]
        assert grid_of(rows, 2, metadata).online.tolist() == [[False] * 2, [True] * 2, [True] * 2]

    def test_the_row_stands_above_the_metadata(self) -> None:
        metadata = Metadata.single({"A": {"status": "offline"}})
        rows = [(0, "A", "running", 1), (1, "A", "running", 1, "online"), (2, "A", "running", 1, "None")]
        assert grid_of(rows, 3, metadata).online.tolist() == [[False, True, True]]

    def test_the_status_of_a_dump_holds_from_its_tick(self) -> None:
        metadata = Metadata(np.array([at(0), at(2)]), ({"A": {"status": "offline"}}, {"A": {"status": "online"}}))
        rows = [(p, "A", "running", 1) for p in range(4)]
        assert grid_of(rows, 4, metadata).online.tolist() == [[False, False, True, True]]

    def test_a_carried_status_is_forgotten_inside_the_lookback(self) -> None:
        rows = [(0, "A", "running", 1, "offline"), *((p, "A", "running", 1) for p in range(1, 7 * DAY))]
        online = grid_of(rows, 7 * DAY).online[0]
        assert not online[: 5 * DAY].any()
        assert online[5 * DAY :].all()

    def test_downtimes_are_half_open(self) -> None:
        downtimes = [Downtime("A", at(1), at(3), "OUTAGE"), Downtime("nobody", at(0), at(9), "OUTAGE")]
        rows = [(p, q, "running", 1) for p in range(4) for q in "AB"]
        grid = grid_of(rows, 4, downtimes=downtimes)
        assert grid.online.tolist() == [[True, False, False, True], [True] * 4]

    def test_a_sum_is_online_while_any_of_its_queues_is(self) -> None:
        metadata = Metadata.single({"A": {"cloud": "DE"}, "B": {"cloud": "DE"}})
        rows = [
            (0, "A", "running", 1, "offline"),
            (0, "B", "running", 1, "online"),
            (1, "A", "running", 1),
            (1, "B", "running", 1, "offline"),
        ]
        assert grid_of(rows, 2, metadata, entity=("cloud",)).online.tolist() == [[True, False]]

    def test_a_queue_that_comes_later_does_not_make_its_sum_online_before(self) -> None:
        rows = [(0, "A", "running", 1, "offline", "user"), (1, "A", "running", 1, None, "user")]
        later = [*rows, (2, "A", "running", 1, None, "user"), (2, "B", "running", 1, "online", "user")]
        now, then = (grid_of(r, n, entity=("prod_source",)).online for r, n in ((rows, 2), (later, 3)))
        assert now.tolist() == [[False, False]]
        assert then.tolist() == [[False, False, True]]


class TestFrozen:
    def test_all_stocks_equal_although_flows_move(self) -> None:
        rows = [(p, "A", "running", 5) for p in range(2)] + [(p, "A", "finished", p) for p in range(2)]
        assert grid_of(rows, 2).frozen.tolist() == [False, True]

    def test_one_constant_queue_is_not_frozen(self) -> None:
        rows = [(p, "A", "running", 5) for p in range(3)] + [(p, "B", "running", p) for p in range(3)]
        assert not grid_of(rows, 3).frozen.any()

    def test_a_row_of_zero_equals_an_absent_row(self) -> None:
        rows = [(0, "A", "running", 5), (0, "A", "activated", 0), (1, "A", "running", 5), (2, "A", "running", 5)]
        rows += [(2, "B", "running", 0)]
        assert grid_of(rows, 3).frozen.tolist() == [False, True, True]

    def test_absent_ticks_between(self) -> None:
        rows = [(0, "A", "running", 5), (3, "A", "running", 5), (4, "A", "running", 6)]
        assert grid_of(rows, 5).frozen.tolist() == [False, False, False, True, False]

    def test_it_is_of_the_source_whatever_the_entity_or_the_selection(self) -> None:
        metadata = Metadata.single({"A": {"cloud": "DE"}, "B": {"cloud": "FR"}})
        rows = [(p, "A", "running", 5) for p in range(3)] + [(p, "B", "running", p // 2) for p in range(3)]
        for options in ({"select": {"cloud": "DE"}}, {"entity": ("cloud",)}):
            assert grid_of(rows, 3, metadata, **options).frozen.tolist() == [False, True, False]

    def test_counts_that_swap_places_are_not_frozen(self) -> None:
        rows = [(0, "A", "running", 5), (0, "B", "running", 6), (1, "A", "running", 6), (1, "B", "running", 5)]
        rows += [(0, "A", "activated", 1), (1, "A", "pending", 1)]
        assert not grid_of(rows, 2).frozen.any()

    def test_a_source_without_stocks_does_not_freeze(self) -> None:
        rows = [(p, "A", "finished", p) for p in range(3)]
        assert not grid_of(rows, 3).frozen.any()

    def test_all_zero_after_all_zero_is_frozen(self) -> None:
        rows = [(p, "A", "running", n) for p, n in enumerate((5, 0, 0))]
        assert grid_of(rows, 3).frozen.tolist() == [False, False, True]

    def test_a_tick_older_than_the_lookback_has_no_say(self) -> None:
        rows = [(0, "A", "running", 5), (7 * DAY, "A", "running", 5)]
        assert grid_of(rows, 7 * DAY + 1).frozen[-1]
        rows = [(0, "A", "running", 5), (7 * DAY + 1, "A", "running", 5)]
        assert not grid_of(rows, 7 * DAY + 2).frozen[-1]


class TestKnown:
    def test_a_listed_queue_is_known_before_its_first_row_whatever_comes_later(self) -> None:
        metadata = Metadata.single({"A": {"cloud": "DE"}, "B": {"cloud": "DE"}})
        rows = [(0, "B", "running", 1), (1, "B", "running", 1)]
        later = [*rows, (2, "A", "running", 1, None, "managed", "SCORE")]
        assert grid_of(rows, 2, metadata).known.tolist() == [[True, True], [True, True]]
        assert grid_of(later, 3, metadata).known.tolist() == [[True] * 3, [True] * 3]

    def test_a_queue_is_listed_while_a_dump_has_it(self) -> None:
        metadata = Metadata(np.array([at(0), at(1)]), ({}, {"A": {"cloud": "DE"}}))
        grid = grid_of([(p, "B", "running", 1) for p in range(3)], 3, metadata)
        assert grid.known.tolist() == [[False, True, True], [True] * 3]
        assert grid.quiet[0].tolist() == [NEVER] * 3

    def test_earlier_rows_make_a_series_known(self) -> None:
        grid = grid_of([(0, "B", "running", 1)], 1, known={("A", "managed", "SCORE")})
        assert grid.series == (("A",), ("B",))
        assert grid.known.all()
        assert np.isnan(grid.counts[0]).all()

    def test_series_before(self) -> None:
        rows = history([(0, "A", "running", 1, None, "managed"), (2, "B", "running", 1)])
        assert series_before(rows, at(2)) == {("A", "managed", "")}
        assert series_before(rows, START) == set()
