"""Running the model: what each tick was expected to be, and what is kept of it for the next tick.

Windows go through onnxruntime in batches of one size, so that a reconstruction is the same number in every call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.bundle import MODEL
from qad_dl.errors import BundleError
from qad_dl.grid import NEVER
from qad_dl.scaling import Quantity

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnxruntime as ort
    from numpy.typing import NDArray

    from qad_dl.grid import Grid
    from qad_dl.preprocess import Prepared, Preprocess
    from qad_dl.schema import Times

BATCH: Final = 32
"""Windows per run of the model, always this many: matrix kernels round differently for other shapes."""


@dataclass(frozen=True)
class Reconstruction:
    """Output of the model over a range of ticks.

    Attributes:
        start: grid position of the first tick.
        location: [N, R, H, S] float32, standardised units.
        spread: [N, R, H, S] float32.
        seen: [N, R] observed ticks among the context before each tick and the tick itself.
        counted: [N, R] the tick itself was observed.
    """

    start: int
    location: NDArray[np.float32]
    spread: NDArray[np.float32]
    seen: NDArray[np.int32]
    counted: NDArray[np.bool_]


class Model:
    """An onnxruntime session that always runs batches of `BATCH` windows."""

    def __init__(self, content: bytes, threads: int = 0, name: str = MODEL) -> None:
        """Load the model from its bytes; `name` is that of its file.

        Raises:
            BundleError: onnxruntime cannot load it.
        """
        self.session = _session(content, threads, name)

    def run(self, feeds: dict[str, NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Reconstruction and spread [B, M, H, S] of any number of windows."""
        total = len(feeds["values"])
        if total == 0:
            _, *shape = self.session.get_outputs()[0].shape
            return np.empty((0, *shape), np.float32), np.empty((0, *shape), np.float32)
        pieces = []
        for i in range(0, total, BATCH):
            batch = {k: _padded(v[i : i + BATCH]) for k, v in feeds.items()}
            pieces.append(self.session.run(["reconstruction", "spread"], batch))
        location, spread = (np.concatenate([p[k] for p in pieces])[:total] for k in (0, 1))
        return location, spread


def window_starts(preprocess: Preprocess, times: Times, first: int) -> range:
    """Grid positions of the first outputs of the windows that reconstruct the ticks from position `first` on."""
    plan, offset = preprocess.plan, int(preprocess.tick.index(times[:1])[0])
    return range(plan.first_output(offset + first) - offset, len(times), plan.stride)


def reconstruct(
    model: Model,
    preprocess: Preprocess,
    prepared: Prepared,
    series: NDArray[np.int64],
    first: int,
    done: Callable[[int], object] | None = None,
) -> Reconstruction:
    """Run the model over the ticks from grid position `first` to the end of the grid.

    Args:
        model: the network.
        preprocess: cuts the windows.
        prepared: the grid.
        series: [N] positions of the series.
        first: grid position of the first tick.
        done: called with how many windows of each series were run since it was called last.
    """
    plan, end = preprocess.plan, len(prepared.grid.times)
    shape = (len(series), end - first)
    location, spread, seen, counted = None, None, np.zeros(shape, np.int32), np.zeros(shape, np.bool_)
    for at in window_starts(preprocess, prepared.times, first):
        windows = preprocess.cut(prepared, series, np.full(len(series), at), plan.stride)
        middle, wide = model.run(windows.feeds())
        if location is None or spread is None:
            location = np.empty((*shape, *middle.shape[2:]), np.float32)
            spread = np.empty_like(location)
        low, high = max(at, first), min(at + plan.stride, end)
        here, there = slice(low - first, high - first), slice(low - at, high - at)
        location[:, here] = _least_none(middle[:, there], prepared, series, slice(low, high))
        spread[:, here] = wide[:, there]
        observed = np.asarray(windows.observed.all(axis=2))
        total = np.cumsum(np.pad(observed, ((0, 0), (1, 0))), axis=1, dtype=np.int32)
        seen[:, here] = (total[:, plan.context + 1 :] - total[:, : -plan.context - 1])[:, there]
        counted[:, here] = observed[:, plan.context :][:, there]
        if done is not None:
            done(1)
    if location is None or spread is None:
        msg = f"no tick from grid position {first} on: the grid has {end}"
        raise ValueError(msg)
    return Reconstruction(first, location, spread, seen, counted)


def carries(preprocess: Preprocess, grid: Grid) -> bool:
    """Whether the context of the last tick may begin with what must be carried on from before it."""
    at = len(grid.times) - 1 - preprocess.plan.context
    if at < 0 or not grid.arrived[at] or grid.frozen[at]:
        return True
    return bool((grid.quiet[:, at] == NEVER).any()) or not np.isfinite(grid.counts[:, at]).all()


def reconstruct_newest(
    model: Model, preprocess: Preprocess, prepared: Prepared, series: NDArray[np.int64]
) -> Reconstruction:
    """As `reconstruct` of the last tick of the grid, by the model that is for one tick.

    Args:
        model: the network cut down to its newest tick (`Bundle.newest`).
        preprocess: cuts the windows.
        prepared: the grid.
        series: [N] positions of the series.
    """
    plan, last = preprocess.plan, len(prepared.grid.times) - 1
    at = window_starts(preprocess, prepared.times, last)[0]
    skip = 0 if carries(preprocess, prepared.grid) else last - at
    windows = preprocess.cut(prepared, series, np.full(len(series), at), last - at + 1, skip=skip)
    windows = windows.newest(plan.context + 1)
    middle, wide = model.run(windows.feeds())
    observed = np.asarray(windows.observed.all(axis=2))
    location = _least_none(middle, prepared, series, slice(last, last + 1))
    return Reconstruction(last, location, wide, observed.sum(axis=1, dtype=np.int32)[:, None], observed[:, -1:])


def _least_none(
    location: NDArray[np.float32], prepared: Prepared, series: NDArray[np.int64], ticks: slice
) -> NDArray[np.float32]:
    """What is expected at some ticks, [N, R, H, S], which is never fewer than 0 jobs."""
    if prepared.quantity is not Quantity.COUNTS:
        return location
    nothing = -(prepared.scale.loc / prepared.scale.scale)[prepared.segment[ticks]][:, series].swapaxes(0, 1)
    least: NDArray[np.float32] = np.maximum(location, nothing[:, :, None])
    return least


def _padded(array: NDArray[Any]) -> NDArray[Any]:
    missing = BATCH - len(array)
    return array if missing == 0 else np.concatenate([array, np.repeat(array[:1], missing, axis=0)])


def _session(content: bytes, threads: int, name: str) -> ort.InferenceSession:
    import onnxruntime as ort  # half a second, so not when the module is imported

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # a third of the memory, and as fast with batches of one size
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime raises classes of its own that share no base but Exception.
        if type(error).__module__.startswith("onnxruntime"):
            msg = f"{name}: onnxruntime {ort.__version__} cannot load it ({error}): train the bundle again"
            raise BundleError(msg) from error
        raise
