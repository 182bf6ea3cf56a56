"""The real batch system: which of its time is looked at, and what counts as false."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.schema import Tick
from qad_dl.store import Store
from tests.light.made import START, TICK, at, history
from tests.light.test_quality_scored import piece
from training.quality import scored
from training.quality.parts import Made
from training.quality.ricc import NO_INCIDENTS, measure_ricc, stopped

if TYPE_CHECKING:
    from pathlib import Path


def test_a_stop_and_the_day_after_it() -> None:
    times = Tick().range(START, at(400))
    inside = np.flatnonzero(stopped(times, [[str(at(10)), str(at(20))]]))
    assert (inside[0], inside[-1]) == (10, 20 + 143)
    assert not stopped(times, []).any()


def test_false_episodes_outside_the_stops(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store", None)
    store.put(history([(p, q, "running", 5.0) for p in range(400) for q in "AB"]))
    (tmp_path / "incidents.csv").write_text(NO_INCIDENTS, encoding="utf-8")
    kept = piece("AB", 0, 400)
    hot = np.zeros((2, 400), np.bool_)
    hot[0, [15, 16, 300]] = True  # one in the stop, one outside
    hot[1, 350:360] = True
    kept = scored.Scored(kept.results, dict.fromkeys(scored.RATES, hot))
    scored.save(tmp_path / scored.FILE, kept)
    place = Made(tmp_path, {}, 0.0)
    result = measure_ricc(tmp_path, {"stops": [[str(at(10)), str(at(20))]]}, {"world": place, "scores": place})
    assert result["realised"]["0.01"]["healthy"] == 2
    assert result["healthy_days"] == pytest.approx((2 * (400 - 154) - 1 + 0) / TICK.per_day, abs=2 / TICK.per_day)
