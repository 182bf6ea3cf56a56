"""The commands on a world: what `qad incidents` writes can be read again, and says kind, value and queues."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from qad_dl.incidents_file import QUEUE_FIELD, read_incidents
from qad_dl.timeparse import format_time, parse_time
from training.quality.bundles import run_command

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from training.quality.parts import Made


def make_incidents(place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """Run `qad backtest` and `qad incidents` on the last `days` before `end`, and read what they wrote."""
    world, bundle = made.values()
    end = parse_time(str(inputs["end"]), "end")
    start = end - np.timedelta64(inputs["days"], "D")
    store, folder = ["--store", str(world.place / "store")], ["--bundle", str(bundle.place / "bundle")]
    qad, scores, out = [sys.executable, "-m", "qad_dl.cli"], place / "scores.parquet", place / "incidents.csv"
    span = ["--start", format_time(start), "--end", format_time(end)]
    run_command(*qad, "backtest", str(world.place / "store"), *folder, *span, "--out", str(scores))
    run_command(*qad, "incidents", str(scores), *store, *folder, "--out", str(out))
    told = read_incidents(out)
    scores.unlink()
    return {
        "incidents": len(told),
        "groups": sum(len(i.queues) > 1 for i in told),
        "with_queues": sum(bool(i.queues) for i in told),
        "with_value": sum(bool(i.value) and (i.field != QUEUE_FIELD or i.queues == (i.value,)) for i in told),
        "kinds": sorted({i.kind for i in told}),
    }
