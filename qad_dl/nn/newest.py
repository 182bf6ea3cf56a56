"""The temporal convolution for one tick: of each layer only what the newest tick's reconstruction reads.

A window of the network reconstructs `stride` ticks; a collector needs one of them. Dilated layers read every second,
fourth, ... tick, so that of six layers a quarter is left. Weights are those of the network, the numbers are the same
up to the last bits.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from qad_dl.nn.modules import SPREAD_FLOOR, CausalBlock, TcnEncoder, linear_of_both

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qad_dl.nn.modules import MaskedAutoencoder


class NewestTick(nn.Module):
    """Reconstructs the last tick of windows of `context + 1` ticks, as the network it is made of does.

    Args:
        network: one that `readable_encoder` gives an encoder of.

    Raises:
        ValueError: another one.
    """

    def __init__(self, network: MaskedAutoencoder) -> None:
        super().__init__()
        encoder = readable_encoder(network)
        if encoder is None:
            raise ValueError("the newest tick of this network reads more than its window")
        self.network, self.encoder = network, encoder
        self.blocks = [block for block in encoder.blocks if isinstance(block, CausalBlock)]
        context = network.shape.context
        self.places = layer_places([context - h for h in network.shape.horizons], self.blocks)
        """Of each layer, the entrance first, the positions in the window at which it is computed, ascending."""

    def forward(
        self, values: Tensor, observed: Tensor, calendar: Tensor, static_cat: Tensor, static_num: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `MaskedAutoencoder.forward`, of windows of `context + 1` ticks: [B, 1, H, S] each."""
        net = self.network
        static = torch.cat([e(static_cat[:, i]) for i, e in enumerate(net.embeddings)] + [static_num], dim=1)
        latent = self._latent(torch.cat([values, observed, calendar], dim=2), static)
        linear, spread = net.highway(values, static_cat[:, 0])
        if not net.use_highway:
            linear = torch.zeros_like(linear)
        at = [self.places[-1].index(net.shape.context - h) for h in net.shape.horizons]
        decoded = [
            decoder(torch.cat([latent[:, i : i + 1], calendar[:, -1:]], dim=2), static)
            for i, decoder in zip(at, net.decoders, strict=True)
        ]
        shift, log_spread = (torch.stack([d[k] for d in decoded], dim=2) for k in (0, 1))
        if not net.own_spread:
            log_spread = torch.zeros_like(log_spread)
        return linear + shift, spread * torch.exp(log_spread.clamp(-4, 4)) + SPREAD_FLOOR

    def _latent(self, dynamic: Tensor, static: Tensor) -> Tensor:
        """The encoder's latent states at the last of `places`, [B, H, D]."""
        encoder = self.encoder
        first = dynamic[:, self.places[0][0] : self.places[0][-1] + 1]
        y = linear_of_both(encoder.enter, first, static)
        here = list(range(self.places[0][0], self.places[0][-1] + 1))
        for block, there in zip(self.blocks, self.places[1:], strict=True):
            y = _advance(block, y, here, there)
            here = there
        return nn.functional.linear(nn.functional.gelu(y), encoder.leave.weight[:, :, 0], encoder.leave.bias)


def readable_encoder(network: MaskedAutoencoder) -> TcnEncoder | None:
    """The temporal convolution of which some ticks alone can be computed; None where the network has none such.

    In all layers of the whole window there are zeros before its first tick. No tick that the newest one's
    reconstruction reads may be there.
    """
    encoder, shape = network.encoder, network.shape
    if not isinstance(encoder, TcnEncoder):
        return None
    reach = sum(block.pad for block in encoder.blocks if isinstance(block, CausalBlock))
    return encoder if reach + max(shape.horizons) <= shape.context else None


def layer_places(wanted: Sequence[int], blocks: Sequence[CausalBlock]) -> list[list[int]]:
    """The positions at which each layer is computed so that the last has those that are wanted."""
    places = [sorted(set(wanted))]
    for block in reversed(blocks):
        places.insert(0, sorted({at - lag for at in places[0] for lag in _lags(block)}))
    return places


def _lags(block: CausalBlock) -> list[int]:
    """Ticks before a tick that each tap reads, in the order of the weights."""
    taps, dilation = block.conv.kernel_size[0], block.conv.dilation[0]
    return [(taps - 1 - tap) * dilation for tap in range(taps)]


def _advance(block: CausalBlock, y: Tensor, here: Sequence[int], there: Sequence[int]) -> Tensor:
    """One layer: [B, |here|, C] to [B, |there|, C]; the taps side by side are one matrix product."""
    place = {at: i for i, at in enumerate(here)}
    taps = [_at(y, [place[at - lag] for at in there]) for lag in _lags(block)]
    weight = block.conv.weight.permute(0, 2, 1).flatten(1)  # [C, taps x C]
    entered = nn.functional.gelu(nn.functional.linear(torch.cat(taps, dim=2), weight, block.conv.bias))
    return taps[-1] + nn.functional.linear(entered, block.mix.weight[:, :, 0], block.mix.bias)


def _at(y: Tensor, places: Sequence[int]) -> Tensor:
    """Some ticks; a slice where they are evenly apart, which costs less than picking them."""
    steps = {b - a for a, b in pairwise(places)}
    if len(steps) == 1:
        step = steps.pop()
        return y[:, places[0] : places[-1] + 1 : step]
    return torch.index_select(y, 1, torch.tensor(places))
