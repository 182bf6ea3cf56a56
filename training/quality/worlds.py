"""A simulated world as a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from qad_dl.downtimes import read_downtimes
from qad_dl.history import normalise_jobs
from qad_dl.metadata import read_cric
from qad_dl.progress import progress
from qad_dl.simulator import WorldParams, simulate
from qad_dl.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from training.quality.parts import Made


def make_world(place: Path, inputs: Mapping[str, Any], _made: Mapping[str, Made]) -> dict[str, Any]:
    """A simulated world; its long table is gone, since the store has it."""
    made = simulated(place, inputs)
    (place / "jobs.parquet").unlink()
    return made


def simulated(place: Path, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Simulate a world and import it, as `qad simulate` and `qad import` do; `inputs` are `WorldParams`."""
    params = WorldParams(**inputs)
    numbers = simulate(params, place)
    store = Store.create(place / "store", None)
    store.add_metadata(read_cric(place / "cric.json"), params.start)
    store.add_downtimes(read_downtimes(place / "downtimes.csv"))
    put_jobs(store, place / "jobs.parquet")
    return {**numbers, "start": str(params.start), "end": str(params.start + np.timedelta64(params.days, "D"))}


def put_jobs(store: Store, path: Path) -> None:
    """Import a history file a row group at a time, which the simulator makes of days: months do not fit in memory."""
    with pq.ParquetFile(path) as file:
        for i in progress(range(file.num_row_groups), "import", unit="group"):
            store.put(normalise_jobs(file.read_row_group(i), store.tick, str(path)))
