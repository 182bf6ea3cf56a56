"""Running the model: what each tick was expected to be, and what is kept of it for the next tick.

Windows go through onnxruntime in batches of one size, so that a reconstruction is the same number in every call.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.bundle import MODEL
from qad_dl.errors import BundleError
from qad_dl.scaling import Quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnxruntime as ort
    from numpy.typing import NDArray

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


@dataclass(frozen=True)
class Earlier:
    """What came out before of the errors of some series and ticks, by their names and times.

    Attributes:
        series: keys, [N].
        times: [R] `datetime64[s]`, one after the other.
        z: [N, R, H, S] float32, see `calibration.Errors`.
    """

    series: tuple[tuple[str, ...], ...]
    times: Times
    z: NDArray[np.float32]

    def until(self, times: Times, first: int) -> int:
        """The position after the last of the grid's ticks from `first` on that is in here; `first` if that one is not.

        Args:
            times: of the grid.
            first: position from which on it is wanted.
        """
        if not len(self.times) or not self.times[0] <= times[first] <= self.times[-1]:
            return first
        return int(np.searchsorted(times, self.times[-1], side="right"))

    def places(self, series: Sequence[tuple[str, ...]]) -> NDArray[np.int64]:
        """Where each series is in here, -1 where it is not."""
        return np.array([self._place.get(key, -1) for key in series], np.int64)

    @cached_property
    def _place(self) -> dict[tuple[str, ...], int]:
        return {key: i for i, key in enumerate(self.series)}

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """As plain arrays; `from_arrays` is the inverse."""
        series = np.frombuffer(json.dumps(self.series).encode(), np.uint8)
        return {"series": series, "times": self.times, "z": self.z}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Earlier | None:
        """Read what `to_arrays` gave; None where there is nothing."""
        if not arrays:
            return None
        series = tuple(tuple(key) for key in json.loads(arrays["series"].tobytes()))
        return cls(series, arrays["times"], arrays["z"])


class Model:
    """An onnxruntime session that always runs batches of `BATCH` windows."""

    def __init__(self, content: bytes, threads: int = 0) -> None:
        """Load the model from its bytes."""
        self.session = _session(content, threads)

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
        held = prepared.segment[low:high]
        location[:, here] = middle[:, there]
        if prepared.quantity is Quantity.COUNTS:
            nothing = -(prepared.scale.loc / prepared.scale.scale)[held][:, series].swapaxes(0, 1)  # 0 jobs, [N, R, S]
            location[:, here] = np.maximum(middle[:, there], nothing[:, :, None])  # nobody expects less than none
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


def _padded(array: NDArray[Any]) -> NDArray[Any]:
    missing = BATCH - len(array)
    return array if missing == 0 else np.concatenate([array, np.repeat(array[:1], missing, axis=0)])


def _session(content: bytes, threads: int) -> ort.InferenceSession:
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
            msg = f"{MODEL}: onnxruntime {ort.__version__} cannot load it ({error}): train the bundle again"
            raise BundleError(msg) from error
        raise
