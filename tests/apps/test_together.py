"""What queues show together, in scores of a trained bundle."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.backtest import read_grid
from qad_dl.metadata import Metadata
from qad_dl.scorer import Scorer
from qad_dl.store import Store
from qad_dl.together import JOINED_FIELDS
from tests.apps.conftest import END, TICK, World

if TYPE_CHECKING:
    from pathlib import Path

    from qad_dl.results import Results

START = np.datetime64("2026-01-13T00:00", "s")
CHANGED = np.datetime64("2026-01-14T09:00", "s")


@pytest.fixture(scope="module")
def scorer(bundle: Path) -> Scorer:
    return Scorer.load(bundle)


def scored(scorer: Scorer, world: World, metadata: Metadata | None = None, *only: int) -> Results:
    store = Store.open(world.store)
    held = store.metadata() if metadata is None else metadata
    grid = read_grid(store, scorer.bundle.preprocess, START, np.datetime64(END, "s"), held)
    first = int(np.searchsorted(grid.times, START))
    return scorer.score_grid(grid, held, first, only=np.array(only) if only else None)


@pytest.fixture(scope="module")
def whole(scorer: Scorer, world: World) -> Results:
    return scored(scorer, world)


def test_a_bundle_says_what_may_be_a_cause(scorer: Scorer) -> None:
    assert set(scorer.bundle.calibration.shared) <= set(JOINED_FIELDS)
    assert "harvester" in scorer.bundle.calibration.shared


def test_others_only_add_to_what_a_queue_shows_by_itself(scorer: Scorer, world: World, whole: Results) -> None:
    bundle = scorer.bundle
    each = scored(Scorer(replace(bundle, calibration=replace(bundle.calibration, shared=()))), world)
    assert np.array_equal(each.score, each.alone, equal_nan=True)
    assert np.array_equal(whole.alone, each.score, equal_nan=True)
    assert np.array_equal(whole.kind, each.kind)
    assert np.array_equal(np.isnan(whole.score), np.isnan(whole.alone))
    on = np.isfinite(whole.score)
    assert (whole.score[on] >= whole.alone[on] - 1e-6).all()
    told = whole.score > whole.alone + 0.1
    assert told.any()
    assert not told[whole.expected].any()  # a fall that is expected is nobody's news
    assert np.array_equal(whole.flagged, np.nan_to_num(whole.score, nan=-1.0) >= whole.threshold)


def test_a_queue_that_is_asked_for_alone_knows_of_the_others(scorer: Scorer, world: World, whole: Results) -> None:
    most = int(np.nan_to_num(whole.score - whole.alone).max(axis=1).argmax())
    one = scored(scorer, world, None, most)
    assert one.series == (whole.series[most],)
    assert np.array_equal(one.score[0], whole.score[most], equal_nan=True)


def test_who_shares_what_is_as_it_was_in_the_tick(scorer: Scorer, world: World, whole: Results) -> None:
    """From a time on nothing is known of the queues any more: from there on each is judged by itself."""
    known = Store.open(world.store).metadata()
    cut = Metadata(np.append(known.times, CHANGED), (*known.dumps, {}))
    results = scored(scorer, world, cut)
    at = int((CHANGED - START) / TICK)
    assert np.array_equal(results.score[:, :at], whole.score[:, :at], equal_nan=True)
    assert np.array_equal(results.score[:, at:], results.alone[:, at:], equal_nan=True)
    assert (whole.score[:, at:] > whole.alone[:, at:]).any()
