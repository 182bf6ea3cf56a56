"""The places of followed incidents in the order that reviewers taught."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qad_dl.incident_log import series_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qad_dl.followed import Followed
    from qad_dl.results import Results
    from qad_dl.tuning.features import Sight
    from qad_dl.tuning.file import Tune
    from qad_dl.tuning.order import Placing


def places_of(incidents: Sequence[Followed], results: Results, tune: Tune | None) -> list[Placing | None]:
    """The place of each incident as far as results show it; None where nothing orders, or they do not show it.

    Args:
        incidents: at the last tick of `results`, or before.
        results: of up to a week, tuned.
        tune: for the bundle that scored them.
    """
    found: list[Placing | None] = [None] * len(incidents)
    if tune is None or tune.order is None or not incidents:
        return found
    from qad_dl.tuning.order import placings

    rows: dict[str, list[int]] = {}
    for i, name in enumerate(series_names(results)):
        rows.setdefault(name, []).append(i)
    sights = {n: sight for n, i in enumerate(incidents) if (sight := _sight(i, results, rows)) is not None}
    for n, place in zip(sights, placings(tune.order, results, list(sights.values())), strict=True):
        found[n] = place
    return found


def _sight(incident: Followed, results: Results, rows: dict[str, list[int]]) -> Sight | None:
    """Where the results show an incident; None where they do not."""
    from qad_dl.tuning.features import Sight

    series = tuple(i for queue in incident.queues for i in rows.get(queue, ()))
    start = int(np.searchsorted(results.times, incident.start))
    end = int(np.searchsorted(results.times, incident.last, side="right"))
    return Sight(series, start, end, incident.kind, incident.group) if series and start < end else None
