"""The incidents file: what is read, what is written back, what is refused in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.errors import InputError
from qad_dl.incidents_file import Incident, hit_queues, read_incidents, write_incidents
from qad_dl.metadata import Metadata

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "incident,kind,field,value,start,end,severity,queues"
GOOD = "i1,site_down,atlas_site,CERN,2026-01-01T00:00,2026-01-01T06:00,2.5,"


def written(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "incidents.csv"
    path.write_text("\n".join((header, *lines)) + "\n")
    return path


def time(text: str) -> np.datetime64:
    return np.datetime64(text, "s")


def test_a_row_is_read(tmp_path: Path) -> None:
    (incident,) = read_incidents(written(tmp_path, GOOD))
    assert incident == Incident(
        "i1", "site_down", "atlas_site", "CERN", time("2026-01-01T00:00"), time("2026-01-01T06:00"), 2.5, ()
    )


def test_optional_columns_may_be_absent_and_others_are_ignored(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "note,i1,other,panda_queue,Q1,2026-01-01T00:00+01:00,2026-01-01 06:00",
        header="comment,incident,kind,field,value,start,end",
    )
    (incident,) = read_incidents(path)
    assert incident.start == time("2025-12-31T23:00")
    assert (incident.severity, incident.queues) == (None, ())


def test_listed_queues_need_no_field(tmp_path: Path) -> None:
    path = written(tmp_path, "i1,central,,,2026-01-01T00:00,2026-01-01T06:00,, B | A||A")
    assert read_incidents(path)[0].queues == ("A", "B")


def test_a_header_alone_is_no_incident(tmp_path: Path) -> None:
    assert read_incidents(written(tmp_path)) == []


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    incidents = [
        Incident("a,b", "bad_task", "prod_source", 'us"er', time("2026-01-01"), time("2026-01-02"), 0.1, ("Q1", "Q2")),
        Incident("c", "other", "cloud", "DE", time("2026-01-03T00:10"), time("2026-01-03T00:20")),
    ]
    path = tmp_path / "out.csv"
    write_incidents(path, incidents)
    assert read_incidents(path) == incidents
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]
    assert path.read_text().splitlines()[0] == HEADER


def test_nowhere_to_write(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_incidents(tmp_path / "no" / "out.csv", [])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("i1,flood,cloud,DE,2026-01-01,2026-01-02,,", "line 2: kind 'flood' is not one of site_down"),
        ("i1,other,cloud,DE,2026-01-02,2026-01-02,,", "line 2: end 2026-01-02 is not after start 2026-01-02"),
        ("i1,other,cloud,DE,yesterday,2026-01-02,,", "line 2, start: 'yesterday' is not an ISO 8601 time"),
        ("i1,other,cloud,DE,2026-01-01,,,", "line 2, end: '' is not an ISO 8601 time"),
        (",other,cloud,DE,2026-01-01,2026-01-02,,", "line 2: the incident has no name"),
        ("i1,other,cloud,,2026-01-01,2026-01-02,,", "line 2: no queue is named"),
        ("i1,other,cloud,DE,2026-01-01,2026-01-02,bad,", "line 2: severity 'bad' is not a finite number"),
        ("i1,other,cloud,DE,2026-01-01,2026-01-02,nan,", "line 2: severity 'nan' is not a finite number"),
        ("i1,other,cloud,DE,2026-01-01,2026-01-02,,Q1,Q2", "line 2: more cells than columns"),
        ("i1,other", "line 2, start: '' is not"),
    ],
)
def test_bad_rows_are_refused_by_line(tmp_path: Path, line: str, says: str) -> None:
    path = written(tmp_path, line)
    with pytest.raises(InputError) as error:
        read_incidents(path)
    assert str(error.value).startswith(f"{path}, {says}")
    assert "\n" not in str(error.value)


def test_a_name_is_there_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 3: incident 'i1' is there twice"):
        read_incidents(written(tmp_path, GOOD, GOOD))


@pytest.mark.parametrize("column", ["incident", "kind", "field", "value", "start", "end"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    path = written(tmp_path, GOOD, header=HEADER.replace(column, "x"))
    with pytest.raises(InputError, match=f"no column '{column}'"):
        read_incidents(path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"PAR1\x00\x00"])
def test_what_is_no_csv_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "incidents.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"incidents\.csv"):
        read_incidents(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_incidents(tmp_path / "absent.csv")


METADATA = Metadata(
    np.array(["2026-01-01", "2026-02-01"], "datetime64[s]"),
    (
        {"A": {"cloud": "DE", "corecount": "8"}, "B": {"cloud": "DE"}, "C": {"cloud": "FR"}},
        {"A": {"cloud": "FR"}, "B": {"cloud": "DE"}},
    ),
)


def incident(field: str, value: str, start: str, *queues: str) -> Incident:
    return Incident("i1", "other", field, value, time(start), time("2027-01-01"), None, queues)


def test_the_queues_hit_are_those_of_the_start() -> None:
    assert hit_queues(incident("cloud", "DE", "2026-01-10"), METADATA) == ("A", "B")
    assert hit_queues(incident("cloud", "DE", "2026-02-10"), METADATA) == ("B",)
    assert hit_queues(incident("cloud", "FR", "2025-01-01"), METADATA) == ("C",)
    assert hit_queues(incident("cloud", "IT", "2026-01-10"), METADATA) == ()


def test_numbers_have_one_spelling() -> None:
    assert hit_queues(incident("corecount", "8.0", "2026-01-10"), METADATA) == ("A",)


def test_listed_queues_win_and_a_queue_needs_no_metadata() -> None:
    assert hit_queues(incident("cloud", "DE", "2026-01-10", "X"), METADATA) == ("X",)
    assert hit_queues(incident("panda_queue", "Y", "2026-01-10"), Metadata.empty()) == ("Y",)


@pytest.mark.parametrize(("metadata", "known"), [(METADATA, "cloud, corecount"), (Metadata.empty(), "no metadata")])
def test_an_unknown_field_is_refused(metadata: Metadata, known: str) -> None:
    with pytest.raises(InputError, match=f"incident 'i1': field 'clowd' is in no metadata record .*{known}"):
        hit_queues(incident("clowd", "DE", "2026-01-10"), metadata)
