"""PyOD's autoencoder, one per queue as its users have it, beside ours: learning and scoring the same ticks."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.backtest import read_grid
from qad_dl.rolling import UNSOURCED, keep
from qad_dl.scorer import Scorer
from qad_dl.store import Store
from training.peers.autoencoder import CLIP, LENGTH
from training.peers.protocol import standardised, windows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.grid import Grid
    from qad_dl.metadata import Metadata

SEED: Final = 1
TICKS: Final = 5
"""A tick is scored so many times."""


def compare_pyod(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Learn from [start, split) and score so many `days` after it, for so many `series`.

    PyOD's own settings, on windows of all states: of two hours, which show it a course, and of what ours reads before
    it says anything of a tick, a day and two hours. Ours scores all series of the store with the bundle as it is; what
    learning took is a matter of its training.

    Returns:
        By length of the windows processor seconds of PyOD per series, to learn, to score the days, and to score one
        tick more, as a collector does; of ours per series, to score both; ticks of the days.
    """
    scorer, store = Scorer.load(inputs["bundle"], 1), Store.open(Path(inputs["store"]))
    preprocess, metadata = scorer.bundle.preprocess, store.metadata()
    start, split = (np.datetime64(inputs[name], "s") for name in ("start", "split"))
    end = split + np.timedelta64(int(inputs["days"]), "D")
    grid = read_grid(store, preprocess, split, end, metadata)
    first = int(np.searchsorted(grid.times, split))
    ours = _seconds(lambda: scorer.score_grid(grid, metadata, first)) / len(grid.series)
    whole = read_grid(store, preprocess, start + np.timedelta64(7, "D"), end, metadata)
    at = int(np.searchsorted(whole.times, split))
    chosen = np.flatnonzero(np.isfinite(whole.counts[:, :at]).all(axis=2).mean(axis=1) > 0.9)[: int(inputs["series"])]
    values = [_standardised(np.log1p(whole.counts[n].astype(np.float64)), at) for n in chosen]
    lengths = (LENGTH, preprocess.plan.context + 1)
    return {
        "series": len(chosen),
        "ticks": len(grid.times) - first,
        "windows": [{"length": length, **_pyod_s(values, at, length)} for length in lengths],
        "ours_score_s": ours,
        "ours_tick_s": _tick_s(scorer, grid, metadata),
        "all_series": len(grid.series),
    }


def _tick_s(scorer: Scorer, grid: Grid, metadata: Metadata) -> float:
    """Processor seconds per series to score the last tick of a grid, where the ticks before it have been scored."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kept = stack.enter_context(contextlib.closing(keep(folder / "kept", grid, scorer.bundle, UNSOURCED)))
        scorer.score_last(kept, metadata)
        took = [_seconds(lambda: scorer.score_last(kept, metadata)) for _ in range(TICKS)]
    return float(np.median(took)) / len(grid.series)


def _standardised(x: NDArray[np.float64], at: int) -> NDArray[np.float64]:
    observed = np.asarray(np.isfinite(x).all(axis=1))
    return np.clip(standardised(x, observed, np.flatnonzero(observed[:at])), -CLIP, CLIP)


def _pyod_s(values: Sequence[NDArray[np.float64]], at: int, length: int) -> dict[str, float]:
    """Median processor seconds to learn from the windows that end before `at`, to score the others, and one more."""
    import torch
    from pyod.models.auto_encoder import AutoEncoder

    torch.set_num_threads(1)
    learn, score, tick = [], [], []
    for x in values:
        cut, model = windows(x, length), AutoEncoder(verbose=0, random_state=SEED, device="cpu")
        with contextlib.redirect_stdout(io.StringIO()):
            learn.append(_seconds(lambda model=model, cut=cut: model.fit(cut[: at - length + 1].astype(np.float32))))
            score.append(_seconds(lambda model=model, cut=cut: model.decision_function(cut[at - length + 1 :])))
            tick += [_seconds(lambda model=model, cut=cut: model.decision_function(cut[-1:])) for _ in range(TICKS)]
    return {"learn_s": float(np.median(learn)), "score_s": float(np.median(score)), "tick_s": float(np.median(tick))}


def _seconds(run: Any) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began
