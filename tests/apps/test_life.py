"""A bundle's life on a small grid that changes: drift is told, a challenger wins, is promoted, is rolled back."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.bundles import Bundles
from qad_dl.cli import main as qad
from qad_dl.timeparse import format_time
from tests.apps.changing_grid import NEW_STATE, OLD_STATE, Course, Grid, make_grid
from training.retrain import main as retrain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COURSE = Course()
TRAINER = ("trainer.epochs=3",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("life")


@pytest.fixture(scope="module")
def grid(folder: Path) -> Grid:
    return make_grid(folder / "world", COURSE)


@pytest.fixture(scope="module")
def old(folder: Path, grid: Grid) -> str:
    """The first bundle, trained before the change; it is in use."""
    before = format_time(COURSE.change_at - np.timedelta64(600, "s"))
    assert run_retrain(folder, grid, "--at", before, "--held-out-days", "2") == 0
    name = Bundles.open(folder / "bundles").current()
    assert name == "20260115T0000"
    return name


@pytest.fixture(scope="module")
def new(folder: Path, grid: Grid, old: str) -> str:
    """The challenger, trained after the change; it has been promoted."""
    assert run_retrain(folder, grid, "--weeks", "1", "--held-out-days", "4") == 0
    name = "20260127T0000"
    assert name in Bundles.open(folder / "bundles").names()
    return name


def run_retrain(folder: Path, grid: Grid, *more: str) -> int:
    return retrain(["--store", str(grid.store), "--bundles", str(folder / "bundles"), *more, *TRAINER])


def drift(folder: Path, grid: Grid, bundle: str, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict]:
    given = ["--bundle", str(folder / "bundles" / bundle), "--format", "json", *more]
    code = qad(["drift", str(grid.store), *given])
    return code, json.loads(capsys.readouterr().out)


def signs(document: dict) -> dict[tuple[str, str | None], float]:
    return {(s["sign"], s["of"]): s["value"] for s in document["signs"] if s["drift"]}


def value(document: dict, sign: str) -> float:
    return next(s["value"] for s in document["signs"] if s["sign"] == sign)


def test_before_the_change_nothing_drifts(
    folder: Path, grid: Grid, old: str, capsys: pytest.CaptureFixture[str]
) -> None:
    at = format_time(COURSE.change_at - np.timedelta64(600, "s"))
    code, said = drift(folder, grid, old, capsys, "--at", at)
    assert (code, signs(said)) == (0, {})


def test_drift_is_told(folder: Path, grid: Grid, old: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, before = drift(folder, grid, old, capsys, "--at", format_time(COURSE.change_at - np.timedelta64(600, "s")))
    code, said = drift(folder, grid, old, capsys)
    found = signs(said)
    assert code == 1
    assert set(said["lists"]["new_queues"]) >= set(grid.new)
    assert found["new_queues", None] == pytest.approx(len(grid.new) / (len(grid.new) + len(grid.old)), abs=0.08)
    assert found["renamed_state", OLD_STATE] > 0.9
    assert ("new_state", NEW_STATE) not in found  # it is told as what it is
    assert ("vanished_state", OLD_STATE) not in found
    assert found["level", "running"] == pytest.approx(2, abs=0.4)
    assert value(said, "bulk") > 2 * value(before, "bulk")  # calibrated on too few days for its bounds
    assert all(s["advice"] and s["text"] for s in said["signs"] if s["drift"])
    assert qad(["drift", str(grid.store), "--bundle", str(folder / "bundles" / old)]) == 1
    table = capsys.readouterr().out
    assert f"{OLD_STATE} is now called {NEW_STATE}" in table
    assert grid.new[0] in table


def test_a_day_after_the_change_it_is_told_already(
    folder: Path, grid: Grid, old: str, capsys: pytest.CaptureFixture[str]
) -> None:
    at = format_time(COURSE.change_at + np.timedelta64(30, "h"))
    code, said = drift(folder, grid, old, capsys, "--at", at)
    assert code == 1
    assert {("new_queues", None), ("renamed_state", OLD_STATE)} <= set(signs(said))


def test_the_challenger_wins_and_is_promoted(folder: Path, new: str, old: str) -> None:
    bundles = Bundles.open(folder / "bundles")
    report = bundles.report(new)
    assert report is not None
    assert report["verdict"]["winner"] == "challenger"
    seen = {side: report[side]["rates"]["0.1"]["seen_injected"] for side in ("champion", "challenger")}
    assert seen["challenger"] > seen["champion"] + 0.1
    assert not report["champion"]["calibrated"]
    assert report["challenger"]["unknown_share"] < report["champion"]["unknown_share"]
    first, second = bundles.promotions()[:2]
    assert (first.name, first.before) == (old, "")
    assert (second.name, second.before) == (new, old)


def test_the_new_bundle_fits(folder: Path, grid: Grid, new: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = drift(folder, grid, new, capsys)
    assert (code, signs(said)) == (0, {})
    assert NEW_STATE in json.dumps(said)


def test_its_card_says_what_it_is(folder: Path, new: str, old: str, capsys: pytest.CaptureFixture[str]) -> None:
    written = (folder / "bundles" / "reports" / f"{new}.md").read_text(encoding="utf-8")
    assert qad(["bundles", "show", str(folder / "bundles"), new, "--card"]) == 0
    assert capsys.readouterr().out == written
    for word in (
        f"# Bundle {new}",
        NEW_STATE,
        "The challenger won",
        "## Limits",
        "model=tcn trainer.epochs=3 data.start=2026-01-16T00:00:00Z",
    ):
        assert word in written
    assert "was not compared" in (folder / "bundles" / "reports" / f"{old}.md").read_text(encoding="utf-8")


def test_new_queues_are_scored_at_once_and_it_is_said(
    folder: Path, grid: Grid, old: str, capsys: pytest.CaptureFixture[str]
) -> None:
    at = format_time(COURSE.change_at + np.timedelta64(12, "h"))
    command = ["score", str(grid.store), "--bundle", str(folder / "bundles" / old), "--at", at]
    assert qad([*command, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    scored = {row["panda_queue"] for row in document["scores"] if row["score"] is not None}
    assert len(scored & set(grid.new)) >= len(grid.new) - 1
    assert scored & set(grid.new) <= set(document["unknown"]["queues"])
    assert document["unknown"]["states"] == [NEW_STATE]
    assert qad(command) == 0
    table = capsys.readouterr().out
    assert "scored as their group is" in table
    assert NEW_STATE in table


def test_it_is_rolled_back(folder: Path, grid: Grid, old: str, new: str, capsys: pytest.CaptureFixture[str]) -> None:
    bundles = Bundles.open(folder / "bundles")
    assert bundles.current() == new
    assert qad(["bundles", "rollback", str(folder / "bundles"), "--reason", "for this test"]) == 0
    assert bundles.current() == old
    assert (folder / "bundles" / "current").resolve() == (folder / "bundles" / old).resolve()
    assert qad(["bundles", "rollback", str(folder / "bundles")]) == 2
    assert "nothing was in use before" in capsys.readouterr().err
    assert qad(["bundles", "promote", str(folder / "bundles"), new]) == 0
    assert bundles.current() == new
    assert qad(["bundles", "list", str(folder / "bundles")]) == 0
    listed = capsys.readouterr().out
    assert f"*  {new}" in listed
    assert "challenger won" in listed
    assert [p.action for p in bundles.promotions()] == ["promote", "promote", "rollback", "promote"]


@pytest.fixture
def quiet_files(folder: Path, new: str) -> Iterator[set[str]]:
    before = {p.name for p in (folder / "bundles").iterdir()}
    yield before
    assert {p.name for p in (folder / "bundles").iterdir()} == before


def test_a_second_training_of_the_same_time_is_refused(
    folder: Path, grid: Grid, quiet_files: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_retrain(folder, grid, "--weeks", "1", "--held-out-days", "4") == 2
    assert "is in use" in capsys.readouterr().err
    assert run_retrain(folder, grid, "--weeks", "0.1", "--held-out-days", "3") == 2
    assert "are too few" in capsys.readouterr().err
    assert not any(name.endswith(".run") for name in quiet_files)


def test_one_at_a_time(folder: Path, grid: Grid, new: str, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    with (folder / "bundles" / ".retrain").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run_retrain(folder, grid) == 0
    assert "another one is at work" in capsys.readouterr().out
    assert os.path.lexists(folder / "bundles" / "current")
