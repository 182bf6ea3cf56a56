"""Running the model: what each tick was expected to be, and what is kept of it for the next tick.

Windows go through onnxruntime in batches of one size, so that a reconstruction is the same number in every call.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from qad_dl.bundle import BEFORE, MODEL, PRIME, STEP
from qad_dl.errors import BundleError
from qad_dl.grid import NEVER
from qad_dl.scaling import Quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnxruntime as ort
    from numpy.typing import NDArray

    from qad_dl.bundle import Bundle, Stream
    from qad_dl.grid import Grid
    from qad_dl.prepared import Prepared
    from qad_dl.preprocess import Preprocess
    from qad_dl.schema import Times

BATCH: Final = 8
"""Windows per run of the model, always this many: matrix kernels round differently for other shapes.

What a layer makes of so few stays in a processor's second cache (`make bench ROW=4` says what others cost)."""

STEP_BATCH: Final = 64
"""Likewise of `step.onnx`, which does little for each."""


class Reconstruction(NamedTuple):
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
    """An onnxruntime session that always runs batches of one size."""

    def __init__(self, content: bytes, threads: int = 0, name: str = MODEL, batch: int = BATCH) -> None:
        """Load the model from its bytes; `name` is that of its file.

        Raises:
            BundleError: onnxruntime cannot load it.
        """
        self.session, self.batch = _session(content, threads, name), batch
        self.outputs = [output.name for output in self.session.get_outputs()]

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
        """All outputs for any number of windows: reconstruction and spread [B, M, H, S], and the lanes of a tick."""
        total = len(feeds["values"])
        if total == 0:
            return [np.empty((0, *output.shape[1:]), np.float32) for output in self.session.get_outputs()]
        pieces = []
        for i in range(0, total, self.batch):
            batch = {k: self._padded(v[i : i + self.batch]) for k, v in feeds.items()}
            pieces.append(self.session.run(self.outputs, batch))
        return [np.concatenate(parts)[:total] for parts in zip(*pieces, strict=True)]

    def _padded(self, array: NDArray[Any]) -> NDArray[Any]:
        missing = self.batch - len(array)
        return array if missing == 0 else np.concatenate([array, np.repeat(array[:1], missing, axis=0)])


class Networks:
    """The networks of a bundle, each started when it is needed first.

    Attributes:
        whole: reconstructs the ticks of a window.
        prime: the last tick of a window, and what later ticks read of its layers (`Bundle.stream`).
        step: the same from what was kept of the ticks before.
    """

    def __init__(self, bundle: Bundle) -> None:
        """Take a bundle."""
        self.preprocess, self._bundle = bundle.preprocess, bundle

    @cached_property
    def whole(self) -> Model:
        """See above; `BundleError` where onnxruntime cannot load it, as of the others."""
        return Model(self._bundle.model, 1)

    @cached_property
    def prime(self) -> Model:
        """See above."""
        return Model(self._stream.prime, 1, PRIME)

    @cached_property
    def step(self) -> Model:
        """See above."""
        return Model(self._stream.step, 1, STEP, STEP_BATCH)

    @property
    def _stream(self) -> Stream:
        if self._bundle.stream is None:
            raise ValueError("this network does not go tick by tick")
        return self._bundle.stream

    def start(self) -> None:
        """Start all of them: for who wants to know now whether they can be.

        Raises:
            BundleError: onnxruntime cannot load one.
        """
        _ = self.whole, self._bundle.stream and (self.prime, self.step)

    def ticks(self, prepared: Prepared, first: int, done: Callable[[int], object] | None = None) -> Reconstruction:
        """`reconstruct` of all series of a grid."""
        return reconstruct(self.whole, self.preprocess, prepared, np.arange(len(prepared.series)), first, done)

    def newest(
        self, prepared: Prepared, before: Mapping[str, NDArray[np.float32]] | None = None
    ) -> tuple[Reconstruction, list[NDArray[np.float32]]]:
        """`reconstruct_newest` of all series of a grid, from what was kept where it is given."""
        model, series = self.prime if before is None else self.step, np.arange(len(prepared.series))
        return reconstruct_newest(model, self.preprocess, prepared, series, before)


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
        observed = windows.whole
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
    """Whether the context of the last tick may begin with what must be carried on from before it.

    A series without a row so far has nothing that could be.
    """
    at = len(grid.times) - 1 - preprocess.plan.context
    if at < 0 or not grid.arrived[at] or grid.frozen[at]:
        return True
    return not np.isfinite(grid.counts[grid.quiet[:, at] != NEVER, at]).all()


def reconstruct_newest(
    model: Model,
    preprocess: Preprocess,
    prepared: Prepared,
    series: NDArray[np.int64],
    before: Mapping[str, NDArray[np.float32]] | None = None,
) -> tuple[Reconstruction, list[NDArray[np.float32]]]:
    """As `reconstruct` of the last tick of the grid, by a network that is for one tick.

    Args:
        model: of `Stream.prime`, or of `Stream.step` where it is given what was kept.
        preprocess: cuts the windows.
        prepared: the grid.
        series: [N] positions of the series.
        before: what was kept of each lane at its lags before the tick, [N, lags, width].

    Returns:
        The reconstruction; and of each lane the tick, and before it the ticks that a later one may read where nothing
        was given, [N, 1 or more, width].
    """
    plan, last = preprocess.plan, len(prepared.grid.times) - 1
    at = window_starts(preprocess, prepared.times, last)[0]
    skip = 0 if carries(preprocess, prepared.grid) else last - at
    windows = preprocess.cut(prepared, series, np.full(len(series), at), last - at + 1, skip=skip)
    windows = windows.newest(plan.context + 1)
    kept = {f"{BEFORE}{name}": values for name, values in (before or {}).items()}
    middle, wide, *lanes = model.run(windows.feeds() | kept)
    observed = windows.whole
    location = _least_none(middle, prepared, series, slice(last, last + 1))
    seen = observed.sum(axis=1, dtype=np.int32)[:, None]
    return Reconstruction(last, location, wide, seen, observed[:, -1:]), lanes


def begins_window(preprocess: Preprocess, times: Times) -> bool:
    """Whether the last tick is the first output of its window."""
    last = len(times) - 1
    return window_starts(preprocess, times, last)[0] == last


def unmoved(preprocess: Preprocess, prepared: Prepared) -> NDArray[np.bool_]:
    """Whether the context of the last tick, which begins a window, is shown to a network as in the window before, [N].

    Within a window it always is. One that begins carries on from its own first tick, and has the metadata of its own
    first output.

    Args:
        preprocess: cuts the windows.
        prepared: a grid that holds the whole window before.
    """
    plan, series, last = preprocess.plan, np.arange(len(prepared.series)), len(prepared.times) - 1
    now = preprocess.cut(prepared, series, np.full(len(series), last), 0)
    then = preprocess.cut(prepared, series, np.full(len(series), last - plan.stride), plan.stride).newest(plan.context)
    same = [
        (a == b).reshape(len(series), -1).all(axis=1)
        for a, b in zip(now.feeds().values(), then.feeds().values(), strict=True)
    ]
    return np.asarray(np.all(same, axis=0))


def _least_none(
    location: NDArray[np.float32], prepared: Prepared, series: NDArray[np.int64], ticks: slice
) -> NDArray[np.float32]:
    """What is expected at some ticks, [N, R, H, S], which is never fewer than 0 jobs."""
    if prepared.quantity is not Quantity.COUNTS:
        return location
    nothing = -(prepared.scale.loc / prepared.scale.scale)[prepared.segment[ticks]][:, series].swapaxes(0, 1)
    least: NDArray[np.float32] = np.maximum(location, nothing[:, :, None])
    return least


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
