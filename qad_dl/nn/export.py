"""From a trained network to ONNX, with the proof that both say the same."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnxscript import optimizer

from qad_dl.bundle import BEFORE, PRIME, STEP, Stream
from qad_dl.errors import BundleError
from qad_dl.nn.modules import MaskedAutoencoder
from qad_dl.nn.stream import Prime, Step, readable_encoder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.lanes import Lane
    from qad_dl.windows import Windows

PARITY_BATCHES: Final = (1, 2, 7, 300)
"""Batch sizes at which torch and onnxruntime must agree; an LSTM exported carelessly is right at one of them only."""

PARITY_TOLERANCE: Final = 2e-4
"""Largest difference of reconstruction or spread, in standardised units, or as a share of what is larger than one: a
network that is very unsure says so with few digits. Measured differences are near 1e-5."""

EXAMPLE_BATCH: Final = 4
"""Batch of the example that is traced; with 1, the exporter writes the 1 into the graph."""

DESCRIPTIONS: Final = {
    "values": "[batch, length, states] standardised ln(1 + jobs), finite; carried forward where not observed",
    "observed": "[batch, length, states] 1 where counted, 0 where carried forward",
    "calendar": "[batch, length, 6] sine and cosine of the day (two harmonics) and of the week",
    "static_cat": "[batch, fields] ids of the series and of its metadata, 0 is unknown, never negative",
    "static_num": "[batch, 2 states] location and ln(scale) of each state",
    "reconstruction": "[batch, stride, views, states] expected standardised value; each view hides one horizon's ticks",
    "spread": "[batch, stride, views, states] how far off that usually is; in later views at this tick",
}
LANE: Final = "[batch, ticks, width] what was made of ticks and is read again by later ones; oldest first"


def export_network(
    network: MaskedAutoencoder | Prime | Step,
    example: Windows,
    path: Path,
    before: Mapping[str, NDArray[np.float32]] | None = None,
) -> None:
    """Write `path` as ONNX with a free batch axis and a fixed time axis.

    Args:
        network: on the CPU; is put into evaluation mode.
        example: real windows of the length that it reads, at least `EXAMPLE_BATCH` of them.
        path: file to write.
        before: what `Step` reads of the ticks before, by name.
    """
    feeds: dict[str, Any] = {k: torch.from_numpy(v[:EXAMPLE_BATCH]) for k, v in example.feeds().items()}
    batch = torch.export.Dim("batch", min=1)
    shapes: dict[str, Any] = {name: {0: batch} for name in feeds}
    names = [*feeds, *(f"{BEFORE}{lane}" for lane in before or ())]
    if before is not None:
        feeds["before"] = tuple(torch.from_numpy(v[:EXAMPLE_BATCH]) for v in before.values())
        shapes["before"] = tuple({0: batch} for _ in before)
    lanes = [] if isinstance(network, MaskedAutoencoder) else list(network.lanes)
    # It warns of every operator of torchvision that it cannot register; there are none in our networks.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's notes on its own deprecations; parity below is the judge
        program = torch.onnx.export(
            network.eval(),
            kwargs=feeds,
            dynamo=True,
            input_names=names,
            output_names=["reconstruction", "spread", *lanes],
            dynamic_shapes=shapes,
            optimize=False,
            verbose=False,
        )
    if program is None:
        msg = "torch.onnx.export returned no program"
        raise RuntimeError(msg)
    # The optimiser tries all of its patterns at each node; once constants are folded, there are a third as many.
    optimizer.fold_constants(program.model)
    optimizer.remove_unused_nodes(program.model)
    program.optimize()
    model = program.model_proto
    for value in (*model.graph.input, *model.graph.output):
        value.doc_string = DESCRIPTIONS.get(value.name, LANE)
    onnx.save(model, str(path))


def export_stream(network: MaskedAutoencoder, example: Windows, folder: Path) -> tuple[Stream | None, float]:
    """The network for one tick at a time, and its largest difference from the whole over the ticks of a window.

    Args:
        network: in evaluation mode, on the CPU.
        example: real windows of the length that is served, at least `EXAMPLE_BATCH` of them.
        folder: to write files into.

    Returns:
        None and 0 where the network cannot be cut down so.

    Raises:
        BundleError: they say different things.
    """
    if readable_encoder(network) is None:
        return None, 0.0
    prime, step, one = Prime(network), Step(network), network.shape.context + 1
    files = folder / PRIME, folder / STEP
    first = example.until(one)
    export_network(prime, first, files[0])
    with torch.no_grad():
        _, _, *made = prime(**{k: torch.from_numpy(v) for k, v in first.feeds().items()})
        expected = network(**{k: torch.from_numpy(v) for k, v in example.feeds().items()})
    kept = {name: values.numpy() for name, values in zip(prime.lanes, made, strict=True)}
    export_network(step, first, files[1], read_of(prime.lanes, kept))
    stream = Stream(files[0].read_bytes(), files[1].read_bytes(), prime.lanes)
    said = list(streamed(stream, example, example.values.shape[1] - network.shape.context))
    worst = max(
        _apart(e.numpy()[:, tick : tick + 1], g)
        for tick, got in enumerate(said)
        for e, g in zip(expected, got, strict=True)
    )
    if not worst <= PARITY_TOLERANCE:
        raise BundleError(_differs(files[1], worst))
    return stream, worst


def streamed(stream: Stream, windows: Windows, ticks: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Reconstruction and spread [B, 1, H, S] of the first ticks of windows, one after the other, from what is kept.

    Args:
        stream: as it is exported.
        windows: of at least `context + ticks` ticks.
        ticks: how many.
    """
    prime, step = (_session(content) for content in (stream.prime, stream.step))
    one = prime.get_inputs()[0].shape[1]
    middle, spread, *made = prime.run(None, windows.until(one).feeds())
    yield middle, spread
    kept = dict(zip(stream.lanes, made, strict=True))
    for tick in range(1, ticks):
        before = {f"{BEFORE}{name}": values for name, values in read_of(stream.lanes, kept).items()}
        middle, spread, *made = step.run(None, windows.until(one + tick).newest(one).feeds() | before)
        yield middle, spread
        kept = {name: np.concatenate([kept[name][:, 1:], new], axis=1) for name, new in zip(kept, made, strict=True)}


def read_of(lanes: Mapping[str, Lane], kept: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """What the tick after those that are kept reads of them, [B, lags, width], of the newest [B, ticks, width]."""
    return {name: np.ascontiguousarray(kept[name][:, [-lag for lag in lane.lags]]) for name, lane in lanes.items()}


def largest_difference(network: MaskedAutoencoder, path: Path, example: Windows) -> float:
    """Largest absolute difference between torch and onnxruntime over all of `PARITY_BATCHES`; infinite for NaN."""
    session = _session(path.read_bytes())
    worst: list[float] = []
    for size in PARITY_BATCHES:
        feeds = {k: _tiled(v, size) for k, v in example.feeds().items()}
        with torch.no_grad():
            expected = network.eval()(**{k: torch.from_numpy(v) for k, v in feeds.items()})
        got = session.run(["reconstruction", "spread"], feeds)
        worst += [_apart(e.numpy(), g) for e, g in zip(expected, got, strict=True)]
    return max(worst)


def check_parity(network: MaskedAutoencoder, path: Path, example: Windows) -> float:
    """Raise `BundleError` unless torch and onnxruntime agree; return the largest difference."""
    worst = largest_difference(network, path, example)
    if not worst <= PARITY_TOLERANCE:
        raise BundleError(_differs(path, worst))
    return worst


def _session(content: bytes) -> ort.InferenceSession:
    return ort.InferenceSession(content, providers=["CPUExecutionProvider"])


def _differs(path: Path, worst: float) -> str:
    return (
        f"{path}: onnxruntime and torch differ by {worst:.2g} standardised units, more than {PARITY_TOLERANCE:g}; "
        "no bundle was written: train with the versions of constraints.txt"
    )


def _apart(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The largest difference, of values beyond 1 as a share of them; infinite where either is NaN."""
    worst = float((np.abs(one - other) / np.maximum(np.abs(one), 1)).max())
    return worst if np.isfinite(worst) else float("inf")


def _tiled(array: NDArray[Any], size: int) -> NDArray[Any]:
    return np.ascontiguousarray(array[np.arange(size) % len(array)])
