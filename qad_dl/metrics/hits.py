"""Which series of a grid an incident or a downtime hits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qad_dl.errors import InputError
from qad_dl.gathering import ROW_FIELDS
from qad_dl.incidents_file import QUEUE_FIELD, hit_queues
from qad_dl.metrics.truth import RECOVERY, Window
from qad_dl.timeparse import format_time

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import numpy as np

    from qad_dl.downtimes import Downtime
    from qad_dl.incidents_file import Incident
    from qad_dl.metadata import Metadata

Series = tuple[tuple[str, ...], ...]


def incident_windows(
    incidents: Iterable[Incident],
    entity: Sequence[str],
    series: Series,
    metadata: Metadata,
    queues: Collection[str],
    times: tuple[np.datetime64, np.datetime64],
) -> list[Window]:
    """Incidents with the series that they hit; those that hit none of `series` are left out.

    A series is hit when it holds a hit queue: it is that queue, a part of it (and then the incident's, where the
    incident names a prod_source or resource), or what that queue belongs to at the incident's start (its site, ...).

    Args:
        incidents: from the incidents file.
        entity: names of the fields of a series' key.
        series: keys, [N].
        metadata: what held when.
        queues: every queue of the store, scored or not.
        times: first tick of the scores, and the first moment after them.

    Raises:
        InputError: an incident lists a queue that the store does not have, names a field that no metadata have, or
            overlaps the scores (the 24 h after it included) and hits no queue at all.
    """
    found = []
    lookup = _Lookup(entity, series)
    for incident in incidents:
        names = hit_queues(incident, metadata)
        touches = bool(incident.start < times[1] and incident.end + RECOVERY > times[0])
        _check(incident, names, queues, touches)
        at = metadata.at(incident.start)
        part = {incident.field: incident.value} if incident.field in ROW_FIELDS[1:] else {}
        rows = {row for name in names for row in lookup.rows({**at.get(name, {}), QUEUE_FIELD: name}, part)}
        if rows:
            found.append(Window(incident.start, incident.end, tuple(sorted(rows)), incident.kind, incident.incident))
    return found


def downtime_windows(downtimes: Iterable[Downtime], entity: Sequence[str], series: Series) -> list[Window]:
    """Downtimes with the series that they concern: those of that queue alone.

    A series of several queues (a site, a cloud) has no downtime here: that of one queue does not excuse the others.
    """
    if QUEUE_FIELD not in entity:
        return []
    lookup = _Lookup(entity, series)
    found = ((down, lookup.rows({QUEUE_FIELD: down.panda_queue}, {})) for down in downtimes)
    return [Window(down.start, down.end, tuple(rows)) for down, rows in found if rows]


class _Lookup:
    """Rows of the grid by what is known of a queue."""

    def __init__(self, entity: Sequence[str], series: Series) -> None:
        self._entity = tuple(entity)
        self._series = series
        self._tables: dict[tuple[str, ...], dict[tuple[str, ...], list[int]]] = {}

    def rows(self, record: Mapping[str, str], part: Mapping[str, str]) -> list[int]:
        """Series that agree with a queue's record; prod_source and resource are free unless `part` gives them.

        A field of the entity that the record does not have is '' in the key of the series, as in the grid; but where
        the key holds the queue, the queue alone decides, since its metadata may have changed since.
        """
        wanted = dict(part)
        if QUEUE_FIELD in self._entity:
            wanted[QUEUE_FIELD] = record[QUEUE_FIELD]
        else:
            wanted |= {field: record.get(field, "") for field in self._entity if field not in ROW_FIELDS}
        fields = tuple(field for field in self._entity if field in wanted)
        return self._table(fields).get(tuple(wanted[field] for field in fields), [])

    def _table(self, fields: tuple[str, ...]) -> dict[tuple[str, ...], list[int]]:
        if fields not in self._tables:
            places = [self._entity.index(field) for field in fields]
            table: dict[tuple[str, ...], list[int]] = {}
            for row, key in enumerate(self._series):
                table.setdefault(tuple(key[place] for place in places), []).append(row)
            self._tables[fields] = table
        return self._tables[fields]


def _check(incident: Incident, names: Sequence[str], queues: Collection[str], touches: bool) -> None:
    strange = next((name for name in names if name not in queues), None)
    if strange is not None:
        msg = (
            f"incident {incident.incident!r}: queue {strange!r} is not in the store; "
            "correct the name, or give the store that the incident belongs to"
        )
        raise InputError(msg)
    if touches and not names:
        msg = (
            f"incident {incident.incident!r}: no queue has {incident.field}={incident.value!r} at "
            f"{format_time(incident.start)}; correct it, or list the queues in the column 'queues'"
        )
        raise InputError(msg)
