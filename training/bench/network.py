"""How many queue-ticks a core scores in a second: the network alone at several batch sizes, and all of scoring."""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.backtest import read_grid
from qad_dl.bundle import read_bundle
from qad_dl.reconstruction import BATCH, Model
from qad_dl.rolling import UNSOURCED, keep
from qad_dl.scorer import Scorer
from qad_dl.store import Store
from training.bench.clock import PartClock, forget_peak, peak_mb, resident_mb
from training.bench.flops import flops_of
from training.bench.hooks import RANGE
from training.bench.product import gflops, product_s
from training.bench.windows import real_windows, tiled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ONE: Final = 1
"""Thread: the figures are per core."""


def network_rates(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Windows per second of processor time through onnxruntime on one thread, by batch size.

    Args:
        inputs: `store`, `bundle`, `at`, `batches`, and `seconds` for each.

    Returns:
        By batch size the rate, its share of the speed of a matrix product measured right beside it, and the memory that
        the network takes with its weights; operations and ticks of a window.
    """
    bundle = read_bundle(Path(inputs["bundle"]))
    sizes = sorted(int(b) for b in inputs["batches"])
    windows = real_windows(Store.open(Path(inputs["store"])), bundle.preprocess, _time(inputs), max(sizes))
    work, out = flops_of(bundle.model), []
    Model(bundle.model, ONE)  # loads the runtime, which is no batch's memory
    for size in sizes:
        feeds = {name: np.ascontiguousarray(array[:size]) for name, array in windows.feeds().items()}
        forget_peak()
        before = resident_mb()
        session = Model(bundle.model, ONE).session
        least = best_s(partial(session.run, ["reconstruction", "spread"], feeds), inputs["seconds"])
        memory = peak_mb() - before
        unit = product_s(5)[0]
        share = work * size / least / 1e9 / gflops(unit)
        out.append({"batch": size, "windows_per_s": size / least, "share": share, "memory_mb": memory})
        del session
    plan = bundle.preprocess.plan
    return {"batches": out, "flops": work, "stride": plan.stride, "length": plan.length, "in_use": BATCH}


def scoring_rates(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Queue-ticks per second of processor time from a grid to scores, on one thread.

    Args:
        inputs: `store`, `bundle`, `at`; how many `queues` (those of the store, repeated) and `days`; `seconds` for
            each rate.

    Returns:
        Rates of a range, of the newest tick alone, and of it where the ticks before are remembered, each with the parts
        that take the time.
    """
    scorer, store, at = Scorer.load(inputs["bundle"], ONE), Store.open(Path(inputs["store"])), _time(inputs)
    preprocess, ticks = scorer.bundle.preprocess, int(inputs["days"] * store.tick.per_day)
    metadata = store.metadata()
    first = at - (ticks - 1) * store.tick.delta
    grid, known = tiled(
        read_grid(store, preprocess, first, at + store.tick.delta, metadata), metadata, int(inputs["queues"])
    )
    clock = PartClock()
    clock.watch(RANGE)
    start, n = len(grid.times) - ticks, len(grid.series)
    out = {"range": _rated(clock, lambda: scorer.score_grid(grid, known, start), n * ticks, inputs["seconds"])}
    last = len(grid.times) - 1
    out["newest"] = _rated(clock, lambda: scorer.score_grid(grid, known, last, details=True), n, inputs["seconds"])
    with tempfile.TemporaryDirectory() as folder:
        kept = keep(Path(folder) / "kept", grid, scorer.bundle, UNSOURCED)
        with closing(kept):
            scorer.score_last(kept, known)
            out["remembered"] = _rated(clock, lambda: scorer.score_last(kept, known), n, inputs["seconds"])
    return {**out, "queues": n, "ticks": ticks}


def best_s(run: Callable[[], Any], seconds: float) -> float:
    """Least processor seconds of a run, of at least three and as many as fit into `seconds`."""
    run()
    took: list[float] = []
    until_s = time.process_time() + seconds  # on a busy machine as many runs as on a quiet one
    while len(took) < 3 or time.process_time() < until_s:
        began = time.process_time()
        run()
        took.append(time.process_time() - began)
    return min(took)


def _rated(clock: PartClock, run: Callable[[], Any], queue_ticks: int, seconds: float) -> dict[str, Any]:
    """The best of two runs, or of as many as fit into `seconds`."""
    best: dict[str, Any] = {}
    runs, until_s = 0, time.process_time() + seconds
    while runs < 2 or time.process_time() < until_s:
        runs += 1
        clock.spent.clear()
        began = time.process_time()
        with clock.part("other"):
            run()
        took = time.process_time() - began
        if not best or took < best["cpu_s"]:
            best = {"cpu_s": took, "per_s": queue_ticks / took, "parts": clock.figures()}
    return best


def _time(inputs: Mapping[str, Any]) -> np.datetime64:
    return np.datetime64(inputs["at"], "s")
