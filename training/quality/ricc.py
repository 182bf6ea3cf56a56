"""A real batch system, whose stops are all that is known of it: how often the decision is wrong outside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qad_dl.history import load_jobs
from qad_dl.metrics.budget import false_episodes
from qad_dl.rows import split_days
from qad_dl.schema import Tick
from qad_dl.store import Store
from qad_dl.timeparse import parse_time
from training.quality import scored
from training.quality.known import load_known
from training.quality.sources import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from training.quality.parts import Made

NO_INCIDENTS = "incident,kind,field,value,start,end\n"
DAY = np.timedelta64(24 * 3600, "s")


def make_ricc(place: Path, inputs: Mapping[str, Any], _made: Mapping[str, Made]) -> dict[str, Any]:
    """Import a job history as a world without known incidents; `inputs['jobs']` is its path from the top."""
    store = Store.create(place / "store", None)
    for _, part in split_days(load_jobs(ROOT / inputs["jobs"], Tick())):
        store.put(part)
    (place / "incidents.csv").write_text(NO_INCIDENTS, encoding="utf-8")
    return {"span": [str(t) for t in store.span() or ()]}


def measure_ricc(_place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """False episodes of the decision at each budget, outside `inputs['stops']` and the 24 h after them."""
    world, scores = made.values()
    kept = scored.load(scores.place / scored.FILE)
    results = kept.results
    truth = load_known(world.place, results.series, results.times, results.known).truth
    where = truth.healthy & ~np.isnan(results.score) & ~stopped(results.times, inputs["stops"])
    return {
        "realised": {f"{b:g}": {"healthy": false_episodes(hot, where, truth)} for b, hot in kept.flags.items()},
        "healthy_days": truth.queue_days(where),
    }


def stopped(times: NDArray[np.datetime64], stops: Sequence[Sequence[str]]) -> NDArray[np.bool_]:
    """Ticks [T] inside a stop (its end included) or in the 24 h after it."""
    out = np.zeros(len(times), np.bool_)
    for start, end in stops:
        out |= (times >= parse_time(start, "stops")) & (times < parse_time(end, "stops") + DAY)
    return out
