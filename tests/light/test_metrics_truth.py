"""Healthy time, incidents and downtimes by hand."""

from __future__ import annotations

import numpy as np

from qad_dl.metrics.truth import Window, build_truth
from qad_dl.schema import Tick

TICK = Tick()
TIMES = TICK.range(np.datetime64("2026-01-01", "s"), np.datetime64("2026-01-05", "s"))


def window(start: str, end: str, *rows: int) -> Window:
    return Window(np.datetime64(start, "s"), np.datetime64(end, "s"), rows, "site_down", start)


def ticks(mask: np.ndarray) -> list[int]:
    return [int(np.flatnonzero(mask).min()), int(np.flatnonzero(mask).max())]


def test_an_incident_and_the_day_after_it_are_not_healthy() -> None:
    truth = build_truth(TIMES, TICK, 2, [window("2026-01-01T10:00", "2026-01-01T12:00", 1)])
    assert truth.healthy[0].all()
    assert ticks(truth.incident[1]) == [60, 71]
    assert ticks(~truth.healthy[1]) == [60, 71 + 144]
    assert truth.healthy[1].sum() == len(TIMES) - 12 - 144
    assert truth.queue_days(truth.healthy) == 4 + 4 - 156 / 144


def test_a_start_between_two_ticks_begins_at_the_later_one() -> None:
    truth = build_truth(TIMES, TICK, 1, [window("2026-01-01T10:01", "2026-01-01T10:21", 0)])
    assert ticks(truth.incident[0]) == [61, 62]


def test_a_downtime_wins_over_an_incident_and_has_a_line_of_its_own() -> None:
    incidents = [window("2026-01-01T10:00", "2026-01-01T12:00", 0), window("2026-01-02T00:00", "2026-01-02T01:00", 1)]
    downtimes = [window("2026-01-01T11:00", "2026-01-01T11:30", 0), window("2026-01-01T20:00", "2026-01-02T12:00", 1)]
    truth = build_truth(TIMES, TICK, 2, incidents, downtimes)
    assert ticks(truth.incident[0]) == [60, 65]
    assert not truth.incident[1].any()
    assert [w.rows for w in truth.windows] == [(0,)]
    # The second queue: downtime from tick 120 on, the incident and the day after it (144 to 293) count in no line.
    assert ticks(truth.left_out[1]) == [120, 359]
    assert np.flatnonzero(truth.downtime[1]).tolist() == [*range(120, 144), *range(294, 360)]
    assert not (truth.downtime & truth.healthy).any()
    assert not (truth.left_out & (truth.healthy | truth.incident)).any()


def test_an_incident_that_began_before_the_range_is_not_to_be_seen_but_not_healthy_either() -> None:
    truth = build_truth(TIMES, TICK, 1, [window("2025-12-31T23:00", "2026-01-01T01:00", 0)])
    assert truth.windows == ()
    assert ticks(truth.incident[0]) == [0, 5]
    assert ticks(~truth.healthy[0]) == [0, 5 + 144]


def test_an_incident_that_ended_before_the_range_still_shades_its_first_day() -> None:
    truth = build_truth(TIMES, TICK, 1, [window("2025-12-31T10:00", "2025-12-31T12:00", 0)])
    assert not truth.incident.any()
    assert ticks(~truth.healthy[0]) == [0, 71]


def test_an_incident_outside_the_range_or_without_rows_counts_for_nothing() -> None:
    incidents = [window("2026-01-05T00:00", "2026-01-05T10:00", 0), window("2026-01-02T00:00", "2026-01-02T01:00")]
    truth = build_truth(TIMES, TICK, 1, incidents)
    assert truth.windows == ()
    assert truth.healthy.all()


def test_pairs_without_a_row_are_in_nothing() -> None:
    present = np.ones((1, len(TIMES)), np.bool_)
    present[0, 50:65] = False
    truth = build_truth(TIMES, TICK, 1, [window("2026-01-01T10:00", "2026-01-01T12:00", 0)], present=present)
    assert ticks(truth.incident[0]) == [65, 71]
    assert not truth.healthy[0, 50:60].any()
