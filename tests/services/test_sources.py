"""PanDA and CRIC over HTTP, with every trap: what is understood, what is refused, and what is said of it."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qad_dl.errors import SourceError
from qad_dl.rows import JOBS_SCHEMA, seconds_of
from qad_dl.schema import Tick, is_flow
from qad_dl.simulator.params import WorldParams
from qad_dl.simulator.run import Run, run
from qad_dl.simulator.script import Outage, Script
from qad_dl.simulator.status import ONLINE
from qad_dl.sources.cric import (
    DOWNTIMES_PATH,
    LEAST_OUTAGES,
    LEAST_SHARE,
    QUEUES_PATH,
    SITES_PATH,
    Cache,
    downtimes_of,
    read_downtimes,
    read_entries,
    read_queues,
    site_fields,
)
from qad_dl.sources.http import Answer, Client, TryAgainError, open_session
from qad_dl.sources.panda import PATH, fetch_jobs
from qad_dl.sources.snapshot import ALL_ZERO, FROZEN, OK, PARTIAL, judge_snapshot
from serving.config import CricConfig
from serving.cric import Cric, Said
from tests.services.fake_panda import Grid, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TICK = Tick()
START = np.datetime64("2026-01-05T00:00:00", "s")
NOW = 150


@pytest.fixture(scope="module")
def world() -> Run:
    params = WorldParams(days=2, queues=12, seed=3, start=START, incidents=False, missed=0, holes=0, frozen=0)
    plain = run(params)
    online = int(np.flatnonzero(plain.life.status[NOW] == ONLINE)[0])
    return run(params, Script(outages=(Outage(plain.world.facts[online]["atlas_site"], NOW, NOW + 6, NOW + 20),)))


@pytest.fixture
def grid(world: Run) -> Grid:
    return Grid(world, tick=NOW)


@pytest.fixture
def url(grid: Grid) -> Iterator[str]:
    with serve(grid) as address:
        yield address


def client(seconds: float = 60.0, **limits: Any) -> Client:
    options = {"read_s": 0.5, **limits}
    return Client(open_session(), time.monotonic() + seconds, random.Random(1), lambda _: None, **options)


def cells(rows: Any) -> dict[tuple[str, ...], float]:
    names = ("panda_queue", "prod_source", "resource", "job_status")
    return {tuple(row[name] for name in names): row["jobs"] for row in rows.to_pylist()}


# --- PanDA ---


def test_counts_are_those_of_the_grid(grid: Grid, url: str, world: Run) -> None:
    counts = fetch_jobs(client(), url, 10)
    rows = counts.rows(TICK.time(np.array(NOW)))
    assert rows.schema == JOBS_SCHEMA
    assert set(seconds_of(rows).tolist()) == {int(TICK.time(np.array(NOW)).astype(np.int64))}
    told = grid.counts(10)
    wanted = {
        (queue, source, resource, state): float(jobs)
        for queue, sources in told.items()
        for source, resources in sources.items()
        for resource, states in resources.items()
        for state, jobs in states.items()
    }
    assert cells(rows) == wanted
    assert rows.column("site_state").null_count == rows.num_rows
    assert grid.asked == [f"{PATH}?time_window=10"]


def test_flows_of_a_longer_window_are_scaled_to_a_tick_and_stocks_are_not(grid: Grid, url: str) -> None:
    rows = cells(fetch_jobs(client(), url, 30).rows(START))
    three = [cells(fetch_jobs(client(), url, 10).rows(START)) for grid.tick in (NOW - 2, NOW - 1, NOW)]
    for key, jobs in rows.items():
        if is_flow(key[3]):
            assert jobs == pytest.approx(sum(one.get(key, 0.0) for one in three) / 3)
        else:
            assert jobs == three[-1][key]


@pytest.mark.parametrize(
    ("trap", "said"),
    [
        ("down", "broke off|cannot be reached"),
        ("unsuccessful", "without success: 'ORA-01034"),
        ("forbidden", "HTTP 403 '403 Forbidden: method is not defined': see to the token"),
        ("error", "HTTP 500 'Internal Server Error'"),
        ("repr", "something else than JSON: \"{'success': True"),
        ("half_body", "broke off in its answer"),
        ("empty", "without any count"),
        ("text_count", "'many' jobs 'running', which is no count"),
    ],
)
def test_what_is_no_snapshot_is_one_clear_line(grid: Grid, url: str, trap: str, said: str) -> None:
    grid.panda = trap
    with pytest.raises(SourceError, match=said) as caught:
        fetch_jobs(client(), url, 10, "")
    text = str(caught.value)
    assert text.startswith(f"{url}{PATH}: ")
    assert "\n" not in text
    assert caught.value.exit_code == 3
    assert len(grid.asked) == (1 if trap == "forbidden" else 3)  # what another try cannot mend is not tried again


def test_one_that_hangs_costs_its_time_limit_and_no_more(grid: Grid, url: str) -> None:
    grid.panda = "hang"
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"began no answer.*tried 3 times"):
        fetch_jobs(client(read_s=0.2), url, 10)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("trap", ["trickle", "slow_headers", "hang"])
def test_a_deadline_holds_whatever_the_server_does(grid: Grid, url: str, trap: str) -> None:
    grid.panda = trap
    began = time.monotonic()
    with pytest.raises(SourceError, match="the time for it is over"):
        fetch_jobs(client(1.0, read_s=60.0), url, 10)
    assert time.monotonic() - began < 3


def test_after_the_deadline_nobody_is_asked(grid: Grid, url: str) -> None:
    with pytest.raises(SourceError, match="over before it was asked"):
        fetch_jobs(client(-1.0), url, 10)
    assert not grid.asked


def test_a_server_that_is_busy_for_a_moment_is_asked_again(grid: Grid, url: str) -> None:
    grid.panda = "busy"
    assert fetch_jobs(client(), url, 10).cells
    assert len(grid.asked) == 2


def test_names_that_are_null_are_names(grid: Grid, url: str) -> None:
    grid.panda = "null_keys"
    assert "null" in {source for _, source, _, _, _ in fetch_jobs(client(), url, 10).cells}


def test_a_server_that_is_not_there(grid: Grid) -> None:
    with pytest.raises(SourceError, match=r"cannot be reached \(Connection refused\) \(tried 3 times\)"):
        fetch_jobs(client(), "http://127.0.0.1:9", 10)


def test_a_wrong_token_is_one_line_that_does_not_show_it(grid: Grid, url: str) -> None:
    grid.token = "right"
    assert fetch_jobs(client(), url, 10, "right").cells
    with pytest.raises(SourceError, match="HTTP 403 '403 Forbidden: token is not valid': see to the token") as caught:
        fetch_jobs(client(), url, 10, "wrong-secret")
    assert "wrong-secret" not in str(caught.value)


def test_netrc_does_not_replace_the_token(
    grid: Grid, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    grid.token = "right"
    assert fetch_jobs(client(), url, 10, "right").cells
    assert fetch_jobs(client(), url, 10).cells


def test_an_address_with_a_password_does_not_show_it(grid: Grid) -> None:
    with pytest.raises(SourceError) as caught:
        fetch_jobs(client(), "http://me:secret-word@127.0.0.1:9", 10)
    assert "secret-word" not in str(caught.value)
    assert str(caught.value).startswith("http://127.0.0.1:9/")


@pytest.mark.parametrize(
    ("trap", "verdict"), [("", OK), ("all_zero", ALL_ZERO), ("partial", PARTIAL), ("frozen", FROZEN)]
)
def test_a_snapshot_is_judged(grid: Grid, url: str, trap: str, verdict: str) -> None:
    grid.tick = NOW - 1
    last = fetch_jobs(client(), url, 10).rows(START)
    grid.tick, grid.panda = NOW, trap
    now = fetch_jobs(client(), url, 10).rows(START + TICK.delta)
    assert judge_snapshot(now, last, 600.0).name == verdict


# --- CRIC ---


def fetch(grid: Grid, url: str, folder: Path, now: float = 1000.0, **options: Any) -> Any:
    return Cache(folder, now).fetch(client(), url + QUEUES_PATH, "pandaqueue", read_queues, **options)


def test_queues_go_by_their_panda_resource(grid: Grid, url: str, tmp_path: Path, world: Run) -> None:
    found = fetch(grid, url, tmp_path)
    assert set(found.value) == set(world.world.names)
    assert (found.age_s, found.trouble) == (0.0, "")


def test_what_has_not_changed_is_not_sent_again(grid: Grid, url: str, tmp_path: Path) -> None:
    first = fetch(grid, url, tmp_path, 1000.0)
    second = fetch(grid, url, tmp_path, 1600.0)
    assert grid.unchanged == 1
    assert second.value == first.value
    grid.cric = "down"
    third = fetch(grid, url, tmp_path, 2200.0)
    assert third.age_s == 600.0  # it was known to hold at 1600
    assert third.value == first.value


@pytest.mark.parametrize(
    ("trap", "said"),
    [
        ("down", "broke off|cannot be reached"),
        ("error", "HTTP 500"),
        ("half_body", "broke off"),
        ("empty", "holds no queue"),
        ("list", "is a JSON list"),
        ("login", "something else than JSON: '<html>"),
        ("few", "holds only 3 entries after 12"),
    ],
)
def test_the_last_known_where_cric_fails(grid: Grid, url: str, tmp_path: Path, trap: str, said: str) -> None:
    good = fetch(grid, url, tmp_path, 1000.0)
    grid.cric = trap
    for now in (1600.0, 8200.0):  # a bad document never becomes the last known one
        found = fetch(grid, url, tmp_path, now, least_share=LEAST_SHARE)
        assert found.value == good.value
        assert found.age_s == now - 1000.0
        assert said.partition("|")[0] in found.trouble or said.partition("|")[2] in found.trouble
        assert "\n" not in found.trouble
    grid.cric = ""
    assert fetch(grid, url, tmp_path, 9000.0).trouble == ""


def test_nothing_known_and_no_answer_is_an_error(grid: Grid, url: str, tmp_path: Path) -> None:
    grid.cric = "error"
    with pytest.raises(SourceError, match="HTTP 500"):
        fetch(grid, url, tmp_path)
    assert not list(tmp_path.iterdir())


def test_half_the_queues_gone_are_believed_after_a_day(grid: Grid, url: str, tmp_path: Path) -> None:
    fetch(grid, url, tmp_path, 1000.0)
    grid.cric = "few"
    found = fetch(grid, url, tmp_path, 1000.0 + 86401, least_share=LEAST_SHARE)
    assert (len(found.value), found.trouble) == (3, "")


def test_what_is_fresh_is_not_asked_for(grid: Grid, url: str, tmp_path: Path) -> None:
    fetch(grid, url, tmp_path, 1000.0)
    assert fetch(grid, url, tmp_path, 1600.0, fresh_s=3300.0).age_s == 600.0
    assert len(grid.asked) == 1
    fetch(grid, url, tmp_path, 5000.0, fresh_s=3300.0)
    assert len(grid.asked) == 2


def test_another_address_has_another_cache(grid: Grid, url: str, tmp_path: Path) -> None:
    fetch(grid, url, tmp_path)
    grid.cric = "error"
    with pytest.raises(SourceError):
        fetch(grid, url.replace("127.0.0.1", "localhost"), tmp_path)


@pytest.mark.parametrize("damage", ["pandaqueue.body", "pandaqueue.json"])
def test_a_damaged_cache_is_asked_for_again(grid: Grid, url: str, tmp_path: Path, damage: str) -> None:
    good = fetch(grid, url, tmp_path)
    (tmp_path / damage).write_bytes(b'{"half": ')
    again = fetch(grid, url, tmp_path)
    assert grid.unchanged == 0
    assert again.value == good.value
    json.loads((tmp_path / damage).read_bytes())


def test_downtimes_are_the_outages_of_a_queue_s_site(grid: Grid, url: str, tmp_path: Path, world: Run) -> None:
    queues = fetch(grid, url, tmp_path).value
    found = Cache(tmp_path, 1000.0).fetch(client(), url + DOWNTIMES_PATH, "downtimes", read_downtimes)
    downs = downtimes_of(found.value, queues)
    names = world.world.names
    wanted = {(names[w.queue], START + w.begin * TICK.delta, START + w.end * TICK.delta) for w in world.life.downtimes}
    assert wanted  # and neither what is only at risk, nor what jobs do not need
    assert {(down.panda_queue, down.start, down.end) for down in downs} == wanted


def test_sites_are_read(grid: Grid, url: str, tmp_path: Path) -> None:
    found = Cache(tmp_path, 1000.0).fetch(client(), url + SITES_PATH, "site", read_entries)
    assert found.value == grid.sites()


# --- as the tick asks it ---


def ask(grid: Grid, url: str, folder: Path, now: float, **config: str) -> Said:
    return Cric(CricConfig(url + "/", **config), None, client(), Cache(folder, now)).ask(START)


class PlainGrid(Grid):
    """Queues that say of their sites what CRIC's do: nothing."""

    def queues(self) -> dict[str, Any]:
        return {
            key: {name: value for name, value in record.items() if name not in ("frontier", "nucleus")}
            for key, record in super().queues().items()
        }


def test_what_is_known_of_sites_is_joined(world: Run, tmp_path: Path) -> None:
    grid = PlainGrid(world, tick=NOW)
    with serve(grid) as url:
        said = ask(grid, url, tmp_path, 1000.0, federations_url=url)
    assert said.troubles == {}
    assert said.queues is not None
    sites = site_fields(grid.sites())
    for record in said.queues.values():
        for field in ("frontier", "nucleus"):
            assert record.get(field) == sites[record["atlas_site"]].get(field)
        assert record["fts_server"].startswith("fts")
        assert record["federation"].startswith("ZZ-F")
    assert any("frontier" in record and "nucleus" in record for record in said.queues.values())
    pledged = [record for record in said.queues.values() if "pledge_type" in record]
    assert 0 < len(pledged) < len(said.queues)
    assert {record["federation_HS06_pledge"] for record in pledged} == {"4000"}  # of January: the fourth quarter


def test_what_changes_rarely_is_asked_for_rarely(grid: Grid, url: str, tmp_path: Path) -> None:
    for tick in range(7):
        ask(grid, url, tmp_path, 1000.0 + 600 * tick)
    counted = Counter(path.split("/")[-3] for path in grid.asked)
    assert counted == {"pandaqueue": 7, "downtime": 7, "site": 2, "ddmendpoint": 2}


def test_each_document_that_cannot_be_had_is_a_trouble_of_its_own(grid: Grid, url: str, tmp_path: Path) -> None:
    said = ask(grid, url, tmp_path, 1000.0, federations_url="http://127.0.0.1:9")
    assert set(said.troubles) == {"cric federation"}
    assert said.queues
    grid.cric = "error"
    later = ask(grid, url, tmp_path, 1000.0 + 7200)
    assert set(later.troubles) == {"cric", "cric site", "cric ddmendpoint", "downtimes"}
    assert all("2.0 h old" in text for text in later.troubles.values())
    assert (later.queues, later.downtimes, later.age_s) == (said.queues, said.downtimes, 7200.0)


def test_cric_that_never_answered_is_known_not_to_know(grid: Grid, url: str, tmp_path: Path) -> None:
    grid.cric = "error"
    said = ask(grid, url, tmp_path, 1000.0)
    assert (said.queues, said.downtimes, said.age_s) == (None, None, None)
    assert set(said.troubles) == {"cric"}


def test_a_list_of_outages_that_is_suddenly_empty_is_not_believed(tmp_path: Path) -> None:
    class Told:
        outages = 4

        def get(self, url: str, read: Any, **_: Any) -> Any:
            entry = {"severity": "OUTAGE", "site": "S", "start_time": "2026-01-01", "end_time": "2026-01-02"}
            try:
                return read(Answer(200, {}, json.dumps([entry] * self.outages).encode()))
            except TryAgainError as error:
                raise SourceError(str(error)) from error

    told = Told()

    def fetch_outages(now: float) -> Any:
        cache = Cache(tmp_path, now)
        return cache.fetch(told, "http://x", "d", read_downtimes, least_share=LEAST_OUTAGES)

    assert len(fetch_outages(0.0).value) == 4
    told.outages = 0
    found = fetch_outages(600.0)
    assert (len(found.value), "only 0 entries after 4" in found.trouble) == (4, True)
    told.outages = 1
    assert (len(fetch_outages(1200.0).value), fetch_outages(1200.0).trouble) == (1, "")
    told.outages = 0
    assert (len(fetch_outages(1800.0).value), fetch_outages(1800.0).trouble) == (0, "")  # the last one ended
