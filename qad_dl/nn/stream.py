"""The temporal convolution tick by tick: each layer reads what it read before, and a tick adds one place to each.

A window of the network reconstructs `stride` ticks; a collector needs the newest. What a layer makes of a tick stays as
it is while what it reads does, so that it is kept and not made again:

    `Prime`  reconstructs the newest tick from its window, and gives what each layer is going to read
    `Step`   reconstructs it from what was kept, and gives one place more of it

Weights are those of the network, the numbers are the same up to the last bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from qad_dl.lanes import Lane
from qad_dl.nn.modules import CausalBlock, TcnEncoder, linear_of_both

if TYPE_CHECKING:
    from qad_dl.nn.modules import MaskedAutoencoder

LATENT = "latent"
"""The lane of the encoder's latent states."""


class Streamed(nn.Module):
    """What `Prime` and `Step` share.

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
        self.lanes = lanes_of(network)
        self.newest = network.shape.context - min(network.shape.horizons)
        """Position in a window of `context + 1` ticks of the newest one that is not hidden."""

    def leave(self, y: Tensor) -> Tensor:
        """The latent states of [B, L, C], [B, L, D]."""
        layer = self.encoder.leave
        return nn.functional.linear(nn.functional.gelu(y), layer.weight.squeeze(2), layer.bias)

    def decode(
        self, latents: Tensor, values: Tensor, calendar: Tensor, static_cat: Tensor, static: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Reconstruction and spread [B, 1, H, S] of the window's last tick, of latent states [B, H, D]."""
        net = self.network
        linear, spread = net.highway.of_one(values, static_cat[:, 0])
        now = calendar.narrow(1, calendar.shape[1] - 1, 1)
        decoded = [
            decoder(torch.cat([latents.narrow(1, i, 1), now], dim=2), static) for i, decoder in enumerate(net.decoders)
        ]
        shift, log_spread = (torch.stack([d[k] for d in decoded], dim=2) for k in (0, 1))
        return net.said(linear, shift, spread, log_spread)


class Prime(Streamed):
    """Reconstructs the last tick of windows of `context + 1` ticks, and gives what the next ticks read of them."""

    def forward(
        self, values: Tensor, observed: Tensor, calendar: Tensor, static_cat: Tensor, static_num: Tensor
    ) -> tuple[Tensor, ...]:
        """As `MaskedAutoencoder.forward`: [B, 1, H, S] each; then each lane, [B, ticks + 1, width]."""
        static = self.network.static(static_cat, static_num)
        reach = sum(block.pad for block in self.blocks)
        horizons, end = self.network.shape.horizons, self.newest + 1
        ahead = max(horizons) - min(horizons)
        ticks = ahead + reach + 1
        first = torch.cat([a.narrow(1, end - ticks, ticks) for a in (values, observed, calendar)], dim=2)
        y, read = linear_of_both(self.encoder.enter, first, static).transpose(1, 2), []
        for block in self.blocks:
            left = y.shape[2] - block.pad
            read.append(y.narrow(2, left - 1, block.pad + 1).transpose(1, 2))
            y = y.narrow(2, block.pad, left) + block.mix(nn.functional.gelu(block.conv(y)))
        latent = self.leave(y.transpose(1, 2))
        if ahead:
            read.append(latent)
        at = torch.cat([latent.narrow(1, max(horizons) - h, 1) for h in horizons], dim=1)
        return (*self.decode(at, values, calendar, static_cat, static), *read)


class Step(Streamed):
    """Reconstructs the last tick of windows of `context + 1` ticks from what was kept of the ticks before it."""

    def forward(
        self,
        values: Tensor,
        observed: Tensor,
        calendar: Tensor,
        static_cat: Tensor,
        static_num: Tensor,
        before: tuple[Tensor, ...],
    ) -> tuple[Tensor, ...]:
        """As `Prime.forward`, with each lane at its lags `before` the tick, [B, lags, width]; gives [B, 1, width]."""
        static = self.network.static(static_cat, static_num)
        newest = torch.cat([a.narrow(1, self.newest, 1) for a in (values, observed, calendar)], dim=2)
        y, read = linear_of_both(self.encoder.enter, newest, static), []
        for block, kept in zip(self.blocks, before, strict=False):
            read.append(y)
            taps = torch.cat([kept, y], dim=1).flatten(1).unsqueeze(1)
            weight = block.conv.weight.permute(0, 2, 1).flatten(1)  # [C, taps x C]
            entered = nn.functional.gelu(nn.functional.linear(taps, weight, block.conv.bias))
            y = y + nn.functional.linear(entered, block.mix.weight.squeeze(2), block.mix.bias)
        latent = self.leave(y)
        horizons, known = self.network.shape.horizons, {0: latent}
        if LATENT in self.lanes:
            read.append(latent)
            known |= {lag: before[-1].narrow(1, i, 1) for i, lag in enumerate(self.lanes[LATENT].lags)}
        latents = torch.cat([known[h - min(horizons)] for h in horizons], dim=1)
        return (*self.decode(latents, values, calendar, static_cat, static), *read)


def lanes_of(network: MaskedAutoencoder) -> dict[str, Lane]:
    """What a tick's reconstruction reads of those before it: the entrance of each layer, and latent states.

    Raises:
        ValueError: not a temporal convolution.
    """
    encoder, horizons = network.encoder, network.shape.horizons
    if not isinstance(encoder, TcnEncoder):
        raise ValueError("only a temporal convolution goes tick by tick")
    lanes = {}
    for i, block in enumerate(block for block in encoder.blocks if isinstance(block, CausalBlock)):
        taps, dilation = block.conv.kernel_size[0], block.conv.dilation[0]
        lanes[f"layer_{i}"] = Lane(block.conv.in_channels, tuple(tap * dilation for tap in range(taps - 1, 0, -1)))
    lags = sorted({h - min(horizons) for h in horizons} - {0}, reverse=True)
    if lags:
        lanes[LATENT] = Lane(encoder.leave.out_channels, tuple(lags))
    return lanes


def readable_encoder(network: MaskedAutoencoder) -> TcnEncoder | None:
    """The temporal convolution of which some ticks alone can be computed; None where the network has none such.

    In all layers of the whole window there are zeros before its first tick. No tick that the newest one's
    reconstruction reads may be there.
    """
    encoder, shape = network.encoder, network.shape
    if not isinstance(encoder, TcnEncoder):
        return None
    blocks = [block for block in encoder.blocks if isinstance(block, CausalBlock)]
    reads = all(block.conv.kernel_size[0] > 1 for block in blocks)  # else a layer keeps nothing
    return encoder if reads and sum(b.pad for b in blocks) + max(shape.horizons) <= shape.context else None
