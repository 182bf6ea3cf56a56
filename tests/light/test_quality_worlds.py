"""A world as a store: the same as by `qad simulate` and `qad import`, in little memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qad_dl.cli import main as qad
from qad_dl.schema import Tick
from qad_dl.store import Store
from training.quality.known import load_grid, load_known
from training.quality.worlds import make_world

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_what_the_commands_make(tmp_path: Path) -> None:
    made, told = tmp_path / "made", tmp_path / "told"
    made.mkdir()
    result = make_world(made, {"days": 4, "queues": 12, "seed": 3}, {})
    assert qad(["simulate", str(told), "--days", "4", "--queues", "12", "--seed", "3"]) == 0
    files = ["--jobs", str(told / "jobs.parquet"), "--cric", str(told / "cric.json")]
    assert qad(["import", str(told / "store"), *files, "--downtimes", str(told / "downtimes.csv")]) == 0
    one, other = Store.open(made / "store"), Store.open(told / "store")
    span = other.span()
    assert span is not None
    assert one.read(span[0], span[1] + Tick().delta).equals(other.read(span[0], span[1] + Tick().delta))
    assert one.downtimes() == other.downtimes()
    assert one.metadata().at(span[1]) == other.metadata().at(span[1])
    assert (made / "incidents.csv").read_bytes() == (told / "incidents.csv").read_bytes()
    assert result["end"] == "2026-01-09T00:00:00"


def test_what_is_known_is_on_the_grid_of_the_scores(tmp_path: Path) -> None:
    make_world(tmp_path, {"days": 4, "queues": 12, "seed": 3, "incident_cap": 1.0, "incident_rate": 6.0}, {})
    grid = load_grid(tmp_path)
    times = grid.times[-144:]
    known = load_known(tmp_path, grid.series, times, np.ones((len(grid.series), 144), np.bool_))
    assert known.truth.incident.shape == (len(grid.series), 144)
    assert known.truth.windows
    assert {w.name for w in known.truth.windows} <= set(known.incidents)
    assert load_grid(tmp_path, times[0]).times[-1] == times[0] - Tick().delta
