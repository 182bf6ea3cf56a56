"""One thing that happened to a label, as it is sent, kept and exchanged; what is not as it should be is refused.

In JSON:
```
EVENT   {"id": UUID, "op": "put", "label": UUID, "target": TARGET, "word": "problem"|"expected"|"unsure",
         "kind": KIND|null, "comment": TEXT, "author": NAME, "time": T}
        {"id": UUID, "op": "undo", "label": UUID, "author": NAME, "time": T}
TARGET  {"type": "incident", "incident": ID, "field": F|null, "value": V|null, "queues": [Q...],
         "start": T, "end": T|null}
        {"type": "queue", "panda_queue": Q, "start": T, "end": T}
        {"type": "group", "field": F, "value": V, "start": T, "end": T}
```
`put` makes a label or changes one's own; `undo` takes it back as a whole, and another `put` brings it back. T is ISO
8601 with its zone. Ranges are [start, end); an incident without an end went on when it was labelled.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

import numpy as np

from qad_dl.errors import InputError
from qad_dl.schema import INCIDENT_KINDS
from qad_dl.timeparse import format_time

if TYPE_CHECKING:
    from collections.abc import Mapping

PROBLEM, EXPECTED, UNSURE = "problem", "expected", "unsure"
WORDS: Final = (PROBLEM, EXPECTED, UNSURE)

PUT, UNDO = "put", "undo"

LONGEST_NAME: Final = 500
"""Characters of the name of a queue, field, value or incident."""

LONGEST_AUTHOR: Final = 200

LONGEST_COMMENT: Final = 4000

MOST_QUEUES: Final = 5000
"""Queues of one incident; ATLAS has some 1,000."""

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)")
_YEARS: Final = (1970, 2200)
_EVENT_KEYS: Final = {
    PUT: ("id", "op", "label", "target", "word", "kind", "comment", "author", "time"),
    UNDO: ("id", "op", "label", "author", "time"),
}


@dataclass(frozen=True)
class IncidentTarget:
    """An incident, as it was when it was labelled.

    Attributes:
        incident: its id.
        field, value: what its queues share; None where it is one queue.
        queues: its queues by name, sorted.
        start, end: its range, UTC `datetime64[s]`; the end is None where it went on.
    """

    type: ClassVar[str] = "incident"
    incident: str
    field: str | None
    value: str | None
    queues: tuple[str, ...]
    start: np.datetime64
    end: np.datetime64 | None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "type": self.type,
            "incident": self.incident,
            "field": self.field,
            "value": self.value,
            "queues": list(self.queues),
            "start": format_time(self.start),
            "end": None if self.end is None else format_time(self.end),
        }


@dataclass(frozen=True)
class QueueTarget:
    """A queue over [start, end), UTC `datetime64[s]`."""

    type: ClassVar[str] = "queue"
    panda_queue: str
    start: np.datetime64
    end: np.datetime64

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        times = {"start": format_time(self.start), "end": format_time(self.end)}
        return {"type": self.type, "panda_queue": self.panda_queue, **times}


@dataclass(frozen=True)
class GroupTarget:
    """All queues whose metadata have `field` = `value` at the start of [start, end), UTC `datetime64[s]`."""

    type: ClassVar[str] = "group"
    field: str
    value: str
    start: np.datetime64
    end: np.datetime64

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        times = {"start": format_time(self.start), "end": format_time(self.end)}
        return {"type": self.type, "field": self.field, "value": self.value, **times}


Target: TypeAlias = IncidentTarget | QueueTarget | GroupTarget


@dataclass(frozen=True)
class Event:
    """One thing that happened to a label.

    Attributes:
        id: its name, made by whoever says it; said twice, it is done once.
        op: `PUT` or `UNDO`.
        label: the label's name.
        author: who says it.
        time: when, UTC `datetime64[ms]`.
        target: what is labelled; None for `UNDO`, as all that follows.
        word: one of `WORDS`.
        kind: one of `schema.INCIDENT_KINDS`; None where it is not said.
        comment: free text, '' where there is none.
    """

    id: str
    op: str
    label: str
    author: str
    time: np.datetime64
    target: Target | None = None
    word: str | None = None
    kind: str | None = None
    comment: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; `event_of` reads the same event back."""
        said: dict[str, Any] = {"id": self.id, "op": self.op, "label": self.label}
        if self.target is not None:
            said |= {"target": self.target.to_json(), "word": self.word, "kind": self.kind, "comment": self.comment}
        return {**said, "author": self.author, "time": f"{self.time.astype('datetime64[ms]')}Z"}

    @property
    def content(self) -> tuple[object, ...]:
        """What is said, without who said it when: a live server knows these two better than a page."""
        return self.id, self.op, self.label, self.target, self.word, self.kind, self.comment


def event_of(data: Any, where: str) -> Event:
    """Read an event from plain JSON values.

    Args:
        data: what was decoded.
        where: names it in an error.

    Raises:
        InputError: one line with the key and what is wrong with it.
    """
    fields = _object(data, where)
    op = _one_of(fields.get("op"), tuple(_EVENT_KEYS), f"{where}: op")
    _keys(fields, _EVENT_KEYS[op], () if op == UNDO else ("kind", "comment"), where)
    said: dict[str, Any] = {}
    if op == PUT:
        kind = fields.get("kind")
        said = {
            "target": target_of(fields["target"], f"{where}: target"),
            "word": _one_of(fields["word"], WORDS, f"{where}: word"),
            "kind": None if kind is None else _one_of(kind, INCIDENT_KINDS, f"{where}: kind"),
            "comment": comment_of(fields.get("comment", ""), f"{where}: comment"),
        }
    return Event(
        id=uuid_of(fields["id"], f"{where}: id"),
        op=op,
        label=uuid_of(fields["label"], f"{where}: label"),
        author=author_of(fields["author"], f"{where}: author"),
        time=moment_of(fields["time"], f"{where}: time"),
        **said,
    )


def target_of(data: Any, where: str) -> Target:
    """Read what is labelled; raises as `event_of`."""
    fields = _object(data, where)
    kind = _one_of(fields.get("type"), tuple(_TARGETS), f"{where}.type")
    needed, free = _TARGETS[kind]
    _keys(fields, ("type", *needed, *free), free, where)
    start = time_of(fields["start"], f"{where}.start")
    if kind == "incident":
        return _incident_of(fields, where, start)
    end = _end_of(fields["end"], where, start)
    if kind == "queue":
        return QueueTarget(name_of(fields["panda_queue"], f"{where}.panda_queue"), start, end)
    return GroupTarget(
        name_of(fields["field"], f"{where}.field"), name_of(fields["value"], f"{where}.value"), start, end
    )


_TARGETS: Final = {
    "incident": (("incident", "queues", "start"), ("field", "value", "end")),
    "queue": (("panda_queue", "start", "end"), ()),
    "group": (("field", "value", "start", "end"), ()),
}


def _incident_of(fields: Mapping[str, Any], where: str, start: np.datetime64) -> IncidentTarget:
    queues = fields["queues"]
    if not isinstance(queues, list) or not 0 < len(queues) <= MOST_QUEUES:
        msg = f"{where}.queues: must be a list of 1 to {MOST_QUEUES:,} names"
        raise InputError(msg)
    names = tuple(sorted({name_of(queue, f"{where}.queues") for queue in queues}))
    field, value = (fields.get(name) for name in ("field", "value"))
    if (field is None) != (value is None):
        msg = f"{where}: field and value go together; give both or none"
        raise InputError(msg)
    return IncidentTarget(
        incident=name_of(fields["incident"], f"{where}.incident"),
        field=None if field is None else name_of(field, f"{where}.field"),
        value=None if value is None else name_of(value, f"{where}.value"),
        queues=names,
        start=start,
        end=None if fields.get("end") is None else _end_of(fields["end"], where, start),
    )


def _end_of(value: Any, where: str, start: np.datetime64) -> np.datetime64:
    end = time_of(value, f"{where}.end")
    if end <= start:
        msg = f"{where}.end: {format_time(end)} is not after the start, {format_time(start)}"
        raise InputError(msg)
    return end


def uuid_of(value: Any, where: str) -> str:
    """A UUID as pages make them; raises as `event_of`."""
    text = _text(value, where, 36)
    if not _UUID.fullmatch(text):
        msg = f"{where}: {_shown(text)} is no UUID in lower case"
        raise InputError(msg)
    return text


def name_of(value: Any, where: str, longest: int = LONGEST_NAME) -> str:
    """The name of something; it may hold any characters. Raises as `event_of`."""
    text = _text(value, where, longest)
    if not text.strip():
        msg = f"{where}: is empty"
        raise InputError(msg)
    return text


def author_of(value: Any, where: str) -> str:
    """The name of a person, without blanks around it; raises as `event_of`."""
    text = unicodedata.normalize("NFC", name_of(value, where, LONGEST_AUTHOR).strip())
    if not text.isprintable():
        msg = f"{where}: {_shown(text)} holds characters that cannot be shown"
        raise InputError(msg)
    return text


def comment_of(value: Any, where: str) -> str:
    """Free text; raises as `event_of`."""
    text = _text(value, where, LONGEST_COMMENT).replace("\r\n", "\n").strip()
    if any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in text):
        msg = f"{where}: holds control characters"
        raise InputError(msg)
    return text


def time_of(value: Any, where: str) -> np.datetime64:
    """A time to the second, UTC `datetime64[s]`; raises as `event_of`."""
    time: np.datetime64 = moment_of(value, where).astype("datetime64[s]")
    return time


def moment_of(value: Any, where: str) -> np.datetime64:
    """A time to the millisecond, UTC `datetime64[ms]`; raises as `event_of`."""
    text = _text(value, where, 40)
    try:
        parsed = datetime.fromisoformat(text).astimezone(UTC) if _TIME.fullmatch(text) else None
    except (ValueError, OverflowError):
        parsed = None
    if parsed is None or not _YEARS[0] <= parsed.year < _YEARS[1]:
        msg = f"{where}: {_shown(text)} is no ISO 8601 time with a zone; write it like 2026-11-23T03:40:00Z"
        raise InputError(msg)
    return np.datetime64(parsed.replace(tzinfo=None), "ms")


def _object(data: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        msg = f"{where}: must be a JSON object"
        raise InputError(msg)
    return data


def _keys(fields: Mapping[str, Any], known: tuple[str, ...], free: tuple[str, ...], where: str) -> None:
    """All keys are known, and all that are not free are there."""
    for key in fields:
        if key not in known:
            msg = f"{where}: {_shown(key)} is not known; the keys are {', '.join(known)}"
            raise InputError(msg)
    for key in known:
        if key not in fields and key not in free:
            msg = f"{where}: {key} is missing"
            raise InputError(msg)


def _one_of(value: Any, allowed: tuple[str, ...], where: str) -> str:
    if not isinstance(value, str) or value not in allowed:
        msg = f"{where}: {_shown(value)} is not one of {', '.join(allowed)}"
        raise InputError(msg)
    return value


def _text(value: Any, where: str, longest: int) -> str:
    if not isinstance(value, str):
        msg = f"{where}: must be a text"
        raise InputError(msg)
    if len(value) > longest:
        msg = f"{where}: has {len(value):,} characters; {longest:,} are allowed"
        raise InputError(msg)
    if any("\ud800" <= c <= "\udfff" for c in value):
        msg = f"{where}: holds half a character (a lone surrogate)"
        raise InputError(msg)
    return value


def _shown(value: Any) -> str:
    """A value in an error: short, in one line, and ASCII."""
    return ascii(value if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__)[:60]
