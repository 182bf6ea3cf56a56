"""PanDA and CRIC as sources, with every trap that they set."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import requests

from qad_dl.errors import SourceError
from qad_dl.rows import merge_rows
from qad_dl.simulator.params import WorldParams
from qad_dl.simulator.run import run
from qad_dl.sources.cric import DOWNTIMES_PATH, QUEUES_PATH, downtimes_of, fetch_document, queues_of
from qad_dl.sources.http import TRIES, Client
from qad_dl.sources.panda import fetch_jobs, window
from qad_dl.sources.snapshot import judge_snapshot
from tests.light.made import history
from tests.services.fake_panda import Grid, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qad_dl.simulator.run import Run

NOW = 1.8e9


@pytest.fixture(scope="module")
def world() -> Run:
    return run(WorldParams(days=2, queues=12, seed=3, incidents=False, late_queues=0))


@pytest.fixture
def grid(world: Run) -> Grid:
    return Grid(world, tick=200)


@pytest.fixture
def url(grid: Grid) -> Iterator[str]:
    with serve(grid) as address:
        yield address


@pytest.fixture
def client() -> Iterator[Client]:
    with requests.Session() as session:
        yield Client(session, pause=lambda _: None)


def rows_at(grid: Grid, tick: int, client: Client, url: str, minutes: int = 10):
    grid.tick = tick
    return fetch_jobs(client, url, minutes).rows(grid.run.params.start + tick * np.timedelta64(600, "s"))


def test_counts_are_those_of_the_grid(grid: Grid, url: str, client: Client) -> None:
    rows = rows_at(grid, 200, client, url)
    assert grid.asked == ["/api/v1/statistics/job_stats_by_site_share_and_resource_type?time_window=10"]
    total = sum(rows.column("jobs").to_pylist())
    assert total == grid.run.counts[200].sum()
    assert set(rows.column("panda_queue").to_pylist()) <= set(grid.run.world.names)


def test_a_late_fetch_asks_for_the_true_window_and_scales_the_flows(grid: Grid, url: str, client: Client) -> None:
    assert [window(s) for s in (None, 30, 600, 700, 1800, 1e7)] == [10, 10, 10, 10, 30, 10080]
    rows = rows_at(grid, 200, client, url, minutes=30)
    flows = [
        jobs
        for state, jobs in zip(rows.column("job_status").to_pylist(), rows.column("jobs").to_pylist(), strict=True)
        if state == "finished"
    ]
    assert sum(flows) == pytest.approx(grid.run.counts[198:201, :, 7].sum() / 3)
    assert judge_snapshot(rows, None, 1800).name == "late"
    assert judge_snapshot(rows, None, 20).name == "early"


@pytest.mark.parametrize(
    ("trap", "said", "tries"),
    [
        ("down", "cannot be reached|broke off", TRIES),
        ("error", "HTTP 500 Internal Server Error", TRIES),
        ("forbidden", "HTTP 403 403 Forbidden", 1),
        ("unsuccessful", "answered without success: 'ORA-01034", 1),
        ("repr", "something else than JSON", 1),
        ("half_body", "broke off in its answer|cannot be reached", TRIES),
        ("empty", "with success and without data", 1),
        ("text_count", "has 'many' jobs 'running'", 1),
    ],
)
def test_a_trap_is_one_line_and_no_counts(
    grid: Grid, url: str, client: Client, trap: str, said: str, tries: int
) -> None:
    grid.panda = trap
    with pytest.raises(SourceError, match=said) as caught:
        fetch_jobs(client, url, 10)
    assert "\n" not in str(caught.value)
    assert "time_window" not in str(caught.value)
    assert len(grid.asked) == tries


@pytest.mark.parametrize("trap", ["hang", "trickle"])
def test_a_server_that_does_not_come_to_an_end_is_left_at_the_deadline(
    grid: Grid, url: str, client: Client, trap: str
) -> None:
    grid.panda = trap
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"deadline|too long|broke off"):
        fetch_jobs(Client(client.session, began + 1.0, pause=lambda _: None), url, 10)
    assert time.monotonic() - began < 5


def test_no_server_at_all(client: Client) -> None:
    with pytest.raises(SourceError, match="cannot be reached"):
        fetch_jobs(client, "http://user:secret@127.0.0.1:9/", 10)
    with pytest.raises(SourceError) as caught:
        fetch_jobs(client, "http://user:secret@127.0.0.1:9/", 10)
    assert "secret" not in str(caught.value)


def test_null_keys_are_data(grid: Grid, url: str, client: Client) -> None:
    grid.panda = "null_keys"
    assert "null" in rows_at(grid, 200, client, url).column("prod_source").to_pylist()


def test_a_snapshot_is_judged(grid: Grid, url: str, client: Client) -> None:
    last = rows_at(grid, 199, client, url)
    assert judge_snapshot(rows_at(grid, 200, client, url), last, 600).name == "ok"
    for trap in ("frozen", "all_zero"):
        grid.panda, grid.frozen_at = trap, 199
        verdict = judge_snapshot(rows_at(grid, 200, client, url), last, 600)
        assert verdict.name == trap
        assert not verdict.counts
    queues = [f"Q{i}" for i in range(10)]
    before = history([(0, q, "running", 5) for q in queues])
    for left, name in ((5, "partial"), (6, "ok")):
        now = history([(1, q, "running", 6) for q in queues[:left]])
        assert judge_snapshot(now, before, 600).name == name
    assert judge_snapshot(merge_rows([]), None, None).name == "all_zero"


# --- CRIC ---


def test_cric_is_asked_for_what_has_changed_only(grid: Grid, url: str, client: Client, tmp_path: Path) -> None:
    address = url + QUEUES_PATH
    first = fetch_document(client, address, "q", tmp_path, NOW)
    body = (tmp_path / "q.body").stat().st_mtime_ns
    again = fetch_document(client, address, "q", tmp_path, NOW + 600)
    assert again == first
    assert (tmp_path / "q.body").stat().st_mtime_ns == body  # 304: nothing came
    queues = queues_of(first, address)
    assert set(queues) == set(grid.run.world.names)
    assert queues[grid.run.world.names[0]]["status"] in ("online", "offline", "test", "brokeroff")


@pytest.mark.parametrize("trap", ["down", "error", "half_body"])
def test_the_last_known_metadata_count_where_cric_does_not_answer(
    grid: Grid, url: str, client: Client, tmp_path: Path, trap: str
) -> None:
    address = url + QUEUES_PATH
    grid.cric = trap
    with pytest.raises(SourceError):
        fetch_document(client, address, "q", tmp_path, NOW)
    grid.cric = ""
    known = fetch_document(client, address, "q", tmp_path, NOW)
    grid.cric = trap
    document = fetch_document(client, address, "q", tmp_path, NOW + 7200)
    assert document.value == known.value
    assert document.age_s == 7200
    assert document.trouble


@pytest.mark.parametrize("trap", ["empty", "list"])
def test_a_document_that_is_none_is_refused(grid: Grid, url: str, client: Client, tmp_path: Path, trap: str) -> None:
    grid.cric = trap
    with pytest.raises(SourceError):
        queues_of(fetch_document(client, url + QUEUES_PATH, "q", tmp_path, NOW), url)


def test_only_outages_are_downtimes(grid: Grid, url: str, client: Client, tmp_path: Path) -> None:
    queues = queues_of(fetch_document(client, url + QUEUES_PATH, "q", tmp_path, NOW), url)
    document = fetch_document(client, url + DOWNTIMES_PATH, "d", tmp_path, NOW)
    assert "risk" in document.value
    assert all(down.end - down.start < np.timedelta64(90, "D") for down in downtimes_of(document, queues))
    site = grid.run.world.facts[0]["atlas_site"]
    hit = {q for q, record in queues.items() if record.get("atlas_site") == site}
    made = [{"site": site, "severity": "OUTAGE", "start_time": "2026-01-05T00:00:00", "end_time": "2026-01-06"}]
    document = type(document)(made, 0.0)
    assert {down.panda_queue for down in downtimes_of(document, queues)} == hit
