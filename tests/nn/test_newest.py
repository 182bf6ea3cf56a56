"""The network cut down to its newest tick says what the whole network says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
import pytest
import torch

from qad_dl.errors import BundleError
from qad_dl.nn import export
from qad_dl.nn.export import PARITY_TOLERANCE, export_newest
from qad_dl.nn.modules import CausalBlock
from qad_dl.nn.newest import NewestTick, layer_places, readable_encoder
from tests.nn.made import ENCODERS, OUTPUTS, SHAPE, network, run, windows

if TYPE_CHECKING:
    from pathlib import Path

    from qad_dl.nn.modules import MaskedAutoencoder

ONE = SHAPE.context + 1


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ort.InferenceSession:
    path = tmp_path_factory.mktemp("onnx") / "newest.onnx"
    assert export_newest(network("tcn"), windows(), path) <= 1e-5
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("size", [1, 2, 7, 300])
def test_it_says_what_the_network_says_of_every_tick_of_a_window(exported: ort.InferenceSession, size: int) -> None:
    batch = windows(size, seed=size)
    whole = run(network("tcn"), batch)
    for tick in range(OUTPUTS):
        got = exported.run(["reconstruction", "spread"], batch.until(ONE + tick).newest(ONE).feeds())
        for ours, theirs in zip(whole, got, strict=True):
            assert theirs.shape == (size, 1, len(SHAPE.horizons), SHAPE.states)
            np.testing.assert_allclose(theirs, ours[:, tick : tick + 1], atol=1e-5)


@pytest.mark.parametrize("option", ["highway", "own_spread"])
def test_without_a_part_of_the_network_it_is_without_it_too(option: str) -> None:
    net, batch = network("tcn", **{option: False}), windows(4)
    with torch.no_grad():
        made = NewestTick(net)(**{k: torch.from_numpy(v) for k, v in batch.newest(ONE).feeds().items()})
    for ours, theirs in zip(run(net, batch), made, strict=True):
        np.testing.assert_allclose(theirs.numpy(), ours[:, -1:], atol=1e-5)


def test_of_each_layer_only_what_the_next_reads_is_computed() -> None:
    blocks = [CausalBlock(2, 3, dilation, 0.0) for dilation in (1, 2, 4)]
    assert layer_places([20], blocks) == [
        list(range(6, 21)),
        [8, 10, 12, 14, 16, 18, 20],
        [12, 16, 20],
        [20],
    ]


def network_of(channels: dict[str, int], encoder: str = "tcn") -> MaskedAutoencoder:
    before = dict(ENCODERS[encoder])
    ENCODERS[encoder] |= channels
    try:
        return network(encoder)
    finally:
        ENCODERS[encoder] = before


def test_a_network_that_reads_more_than_its_window_is_not_cut_down(tmp_path: Path) -> None:
    path = tmp_path / "newest.onnx"
    for net in (network("lstm"), network_of({"levels": 4})):  # 30 ticks back of a context of 20
        assert readable_encoder(net) is None
        assert export_newest(net, windows(), path) is None
        assert not path.exists()
        with pytest.raises(ValueError, match="more than its window"):
            NewestTick(net)


def test_one_that_says_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = network("tcn")
    with torch.no_grad():
        other.decoders[0].net[-1].bias += 2 * PARITY_TOLERANCE
    monkeypatch.setattr(export, "NewestTick", lambda _: NewestTick(other))
    with pytest.raises(BundleError, match="no bundle was written"):
        export_newest(network("tcn"), windows(), tmp_path / "newest.onnx")
