"""From events to labels: what is in force, what was, and what may happen next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qad_dl.errors import InputError
from qad_dl.labels.event import PUT, UNDO, Event, Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class ConflictError(InputError):
    """What is asked for does not go with the labels that there are."""


@dataclass(frozen=True)
class Label:
    """One reviewer's word on one thing.

    Attributes:
        newest: the newest `PUT`.
        target: what it is on.
        history: all its events, oldest first.
    """

    newest: Event
    target: Target
    history: tuple[Event, ...]

    @property
    def id(self) -> str:
        """Its name."""
        return self.newest.label

    @property
    def author(self) -> str:
        """Whose it is: who made it."""
        return self.history[0].author

    @property
    def word(self) -> str:
        """`problem`, `expected` or `unsure`."""
        return self.newest.word or ""

    @property
    def kind(self) -> str | None:
        """The kind of incident; None where it is not said."""
        return self.newest.kind

    @property
    def in_force(self) -> bool:
        """Whether it has not been taken back."""
        return self.history[-1].op == PUT

    def to_json(self) -> dict[str, Any]:
        """The newest event, with the history."""
        return {**self.newest.to_json(), "history": [event.to_json() for event in self.history]}


@dataclass(frozen=True)
class Labels:
    """All labels at one moment.

    Attributes:
        version: how many events there have been; it only grows.
        every: all labels, those taken back too, in the order in which they were made.
    """

    version: int
    every: tuple[Label, ...]

    @property
    def in_force(self) -> tuple[Label, ...]:
        """Those that have not been taken back."""
        return tuple(label for label in self.every if label.in_force)

    def to_json(self) -> dict[str, Any]:
        """What `GET /labels.json` answers."""
        return {"version": self.version, "labels": [label.to_json() for label in self.in_force]}


def labels_of(events: Iterable[Event]) -> Labels:
    """The labels that follow from events; their order does not matter, and an event that is there twice counts once."""
    known = {event.id: event for event in events}
    return Labels(len(known), tuple(sorted(map(label_of, by_label(known.values()).values()), key=_made)))


def by_label(events: Iterable[Event]) -> dict[str, list[Event]]:
    """The events of each label."""
    found: dict[str, list[Event]] = {}
    for event in events:
        found.setdefault(event.label, []).append(event)
    return found


def label_of(events: Sequence[Event]) -> Label:
    """The label of its events, of which one at least is a `PUT`."""
    history = tuple(sorted(events, key=age_of))
    newest, target = next((e, e.target) for e in reversed(history) if e.target is not None)
    return Label(newest, target, history)


def judge(event: Event, known: Mapping[str, Event], of_label: Sequence[Event]) -> Event | None:
    """Whether an event that comes in now may happen.

    Args:
        event: it.
        known: all events by id.
        of_label: those of its label.

    Returns:
        The event as it happened before, where it has; else None.

    Raises:
        ConflictError: its id was used for something else, the label is another's, or there is nothing to take back.
    """
    before = known.get(event.id)
    if before is not None:
        if before.content != event.content:
            msg = f"event {event.id}: the id was used for something else; each event needs one of its own"
            raise ConflictError(msg)
        return before
    label = label_of(of_label) if of_label else None
    if label is not None and label.author != event.author:
        msg = f"label {event.label}: is {label.author}'s, which {event.author} cannot change; make one of your own"
        raise ConflictError(msg)
    if event.op == UNDO and (label is None or not label.in_force):
        msg = f"label {event.label}: {'there is none' if label is None else 'was taken back already'}; nothing to undo"
        raise ConflictError(msg)
    return None


def after(event: Event, of_label: Sequence[Event]) -> Event:
    """The event at a time after all others of its label: a clock that was set back loses nobody's newest word."""
    newest = max((e.time for e in of_label), default=None)
    if newest is None or event.time > newest:
        return event
    return replace(event, time=newest + np.timedelta64(1, "ms"))


def age_of(event: Event) -> tuple[np.datetime64, bool, str]:
    """The order of events, the same for everybody."""
    return event.time, event.op == UNDO, event.id


def _made(label: Label) -> tuple[np.datetime64, bool, str]:
    return age_of(label.history[0])
