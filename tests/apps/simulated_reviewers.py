"""Reviewers who label the incidents of a simulated grid as people do: most of them, from about when to about when."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.incidents_file import hit_queues
from qad_dl.labels import PROBLEM, PUT, Event, IncidentTarget, LabelLog

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qad_dl.incidents_file import Incident
    from qad_dl.metadata import Metadata

AUTHORS = ("ada", "grace", "emmy")
MISSED = 0.1
EARLY, LATE = -20, 30
"""Minutes by which a label begins or ends before or after what it is on, at most."""


def label_incidents(
    path: Path, incidents: Sequence[Incident], metadata: Metadata, seed: int, missed: float = MISSED
) -> int:
    """Write labels of incidents into a file of labels; how many of them somebody has labelled."""
    rng = np.random.default_rng([seed, 20])
    log, count = LabelLog(path), 0
    for incident in incidents:
        draws = rng.random(2), rng.integers(EARLY, LATE + 1, 2), rng.bytes(32)
        (miss, who), edges, ids = draws
        if miss < missed:
            continue
        start, end = (
            t + np.timedelta64(int(m), "m") for t, m in zip((incident.start, incident.end), edges, strict=True)
        )
        end = max(end, start + np.timedelta64(10, "m"))
        queues = tuple(sorted(hit_queues(incident, metadata)))
        target = IncidentTarget(incident.incident, incident.field or None, incident.value or None, queues, start, end)
        log.add(_event(target, incident.kind, AUTHORS[int(who * len(AUTHORS))], ids))
        count += 1
    return count


def _event(target: IncidentTarget, kind: str, author: str, ids: bytes) -> Event:
    """Said an hour after it was over."""
    assert target.end is not None
    return Event(
        id=str(uuid.UUID(bytes=ids[:16], version=4)),
        op=PUT,
        label=str(uuid.UUID(bytes=ids[16:], version=4)),
        author=author,
        time=(target.end + np.timedelta64(1, "h")).astype("datetime64[ms]"),
        target=target,
        word=PROBLEM,
        kind=kind,
    )
