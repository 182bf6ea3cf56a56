"""As in real life: a bundle trained with torch on one machine scores the same where torch is not installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qad_dl.backtest import run_backtest
from qad_dl.scorer import Scorer
from qad_dl.scores_file import scores_table
from qad_dl.store import Store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.everywhere
def test_it_scores_as_where_it_was_trained(trained: Path) -> None:
    there = pq.read_table(trained / "scores.parquet")
    times = there["time"].cast(pa.timestamp("s", "UTC")).to_numpy().astype("datetime64[s]")
    store, scorer = Store.open(trained / "store"), Scorer.load(trained / "bundle")
    here = scores_table(run_backtest(store, scorer, times[0], times[-1] + store.tick.delta), scorer.bundle.name)
    assert here.num_rows == there.num_rows > 100
    for name in ("panda_queue", "flagged", "reason", "expected", "state", "direction"):
        assert here[name].to_pylist() == there[name].to_pylist(), name
    ours, theirs = (t["score"].to_numpy().astype(float) for t in (here, there))
    assert np.allclose(ours, theirs, atol=1e-5, rtol=0, equal_nan=True)
    assert np.isfinite(ours).mean() > 0.8
    assert there.schema.metadata[b"qad.bundle"].decode() == scorer.bundle.name
