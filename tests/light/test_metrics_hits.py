"""Which series an incident hits, for queues, parts of queues and groups of queues."""

from __future__ import annotations

import numpy as np
import pytest

from qad_dl.downtimes import Downtime
from qad_dl.errors import InputError
from qad_dl.incidents_file import Incident
from qad_dl.metadata import Metadata
from qad_dl.metrics.hits import Series, downtime_windows, incident_windows

METADATA = Metadata.single({"A": {"cloud": "DE", "tier": "1"}, "B": {"cloud": "DE"}, "C": {"cloud": "FR", "tier": "2"}})
RANGE = (np.datetime64("2026-01-01", "s"), np.datetime64("2026-01-10", "s"))
QUEUES = (("A",), ("B",), ("C",))


def incident(field: str, value: str, *queues: str, start: str = "2026-01-02") -> Incident:
    begin = np.datetime64(start, "s")
    return Incident("i1", "bad_task", field, value, begin, begin + np.timedelta64(3600, "s"), None, queues)


def rows(what: Incident, entity: tuple[str, ...], series: Series) -> tuple[int, ...]:
    windows = incident_windows([what], entity, series, METADATA, {"A", "B", "C"}, RANGE)
    return windows[0].rows if windows else ()


def test_queues_by_a_field_or_by_name() -> None:
    assert rows(incident("cloud", "DE"), ("panda_queue",), QUEUES) == (0, 1)
    assert rows(incident("", "", "C", "A"), ("panda_queue",), QUEUES) == (0, 2)


def test_a_window_keeps_time_kind_and_name() -> None:
    what = incident("cloud", "FR")
    (window,) = incident_windows([what], ("panda_queue",), QUEUES, METADATA, {"A", "B", "C"}, RANGE)
    assert (window.start, window.end, window.kind, window.name) == (what.start, what.end, "bad_task", "i1")


def test_queues_that_are_not_scored_are_left_out() -> None:
    assert rows(incident("cloud", "DE"), ("panda_queue",), (("B",), ("C",))) == (0,)
    assert rows(incident("cloud", "DE"), ("panda_queue",), (("C",),)) == ()


PARTS = (("A", "managed"), ("A", "user"), ("B", "user"), ("C", "user"))


def test_all_parts_of_a_queue_are_hit_unless_the_incident_names_one() -> None:
    entity = ("panda_queue", "prod_source")
    assert rows(incident("cloud", "DE"), entity, PARTS) == (0, 1, 2)
    assert rows(incident("prod_source", "user", "A", "B"), entity, PARTS) == (1, 2)


def test_groups_are_hit_through_their_queues() -> None:
    clouds = (("DE",), ("FR",))
    assert rows(incident("panda_queue", "A"), ("cloud",), clouds) == (0,)
    assert rows(incident("", "", "A", "C"), ("cloud",), clouds) == (0, 1)
    pairs = (("DE", ""), ("DE", "1"), ("FR", "2"))
    assert rows(incident("panda_queue", "B"), ("cloud", "tier"), pairs) == (0,)


def test_a_queue_that_the_store_does_not_have_is_refused() -> None:
    with pytest.raises(InputError, match="incident 'i1': queue 'X' is not in the store"):
        rows(incident("", "", "A", "X"), ("panda_queue",), QUEUES)


def test_an_incident_that_hits_nothing_is_refused_where_it_matters() -> None:
    with pytest.raises(InputError, match="no queue has cloud='IT' at 2026-01-02T00:00:00Z"):
        rows(incident("cloud", "IT"), ("panda_queue",), QUEUES)
    # The day after it reaches into the range, two days before it does not.
    with pytest.raises(InputError, match="no queue has"):
        rows(incident("cloud", "IT", start="2025-12-31T00:00"), ("panda_queue",), QUEUES)
    assert rows(incident("cloud", "IT", start="2025-12-30T00:00"), ("panda_queue",), QUEUES) == ()


def test_downtimes_are_those_of_single_queues() -> None:
    down = Downtime("B", RANGE[0], RANGE[1], "offline")
    strange = Downtime("X", RANGE[0], RANGE[1], "offline")
    assert [w.rows for w in downtime_windows([down, strange], ("panda_queue",), QUEUES)] == [(1,)]
    assert [w.rows for w in downtime_windows([down], ("prod_source", "panda_queue"), (("u", "B"), ("m", "B")))] == [
        (0, 1)
    ]
    assert downtime_windows([down], ("cloud",), (("DE",),)) == []
