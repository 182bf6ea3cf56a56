"""From labels to quieter weeks: `qad tune` on a small grid, and everybody who flags or orders heeds what it applies."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from qad_dl.backtest import run_backtest
from qad_dl.cli import main
from qad_dl.incidents_file import Incident
from qad_dl.metadata import Metadata
from qad_dl.preview import Setting, preview
from qad_dl.review.incidents import named, place
from qad_dl.review.page import gather
from qad_dl.scorer import Scorer
from qad_dl.sinks.message import single
from qad_dl.sinks.news import News
from qad_dl.sinks.policy import Policy
from qad_dl.sinks.routing import Channel
from qad_dl.store import Store
from qad_dl.tuning.file import Thresholds, Tune, read_tune, tune_path, tuned, write_tune
from qad_dl.tuning.order import Order, Placing
from serving.config import read_config
from serving.evaluate import evaluate
from serving.follow import Book, follow_all, load_results
from serving.review.data import Maker
from serving.state import State
from tests.light.made import at
from tests.light.made_news import group, incident, news
from tests.light.made_wolf_store import BUDGET, DAY, END, START, make, matters
from tests.light.test_review_data import small_results
from tests.light.test_sinks_plan import planned

if TYPE_CHECKING:
    from pathlib import Path

LENGTH = Order(("length",), np.array([1.0]), np.array([1.0]), np.array([2.0]), 0.0)
"""The longer, the more likely a problem."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store, bundle and labels, and what `qad tune --out` proposes; nothing is applied."""
    made = tmp_path_factory.mktemp("tune") / "made"
    make(made)
    assert main(tune(made, "--out", str(made / "tune.json"))) == 0
    return made


@pytest.fixture
def applied(folder: Path) -> Any:
    """The proposal beside the bundle, for one test."""
    path = folder / "bundle.tune.json"
    path.write_bytes((folder / "tune.json").read_bytes())
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def proposal(folder: Path) -> Tune:
    return read_tune(folder / "tune.json", Scorer.load(folder / "bundle").bundle.name)


def tune(folder: Path, *more: str) -> list[str]:
    where = ["--bundle", str(folder / "bundle"), "--labels", str(folder / "labels.jsonl"), "--budget", str(BUDGET)]
    span = ["--start", f"{START}Z", "--end", f"{END}Z", "--no-messages"]
    return ["tune", str(folder / "store"), *where, *span, *more]


def burst(proposal: Tune) -> int:
    """Position of a harmless burst that the proposal silences, of Q1, Q3 or Q5, and that begins alone."""
    silenced = proposal.report["trade"]["silenced"]
    for queue, first, failure in matters():
        if not failure and first > 3 * DAY and any(f"Q{queue}, {str(at(first))[:15]}" in name for name in silenced):
            return first
    raise AssertionError(silenced)


def test_it_shows_the_trade_and_changes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tune(folder)) == 0
    said = capsys.readouterr().out
    assert "raising wins: on the later labels" in said
    assert "not enough labels" in said  # for an order
    assert "no labelled problem is lost" in said
    assert "nothing was changed; --apply puts this beside the bundle" in said
    assert not (folder / "bundle.tune.json").exists()
    assert main(tune(folder, "--format", "json")) == 0
    data = json.loads(capsys.readouterr().out)
    trade = data["trade"]
    assert data["thresholds"]["field"] == "cloud"
    assert [line["value"] for line in trade["groups"]] == ["DE"]
    assert trade["lost"] == []
    assert trade["all"]["problems"]["now"] == trade["all"]["problems"]["then"] > 10
    assert trade["all"]["episodes"]["then"] < 0.8 * trade["all"]["episodes"]["now"]
    assert trade["all"]["expected"]["then"] < 0.6 * trade["all"]["expected"]["now"]


def test_without_labels_nothing_is_written(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none.jsonl").write_bytes((folder / "labels.jsonl").read_bytes().splitlines(keepends=True)[0])
    args = [a if a != str(folder / "labels.jsonl") else str(tmp_path / "none.jsonl") for a in tune(folder)]
    assert main([*args, "--apply", "--out", str(tmp_path / "out.json")]) == 0
    assert "nothing is proposed; nothing was written" in capsys.readouterr().out
    assert not (tmp_path / "out.json").exists()
    assert not (folder / "bundle.tune.json").exists()


def test_it_is_applied_and_taken_back(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    span = ["--start", f"{at(8 * DAY)}Z", "--end", f"{at(10 * DAY)}Z", "--budget", str(BUDGET)]
    backtest = ["backtest", str(folder / "store"), "--bundle", str(folder / "bundle"), *span, "--out"]
    assert main([*backtest, str(tmp_path / "before.parquet")]) == 0
    assert main(tune(folder, "--apply")) == 0
    assert f"{tune_path(folder / 'bundle')}: written" in capsys.readouterr().out
    assert main([*backtest, str(tmp_path / "tuned.parquet")]) == 0
    assert "other for 1 values of cloud" in capsys.readouterr().out
    (folder / "bundle.tune.json").unlink()
    assert main([*backtest, str(tmp_path / "after.parquet")]) == 0
    before, then, after = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("before", "tuned", "after"))
    assert before.equals(after)
    assert before.drop_columns("flagged").equals(then.drop_columns("flagged"))
    assert sum(then["flagged"].to_pylist()) < sum(before["flagged"].to_pylist())


@pytest.mark.parametrize("command", ["score", "backtest", "review", "preview"])
def test_a_file_for_another_bundle_is_refused_in_one_line(
    folder: Path, applied: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if command == "review":
        pytest.importorskip("uplot")
    applied.write_text(json.dumps({**json.loads(applied.read_text()), "bundle": "ffffffffffff"}))
    span = ["--start", f"{at(2 * DAY)}Z", "--end", f"{at(2 * DAY + 3)}Z"]
    more = {"score": [], "preview": span}.get(command, [*span, "--out", str(tmp_path / "out")])
    assert main([command, str(folder / "store"), "--bundle", str(folder / "bundle"), *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"qad {command}: {applied}: was made for bundle ffffffffffff, this one is ")
    assert not (tmp_path / "out").exists()


def test_the_collector_flags_and_follows_as_tuned_and_forgets_it_with_the_file(
    folder: Path, applied: Path, proposal: Tune, tmp_path: Path
) -> None:
    store, first = Store.open(folder / "store"), burst(proposal)
    start, last = at(first - 6), at(first + 6)

    def run(name: str) -> tuple[Any, Book, Any]:
        state = State(tmp_path / name)
        evaluation = evaluate(store, state, [folder / "bundle"], start, last, BUDGET)
        book, _ = follow_all(state, Book(), evaluation.scored, last)
        return evaluation, book, load_results(state.results("bundle"))

    then, quiet, kept = run("tuned")
    made = run_backtest(store, Scorer.load(folder / "bundle"), start, at(first + 7), BUDGET)
    np.testing.assert_array_equal(then.scored[0].results.flagged, tuned(made, proposal, store.metadata()).flagged)
    np.testing.assert_allclose(then.scored[0].results.score, made.score, atol=1e-5)
    np.testing.assert_array_equal(kept.flagged, made.flagged)  # what is kept for later is not tuned
    applied.rename(tmp_path / "away")
    _, loud, plain = run("plain")
    applied.write_bytes((tmp_path / "away").read_bytes())
    assert len(quiet.open("bundle")) < len(loud.open("bundle"))
    np.testing.assert_array_equal(plain.flagged, kept.flagged)
    np.testing.assert_array_equal(plain.score, kept.score)


def test_the_collector_goes_on_without_a_tuning_that_does_not_fit(folder: Path, applied: Path, tmp_path: Path) -> None:
    applied.write_text("{")
    store = Store.open(folder / "store")
    done = evaluate(store, State(tmp_path), [folder / "bundle"], at(2 * DAY), at(2 * DAY), BUDGET)
    assert done.invalid == ()
    assert done.scored[0].tune is None
    ((path, text),) = done.refused
    assert path == folder / "bundle"
    assert text.startswith(f"{applied}: cannot be read")


def test_a_preview_replays_it(folder: Path, proposal: Tune, capsys: pytest.CaptureFixture[str]) -> None:
    store, scorers = Store.open(folder / "store"), {"bundle": Scorer.load(folder / "bundle")}
    policy, first = Policy((Channel("everybody"),), budget=BUDGET), burst(proposal)
    start, end = at(first - 6), at(first + 12)
    settings = [Setting(policy), Setting(policy, {"bundle": proposal})]
    now, then = preview(store, scorers, settings, start, end).sides
    assert len(then.messages) < len(now.messages)
    assert now.thresholds == then.thresholds
    span = ["--start", f"{start}Z", "--end", f"{end}Z", "--budget", str(BUDGET), "--format", "json"]
    run = ["preview", str(folder / "store"), "--bundle", str(folder / "bundle"), *span]
    assert main([*run, "--tune", str(folder / "tune.json")]) == 0
    (side,) = json.loads(capsys.readouterr().out)["budgets"].values()
    assert side["messages"] == len(then.messages)


def test_the_page_lists_incidents_in_the_taught_order_and_draws_own_thresholds() -> None:
    results = small_results([[0, 9, 0, 0, 0, 0, 0, 0], [0, 4, 4, 4, 4, 4, 4, 0]])
    times = results.times
    found = named(
        [
            Incident("1", "site_down", "panda_queue", "Q0", times[1], times[2], 9.0, ("Q0",)),
            Incident("2", "site_down", "panda_queue", "Q1", times[1], times[7], 4.0, ("Q1",)),
        ]
    )
    assert [p.incident.value for p in place(found, results, {})] == ["Q0", "Q1"]
    assert [p.incident.value for p in place(found, results, {}, LENGTH)] == ["Q1", "Q0"]
    own = Tune("b", thresholds=Thresholds("panda_queue", {"Q1": 0.5}))
    then = tuned(results, own, Metadata.empty())
    index = gather(then, {}, [], "t", found, taught=LENGTH).index
    assert [line["v"] for line in index["incidents"]] == ["Q1", "Q0"]
    assert index["incidents"][0]["p"] > index["incidents"][1]["p"]
    assert "ticks that it lasts" in index["incidents"][0]["y"]
    assert {line["n"]: line.get("h") for line in index["series"]} == {"Q0": None, "Q1": 3.5}
    plain = gather(results, {}, [], "t", found).index
    assert not any("p" in line for line in plain["incidents"])
    assert not any("h" in line for line in plain["series"])


def test_the_live_page_is_made_anew_when_it_is_tuned_and_says_what_is_refused(
    folder: Path, applied: Path, tmp_path: Path
) -> None:
    config = tmp_path / "collector.toml"
    text = f'store = "{folder}/store"\nbundles = ["{folder}/bundle"]\nbudget = {BUDGET}\n[source]\nkind = "files"\n'
    config.write_text(f'{text}url = "in"\n[review]\ndays = 1\n')
    maker = Maker(read_config(config))
    cause = maker.cause()
    own = {line["n"]: line.get("h") for line in json.loads(maker.make(cause).index)["series"]}
    assert {name for name, threshold in own.items() if threshold} == {"Q1", "Q3", "Q5"}
    applied.write_text("{")
    assert maker.cause() != cause
    refused = json.loads(maker.make(maker.cause()).index)
    assert f"not tuned: {applied}: cannot be read" in refused["title"]
    assert not any("h" in line for line in refused["series"])


def test_the_live_page_has_what_was_told_where_the_bundle_is_the_one_in_use_of_a_folder(
    folder: Path, tmp_path: Path
) -> None:
    link, config = tmp_path / "queues" / "current", tmp_path / "collector.toml"
    link.parent.mkdir()
    link.symlink_to(folder / "bundle")
    text = f'store = "{folder}/store"\nbundles = ["{link}"]\n[source]\nkind = "files"\nurl = "in"\n'
    config.write_text(f'{text}[state]\npath = "state"\n[review]\ndays = 1\nbundle = "queues"\n')
    read = read_config(config)
    maker, tick = Maker(read), Store.open(folder / "store").span()[1]
    told = incident("Q1", id="as-told", start=tick - 6 * np.timedelta64(600, "s"), last=tick)
    Book(tick, {"queues": (told,)}).write(State(read.state.path).incidents)
    index = json.loads(maker.make(maker.cause()).index)
    assert "as-told" in {line["id"] for line in index["incidents"]}
    assert index["title"] == "qad review · queues"


def test_messages_go_out_in_the_taught_order_and_say_how_likely_it_is() -> None:
    loud, likely = news(incident("loud", score=9.0)), news(incident("likely", score=3.0))
    assert [case.newest.incident.value for (case,) in planned(loud, likely).batches] == ["loud", "likely"]
    taught = [replace(loud, place=Placing(0.2, "")), replace(likely, place=Placing(0.9, "it lasts"))]
    assert [case.newest.incident.value for (case,) in planned(*taught).batches] == ["likely", "loud"]
    other = news(group(3))  # of a bundle that nobody taught
    assert [b[0].newest.incident.value for b in planned(*taught, other).batches] == [
        "likely",
        other.incident.value,
        "loud",
    ]
    assert News.from_json(taught[1].to_json()) == taught[1]
    assert "place" not in loud.to_json()
    assert "Reviewers called about 90 % of such incidents a problem." in single("k", "opened", taught[1]).plain()
    assert "Reviewers" not in single("k", "opened", likely).plain()


def test_arguments_that_make_no_sense_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, said in [
        (["--worth", "0"], "--worth 0.0: give how many false alarms one problem is worth"),
        (["--may-lose", "-1"], "--may-lose -1: give a number of problems"),
        (["--scores", "x"], "--budget: --scores brings its own"),
        (["--field", "nothing"], "--field 'nothing': the queues have fewer than 2 values of it"),
    ]:
        assert main(tune(folder, *more)) == 2
        assert said in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tune(folder, "--out", str(folder / "no" / "tune.json"))) == 2
    assert "tune.json: cannot be written" in capsys.readouterr().err


def test_a_killed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "b.tune.json"
    write_tune(path, Tune("one"))
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_tune(path, Tune("two"))
    assert read_tune(path, "one").bundle == "one"
    assert list(tmp_path.iterdir()) == [path]
