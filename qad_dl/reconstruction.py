"""Running the model: what each tick was expected to be, and what is kept of it for the next tick.

Windows go through onnxruntime in batches of one size, so that a reconstruction is the same number in every call.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.bundle import MODEL
from qad_dl.errors import BundleError
from qad_dl.progress import progress
from qad_dl.scaling import Quantity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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

    def cut(self, series: NDArray[np.int64], low: int, high: int) -> Reconstruction:
        """Some series, and the ticks [low, high) counted from `start`."""
        arrays = {name: getattr(self, name)[series, low:high] for name in _MADE}
        return Reconstruction(self.start + low, **arrays)

    def of(self, series: slice) -> Reconstruction:
        """Some series that follow each other; nothing is copied."""
        return Reconstruction(self.start, **{name: getattr(self, name)[series] for name in _MADE})


_MADE: Final = ("location", "spread", "seen", "counted")


@dataclass(frozen=True)
class Earlier:
    """A reconstruction by the names of its series and the times of its ticks.

    Attributes:
        series: keys, [N].
        times: [R] `datetime64[s]`.
        made: of them.
    """

    series: tuple[tuple[str, ...], ...]
    times: Times
    made: Reconstruction

    def until(self, times: Times, first: int) -> int:
        """The position after the last of the grid's ticks from `first` on that is in here; `first` if that one is not.

        Args:
            times: of the grid.
            first: position from which on it is wanted.
        """
        if not len(self.times) or not self.times[0] <= times[first] <= self.times[-1]:
            return first
        return int(np.searchsorted(times, self.times[-1], side="right"))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """As plain arrays; `from_arrays` is the inverse."""
        series = np.frombuffer(json.dumps(self.series).encode(), np.uint8)
        return {"series": series, "times": self.times, **{name: getattr(self.made, name) for name in _MADE}}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Earlier | None:
        """Read what `to_arrays` gave; None where there is nothing."""
        if not arrays:
            return None
        series = tuple(tuple(key) for key in json.loads(arrays["series"].tobytes()))
        return cls(series, arrays["times"], Reconstruction(0, **{name: arrays[name] for name in _MADE}))


def assembled(
    parts: Sequence[tuple[NDArray[np.int64], slice, Reconstruction]], first: int, shape: tuple[int, int]
) -> Reconstruction:
    """One reconstruction [N, R] of pieces that cover it; each says which series and which ticks it is of."""
    arrays = {}
    for name in _MADE:
        example = getattr(parts[0][2], name)
        arrays[name] = np.empty((*shape, *example.shape[2:]), example.dtype)
        for series, ticks, piece in parts:
            arrays[name][series, ticks] = getattr(piece, name)
    return Reconstruction(first, **arrays)


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


def reconstruct(
    model: Model, preprocess: Preprocess, prepared: Prepared, series: NDArray[np.int64], first: int
) -> Reconstruction:
    """Run the model over the ticks from grid position `first` to the end of the grid.

    Args:
        model: the network.
        preprocess: cuts the windows.
        prepared: the grid.
        series: [N] positions of the series.
        first: grid position of the first tick.
    """
    plan, end = preprocess.plan, len(prepared.grid.times)
    offset = int(preprocess.tick.index(prepared.grid.times[:1])[0])
    starts = range(plan.first_output(offset + first) - offset, end, plan.stride)
    shape = (len(series), end - first)
    location, spread, seen, counted = None, None, np.zeros(shape, np.int32), np.zeros(shape, np.bool_)
    for at in progress(starts, "model", len(starts), "window"):
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
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime raises classes of its own that share no base but Exception.
        if type(error).__module__.startswith("onnxruntime"):
            msg = f"{MODEL}: onnxruntime {ort.__version__} cannot load it ({error}): train the bundle again"
            raise BundleError(msg) from error
        raise
