"""CRIC dumps and their history."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qad_dl.errors import InputError
from qad_dl.metadata import Metadata, parse_cric, read_cric, spelling

if TYPE_CHECKING:
    from pathlib import Path


def t(text: str) -> np.datetime64:
    return np.datetime64(text, "s")


A, B, C = ({"Q": {"status": name}} for name in ("a", "b", "c"))
HISTORY = Metadata(np.array(["2020-01-02", "2020-01-05", "2020-01-07"], "datetime64[s]"), (A, B, C))


@pytest.mark.parametrize(
    ("time", "wanted"),
    [
        ("1999-01-01", A),
        ("2020-01-02", A),
        ("2020-01-04T23:59:59", A),
        ("2020-01-05", B),
        ("2020-01-06", B),
        ("2020-01-07", C),
        ("2030-01-01", C),
    ],
)
def test_a_dump_holds_from_its_time_and_the_first_before_too(time: str, wanted: Any) -> None:
    assert HISTORY.at(t(time)) is wanted


def test_segments_cut_where_another_dump_begins() -> None:
    cut = HISTORY.segments(t("2020-01-01"), t("2020-01-07"))
    assert cut == [(t("2020-01-01"), t("2020-01-05"), A), (t("2020-01-05"), t("2020-01-07"), B)]
    assert HISTORY.segments(t("2020-01-06"), t("2020-01-06")) == []
    assert HISTORY.segments(t("2020-01-05"), t("2020-01-06")) == [(t("2020-01-05"), t("2020-01-06"), B)]


def test_no_dump_and_one_dump() -> None:
    assert Metadata.empty().at(t("2020-01-01")) == {}
    assert Metadata.empty().segments(t("2020-01-01"), t("2020-01-02")) == [(t("2020-01-01"), t("2020-01-02"), {})]
    assert Metadata.single(A).at(t("1960-01-01")) is A
    assert Metadata.single(A).at(t("2100-01-01")) is A


def test_times_must_ascend() -> None:
    with pytest.raises(ValueError, match="ascend"):
        Metadata(np.array(["2020-01-02", "2020-01-02"], "datetime64[s]"), (A, B))
    with pytest.raises(ValueError, match="1 times for 2"):
        Metadata(np.array(["2020-01-02"], "datetime64[s]"), (A, B))


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, None),
        ("", None),
        ("  ", None),
        ("None", None),
        ("No value", None),
        (True, "True"),
        (8, "8"),
        (12.5, "12.5"),
        (10.0, "10"),
        ("10.0", "10"),
        ("10", "10"),
        ("3.10", "3.10"),
        ("3.0.0", "3.0.0"),
        (-1, "-1"),
        (float("nan"), None),
        ([1], None),
        ({"a": 1}, None),
        (" DE ", "DE"),
        ("0", "0"),
        (False, "False"),
    ],
)
def test_one_spelling_of_a_value(value: Any, wanted: str | None) -> None:
    assert spelling(value) == wanted


def test_queues_go_by_their_panda_resource() -> None:
    dump = {
        "nick": {"panda_resource": "RES", "cloud": "DE"},
        "RES2": {"panda_resource": "RES2", "cloud": "exact"},
        "other": {"panda_resource": "RES2", "cloud": "later"},
        "alone": {"panda_resource": None, "cloud": "US"},
        "first": {"panda_resource": "TWICE", "cloud": "1"},
        "second": {"panda_resource": "TWICE", "cloud": "2"},
    }
    queues = parse_cric(dump, "here")
    assert {name: record["cloud"] for name, record in queues.items()} == {
        "RES": "DE",
        "RES2": "exact",
        "alone": "US",
        "TWICE": "2",
    }


def test_the_storage_that_is_written_to() -> None:
    cases = {
        "lan": {"astorages": {"pw": ["P"], "write_lan": ["W", "X"]}},
        "pw": {"astorages": {"pw": ["P"], "write_lan": []}},
        "read": {"astorages": {"pr": ["R"]}},
        "text": {"astorages": "W"},
    }
    queues = parse_cric(cases, "here")
    assert {name: record.get("write_storage") for name, record in queues.items()} == {
        "lan": "W",
        "pw": "P",
        "read": None,
        "text": None,
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be read as JSON"),
        (b"{'a': 1}", "cannot be read as JSON"),
        (b"[]", "is a JSON list"),
        (b"3", "is a JSON number"),
        (b'"x"', "is a JSON text"),
        (b"null", "is a JSON null"),
        (b"{}", "holds no queue"),
        (b'{"Q": 3}', "entry 'Q' is a JSON number"),
        (b'{"Q": {}, "R": ["x"]}', "entry 'R' is a JSON list"),
        (b'{"Q": \xff}', "cannot be read as JSON"),
        (gzip.compress(b'{"Q": {}}', mtime=0)[:-9], "cannot be read as JSON"),
        (b"\x1f\x8bno gzip", "cannot be read as JSON"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "cric.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as error:
        read_cric(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no file"):
        read_cric(tmp_path / "absent.json")


@pytest.mark.parametrize("name", ["plain.json", "packed.json.gz"])
def test_plain_and_gzipped(tmp_path: Path, name: str) -> None:
    content = json.dumps({"Q": {"cloud": "DE", "corecount": None, "params": {}}}).encode()
    (tmp_path / name).write_bytes(gzip.compress(content, mtime=0) if name.endswith("gz") else content)
    assert read_cric(tmp_path / name) == {"Q": {"cloud": "DE"}}


def test_the_real_dumps(shared_data: Path) -> None:
    early = read_cric(shared_data / "cric" / "pandaqueue_2019-08-13.json.gz")
    late = read_cric(shared_data / "cric" / "pandaqueue_2019-10-07.json.gz")
    assert (len(early), len(late)) == (567, 501)
    both = early.keys() & late.keys()
    assert len(both) == 478
    assert sum(early[name].get("status") != late[name].get("status") for name in both) == 89
    assert late["ALCF_Theta"]["write_storage"] == "SLACXRD_DATADISK"
    assert late["ALCF_Theta"]["corepower"] == "3"
    assert "harvester" not in late["ALCF_Theta"]
    with pytest.raises(InputError, match="has an object per queue"):
        read_cric(shared_data / "cric" / "queuedata_2023.json.gz")
