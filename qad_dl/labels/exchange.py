"""Labels as a file, from a page without a server or for another one.

`{"format": "qad-labels", "version": 1, "events": [EVENT...]}`
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from qad_dl.errors import InputError
from qad_dl.labels.event import Event, event_of

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT: Final = "qad-labels"
VERSION: Final = 1


def parse_events(content: bytes, where: str) -> list[Event]:
    """The events of an exported file, in its order.

    Raises:
        InputError: it is no such file, or one of its events is refused; one line that says which and why.
    """
    data = decode(content, where)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        msg = f"{where}: is no file of labels; it must be an object with the format {FORMAT!r}"
        raise InputError(msg)
    if data.get("version") != VERSION:
        msg = f"{where}: has version {str(data.get('version'))[:20]!r} of the format; this program reads {VERSION}"
        raise InputError(msg)
    events = data.get("events")
    if not isinstance(events, list) or data.keys() != {"format", "version", "events"}:
        msg = f"{where}: must have the keys format, version and events, a list"
        raise InputError(msg)
    return [event_of(event, f"{where}: event {number}") for number, event in enumerate(events, 1)]


def format_events(events: Iterable[Event]) -> bytes:
    """The file of events; `parse_events` reads them back."""
    data = {"format": FORMAT, "version": VERSION, "events": [event.to_json() for event in events]}
    return json.dumps(data, ensure_ascii=False, indent=1).encode() + b"\n"


def decode(content: bytes, where: str) -> Any:
    """Decode JSON of which nothing is left to interpretation: UTF-8, no key twice, no NaN.

    Raises:
        InputError: it is something else.
    """
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        msg = f"{where}: is not UTF-8 (byte {error.start + 1})"
        raise InputError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{where}: is no JSON ({' '.join(str(error).split())[:120] or 'nested too deeply'})"
        raise InputError(msg) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_constant(name: str) -> Any:
    msg = f"{name} is no JSON"
    raise ValueError(msg)
