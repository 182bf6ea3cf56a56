"""Row 5 of the reviewers: drift is told where a grid changes and nowhere else; a challenger wins, and is rolled back.

Three grids of 100 queues that change, and the same grids as they would have been. Prints the extremes of each sign
while nothing changes: the bounds in `qad_dl.drift` lie outside of them (docs/drift.md).
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.bundles import Bundles
from qad_dl.cli import main as qad
from qad_dl.cli.table import aligned
from qad_dl.drift import Drift, drift
from qad_dl.scorer import Scorer
from qad_dl.store import Store
from qad_dl.timeparse import format_time
from tests.apps.changing_grid import DAY, NEW_STATE, OLD_STATE, START, Course, make_grid
from training.retrain import main as retrain

if TYPE_CHECKING:
    from pathlib import Path

SEEDS = (21, 22, 23)
TICK = np.timedelta64(600, "s")
TRAINER = ("trainer.epochs=6",)


def course(seed: int) -> Course:
    return Course(queues=100, change=14, days=31, seed=seed)


@pytest.fixture(scope="module", params=SEEDS)
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def place(work: Path, seed: int) -> Path:
    path = work / "life" / str(seed)
    shutil.rmtree(path, ignore_errors=True)
    return path


def learn(folder: Path, store: Path, *more: str) -> None:
    assert retrain(["--store", str(store), "--bundles", str(folder / "bundles"), *more, *TRAINER]) == 0


def known(folder: Path) -> tuple[str, str]:
    return "--incidents", str(folder / "incidents.csv")


def test_a_grid_that_changes(place: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    plan = course(seed)
    grid = make_grid(place / "changes", plan)
    folder = Bundles(place / "bundles")
    before = format_time(plan.change_at - TICK)
    learn(place, grid.store, "--at", before, "--held-out-days", "4")
    old = folder.current()
    assert old is not None
    command = ["drift", str(grid.store), "--bundle", str(folder.path / "current")]
    assert qad([*command, "--at", before]) == 0
    assert qad([*command, "--at", format_time(plan.change_at + np.timedelta64(30, "h"))]) == 1
    capsys.readouterr()
    assert qad([*command, "--format", "json"]) == 1
    said = json.loads(capsys.readouterr().out)
    told = {(s["sign"], s["of"]): s["value"] for s in said["signs"] if s["drift"]}
    assert 0.2 < told["new_queues", None] < 0.35  # 0.3 of 1.3, and those that begin late by themselves
    assert set(said["lists"]["new_queues"]) >= set(grid.new)
    assert told["renamed_state", OLD_STATE] > 0.9
    assert told["level", "running"] == pytest.approx(2, abs=0.3)
    assert ("bulk", None) in told
    learn(
        place,
        grid.store,
        "--weeks",
        "1.4",
        "--held-out-days",
        "7",
        "--incidents",
        str(place / "changes" / "incidents.csv"),
    )
    new = folder.current()
    assert new not in (None, old)
    report = folder.report(str(new))
    assert report is not None
    assert report["verdict"]["winner"] == "challenger"
    assert NEW_STATE in report["challenger"]["states"]
    assert qad(command) == 0
    assert qad(["bundles", "rollback", str(folder.path)]) == 0
    assert folder.current() == old
    assert qad(["bundles", "list", str(folder.path)]) == 0
    with capsys.disabled():
        print(f"\nseed {seed}: {report['verdict']['why']}")
        print(capsys.readouterr().out)


def test_the_same_grid_as_it_would_have_been(place: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    plan = course(seed)
    grid = make_grid(place / "stays", plan, changes=False)
    stays = place / "quiet"
    learn(stays, grid.store, "--at", format_time(plan.change_at - TICK), "--held-out-days", "4")
    folder = Bundles(stays / "bundles")
    old = folder.current()
    store, scorer = Store.open(grid.store), Scorer.load((folder.path / "current").resolve())
    found = [drift(store, scorer, START + day * DAY - TICK) for day in range(plan.change, plan.days + 1)]
    with capsys.disabled():
        print(f"\nseed {seed}, {len(found)} weeks in which nothing changes\n{extremes(found)}")
    assert [[(s.name, s.of, s.value) for s in week.signs if s.drifted] for week in found] == [[]] * len(found)
    learn(
        stays,
        grid.store,
        "--weeks",
        "1.4",
        "--held-out-days",
        "7",
        "--incidents",
        str(place / "stays" / "incidents.csv"),
    )
    report = folder.report(folder.names()[-1])
    assert report is not None
    with capsys.disabled():
        print(f"seed {seed}, nothing changed: {report['verdict']['why']}")
    # A challenger may be better all the same: then it is promoted by more than chance.
    assert (folder.current() == old) == (report["verdict"]["winner"] == "champion")


def extremes(found: list[Drift]) -> str:
    """The least and the most of each sign, and its bounds."""
    values = defaultdict(list)
    bounds = {}
    for sign in (sign for week in found for sign in week.signs if np.isfinite(sign.value)):
        values[sign.name].append(sign.value)
        bounds[sign.name] = (sign.low, sign.high)
    rows = [("sign", "least", "most", "bounds")]
    rows += [(n, f"{min(v):.3f}", f"{max(v):.3f}", "{:.3g} to {:.3g}".format(*bounds[n])) for n, v in values.items()]
    return aligned(rows)
