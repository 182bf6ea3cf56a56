"""Scores that are carried on from tick to tick are those of a backtest, whatever happened in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import serving.review.scored
from qad_dl.backtest import run_backtest
from qad_dl.downtimes import Downtime
from qad_dl.results import BY_TICK, Details
from qad_dl.scorer import Scorer
from qad_dl.store import Store
from serving.review.scored import score_window
from tests.light.made import TICK, at
from tests.light.made import history as rows_of
from tests.light.made_bundle import METADATA, QUEUES, STATES, made_history, write_made_bundle

if TYPE_CHECKING:
    from pathlib import Path

    from qad_dl.results import Results
    from serving.review.scored import Scored

FIRST = 2 * TICK.per_day
WINDOW = 100 * TICK.delta
BUDGET = 0.05


class Case:
    """A store with two days, its scores, and the windows that were backtested."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_made_bundle(folder / "bundle")
        self.scorer = Scorer.load(folder / "bundle")
        self.store = Store.create(folder / "store")
        self.store.put(made_history(2))
        self.store.add_metadata(METADATA.dumps[0], at(0))
        self.asked: list[int] = []
        self.before: Scored | None = None

        def counted(store: Store, scorer: Scorer, start: Any, end: Any, *args: Any, **more: Any) -> Results:
            self.asked.append(int((end - start) / TICK.delta))
            return run_backtest(store, scorer, start, end, *args, **more)

        monkeypatch.setattr(serving.review.scored, "run_backtest", counted)
        self.score(FIRST)

    def tick(self, position: int, *queues: str) -> None:
        rng = np.random.default_rng(position)
        rows = [(position, q, s, float(rng.poisson(50))) for q in (queues or QUEUES) for s in STATES]
        self.store.append(rows_of(rows))

    def score(self, end: int) -> list[int]:
        """Score up to a position, compare with a backtest; how many ticks were scored for it."""
        self.asked.clear()
        window = at(end) - WINDOW, at(end)
        self.before = score_window(self.store, self.scorer, *window, BUDGET, self.before)
        same(self.before.results, run_backtest(self.store, self.scorer, *window, BUDGET, details=True))
        return list(self.asked)


def same(found: Results, wanted: Results) -> None:
    assert (found.series, found.states, found.threshold) == (wanted.series, wanted.states, wanted.threshold)
    for name in ("times", *BY_TICK):
        np.testing.assert_allclose(
            getattr(found, name).astype(float), getattr(wanted, name).astype(float), atol=1e-5, err_msg=name
        )
    assert found.details is not None
    assert wanted.details is not None
    for name, one, other in zip(Details._fields, found.details, wanted.details, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, err_msg=name)


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(tmp_path, monkeypatch)


def test_a_new_tick_is_all_that_is_scored(case: Case) -> None:
    for position in range(FIRST, FIRST + 5):
        case.tick(position)
        assert case.score(position + 1) == [1]
    case.tick(FIRST + 7)  # two are missing
    assert case.score(FIRST + 8) == [3]
    assert case.score(FIRST + 8) == []


def test_whatever_else_has_changed_everything_is_scored_again(case: Case) -> None:
    position = FIRST
    changes = {
        "a late row": lambda: case.store.append(rows_of([(FIRST - 20, "Q1", "running", 7.0)])),
        "a late day": lambda: case.store.put(rows_of([(FIRST - 144 * 5, "Q1", "running", 7.0)])),
        "metadata": lambda: case.store.add_metadata({"Q0": {"cloud": "FR", "status": "offline"}}, at(FIRST - 30)),
        "a downtime": lambda: case.store.add_downtimes([Downtime("Q2", at(FIRST - 40), at(FIRST - 10), "OUTAGE")]),
        "a new queue": lambda: case.tick(position, "Q1", "new"),
    }
    for what, change in changes.items():
        case.tick(position)
        change()
        position += 1
        assert case.score(position)[-1] == 100, what
        case.tick(position)
        position += 1
        assert case.score(position) == [1], f"after {what}"


def test_a_downtime_that_is_still_to_come_changes_nothing(case: Case) -> None:
    case.store.add_downtimes([Downtime("Q2", at(FIRST + 10), at(FIRST + 20), "OUTAGE")])
    case.tick(FIRST)
    assert case.score(FIRST + 1) == [1]


def test_another_bundle_or_budget_scores_again(case: Case, tmp_path: Path) -> None:
    case.tick(FIRST)
    write_made_bundle(tmp_path / "other", seed=2)
    case.scorer = Scorer.load(tmp_path / "other")
    assert case.score(FIRST + 1) == [100]
