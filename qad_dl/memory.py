"""Scoring a history that somebody else keeps: DataFrame in, DataFrame out, by the same code as a store's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qad_dl.backtest import chosen_series
from qad_dl.errors import InputError
from qad_dl.grid import build_grid, series_before, times_of
from qad_dl.history import normalise_jobs
from qad_dl.metadata import Metadata, parse_cric
from qad_dl.scores_file import scores_table
from qad_dl.timeparse import parse_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import pandas as pd

    from qad_dl.scorer import Scorer


def score_history(
    scorer: Scorer,
    history: pd.DataFrame,
    metadata: Metadata | Mapping[str, Mapping[str, Any]] | None,
    at: str | datetime | np.datetime64 | None,
    queues: Sequence[str],
    budget: float | None,
) -> pd.DataFrame:
    """See `Scorer.score`."""
    preprocess = scorer.bundle.preprocess
    rows = normalise_jobs(history, preprocess.tick, "history")
    if rows.num_rows == 0:
        raise InputError("history: holds no rows; give the job counts of the last 7 days")
    held = _metadata(metadata)
    wanted = times_of(rows).max() if at is None else at
    tick = preprocess.tick.floor(wanted if isinstance(wanted, np.datetime64) else parse_time(str(wanted), "at"))
    start = tick - preprocess.plan.lookback * preprocess.tick.delta
    grid = build_grid(
        rows,
        preprocess.tick.range(start, tick + preprocess.tick.delta),
        preprocess.tick,
        held,
        preprocess.entity,
        preprocess.select,
        known=series_before(rows, start),
    )
    results = scorer.score_grid(grid, held, len(grid.times) - 1, budget, only=chosen_series(grid, queues))
    return scores_table(results, scorer.bundle.name).to_pandas()


def _metadata(metadata: Metadata | Mapping[str, Mapping[str, Any]] | None) -> Metadata:
    if metadata is None:
        return Metadata.empty()
    if isinstance(metadata, Metadata):
        return metadata
    return Metadata.single(
        parse_cric({k: dict(v) if isinstance(v, Mapping) else v for k, v in metadata.items()}, "metadata")
    )
