"""What CRIC's documents mean: sites, endpoints, federations, downtimes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qad_dl.errors import InputError
from qad_dl.influx.qmonit import METADATA_TAGS
from qad_dl.sources.cric import (
    downtimes_of,
    endpoint_fields,
    federation_fields,
    quarter,
    read_downtimes,
    read_entries,
    site_fields,
    with_fields,
)

NOW = np.datetime64("2026-05-20T12:00:00", "s")
OUTAGE = {"severity": "OUTAGE", "start_time": "2026-01-05T00:00:00", "end_time": "2026-01-06T00:00:00"}
QUEUES = {"Q1": {"atlas_site": "S1", "rc_site": "R1"}, "Q2": {"atlas_site": "S2", "rc_site": "R1"}, "Q3": {}}


@pytest.mark.parametrize(
    ("frontier", "host"),
    [
        ([["http://frontier.cern.ch:8000/atlr", 1]], "frontier.cern.ch"),
        (["http://frontier.cern.ch:8000/atlr"], "frontier.cern.ch"),
        ("frontier.cern.ch:8000", "frontier.cern.ch"),
        ([], None),
        ([[]], None),
        (None, None),
        ([["http://[half"]], None),
    ],
)
def test_frontier_is_the_host_of_the_first_server(frontier: Any, host: str | None) -> None:
    sites = {"key": {"name": "S", "fsconf": {"frontier": frontier, "squid": []}, "datapolicies": []}}
    assert site_fields(sites) == {"S": {"frontier": host} if host else {}}


def test_a_nucleus_names_itself() -> None:
    sites = {"S": {"datapolicies": ["T2D", "Nucleus"]}, "T": {"datapolicies": ["T2D"], "fsconf": "None"}, "U": {}}
    assert site_fields(sites) == {"S": {"nucleus": "S"}, "T": {}, "U": {}}


def test_the_fts_server_is_that_of_most_endpoints() -> None:
    def endpoint(site: str, *servers: str) -> dict[str, Any]:
        return {"site": site, "servedrestfts": {"MASTER": list(servers), "SLAVE": ["https://never.example:8446"]}}

    endpoints = {
        "S_A": endpoint("S", "https://fts1.example:8446"),
        "S_B": endpoint("S", "https://fts2.example:8446", "https://fts1.example:8446"),
        "S_C": endpoint("S", "https://fts2.example:8446"),
        "T_A": endpoint("T"),
        "U_A": {"site": "U", "servedrestfts": None},
        "no site": endpoint("", "https://fts2.example:8446"),
    }
    assert endpoint_fields(endpoints) == {"S": {"fts_server": "fts2.example"}}


@pytest.mark.parametrize(
    ("day", "wanted"),
    [
        ("2026-03-31", ("2025", "Q4")),
        ("2026-04-01", ("2026", "Q1")),
        ("2026-12-31", ("2026", "Q3")),
        ("2027-01-01", ("2026", "Q4")),
    ],
)
def test_pledges_are_of_years_that_begin_in_april(day: str, wanted: tuple[str, str]) -> None:
    assert quarter(np.datetime64(day, "s")) == wanted


def test_federations_and_what_they_pledge() -> None:
    pledges = {"2026": {"Q1": {"atlas": {"Disk": 50, "CPU": 1000.0}, "cms": {"CPU": 7}}}}
    federations: dict[str, dict[str, Any]] = {
        "A": {"accounting_name": "CH-CERN", "rcsites": ["R1", "R2"], "pledges": pledges},
        "B": {"name": "B-NAME", "rcsites": "R3", "pledges": {"2026": []}},
        "C": {"rcsites": None},
    }
    cern = {"federation": "CH-CERN", "pledge_type": "1000 (CPU);50 (Disk)", "federation_HS06_pledge": "1000"}
    assert federation_fields(federations, NOW) == {"R1": cern, "R2": cern, "R3": {"federation": "B-NAME"}}


def test_fields_of_sites_are_joined_and_a_queue_s_own_stay() -> None:
    sites = {"S1": {"frontier": "f1", "nucleus": "S1"}, "S2": {"frontier": "f2"}}
    centres = {"R1": {"federation": "CH-CERN"}}
    queues = {**QUEUES, "Q4": {"atlas_site": "S2", "frontier": "own", "rc": "DE-X"}}
    found = with_fields(queues, [sites, centres])
    assert found["Q1"] == {"atlas_site": "S1", "rc_site": "R1", "frontier": "f1", "nucleus": "S1"} | centres["R1"]
    assert found["Q2"]["frontier"] == "f2"
    assert found["Q3"] == {}
    assert found["Q4"] == {"atlas_site": "S2", "frontier": "own", "rc": "DE-X", "federation": "DE-X"}


def test_the_fields_have_the_names_of_qmonit_s_tags() -> None:
    assert {"frontier", "nucleus", "fts_server", "federation", "pledge_type"} <= set(METADATA_TAGS)


@pytest.mark.parametrize("document", [[], {}, "x", None, {"a": 1}])
def test_a_document_without_entries_is_refused(document: Any) -> None:
    with pytest.raises(InputError):
        read_entries(document)


# --- downtimes ---


@pytest.mark.parametrize(
    "document",
    [
        [{**OUTAGE, "site": "S1"}],
        {"17": {**OUTAGE, "rc_site": "S1"}},
        {"17": {**OUTAGE, "rcsite": "S1", "site": None}},
        {"S1": {"17": OUTAGE}},
        {"S1": [OUTAGE, {**OUTAGE, "severity": "WARNING", "end_time": "2027-01-01"}]},
    ],
)
def test_a_downtime_is_of_all_queues_of_its_site(document: Any) -> None:
    downs = downtimes_of(read_downtimes(document), QUEUES)
    assert [(d.panda_queue, str(d.start), str(d.end)) for d in downs] == [
        ("Q1", "2026-01-05T00:00:00", "2026-01-06T00:00:00")
    ]


def test_a_resource_centre_has_all_queues_of_its_sites() -> None:
    downs = downtimes_of(read_downtimes([{**OUTAGE, "site": "R1"}]), QUEUES)
    assert [d.panda_queue for d in downs] == ["Q1", "Q2"]


@pytest.mark.parametrize(
    ("services", "down"),
    [
        ("CE, SRM", True),
        (["org.opensciencegrid.htcondorce"], True),
        ([{"name": "ARC-CE"}, {"name": "net.perfSONAR.Latency"}], True),
        ("net.perfSONAR.Latency; net.perfSONAR.Bandwidth", False),
        (["Site-BDII"], False),
        ([], True),
        (None, True),
    ],
)
def test_an_outage_of_what_jobs_do_not_need_is_none(services: Any, down: bool) -> None:
    assert bool(read_downtimes([{**OUTAGE, "site": "S1", "affected_services": services}])) == down


@pytest.mark.parametrize(
    "entry",
    [
        {**OUTAGE, "severity": "WARNING"},
        {**OUTAGE, "severity": None},
        {**OUTAGE, "end_time": None},
        {**OUTAGE, "end_time": "soon"},
        {**OUTAGE, "end_time": OUTAGE["start_time"]},
    ],
)
def test_what_is_no_outage_takes_nothing_down(entry: dict[str, Any]) -> None:
    assert downtimes_of(read_downtimes([{**entry, "site": "S1"}]), QUEUES) == []


def test_no_downtime_at_all_is_an_answer() -> None:
    assert read_downtimes([]) == read_downtimes({}) == []
    with pytest.raises(InputError, match="no list of downtimes"):
        read_downtimes("none")
