"""Events and labels: what is accepted, what is refused, and what follows from what."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qad_dl.errors import InputError
from qad_dl.labels import (
    IncidentTarget,
    Span,
    event_of,
    format_events,
    label_mask,
    labels_of,
    parse_events,
    spans_of,
)
from qad_dl.labels.cover import incident_of
from qad_dl.labels.exchange import decode
from qad_dl.metadata import Metadata
from qad_dl.schema import INCIDENT_KINDS, Tick
from tests.light.made_labels import GROUP, INCIDENT, QUEUE, new_id, put, undo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qad_dl.labels import Event, Label

METADATA = Metadata.single({q: {"cloud": "DE" if i % 2 else "FR"} for i, q in enumerate(("Q0", "Q1", "Q2", "Q3"))})


def events(*data: dict[str, Any]) -> list[Event]:
    return [event_of(item, "event") for item in data]


def label(*data: dict[str, Any]) -> Label:
    (found,) = labels_of(events(*data)).every
    return found


@pytest.mark.parametrize("target", [QUEUE, GROUP, INCIDENT, {**INCIDENT, "field": None, "value": None}])
def test_what_is_said_comes_back(target: dict[str, Any]) -> None:
    for data in (put(target), put(target, kind=None, comment="über\nzwei\tZeilen"), undo(new_id())):
        (event,) = events(data)
        assert event.to_json() == data
        assert parse_events(format_events([event]), "file") == [event]


def test_what_may_be_left_out() -> None:
    data = put()
    del data["kind"], data["comment"]
    (event,) = events(data)
    assert (event.kind, event.comment) == (None, "")


def test_times_of_other_zones_and_blanks_are_brought_into_one_form() -> None:
    (event,) = events(put({**QUEUE, "start": "2026-01-05T01:00+01:00"}, author="  ada ", comment=" a\r\nb \n"))
    assert event.to_json()["target"] == QUEUE
    assert (event.author, event.comment) == ("ada", "a\nb")


SURROGATE = "\ud800"
WRONG: Sequence[tuple[dict[str, Any], str]] = [
    (put(id="x"), "id: 'x' is no UUID"),
    (put(id=new_id().upper()), "is no UUID in lower case"),
    (put(id=None), "id: must be a text"),
    (put(label="../../etc/passwd"), "label: '../../etc/passwd' is no UUID"),
    (put(op="delete"), "op: 'delete' is not one of put, undo"),
    (put(op=["put"]), "op: 'list' is not one of"),
    (put(word="fine"), "word: 'fine' is not one of problem, expected, unsure"),
    (put(word=True), "word: True is not one of"),
    (put(kind="meteor"), "kind: 'meteor' is not one of site_down"),
    (put(kind=""), "kind: '' is not one of"),
    (put(author=""), "author: is empty"),
    (put(author=" \t "), "author: is empty"),
    (put(author="a\nb"), "author: 'a\\nb' holds characters that cannot be shown"),
    (put(author="a\u202eb"), "holds characters that cannot be shown"),
    (put(author="a" * 201), "author: has 201 characters; 200 are allowed"),
    (put(author=7), "author: must be a text"),
    (put(comment="a\x00b"), "comment: holds control characters"),
    (put(comment="a\x1b[31m"), "comment: holds control characters"),
    (put(comment=SURROGATE), "comment: holds half a character"),
    (put(comment="x" * 4001), "comment: has 4,001 characters"),
    (put(comment=None), "comment: must be a text"),
    (put(time="2026-01-05"), "time: '2026-01-05' is no ISO 8601 time with a zone"),
    (put(time="2026-01-05T00:00:00"), "is no ISO 8601 time with a zone"),
    (put(time="2026-13-05T00:00:00Z"), "is no ISO 8601 time"),
    (put(time="0001-01-01T00:00:00+14:00"), "is no ISO 8601 time"),
    (put(time="9999-01-01T00:00:00Z"), "is no ISO 8601 time"),
    (put(time=1767571200), "time: must be a text"),
    (put(colour="red"), "'colour' is not known; the keys are id, op"),
    ({k: v for k, v in put().items() if k != "word"}, "word is missing"),
    ({k: v for k, v in put().items() if k != "target"}, "target is missing"),
    ({**undo(new_id()), "word": "problem"}, "'word' is not known"),
    (put(target={}), "target.type: None is not one of"),
    (put({"type": "site"}), "target.type: 'site' is not one of incident, queue, group"),
    (put({**QUEUE, "panda_queue": ""}), "target.panda_queue: is empty"),
    (put({**QUEUE, "panda_queue": ["Q1"]}), "target.panda_queue: must be a text"),
    (put({**QUEUE, "end": QUEUE["start"]}), "target.end: 2026-01-05T00:00:00Z is not after the start"),
    (put({**QUEUE, "end": None}), "target.end: must be a text"),
    (put({**QUEUE, "queues": []}), "target: 'queues' is not known"),
    (put({**GROUP, "value": "x" * 501}), "target.value: has 501 characters"),
    (put({**INCIDENT, "queues": []}), "target.queues: must be a list of 1 to 5,000 names"),
    (put({**INCIDENT, "queues": "Q1"}), "target.queues: must be a list"),
    (put({**INCIDENT, "queues": ["Q"] * 5001}), "target.queues: must be a list of 1 to 5,000 names"),
    (put({**INCIDENT, "queues": [1]}), "target.queues: must be a text"),
    (put({**INCIDENT, "value": None}), "field and value go together"),
]


@pytest.mark.parametrize(("data", "said"), WRONG, ids=[said[:40] for _, said in WRONG])
def test_one_line_for_what_is_not_as_it_should_be(data: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        event_of(data, "body")
    assert str(caught.value).startswith("body: ")
    assert said in str(caught.value)
    assert str(caught.value).isascii()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("data", [None, [], "put", 7, [put()]])
def test_what_is_no_object_is_no_event(data: Any) -> None:
    with pytest.raises(InputError, match="must be a JSON object"):
        event_of(data, "body")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": 1, "a": 2}', "a key is there twice"),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"[" * 100_000, "is no JSON"),
        (b"{", "is no JSON"),
        (b"", "is no JSON"),
    ],
)
def test_nothing_is_left_to_interpretation(content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        decode(content, "body")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "is no file of labels"),
        ({"format": "other", "version": 1, "events": []}, "is no file of labels"),
        ({"format": "qad-labels", "version": 2, "events": []}, "has version '2'"),
        ({"format": "qad-labels", "version": 1, "events": {}}, "must have the keys"),
        ({"format": "qad-labels", "version": 1, "events": [], "more": 1}, "must have the keys"),
        ({"format": "qad-labels", "version": 1, "events": [put(), put(word="x")]}, "file: event 2: word: 'x'"),
    ],
)
def test_a_file_that_is_refused(data: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_events(json.dumps(data).encode(), "file")


# --- labels ---


def test_the_newest_word_is_in_force_and_history_is_kept() -> None:
    first = put()
    second = {**first, "id": new_id(), "word": "expected", "time": "2026-01-05T12:30:00.000Z"}
    found = label(first, second)
    assert (found.word, found.author, found.in_force) == ("expected", "ada", True)
    assert found.to_json() == {**second, "history": [first, second]}
    back = undo(first["label"])
    assert not label(first, second, back).in_force
    again = {**first, "id": new_id(), "time": "2026-01-05T14:00:00.000Z"}
    assert label(first, second, back, again).in_force
    assert labels_of(events(first, second, back)).to_json() == {"version": 3, "labels": []}


def test_two_reviewers_of_one_thing_make_two_labels() -> None:
    found = labels_of(events(put(), put(author="bob", word="expected"))).in_force
    assert {(item.author, item.word) for item in found} == {("ada", "problem"), ("bob", "expected")}
    assert len(found) == 2


@given(st.data())
def test_the_order_in_which_events_come_in_does_not_matter(data: st.DataObject) -> None:
    names = [new_id() for _ in range(3)]
    said: list[dict[str, Any]] = [put(label=name) for name in names]
    for _ in range(data.draw(st.integers(0, 8))):
        name = data.draw(st.sampled_from(names))
        time = f"2026-01-05T12:00:00.{data.draw(st.integers(0, 3)):03d}Z"
        word = data.draw(st.sampled_from(["problem", "expected", "unsure", "undo"]))
        said.append(undo(name, time=time) if word == "undo" else put(label=name, word=word, time=time))
    all_of_them = events(*said)
    shuffled = data.draw(st.permutations(all_of_them + all_of_them[:2]))
    assert labels_of(shuffled) == labels_of(all_of_them)


# --- what a label covers ---


def test_a_queue_and_a_group_cover_their_ticks() -> None:
    tick = Tick()
    times = tick.range(np.datetime64("2026-01-04T23:00", "s"), np.datetime64("2026-01-05T07:00", "s"))
    mask = label_mask([label(put())], METADATA, ("Q0", "Q1", "Q1"), times)
    inside = (times >= np.datetime64("2026-01-05T00:00")) & (times < np.datetime64("2026-01-05T06:00"))
    assert inside.sum() == 36
    np.testing.assert_array_equal(mask, [np.zeros_like(inside), inside, inside])
    group = label(put(GROUP))
    assert {span.panda_queue for span in spans_of(group, METADATA)} == {"Q1", "Q3"}
    assert label_mask([group], METADATA, ("Q0", "Q3"), times).sum(axis=1).tolist() == [0, 42]


def test_an_incident_that_went_on_is_covered_up_to_when_it_was_labelled() -> None:
    found = label(put(INCIDENT))
    start, said = np.datetime64("2026-01-05T00:00", "s"), np.datetime64("2026-01-05T12:00", "s")
    assert spans_of(found, METADATA) == (Span("Q1", start, said), Span("Q3", start, said))
    ended = np.datetime64("2026-01-05T18:00", "s")
    assert spans_of(found, METADATA, {INCIDENT["incident"]: ended})[0].end == ended
    assert isinstance(found.target, IncidentTarget)
    assert spans_of(label(put(INCIDENT, time="2026-01-04T00:00:00.000Z")), METADATA) == ()


def test_a_group_by_a_field_that_nobody_has_is_refused() -> None:
    with pytest.raises(InputError, match="field 'planet' is in no metadata record"):
        spans_of(label(put({**GROUP, "field": "planet"})), METADATA)


def test_labels_are_incidents_of_the_file_format() -> None:
    for target in (QUEUE, GROUP, INCIDENT):
        for kind in (*INCIDENT_KINDS, None):
            made = incident_of(label(put(target, kind=kind)))
            assert made is not None
            assert made.kind == (kind or "other")
