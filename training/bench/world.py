"""The history to measure on: a simulated world as a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qad_dl.downtimes import read_downtimes
from qad_dl.metadata import read_cric
from qad_dl.simulator import WorldParams, simulate
from qad_dl.store import Store
from training.quality.worlds import put_jobs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from training.quality.parts import Made


def make_world(place: Path, inputs: Mapping[str, Any], _made: Mapping[str, Made]) -> dict[str, Any]:
    """Simulate a world and import it; its long table stays beside the store, to be imported again."""
    params = WorldParams(**inputs)
    numbers = simulate(params, place)
    store = Store.create(place / "store", None)
    store.add_metadata(read_cric(place / "cric.json"), params.start)
    store.add_downtimes(read_downtimes(place / "downtimes.csv"))
    put_jobs(store, place / "jobs.parquet")
    return {**numbers, "start": str(params.start)}
