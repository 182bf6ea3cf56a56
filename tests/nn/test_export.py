"""Torch and onnxruntime say the same, at every batch size, or there is no bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
import pytest
import torch

from qad_dl.errors import BundleError
from qad_dl.nn.export import PARITY_BATCHES, PARITY_TOLERANCE, check_parity, export_network, largest_difference
from tests.nn.made import ENCODERS, OUTPUTS, SHAPE, network, run, windows

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module", params=list(ENCODERS))
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_network(network(request.param), windows(), path)
    return request.param, path


def test_parity_at_1_2_7_and_300(exported: tuple[str, Path]) -> None:
    encoder, path = exported
    assert PARITY_BATCHES == (1, 2, 7, 300)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for size in PARITY_BATCHES:
        batch = windows(size, seed=size)
        got = session.run(["reconstruction", "spread"], batch.feeds())
        for ours, theirs in zip(run(network(encoder), batch), got, strict=True):
            assert ours.shape == theirs.shape == (size, OUTPUTS, len(SHAPE.horizons), SHAPE.states)
            assert np.allclose(ours, theirs, atol=PARITY_TOLERANCE)
    assert check_parity(network(encoder), path, windows()) <= PARITY_TOLERANCE


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_network_that_knows_series_by_metadata_alone_is_fed_as_any_other(encoder: str, tmp_path: Path) -> None:
    net = network(encoder, identity=False)
    export_network(net, windows(), tmp_path / "model.onnx")
    session = ort.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    assert {one.name for one in session.get_inputs()} == set(windows().feeds())
    assert check_parity(net, tmp_path / "model.onnx", windows()) <= PARITY_TOLERANCE


def test_a_network_that_differs_is_refused(exported: tuple[str, Path]) -> None:
    encoder, path = exported
    other = network(encoder)
    with torch.no_grad():
        other.decoders[1].net[-1].bias += 1e-3
    assert largest_difference(other, path, windows()) > 0.9e-3
    with pytest.raises(BundleError, match="no bundle was written"):
        check_parity(other, path, windows())


def test_a_spread_of_a_hundred_is_told_with_as_many_digits_as_one_of_one(tmp_path: Path) -> None:
    unsure, other = (network("tcn", own_spread=True) for _ in range(2))
    with torch.no_grad():
        for net, more in ((unsure, 0.0), (other, PARITY_TOLERANCE / 2)):
            for decoder in net.decoders:
                decoder.net[-1].weight.zero_()
                decoder.net[-1].bias[SHAPE.states :] = 3.9 + more
    export_network(unsure, windows(), tmp_path / "model.onnx")
    apart = np.abs(run(unsure, windows())[1] - run(other, windows())[1]).max()
    assert apart > 10 * PARITY_TOLERANCE / 2
    assert check_parity(other, tmp_path / "model.onnx", windows()) <= PARITY_TOLERANCE


def test_a_network_that_gives_nan_is_refused(exported: tuple[str, Path]) -> None:
    encoder, path = exported
    other = network(encoder)
    with torch.no_grad():
        other.decoders[0].net[-1].bias[0] = float("nan")
    with pytest.raises(BundleError):
        check_parity(other, path, windows())


def test_inputs_and_outputs_are_named_and_described(exported: tuple[str, Path]) -> None:
    import onnx

    graph = onnx.load(exported[1]).graph
    assert [v.name for v in graph.input] == list(windows().feeds())
    assert [v.name for v in graph.output] == ["reconstruction", "spread"]
    assert all(v.doc_string for v in (*graph.input, *graph.output))


def test_another_window_length_is_refused_by_the_runtime(exported: tuple[str, Path]) -> None:
    session = ort.InferenceSession(str(exported[1]), providers=["CPUExecutionProvider"])
    batch = windows()
    longer = batch._replace(values=np.zeros((5, SHAPE.context + OUTPUTS + 1, SHAPE.states), np.float32))
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        session.run(None, longer.feeds())
