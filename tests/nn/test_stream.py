"""The network that goes tick by tick says what the whole network says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from qad_dl.errors import BundleError
from qad_dl.nn import export
from qad_dl.nn.export import PARITY_TOLERANCE, export_stream, streamed
from qad_dl.nn.stream import Prime, Step, lanes_of, readable_encoder
from tests.nn.made import ENCODERS, OUTPUTS, SHAPE, network, run, windows

if TYPE_CHECKING:
    from pathlib import Path

    from qad_dl.bundle import Stream
    from qad_dl.nn.modules import MaskedAutoencoder

ONE = SHAPE.context + 1


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Stream:
    made, worst = export_stream(network("tcn"), windows(), tmp_path_factory.mktemp("onnx"))
    assert made is not None
    assert worst <= 1e-5
    return made


@pytest.mark.parametrize("size", [1, 2, 7, 300])
def test_it_says_what_the_network_says_of_every_tick_of_a_window(stream: Stream, size: int) -> None:
    batch = windows(size, seed=size)
    whole, said = run(network("tcn"), batch), list(streamed(stream, batch, OUTPUTS))
    assert len(said) == OUTPUTS
    for tick, one in enumerate(said):
        for ours, theirs in zip(whole, one, strict=True):
            assert theirs.shape == (size, 1, len(SHAPE.horizons), SHAPE.states)
            np.testing.assert_allclose(theirs, ours[:, tick : tick + 1], atol=1e-5)


def test_what_a_step_keeps_is_what_a_window_that_begins_with_it_keeps() -> None:
    net, batch = network("tcn"), windows(3)
    prime, step = Prime(net), Step(net)

    def feeds(tick: int) -> dict[str, torch.Tensor]:
        return {k: torch.from_numpy(v) for k, v in batch.until(ONE + tick).newest(ONE).feeds().items()}

    with torch.no_grad():
        _, _, *kept = prime(**feeds(0))
        before = tuple(k[:, [-lag for lag in lane.lags]] for k, lane in zip(kept, prime.lanes.values(), strict=True))
        _, _, *added = step(**feeds(1), before=before)
        _, _, *anew = prime(**feeds(1))
    for old, new, wanted, lane in zip(kept, added, anew, prime.lanes.values(), strict=True):
        assert old.shape == wanted.shape == (3, lane.ticks + 1, lane.width)
        np.testing.assert_allclose(torch.cat([old[:, 1:], new], dim=1).numpy(), wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("option", ["highway", "own_spread", "identity"])
def test_without_a_part_of_the_network_it_is_without_it_too(option: str, tmp_path: Path) -> None:
    net, batch = network("tcn", **{option: False}), windows(4)
    made, _ = export_stream(net, batch, tmp_path)
    assert made is not None
    *_, last = streamed(made, batch, OUTPUTS)
    for ours, theirs in zip(run(net, batch), last, strict=True):
        np.testing.assert_allclose(theirs, ours[:, -1:], atol=1e-5)


def test_what_is_given_in_the_networks_own_spread_is_given_tick_by_tick_too(tmp_path: Path) -> None:
    net, batch = network("tcn", own_spread=False), windows(4)
    net.own_views = (0, 1)
    made, apart = export_stream(net, batch, tmp_path)
    assert made is not None
    assert apart <= PARITY_TOLERANCE
    *_, last = streamed(made, batch, OUTPUTS)
    for ours, theirs in zip(run(net, batch), last, strict=True):
        assert theirs.shape == (4, 1, 2 * len(SHAPE.horizons), SHAPE.states)
        np.testing.assert_allclose(theirs, ours[:, -1:], atol=1e-5)


def test_a_layer_keeps_what_its_taps_read_and_the_decoders_what_hides_most() -> None:
    lanes = lanes_of(network("tcn"))
    assert {name: lane.lags for name, lane in lanes.items()} == {
        "layer_0": (2, 1),
        "layer_1": (4, 2),
        "layer_2": (8, 4),
        "latent": (3,),
    }
    assert [lane.ticks for lane in lanes.values()] == [2, 4, 8, 3]


def network_of(channels: dict[str, int], encoder: str = "tcn") -> MaskedAutoencoder:
    before = dict(ENCODERS[encoder])
    ENCODERS[encoder] |= channels
    try:
        return network(encoder)
    finally:
        ENCODERS[encoder] = before


def test_a_network_that_reads_more_than_its_window_is_not_cut_down(tmp_path: Path) -> None:
    for net in (network("lstm"), network_of({"levels": 4})):  # 30 ticks back of a context of 20
        assert readable_encoder(net) is None
        assert export_stream(net, windows(), tmp_path) == (None, 0.0)
        assert not list(tmp_path.iterdir())
        with pytest.raises(ValueError, match="more than its window"):
            Step(net)


@pytest.mark.parametrize("which", ["Prime", "Step"])
def test_one_that_says_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    other = network("tcn")
    with torch.no_grad():
        other.decoders[0].net[-1].bias += 2 * PARITY_TOLERANCE
    kind = {"Prime": Prime, "Step": Step}[which]
    monkeypatch.setattr(export, which, lambda _: kind(other))
    with pytest.raises(BundleError, match="no bundle was written"):
        export_stream(network("tcn"), windows(), tmp_path)
