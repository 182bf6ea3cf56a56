"""Events of labels for tests."""

from __future__ import annotations

import uuid
from typing import Any

QUEUE = {"type": "queue", "panda_queue": "Q1", "start": "2026-01-05T00:00:00Z", "end": "2026-01-05T06:00:00Z"}
GROUP = {
    "type": "group",
    "field": "cloud",
    "value": "DE",
    "start": "2026-01-05T00:00:00Z",
    "end": "2026-01-06T00:00:00Z",
}
INCIDENT = {
    "type": "incident",
    "incident": "20260105T0000-ab12",
    "field": "cloud",
    "value": "DE",
    "queues": ["Q1", "Q3"],
    "start": "2026-01-05T00:00:00Z",
    "end": None,
}


def new_id() -> str:
    return str(uuid.uuid4())


def put(target: dict[str, Any] = QUEUE, **changes: Any) -> dict[str, Any]:
    """A `put` of ada's as JSON, with other keys where they are given."""
    event = {
        "id": new_id(),
        "op": "put",
        "label": new_id(),
        "target": dict(target),
        "word": "problem",
        "kind": "site_down",
        "comment": "down since midnight",
        "author": "ada",
        "time": "2026-01-05T12:00:00.000Z",
    }
    return {**event, **changes}


def undo(label: str, **changes: Any) -> dict[str, Any]:
    """An `undo` of ada's as JSON."""
    event = {"id": new_id(), "op": "undo", "label": label, "author": "ada", "time": "2026-01-05T13:00:00.000Z"}
    return {**event, **changes}
