"""Labels that reviewers exported, as far as figures need them: what was a problem, and what counts for nothing.

The file is `{"format": "qad-labels", "version": 1, "events": [...]}`; of each label its newest event holds, unless it
was undone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from qad_dl.downtimes import Downtime
from qad_dl.errors import InputError, QadError
from qad_dl.incidents_file import Incident, hit_queues
from qad_dl.timeparse import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

    from qad_dl.metadata import Metadata

FORMAT: Final = "qad-labels"
PROBLEM: Final = "problem"
OTHER: Final = "other"


@dataclass(frozen=True)
class Labelled:
    """What labels say.

    Attributes:
        incidents: what was a problem.
        aside: time of queues that was expected, or of which nobody is sure.
    """

    incidents: tuple[Incident, ...]
    aside: tuple[Downtime, ...]


def read_labelled(path: Path, metadata: Metadata, end: np.datetime64) -> Labelled:
    """Read the labels in force.

    Args:
        path: the exported file.
        metadata: what groups are looked up in.
        end: of what has no end yet.

    Raises:
        InputError: one line, which event and what is wrong with it.
    """
    incidents: list[Incident] = []
    aside: list[Downtime] = []
    for event in _in_force(_events(path)):
        try:
            target = event["target"]
            start = parse_time(target["start"])
            until = end if target.get("end") is None else parse_time(target["end"])
            field = target.get("field") or "panda_queue"
            value = target.get("value") or target.get("panda_queue") or ""
            queues = tuple(sorted(target.get("queues") or ()))
            made = Incident(event["label"], event.get("kind") or OTHER, field, value, start, until, queues=queues)
            if until <= start:
                continue
            if event["word"] == PROBLEM:
                incidents.append(made)
            else:
                aside += [Downtime(queue, start, until, event["word"]) for queue in hit_queues(made, metadata)]
        except (KeyError, TypeError, AttributeError, QadError) as error:
            msg = f"{path}: label {event.get('label')!r}: {error!r}; export the labels again"
            raise InputError(msg) from error
    return Labelled(tuple(incidents), tuple(aside))


def _events(path: Path) -> list[dict[str, Any]]:
    try:
        document = json.loads(path.read_bytes())
        if document["format"] == FORMAT and document["version"] == 1:
            return [event for event in document["events"] if "label" in event and "time" in event]
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path}: cannot be read as exported labels ({' '.join(str(error).split())[:120]})"
        raise InputError(msg) from error
    msg = f"{path}: is not of the format {FORMAT}, version 1; export the labels with this version"
    raise InputError(msg)


def _in_force(events: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The newest event of each label, of those that were not undone."""
    newest = {str(event["label"]): event for event in sorted(events, key=lambda event: str(event["time"]))}
    yield from (event for event in newest.values() if event.get("op") == "put")
