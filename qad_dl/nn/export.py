"""From a trained network to ONNX, with the proof that both say the same."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
import onnxruntime as ort
import torch

from qad_dl.errors import BundleError
from qad_dl.nn.newest import NewestTick, readable_encoder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.nn.modules import MaskedAutoencoder
    from qad_dl.windows import Windows

PARITY_BATCHES: Final = (1, 2, 7, 300)
"""Batch sizes at which torch and onnxruntime must agree; an LSTM exported carelessly is right at one of them only."""

PARITY_TOLERANCE: Final = 2e-4
"""Largest difference of reconstruction or spread, in standardised units; measured differences are near 1e-5."""

EXAMPLE_BATCH: Final = 4
"""Batch of the example that is traced; with 1, the exporter writes the 1 into the graph."""

DESCRIPTIONS: Final = {
    "values": "[batch, length, states] standardised ln(1 + jobs), finite; carried forward where not observed",
    "observed": "[batch, length, states] 1 where counted, 0 where carried forward",
    "calendar": "[batch, length, 6] sine and cosine of the day (two harmonics) and of the week",
    "static_cat": "[batch, fields] ids of the series and of its metadata, 0 is unknown, never negative",
    "static_num": "[batch, 2 states] location and ln(scale) of each state",
    "reconstruction": "[batch, stride, horizons, states] expected standardised value with the newest ticks hidden",
    "spread": "[batch, stride, horizons, states] scale of the Student t of the observation about it",
}


def export_network(network: MaskedAutoencoder | NewestTick, example: Windows, path: Path) -> None:
    """Write `path` as ONNX with a free batch axis and a fixed time axis.

    Args:
        network: on the CPU; is put into evaluation mode.
        example: real windows of the length that it reads, at least `EXAMPLE_BATCH` of them.
        path: file to write.
    """
    feeds = {k: torch.from_numpy(v[:EXAMPLE_BATCH]) for k, v in example.feeds().items()}
    batch = torch.export.Dim("batch", min=1)
    # It warns of every operator of torchvision that it cannot register; there are none in our networks.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's notes on its own deprecations; parity below is the judge
        program = torch.onnx.export(
            network.eval(),
            kwargs=feeds,
            dynamo=True,
            input_names=list(feeds),
            output_names=["reconstruction", "spread"],
            dynamic_shapes={name: {0: batch} for name in feeds},
            verbose=False,
        )
    if program is None:
        msg = "torch.onnx.export returned no program"
        raise RuntimeError(msg)
    model = program.model_proto
    for value in (*model.graph.input, *model.graph.output):
        value.doc_string = DESCRIPTIONS[value.name]
    onnx.save(model, str(path))


def export_newest(network: MaskedAutoencoder, example: Windows, path: Path) -> float | None:
    """Write `path` as ONNX for one tick; None, and nothing is written, where the network cannot be cut down so.

    Args:
        network: in evaluation mode, on the CPU.
        example: real windows of the length that is served, at least `EXAMPLE_BATCH` of them.
        path: file to write.

    Returns:
        The largest difference between it and the network over ticks from the first to the last of a window.

    Raises:
        BundleError: they say different things.
    """
    if readable_encoder(network) is None:
        return None
    length = network.shape.context + 1
    export_network(NewestTick(network), example.newest(length), path)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = network.eval()(**{k: torch.from_numpy(v) for k, v in example.feeds().items()})
    worst, stride = 0.0, example.values.shape[1] - network.shape.context
    for tick in sorted({0, stride // 2, stride - 1}):
        got = session.run(["reconstruction", "spread"], example.until(length + tick).newest(length).feeds())
        worst = max(worst, *(_apart(e.numpy()[:, tick : tick + 1], g) for e, g in zip(expected, got, strict=True)))
    if not worst <= PARITY_TOLERANCE:
        raise BundleError(_differs(path, worst))
    return worst


def largest_difference(network: MaskedAutoencoder, path: Path, example: Windows) -> float:
    """Largest absolute difference between torch and onnxruntime over all of `PARITY_BATCHES`; infinite for NaN."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
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


def _differs(path: Path, worst: float) -> str:
    return (
        f"{path}: onnxruntime and torch differ by {worst:.2g} standardised units, more than {PARITY_TOLERANCE:g}; "
        "no bundle was written: train with the versions of constraints.txt"
    )


def _apart(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The largest difference; infinite where either is NaN, which a maximum would lose."""
    worst = float(np.abs(one - other).max())
    return worst if np.isfinite(worst) else float("inf")


def _tiled(array: NDArray[Any], size: int) -> NDArray[Any]:
    return np.ascontiguousarray(array[np.arange(size) % len(array)])
