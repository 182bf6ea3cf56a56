"""Incidents as CSV: what happened, when, and to which queues (interfaces, section 3)."""

from __future__ import annotations

import csv
import io
import math
from typing import TYPE_CHECKING, Final, NamedTuple

from qad_dl.atomic import replace_file
from qad_dl.errors import ConfigError, InputError
from qad_dl.metadata import spelling
from qad_dl.schema import INCIDENT_KINDS
from qad_dl.timeparse import format_time, parse_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from qad_dl.metadata import Metadata

REQUIRED: Final = ("incident", "kind", "field", "value", "start", "end")
OPTIONAL: Final = ("severity", "queues")
QUEUE_FIELD: Final = "panda_queue"
"""The one field that needs no metadata: its value is the queue."""


class Incident(NamedTuple):
    """One incident; it lasts over start <= time < end.

    Attributes:
        incident: its name, unique in the file.
        kind: one of `schema.INCIDENT_KINDS`.
        field: the metadata field that the hit queues share; may be empty where `queues` is not.
        value: the value of that field.
        start: first moment, UTC `datetime64[s]`.
        end: first moment after it, UTC `datetime64[s]`.
        severity: how bad it was, in the writer's own unit; None where not said.
        queues: the hit queues by name; empty where `field` = `value` names them.
    """

    incident: str
    kind: str
    field: str
    value: str
    start: np.datetime64
    end: np.datetime64
    severity: float | None = None
    queues: tuple[str, ...] = ()


def read_incidents(path: Path) -> list[Incident]:
    """Read an incidents file; further columns are ignored, a file with a header only holds no incident.

    Raises:
        InputError: the file is unreadable or no CSV, a column is missing, a name is empty or written twice, a kind is
            unknown, a time or severity cannot be read, an end is not after its start, or no queue is named.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            incidents = _read(file, str(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"{path}: cannot be read as a CSV of incidents: {error}"
        raise InputError(msg) from error
    return incidents


def write_incidents(path: Path, incidents: Iterable[Incident]) -> None:
    """Write an incidents file, whole or not at all; `read_incidents` reads the same incidents back.

    Raises:
        InputError: the folder of `path` cannot be written to.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*REQUIRED, *OPTIONAL))
    writer.writerows(_cells(incident) for incident in incidents)
    try:
        replace_file(path, text.getvalue().encode())
    except OSError as error:
        msg = f"{path}: cannot be written: {error}"
        raise InputError(msg) from error


def hit_queues(incident: Incident, metadata: Metadata) -> tuple[str, ...]:
    """Names of the queues that an incident hits, sorted: as listed, else by their metadata at its start.

    The result is empty where the field is known and no queue has the value at that time.

    Raises:
        InputError: the queues are given by a field that no metadata record has.
    """
    if incident.queues:
        return incident.queues
    if incident.field == QUEUE_FIELD:
        return (incident.value,)
    fields = {name for dump in metadata.dumps for record in dump.values() for name in record}
    if incident.field not in fields:
        known = ", ".join(sorted(fields)[:12]) or "none, since the store has no metadata"
        msg = (
            f"incident {incident.incident!r}: field {incident.field!r} is in no metadata record (known: {known}); "
            "correct it, import the metadata, or list the queues in the column 'queues'"
        )
        raise InputError(msg)
    wanted, records = spelling(incident.value), metadata.at(incident.start)
    return tuple(sorted(q for q, record in records.items() if wanted and record.get(incident.field) == wanted))


def _read(lines: Iterable[str], where: str) -> list[Incident]:
    reader = csv.DictReader(lines)
    missing = [name for name in REQUIRED if name not in (reader.fieldnames or ())]
    if missing:
        msg = f"{where}: no column {missing[0]!r}; the first line must name {', '.join(REQUIRED)}"
        raise InputError(msg)
    incidents: dict[str, Incident] = {}
    for row in reader:
        line = f"{where}, line {reader.line_num}"
        incident = _incident(row, line)
        if incident.incident in incidents:
            msg = f"{line}: incident {incident.incident!r} is there twice; give each its own name"
            raise InputError(msg)
        incidents[incident.incident] = incident
    return list(incidents.values())


def _incident(row: Mapping[str, str | None], line: str) -> Incident:
    if None in row:
        msg = f"{line}: more cells than columns; put a cell with commas in double quotes"
        raise InputError(msg)
    cell = {name: (text or "").strip() for name, text in row.items()}
    if not cell["incident"]:
        msg = f"{line}: the incident has no name"
        raise InputError(msg)
    if cell["kind"] not in INCIDENT_KINDS:
        msg = f"{line}: kind {cell['kind']!r} is not one of {', '.join(INCIDENT_KINDS)}"
        raise InputError(msg)
    start, end = _time(cell["start"], f"{line}, start"), _time(cell["end"], f"{line}, end")
    if end <= start:
        msg = f"{line}: end {cell['end']} is not after start {cell['start']}"
        raise InputError(msg)
    queues = _queues(cell.get("queues", ""))
    if not queues and not (cell["field"] and cell["value"]):
        msg = f"{line}: no queue is named; give field and value, or list the queues with | in the column 'queues'"
        raise InputError(msg)
    return Incident(
        incident=cell["incident"],
        kind=cell["kind"],
        field=cell["field"],
        value=cell["value"],
        start=start,
        end=end,
        severity=_severity(cell.get("severity", ""), line),
        queues=queues,
    )


def _queues(text: str) -> tuple[str, ...]:
    return tuple(sorted({name.strip() for name in text.split("|")} - {""}))


def _time(text: str, what: str) -> np.datetime64:
    try:
        return parse_time(text, what)
    except ConfigError as error:
        raise InputError(str(error)) from error


def _severity(text: str, line: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        msg = f"{line}: severity {text!r} is not a finite number; leave it empty where it is not known"
        raise InputError(msg)
    return value


def _cells(incident: Incident) -> Sequence[str]:
    return (
        incident.incident,
        incident.kind,
        incident.field,
        incident.value,
        format_time(incident.start),
        format_time(incident.end),
        "" if incident.severity is None else repr(incident.severity),
        "|".join(incident.queues),
    )
