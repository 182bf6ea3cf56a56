"""What is new to a bundle: told alike of a store and of a tick's grid, and kept with the incidents that have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from qad_dl.backtest import read_grid, score_tick
from qad_dl.followed import OPENED, Followed
from qad_dl.incident_log import follow
from qad_dl.incidents import values_of
from qad_dl.novel import Novel, novel, novel_in
from qad_dl.review.data import build_index, ranking
from qad_dl.scorer import Scorer
from qad_dl.sinks.message import single
from serving.evaluate import evaluate
from serving.follow import Book, follow_all
from serving.state import State
from tests.light.made import at, history
from tests.light.made_bundle import made_history, made_store, write_made_bundle
from tests.light.test_review_data import small_results

if TYPE_CHECKING:
    from pathlib import Path

    from qad_dl.store import Store

LAST = 2 * 144 - 1


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "made"
    write_made_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def scorer(bundle: Path) -> Scorer:
    return Scorer.load(bundle)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two days in which a queue appears, and a state that was had two days before and one that is had now."""
    made = made_store(tmp_path / "store", made_history(2))
    fresh = [(t, "NEW", "running", 50.0) for t in range(144, LAST + 1)]
    states = [(3, "Q1", "long_ago", 5.0), (LAST - 3, "Q2", "throttled", 7.0), (LAST - 2, "Q0", "throttled", 0.0)]
    made.put(history([*fresh, *states]))
    return made


def test_queues_and_states_that_a_bundle_does_not_know(store: Store, scorer: Scorer) -> None:
    results = score_tick(store, scorer, at(LAST), details=True)
    found = novel(scorer.bundle, results, store)
    assert found == Novel((("NEW",),), {"throttled": ("Q2",)})
    assert (found.series, found.states) == (("NEW",), ("throttled",))
    preprocess = scorer.bundle.preprocess
    grid = read_grid(store, preprocess, at(LAST), at(LAST + 1), store.metadata())
    assert novel_in(preprocess, results, grid.states, [grid]) == found  # as a tick of the collector has it


def test_nothing_is_new_of_what_it_was_trained_on(tmp_path: Path, scorer: Scorer) -> None:
    store = made_store(tmp_path / "store", made_history(2))
    assert novel(scorer.bundle, score_tick(store, scorer, at(LAST)), store) == Novel()


def test_an_incident_keeps_what_of_it_was_new(store: Store) -> None:
    results = small_results([[0, 0, 9, 9], [0, 0, 0, 0]], names=("Q0", "Q2"))  # they share a cloud
    unknown = Novel((("Q0",), ("Q2",)), {"throttled": ("Q0",), "other": ("Q2",)})
    (found,), _ = follow((), results, values_of(results, store), unknown=unknown)
    assert (found.unknown_queues, found.unknown_states) == (("Q0",), ("throttled",))
    assert Followed.from_json(found.to_json()) == found
    before = {k: v for k, v in found.to_json().items() if not k.startswith("unknown")}
    assert Followed.from_json(before).unknown_queues == ()  # what was kept before this was told
    (later,), _ = follow((found,), results, values_of(results, store), unknown=Novel())
    assert later.unknown_queues == ()  # a bundle that knows it is in use since


def test_the_page_marks_them() -> None:
    results = small_results([[0, 1, 2], [0, 4, 5], [0, 0, 1]])
    unknown = Novel((("Q1",),), {"throttled": ("Q0", "Q1", "elsewhere")})
    order = ranking(results)
    index, _ = build_index(results, {}, [], order, (), unknown)
    assert [line["n"] for line in index["series"] if line.get("nw")] == ["Q1"]
    rows = {results.series[i][0]: row for row, i in enumerate(order)}
    assert index["strange"] == {"throttled": sorted([rows["Q0"], rows["Q1"]])}
    assert np.array_equal(build_index(results, {}, [], order)[0]["strange"], {})


def test_people_are_told_that_the_queue_is_new(store: Store, bundle: Path, tmp_path: Path) -> None:
    last = LAST + 9
    stopped = [(t, "NEW", "running", 0.0) for t in range(LAST + 1, last + 1)]
    store.put(pa.concat_tables([made_history(9.5 / 144, seed=2, first=LAST + 1), history(stopped)]))
    state = State(tmp_path / "state")
    found = evaluate(store, state, [bundle], at(LAST + 1), at(last), 0.01)
    book, news = follow_all(state, Book(), found.scored, at(last))
    (told,) = (incident for incident in book.open(found.scored[0].label) if "NEW" in incident.queues)
    assert told.unknown_queues == ("NEW",)
    (first,) = (item for item in news if item.incident.id == told.id and item.transition.action == OPENED)
    assert "new to the bundle" in single("k", OPENED, first).plain()
