"""Who is told what, when: routes, silences, quiet hours, the cap, and what is worth a message."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from qad_dl.errors import ConfigError, StoreError
from qad_dl.sinks.ledger import Ledger, Told
from qad_dl.sinks.message import CLOSED, OPENED, PASSED, REOPENED, UPDATED
from qad_dl.sinks.plan import Gates, Plan, cases_for, plan, to_message
from qad_dl.sinks.routing import Channel, Quiet, Route, channels_of, fits
from qad_dl.sinks.silences import Silence, Silences
from tests.light.made_news import T0, TEN, closed, group, incident, news, trouble

if TYPE_CHECKING:
    from pathlib import Path

    from qad_dl.sinks.news import News

NOW = float(T0.astype(np.int64)) + 1200
ALL = Channel("mail")
FREE = Gates(NOW)


def told(made: News, at: float = NOW - 600) -> Ledger:
    return Ledger(incidents={made.name: Told.of(made, at)})


def planned(*waiting: News, ledger: Ledger | None = None, gates: Gates = FREE) -> Plan:
    ledger = ledger or Ledger()
    return plan(cases_for(ALL, waiting, ledger), ledger, gates)


def says(made: Plan) -> list[list[str]]:
    return [[case.saying for case in batch] for batch in made.batches]


# --- routes ---


def test_without_routes_everybody_is_told_everything() -> None:
    channels = channels_of({"mail": ("a@x", "b@x"), "jsonl": ()}, [])
    assert [c.name for c in channels] == ["mail a@x", "mail b@x", "jsonl"]
    assert all(c.takes(news(incident())) and c.takes(trouble()) for c in channels)


def test_a_route_takes_what_one_queue_matches_whole() -> None:
    routes = [Route("mail", {"cloud": "DE", "tier": "2"}, ("de@x",)), Route("mail", {}, ("all@x",))]
    de, every = channels_of({"mail": ("ops@x",)}, routes)
    mixed = replace(news(group(2)), records={"Q00": {"cloud": "DE", "tier": "1"}, "Q01": {"cloud": "FR", "tier": "2"}})
    assert (de.takes(mixed), every.takes(mixed)) == (False, True)
    assert de.takes(replace(mixed, records={**mixed.records, "Q01": {"cloud": "DE", "tier": "2"}}))
    assert (de.takes(trouble()), every.takes(trouble())) == (False, True)


def test_troubles_that_no_route_takes_go_to_the_sinks_own_recipients() -> None:
    de, own = channels_of({"mail": ("ops@x",)}, [Route("mail", {"cloud": "DE"}, ("de@x",))])
    assert (own.to, own.takes(trouble()), own.takes(news(incident(), cloud="FR"))) == ("ops@x", True, False)
    assert not de.takes(trouble())
    (only,) = channels_of({"mail": ("ops@x",)}, [Route("mail", {"kind": "monitor"}, ("me@x",))])
    assert (only.to, only.takes(trouble()), only.takes(news(incident()))) == ("me@x", True, False)


def test_two_routes_to_one_end_are_one_channel() -> None:
    routes = [Route("mail", {"cloud": "DE"}, ("a@x",)), Route("mail", {"tier": "2"}, ("a@x", "b@x"))]
    channels = channels_of({"mail": ("a@x",)}, routes)
    assert [c.name for c in channels] == ["mail a@x", "mail b@x"]


@pytest.mark.parametrize(
    ("match", "holds"),
    [({"kind": "pilots_starve"}, True), ({"kind": "frontier"}, False), ({"bundle": "queues"}, True),
     ({"panda_queue": "CERN-PROD_1"}, True), ({"panda_queue": "X"}, False), ({"cloud": "DE"}, True),
     ({"cloud": "DE", "kind": "frontier"}, False), ({"unheard": "of"}, False)],
)  # fmt: skip
def test_what_can_be_matched(match: dict[str, str], holds: bool) -> None:
    assert fits(match, news(incident(), cloud="DE")) == holds


# --- what is worth a message ---


def test_an_incident_is_told_when_it_opens_and_when_it_is_over() -> None:
    opened, over = news(incident()), news(closed(incident()), 14)
    assert says(planned(opened)) == [[OPENED]]
    assert says(planned(over, ledger=told(opened))) == [[CLOSED]]


def test_what_opened_and_closed_while_the_channel_was_down_is_one_message() -> None:
    opened, over = news(incident()), news(closed(incident()), 14)
    made = planned(opened, over)
    assert says(made) == [[PASSED]]
    assert made.batches[0][0].news == (opened, over)


def test_flapping_that_nobody_saw_is_not_told() -> None:
    opened, over, again = news(incident()), news(closed(incident()), 14), news(incident(reopened=1), 20, REOPENED)
    made = planned(over, again, ledger=told(opened))
    assert made.batches == ()
    assert [case.news for case in made.dropped] == [(over, again)]
    assert says(planned(again, ledger=told(over))) == [[REOPENED]]
    assert says(planned(again, news(closed(incident(reopened=1), 30), 30), ledger=told(over))) == [[PASSED]]


def test_that_a_queue_is_one_of_many_is_told_at_once_and_growth_once_an_hour() -> None:
    first = news(incident("Q00", id="20260105T0340-abcdef"))
    became = news(group(5), 2, UPDATED)
    assert says(planned(became, ledger=told(first, NOW - 600))) == [[UPDATED]]
    grown = news(group(20), 3, UPDATED)
    soon = planned(grown, ledger=told(became, NOW - 600))
    assert (soon.batches, [c.news for c in soon.waiting], soon.held) == ((), [(grown,)], frozenset())
    assert says(planned(grown, ledger=told(became, NOW - 3600))) == [[UPDATED]]
    assert planned(news(group(6), 3, UPDATED), ledger=told(became, NOW - 9999)).dropped


def test_what_is_folded_is_told_by_its_group() -> None:
    child = news(closed(incident())._replace(folded="20260105T0340-abcdef"), 3)
    assert planned(child, ledger=told(news(incident()))).dropped
    assert planned(child).dropped


def test_what_two_bundles_see_in_the_same_queues_is_told_by_one() -> None:
    first, second = news(incident()), news(incident(id="other", score=3.5), label="de")
    at_once = planned(first, second)
    assert says(at_once) == [[OPENED]]
    assert at_once.batches[0][0].newest == first
    assert [case.newest for case in at_once.dropped] == [second]
    later = planned(news(closed(second.incident), 14, label="de"), ledger=told(first))
    assert (later.batches, len(later.dropped)) == ((), 1)
    assert says(planned(news(group(), label="de"), ledger=told(first))) == [[OPENED]]  # there is more to it
    assert says(planned(news(second.incident._replace(start=T0 + 99 * TEN), 100, label="de"),
                        ledger=told(news(closed(incident()), 14)))) == [[OPENED]]  # fmt: skip


def test_who_was_told_is_told_how_it_goes_on_whatever_it_is_now() -> None:
    de = Channel("mail", "de@x", ({"cloud": "DE"},))
    opened, moved = news(incident(), cloud="DE"), news(closed(incident()), 14, cloud="FR")
    assert cases_for(de, [moved], Ledger()) == ()
    assert len(cases_for(de, [moved], told(opened))) == 1


# --- gates ---


def silence(**match: str) -> Silence:
    return Silence("s", match, "known", "me", T0, T0 + 6 * TEN)


def test_a_silence_holds_back_and_swallows_what_is_over() -> None:
    gates = Gates(NOW, [silence(atlas_site="S")])
    opened = news(incident(), atlas_site="S")
    held = planned(opened, gates=gates)
    assert (held.batches, held.held) == ((), {opened.name})
    assert says(planned(opened, ledger=Ledger(held=held.held), gates=replace(gates, now=NOW + 3600))) == [[OPENED]]
    assert planned(opened, news(closed(incident()), 2, atlas_site="S"), gates=gates).dropped


def test_a_silence_of_some_queues_does_not_silence_their_group() -> None:
    made = replace(news(group(2)), records={"Q00": {"atlas_site": "S"}, "Q01": {"atlas_site": "T"}})
    assert says(planned(made, gates=Gates(NOW, [silence(atlas_site="S")]))) == [[OPENED]]
    assert planned(trouble(), gates=Gates(NOW, [silence(trouble="frozen")])).batches == ()


@pytest.mark.parametrize(
    ("hour", "quiet"), [(21, False), (22, True), (23, True), (0, True), (5, True), (6, False), (12, False)]
)
def test_quiet_hours_go_over_midnight_by_the_clock_of_people(hour: int, quiet: bool) -> None:
    zone = ZoneInfo("Europe/Zurich")
    held = Quiet(time(22), time(6), zone)
    at = datetime(2026, 7, 1, hour, 30, tzinfo=zone).astimezone(UTC)
    assert held.holds(news(incident()), at) == quiet
    assert not held.holds(news(incident(score=8.0)), at)
    assert not Quiet().holds(news(incident()), at)


def test_after_the_quiet_hours_comes_one_digest() -> None:
    night = Gates(NOW, quiet=Quiet(time(3), time(5)))
    waiting = [news(incident(f"Q{i}")) for i in range(4)]
    held = planned(*waiting, gates=night)
    assert held.batches == ()
    morning = replace(night, now=NOW + 2 * 3600)
    made = planned(*waiting, news(incident("new"), 20), ledger=Ledger(held=held.held), gates=morning)
    assert [len(batch) for batch in made.batches] == [4, 1]
    assert to_message(made.batches[0], "").title == "[qad] 4 incidents: 4 going on, 0 over"


def test_the_cap_leaves_the_last_message_of_the_hour_for_a_digest_of_the_rest() -> None:
    waiting = [news(incident(f"Q{i}", score=4.0 + i)) for i in range(9)]
    made = planned(*waiting, gates=Gates(NOW, per_hour=3))
    assert [len(batch) for batch in made.batches] == [1, 1, 7]
    assert made.batches[0][0].newest.incident.value == "Q8"  # the highest score first
    full = Ledger(sent=(NOW - 3000, NOW - 2000, NOW - 1000))
    held = planned(*waiting, ledger=full, gates=Gates(NOW, per_hour=3))
    assert (held.batches, len(held.held)) == ((), 9)
    later = planned(*waiting, ledger=replace(full, held=held.held), gates=Gates(NOW + 700, per_hour=3))
    assert [len(batch) for batch in later.batches] == [9]
    assert len(planned(*waiting).batches) == 9


def test_a_clock_that_was_set_back_does_not_close_the_cap() -> None:
    ledger = Ledger(sent=(NOW + 3000, NOW + 3100))
    assert len(planned(news(incident()), ledger=ledger, gates=Gates(NOW, per_hour=1)).batches) == 1


# --- silences in their file ---


def test_silences_are_kept_with_reason_and_end(tmp_path: Path) -> None:
    kept = Silences(tmp_path / "state" / "silences.json")
    assert kept.read() == ()
    made = kept.add({"atlas_site": "S"}, "new storage", "ada", T0, T0 + 6 * TEN)
    assert kept.read() == (made,)
    assert made.covers(news(incident(), atlas_site="S"), T0 + TEN)
    assert not made.covers(news(incident(), atlas_site="S"), T0 + 6 * TEN)
    ended = kept.expire(made.id, T0 + 2 * TEN)
    assert kept.read() == (ended,)
    assert not ended.covers(news(incident(), atlas_site="S"), T0 + 2 * TEN)
    with pytest.raises(ConfigError, match="in force: none"):
        kept.expire(made.id, T0 + 3 * TEN)
    kept.add({"cloud": "DE"}, "later", "ada", T0 + np.timedelta64(40, "D"), T0 + np.timedelta64(41, "D"))
    assert [s.match for s in kept.read()] == [{"cloud": "DE"}]


@pytest.mark.parametrize(
    ("match", "reason", "end", "said"),
    [({}, "r", 6, "everything"), ({"a": "b"}, " ", 6, "reason"), ({"a": "b"}, "r", 0, "not after now")],
)
def test_silences_that_are_refused(tmp_path: Path, match: dict[str, str], reason: str, end: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Silences(tmp_path / "s.json").add(match, reason, "ada", T0, T0 + end * TEN)


def test_a_damaged_file_of_silences_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('[{"id": 1}]')
    with pytest.raises(StoreError, match=r"s\.json: is damaged"):
        Silences(tmp_path / "s.json").read()
