"""One tick, or a range, scored as `qad backtest` does it, and which part of it takes the time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.bench.clock import PartClock
from training.bench.hooks import TICK

if TYPE_CHECKING:
    from collections.abc import Mapping


def score_in_parts(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Score [start, end) of a store and write the table, the clock of each part running.

    Args:
        inputs: `store`, `bundle`, `start`, `end`, `out`; `threads` of the network, 0 for one per core.
    """
    clock = PartClock()
    with clock.part("import"):
        import onnxruntime  # noqa: F401  # it is loaded late: here it counts as what it is

        from qad_dl import backtest, scorer, scores_file
        from qad_dl.store import Store
    clock.watch(TICK)
    start, end = (np.datetime64(inputs[name], "s") for name in ("start", "end"))
    with clock.part("other"):
        made = scorer.Scorer.load(Path(inputs["bundle"]), int(inputs["threads"]))
        results = backtest.run_backtest(Store.open(Path(inputs["store"])), made, start, end)
        scores_file.write_table(Path(inputs["out"]), scores_file.scores_table(results, made.bundle.name))
    return {"parts": clock.figures(), "rows": int(results.known.sum()), "scored": int((results.reason == 0).sum())}
