"""What would have been told: the same as the tick tells, with no trace left."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import time
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

import qad_dl.preview_sights
from qad_dl.cli import main
from qad_dl.errors import ConfigError
from qad_dl.followed import Rules
from qad_dl.grid import times_of
from qad_dl.incidents_file import Incident, write_incidents
from qad_dl.preview import Setting, preview, restricted
from qad_dl.rows import merge_rows
from qad_dl.scorer import Scorer
from qad_dl.sinks.policy import Policy, read_policy
from qad_dl.sinks.routing import Channel, Quiet
from qad_dl.store import Store
from serving.evaluate import evaluate
from serving.follow import Book, follow_all
from serving.state import State
from tests.light.made import TICK, at, history
from tests.light.made_bundle import METADATA, made_history, made_store, write_made_bundle

if TYPE_CHECKING:
    from pathlib import Path

DAY = TICK.per_day
START, END = at(DAY), at(DAY + 100)
BROKEN = (DAY + 30, DAY + 60)
SINKS = """
[sink.mail]
host = "h"
sender = "qad@example.org"
to = ["all@example.org"]
[sink.mattermost]
url_file = "a/secret/that/nobody/reads"
[sink.alertmanager]
[sink.jsonl]
[[route]]
sink = "mail"
[[route]]
sink = "mail"
match = { cloud = "DE" }
to = ["de@example.org"]
"""


def troubled():
    """Two quiet days; on the second jobs of one queue fail for five hours, and later another's run low for a while."""
    fails = [(t, "Q2", state, n) for t in range(*BROKEN) for state, n in (("failed", 3000.0), ("finished", 0.0))]
    weak = [(t, "Q4", "running", 90.0) for t in range(DAY + 80, DAY + 84)]
    return merge_rows([made_history(1 + 100 / DAY, seed=3), history([*fails, *weak])])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("preview")
    write_made_bundle(made / "bundle")
    made_store(made / "store", troubled())
    write_incidents(made / "incidents.csv", [known()])
    (made / "collector.toml").write_text(SINKS, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return Store.open(folder / "store")


@pytest.fixture(scope="module")
def scorers(folder: Path) -> dict[str, Scorer]:
    return {"bundle": Scorer.load(folder / "bundle")}


def known() -> Incident:
    return Incident("K1", "black_hole", "panda_queue", "Q2", at(BROKEN[0]), at(BROKEN[1]), queues=("Q2",))


POLICY = Policy((Channel("everybody"),))


def test_it_tells_what_the_tick_tells(folder: Path, store: Store, scorers: dict[str, Scorer], tmp_path: Path) -> None:
    (side,) = preview(store, scorers, [Setting(replace(POLICY, budget=0.1))], START, END).sides
    state, book, news = State(tmp_path / "state"), Book(), []
    growing = Store.create(tmp_path / "store")
    growing.add_metadata(METADATA.dumps[0], at(0))
    rows = store.read(at(0), END)
    for tick in TICK.range(at(0), END):
        growing.append(rows.filter(pa.array(times_of(rows) == tick)))
        scored = evaluate(growing, state, [folder / "bundle"], tick, tick, 0.1).scored
        book, happened = follow_all(state, book, scored, tick)
        news += [n for n in happened if tick >= START]
    told = {n.key: n for sent in side.sent for n in sent.news}
    begun = [n for n in news if n.transition.action in ("opened", "reopened")]
    assert {n.key for n in begun} == {n.key for n in told.values() if n.transition.action in ("opened", "reopened")}
    assert any("Q2" in n.incident.queues for n in begun)
    for item in begun:
        mine = told[item.key]
        assert (mine.incident.queues, mine.incident.kind) == (item.incident.queues, item.incident.kind)
        assert mine.incident.figures == item.incident.figures
        assert mine.records == item.records


def test_a_lower_budget_sends_less_and_one_backtest_serves_both(
    store: Store, scorers: dict[str, Scorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    run = qad_dl.preview_sights.run_backtest
    monkeypatch.setattr(qad_dl.preview_sights, "run_backtest", lambda *a, **k: calls.append(a) or run(*a, **k))
    both = preview(store, scorers, [Setting(replace(POLICY, budget=b)) for b in (1.0, 0.001)], START, END).sides
    assert len(calls) == 1  # the store begins where following does
    assert len(both[0].messages) > len(both[1].messages) > 0
    assert both[0].thresholds["bundle"] < both[1].thresholds["bundle"]
    alone = preview(store, scorers, [Setting(replace(POLICY, budget=0.001))], START, END).sides[0]
    assert [(s.at, s.subject) for s in alone.sent] == [(s.at, s.subject) for s in both[1].sent]


def test_processes_and_pieces_change_nothing(
    store: Store, scorers: dict[str, Scorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said() -> list[tuple]:
        side = preview(store, scorers, [Setting(replace(POLICY, budget=0.3))], START, END).sides[0]
        return [(s.at, s.to, s.subject, [n.key for n in s.news]) for s in side.sent]

    once = said()
    monkeypatch.setattr(qad_dl.preview_sights, "WORTH_A_POOL", 0)
    monkeypatch.setattr(qad_dl.preview_sights.os, "cpu_count", lambda: 2)
    assert said() == once
    monkeypatch.setattr(qad_dl.preview_sights, "WORTH_A_POOL", 10**9)
    monkeypatch.setattr(qad_dl.preview_sights, "PIECE_BYTES", 1)
    assert said() == once


def test_a_known_incident_is_told_to_whom_it_concerns(store: Store, scorers: dict[str, Scorer], folder: Path) -> None:
    policy = replace(read_policy(folder / "collector.toml"), budget=0.01)
    (side,) = preview(store, scorers, [Setting(policy)], START, END, [known()]).sides
    (heard,) = side.heard
    assert heard.delay_min is not None
    assert 0 <= heard.delay_min <= 40
    # Q2 is in the cloud FR: the route of DE is not told.
    assert set(heard.first) == {"alertmanager", "jsonl", "mail all@example.org", "mattermost"}
    assert side.strange is not None
    assert not any("Q2" in side.opened[name].incident.queues for name in side.strange)


def test_what_begins_before_a_known_incident_does_not_tell_it(store: Store, scorers: dict[str, Scorer]) -> None:
    late = known()._replace(start=at(BROKEN[0] + 12), end=at(BROKEN[1] + 12))
    (side,) = preview(store, scorers, [Setting(replace(POLICY, budget=0.001))], START, END, [late]).sides
    assert side.heard[0].message is None
    assert not side.strange  # yet it is no false alarm


def test_rules_hold_back(store: Store, scorers: dict[str, Scorer]) -> None:
    slow = Rules(n=20, m=20, sure=100.0)
    sides = [
        preview(store, scorers, [Setting(replace(POLICY, budget=0.01, rules=rules))], START, END, [known()]).sides[0]
        for rules in (Rules(), slow)
    ]
    quick, late = (side.heard[0].delay_min for side in sides)
    assert quick is not None
    assert late is None or late >= quick + 100


def test_quiet_hours_hold_messages_until_their_end(store: Store, scorers: dict[str, Scorer]) -> None:
    night = Quiet(time(0), time(12), least_score=1e9)
    (side,) = preview(store, scorers, [Setting(replace(POLICY, budget=0.01, quiet=night))], START, END).sides
    assert side.messages
    assert all(int(str(sent.at)[11:13]) >= 12 for sent in side.messages)


def test_a_group_cuts_channels_down() -> None:
    channels = (
        Channel("mail", "all"),
        Channel("mail", "de", ({"cloud": "DE"},)),
        Channel("jsonl", "", ({"tier": "1"},)),
    )
    left = restricted(channels, {"cloud": "FR"})
    assert [(c.name, c.matches) for c in left] == [
        ("mail all", ({"cloud": "FR"},)),
        ("jsonl", ({"tier": "1", "cloud": "FR"},)),
    ]
    assert restricted(channels, {}) == channels


def test_nothing_is_left_behind(
    store: Store, scorers: dict[str, Scorer], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def content() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    before = content()
    preview(store, scorers, [Setting(read_policy(folder / "collector.toml"))], START, END)
    assert content() == before
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def command(folder: Path, *more: str, start: str = "2026-01-06", end: str = "2026-01-06T16:40") -> int:
    bundle, times = ["--bundle", str(folder / "bundle")], ["--start", start, "--end", end]
    return main(["preview", str(folder / "store"), *bundle, *times, *more])


def test_the_command_prints_budgets_side_by_side(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--config", str(folder / "collector.toml"), "--incidents", str(folder / "incidents.csv"))
    assert command(folder, *more, "--budget", "0.1", "--budget", "0.01") == 0
    said = capsys.readouterr().out
    assert said.startswith("2026-01-06T00:00:00Z to 2026-01-06T16:40:00Z")
    assert "1 of 1" in said
    for line in ("to mail de@example.org", "to alertmanager (alerts)", "known incidents told", "2026-01-06"):
        assert line in said
    assert command(folder, *more, "--budget", "0.1", "--budget", "0.01", "--format", "json") == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document["budgets"]) == ["0.1", "0.01"]
    side = document["budgets"]["0.01"]
    assert (
        side["messages"]
        == sum(side["by_day"].values())
        == sum(sent["to"].startswith(("mail", "mattermost")) for sent in side["sent"])
    )
    assert side["known"][0]["told"] is not None


def test_the_command_restricts_to_a_group(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, known_ones = {}, ("--incidents", str(folder / "incidents.csv"))
    for cloud in ("DE", "FR"):
        assert command(folder, "--group", f"cloud={cloud}", "--budget", "0.01", "--format", "json", *known_ones) == 0
        found[cloud] = json.loads(capsys.readouterr().out)["budgets"]["0.01"]
    about = {cloud: [m for m in side["sent"] if "Q2" in m["subject"]] for cloud, side in found.items()}
    assert about["FR"]
    assert not about["DE"]
    assert (found["FR"]["incidents"], found["DE"]["incidents"]) == (2, 0)  # the weaker one is of FR, too
    assert (len(found["FR"]["known"]), len(found["DE"]["known"])) == (1, 0)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--rule", "x=1"), "no such rule"),
        (("--rule", "n=two"), "'two' is no whole number"),
        (("--rule", "n=5"), "--rule m is 3; it can be 5 to"),
        (("--group", "cloud=XX"), "no queue of"),
        (("--group", "cloud"), "no queue of"),
        (("--budget", "100"), "budget 100"),
        (("--config", "nowhere.toml"), "nowhere.toml"),
        (("--incidents", "nowhere.csv"), "nowhere.csv"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], said: str
) -> None:
    assert command(folder, *more) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_range_without_ticks_is_refused(store: Store, scorers: dict[str, Scorer]) -> None:
    with pytest.raises(ConfigError, match="no tick"):
        preview(store, scorers, [Setting(POLICY)], END, START)
    with pytest.raises(ConfigError, match="no tick"):
        preview(store, scorers, [Setting(POLICY)], at(100 * DAY), at(101 * DAY))
