"""Declared downtimes."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.downtimes import Downtime, declared_now, format_downtimes, parse_downtimes, read_downtimes
from qad_dl.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "panda_queue,start,end,status\n"


def t(text: str) -> np.datetime64:
    return np.datetime64(text, "s")


def test_rows_become_utc_times_and_further_columns_are_ignored() -> None:
    text = (
        "note,panda_queue,start,end,status\n"
        "x,Q,2020-01-01T02:00+02:00,2020-01-01 05:00,OUTAGE\n"
        "y,R,2020-01-01,2020-01-02,\n"
    )
    assert parse_downtimes(text, "here") == [
        Downtime("Q", t("2020-01-01"), t("2020-01-01T05:00"), "OUTAGE"),
        Downtime("R", t("2020-01-01"), t("2020-01-02"), ""),
    ]


def test_a_header_alone_means_no_downtime() -> None:
    assert parse_downtimes(HEAD, "here") == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "column panda_queue, start, end, status is missing"),
        ("panda_queue,start,status\n", "column end is missing"),
        (HEAD + "Q,2020-01-01,2020-01-02,x\n,2020-01-01,2020-01-02,x\n", "row 2: panda_queue is empty"),
        (HEAD + "Q,soon,2020-01-02,x\n", "row 1: start: 'soon' is not an ISO 8601 time"),
        (HEAD + "Q,2020-01-01,,x\n", "row 1: end: '' is not an ISO 8601 time"),
        (HEAD + "Q,2020-01-02,2020-01-02,x\n", "row 1: end 2020-01-02 is not after start 2020-01-02"),
        (HEAD + "Q,2020-01-02\n", "row 1: end is missing"),
        (HEAD + 'Q,2020-01-01,2020-01-02,"x\n', "is not CSV"),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as error:
        parse_downtimes(text, "here.csv")
    assert str(error.value).startswith("here.csv")
    assert "\n" not in str(error.value)


def test_files(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("\ufeff" + HEAD + "Q,2020-01-01,2020-01-02,x\n", encoding="utf-8")
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress((HEAD + "Q,2020-01-01,2020-01-02,x\n").encode()))
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00")
    wanted = [Downtime("Q", t("2020-01-01"), t("2020-01-02"), "x")]
    assert read_downtimes(tmp_path / "d.csv") == read_downtimes(tmp_path / "d.csv.gz") == wanted
    with pytest.raises(InputError, match="cannot be read as text"):
        read_downtimes(tmp_path / "bad.csv")
    with pytest.raises(InputError, match="is no file"):
        read_downtimes(tmp_path / "absent.csv")


def test_written_and_read_again() -> None:
    downtimes = [
        Downtime('Q,"1"', t("2020-01-01"), t("2020-01-02"), "a, b"),
        Downtime("A", t("2020-01-01"), t("2020-01-02"), ""),
    ]
    assert parse_downtimes(format_downtimes([*downtimes, *downtimes]), "here") == sorted(downtimes)


# --- what is declared now ---

NOW = t("2026-01-10T12:00")


def down(queue: str, start: str, end: str, status: str = "OUTAGE") -> Downtime:
    return Downtime(queue, t(f"2026-01-{start}"), t(f"2026-01-{end}"), status)


LONG = down("Q", "09", "12")


@pytest.mark.parametrize(
    ("declared", "left"),
    [
        ([LONG], [LONG]),
        ([], [down("Q", "09", "10T12:00")]),  # withdrawn while it went on: it ends now
        ([down("Q", "09", "15")], [down("Q", "09", "15")]),  # prolonged
        ([down("Q", "09", "11")], [down("Q", "09", "11")]),  # shortened
        ([down("Q", "10T13", "12")], [down("Q", "09", "10T12:00"), down("Q", "10T13", "12")]),  # interrupted
    ],
)
def test_a_source_s_last_word_counts(declared: list[Downtime], left: list[Downtime]) -> None:
    found = declared_now([LONG], declared, "OUTAGE", {"Q"}, NOW)
    assert sorted(found) == left
    assert declared_now(found, declared, "OUTAGE", {"Q"}, NOW) == found  # a tick may do it twice


def test_what_was_only_announced_goes_without_a_trace() -> None:
    assert declared_now([down("Q", "11", "12")], [], "OUTAGE", {"Q"}, NOW) == set()


@pytest.mark.parametrize(
    "other",
    [
        down("R", "09", "12"),  # a queue that the source does not speak of
        down("Q", "09", "12", "planned"),  # somebody else's
        down("Q", "09", "10T12:00"),  # over
    ],
)
def test_others_stay(other: Downtime) -> None:
    assert declared_now([other], [], "OUTAGE", {"Q"}, NOW) == {other}
