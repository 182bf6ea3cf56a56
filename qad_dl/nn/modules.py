"""The networks: two causal masked autoencoders beside a linear highway.

Both read a window and reconstruct each of its last ticks from what came before it, with the newest `h` ticks before
and including it hidden, for several horizons `h`: a short one sees what just happened and is sharp; a long one has
not yet followed an anomaly. An encoder that never sees a tick cannot copy it, which is what an unmasked autoencoder
does with the very ticks that matter.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Mapping

SPREAD_FLOOR = 0.05
"""Smallest spread in standardised units: counts are integers, and no network may be surer than this."""


@dataclass(frozen=True)
class Shape:
    """What a network must know of its data; plain values, so that checkpoints load with `weights_only=True`.

    Attributes:
        states: number of job states S.
        calendar: number of calendar channels K.
        vocabulary: number of ids of each static field F, the series first.
        context: ticks before the first reconstructed one.
        day: ticks in a day.
        horizons: how many of the newest ticks are hidden, one output each; H of them.
        lags: ticks that the highway looks back, beyond the hidden ones.
    """

    states: int
    calendar: int
    vocabulary: tuple[int, ...]
    context: int
    day: int
    horizons: tuple[int, ...]
    lags: int

    @property
    def features(self) -> int:
        """Inputs of the highway: all states at the lags and a day before, and a constant."""
        return (self.lags + 1) * self.states + 1

    def plain(self) -> dict[str, Any]:
        """As keyword arguments of plain types."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Shape:
        """Inverse of `plain`."""
        lists = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
        return cls(**cast("dict[str, Any]", lists))


class Highway(nn.Module):
    """A ridge autoregression per series, solved before training and kept: the peer that the network starts from.

    `table[id, h]` are the weights [features, S] of series `id` at horizon `h`, row 0 the pooled ones; `spread[id, h]`
    are the standard deviations [S] of its residuals.
    """

    table: Tensor
    spread: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        ids, h = shape.vocabulary[0], len(shape.horizons)
        self.register_buffer("table", torch.zeros(ids, h, shape.features, shape.states))
        self.register_buffer("spread", torch.ones(ids, h, shape.states))

    def forward(self, values: Tensor, series: Tensor) -> tuple[Tensor, Tensor]:
        """Linear prediction [B, M, H, S] and its spread [B, 1, H, S] for values [B, L, S] and series ids [B]."""
        if torch.is_autocast_enabled(values.device.type):
            # Half precision has 3 digits: too few for what every other part is measured against.
            with torch.autocast(values.device.type, enabled=False):
                return self.forward(values, series)
        table = self.table[series]
        if not self.training:
            # A sum of 150 large terms: in single precision its last bits depend on how many ticks are asked for at a
            # time, and an error is that over a spread which may be a twentieth.
            values, table = values.double(), table.double()
        out = [lag_features(values, h, self.shape) @ table.select(1, i) for i, h in enumerate(self.shape.horizons)]
        return torch.stack(out, dim=2).to(self.table.dtype), self.spread[series].unsqueeze(1)

    def of_one(self, values: Tensor, series: Tensor) -> tuple[Tensor, Tensor]:
        """As in evaluation `forward` does of windows with a single output, where most of `values` is not read."""
        lags = torch.tensor([lags_of(h, self.shape) for h in self.shape.horizons], device=values.device)
        lagged = values[:, self.shape.context - lags].flatten(2)  # of a single tick, one gather is as fast as slices
        features = torch.cat([lagged, torch.ones_like(lagged.narrow(2, 0, 1))], dim=2).unsqueeze(2)
        out = (features.double() @ self.table[series].double()).to(self.table.dtype)
        return out.transpose(1, 2), self.spread[series].unsqueeze(1)


def lag_features(values: Tensor, horizon: int, shape: Shape) -> Tensor:
    """All states at lags horizon .. horizon + lags - 1 and a day before, and 1: [B, M, features] of [B, L, S]."""
    outputs = values.shape[1] - shape.context
    # `narrow` is one operator for the exporter, where a[:, low:high] is two; it takes 20 ms for each.
    pieces = [values.narrow(1, shape.context - lag, outputs) for lag in lags_of(horizon, shape)]
    return torch.cat([*pieces, torch.ones_like(pieces[0].narrow(2, 0, 1))], dim=2)


def lags_of(horizon: int, shape: Shape) -> list[int]:
    """The ticks before a tick that the highway reads."""
    return [*range(horizon, horizon + shape.lags), shape.day]


class CausalBlock(nn.Module):
    """Dilated causal convolution with a gate-free residual: [B, C, L] to [B, C, L]."""

    def __init__(self, channels: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.pad = (kernel - 1) * dilation
        self.conv = nn.Conv1d(channels, channels, kernel, dilation=dilation)
        self.mix = nn.Conv1d(channels, channels, 1)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Each output looks at its own tick and at earlier ones only."""
        y = nn.functional.gelu(self.conv(nn.functional.pad(x, (self.pad, 0))))
        out: Tensor = x + self.drop(self.mix(y))
        return out


def linear_of_both(layer: nn.Linear | nn.Conv1d, x: Tensor, static: Tensor) -> Tensor:
    """A layer of x [B, L, I] and of what stays the same in all of a window, [B, J], beside it: [B, L, D].

    What stays the same goes through once for a window and not in every tick; it is most of the inputs.
    """
    weight = layer.weight if layer.weight.ndim == 2 else layer.weight.squeeze(2)
    inputs = x.shape[2]
    same = nn.functional.linear(static, weight.narrow(1, inputs, static.shape[1]), layer.bias)
    return nn.functional.linear(x, weight.narrow(1, 0, inputs)) + same.unsqueeze(1)


class TcnEncoder(nn.Module):
    """Temporal convolution: [B, L, I] and [B, J] to [B, L, D]."""

    def __init__(self, inputs: int, latent: int, channels: int, levels: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.enter = nn.Conv1d(inputs, channels, 1)
        self.blocks = nn.Sequential(*[CausalBlock(channels, kernel, 2**i, dropout) for i in range(levels)])
        self.leave = nn.Conv1d(channels, latent, 1)

    def forward(self, x: Tensor, static: Tensor) -> Tensor:
        """Latent state after each tick."""
        entered = linear_of_both(self.enter, x, static).transpose(1, 2)
        y: Tensor = self.leave(nn.functional.gelu(self.blocks(entered)))
        return y.transpose(1, 2)


class LstmEncoder(nn.Module):
    """Long short-term memory: [B, L, I] and [B, J] to [B, L, D]."""

    def __init__(self, inputs: int, latent: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, hidden)
        self.lstm = nn.LSTM(hidden, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.leave = nn.Linear(hidden, latent)

    def forward(self, x: Tensor, static: Tensor) -> Tensor:
        """Latent state after each tick."""
        out: Tensor = self.leave(self.lstm(nn.functional.gelu(linear_of_both(self.enter, x, static)))[0])
        return out


class Decoder(nn.Module):
    """Reconstructs a hidden tick from the latent state before it: change of the linear prediction, and ln of spread."""

    def __init__(self, inputs: int, hidden: int, states: int) -> None:
        super().__init__()
        self.states = states
        leave = nn.Linear(hidden, 2 * states)
        # Zero, so that training starts from the highway and not behind it.
        nn.init.zeros_(leave.weight)
        nn.init.zeros_(leave.bias)
        self.net = nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), leave)

    def forward(self, x: Tensor, static: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs [B, M, I] and [B, J] to a shift and a ln spread, each [B, M, S]."""
        enter, bend, leave = self.net
        shift, log_spread = leave(bend(linear_of_both(cast("nn.Linear", enter), x, static))).split(self.states, dim=-1)
        return shift, log_spread


class MaskedAutoencoder(nn.Module):
    """Encoder, bottleneck, one decoder per horizon, metadata embeddings and the highway.

    Args:
        shape: sizes of the data.
        encoder: `tcn` or `lstm`.
        latent: width of the bottleneck.
        hidden: width of the decoders.
        embedding: largest width of an embedding; a field of n values gets min(embedding, (n + 1) // 2).
        settings: further keyword arguments of the encoder.
        highway: whether the linear highway is used; without it the network stands alone (for ablations).
        own_spread: whether the network states its own spread; else it is that of the highway's residuals.
        identity: whether the network knows each series, by an embedding of its own and its usual level; else by its
            metadata alone, as it knows a series that is new.

    Attributes:
        own_views: indices of horizons that are given a second time, after all of them, in the network's own spread.
    """

    own_views: tuple[int, ...] = ()

    def __init__(
        self,
        shape: Shape,
        encoder: str,
        latent: int,
        hidden: int,
        embedding: int,
        settings: Mapping[str, Any],
        highway: bool = True,
        own_spread: bool = True,
        identity: bool = True,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.highway = Highway(shape)
        self.use_highway, self.own_spread, self.identity = highway, own_spread, identity
        vocabulary = shape.vocabulary if identity else shape.vocabulary[1:]
        widths = [min(embedding, (n + 1) // 2) for n in vocabulary]
        self.embeddings = nn.ModuleList(nn.Embedding(n, w) for n, w in zip(vocabulary, widths, strict=True))
        static = sum(widths) + (2 * shape.states if identity else 0)
        inputs = 2 * shape.states + shape.calendar + static
        kind = {"tcn": TcnEncoder, "lstm": LstmEncoder}[encoder]
        self.encoder = kind(inputs, latent, **settings)
        after = latent + shape.calendar + static
        self.decoders = nn.ModuleList(Decoder(after, hidden, shape.states) for _ in shape.horizons)

    def forward(
        self, values: Tensor, observed: Tensor, calendar: Tensor, static_cat: Tensor, static_num: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Reconstruct the ticks after the context.

        Args:
            values: [B, L, S] standardised, finite.
            observed: [B, L, S] 1 or 0.
            calendar: [B, L, K].
            static_cat: [B, F] ids.
            static_num: [B, 2 S].

        Returns:
            reconstruction and spread, [B, L - context, H + own views, S], in standardised units.
        """
        static = self.static(static_cat, static_num)
        latent = self.encoder(torch.cat([values, observed, calendar], dim=2), static)
        linear, spread = self.highway(values, static_cat[:, 0])
        decoded = [self._decode(i, latent, calendar, static) for i in range(len(self.shape.horizons))]
        shift = torch.stack([d[0] for d in decoded], dim=2)
        log_spread = torch.stack([d[1] for d in decoded], dim=2)
        return self.said(linear, shift, spread, log_spread)

    def said(self, linear: Tensor, shift: Tensor, spread: Tensor, log_spread: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction and spread of what the highway says, and of what the decoders say, [B, M, H, S]."""
        location = linear + shift if self.use_highway else shift
        own = spread * torch.exp(log_spread.clamp(-4, 4)) + SPREAD_FLOOR
        if self.own_spread:
            return location, own
        locations, spreads = [location], [spread + torch.zeros_like(log_spread) + SPREAD_FLOOR]
        for i in self.own_views:
            locations.append(location.narrow(2, i, 1))
            spreads.append(own.narrow(2, i, 1))
        return torch.cat(locations, dim=2), torch.cat(spreads, dim=2)

    def static(self, static_cat: Tensor, static_num: Tensor) -> Tensor:
        """What the network knows of a window beside its ticks, [B, J], of ids [B, F] and numbers [B, 2 S]."""
        fields = torch.split(static_cat, 1, dim=1)
        known = fields if self.identity else fields[1:]
        embedded = [embedding(ids) for embedding, ids in zip(self.embeddings, known, strict=True)]
        level = [static_num.unsqueeze(1)] if self.identity else []
        return torch.cat([*embedded, *level], dim=2).squeeze(1)

    @property
    def of_metadata(self) -> list[nn.Embedding]:
        """The embeddings of metadata values, a field each."""
        return [cast("nn.Embedding", embedding) for embedding in self.embeddings][int(self.identity) :]

    def _decode(self, i: int, latent: Tensor, calendar: Tensor, static: Tensor) -> tuple[Tensor, Tensor]:
        c, h = self.shape.context, self.shape.horizons[i]
        outputs = latent.shape[1] - c
        before, now = latent.narrow(1, c - h, outputs), calendar.narrow(1, c, outputs)
        out: tuple[Tensor, Tensor] = self.decoders[i](torch.cat([before, now], dim=2), static)
        return out


def highway_alone(network: MaskedAutoencoder) -> MaskedAutoencoder:
    """A copy whose decoders say nothing, as before training: what the linear part alone says."""
    alone = deepcopy(network)
    for decoder in alone.decoders:
        leave = cast("Decoder", decoder).net[-1]
        nn.init.zeros_(cast("Tensor", leave.weight))
        nn.init.zeros_(cast("Tensor", leave.bias))
    return alone


def unknown_ids(static_cat: Tensor, share: float) -> Tensor:
    """Turn a random share of ids into 0, so that the embedding of the unknown is trained too."""
    drop = torch.rand(static_cat.shape, device=static_cat.device) < share
    return torch.where(drop, torch.zeros_like(static_cat), static_cat)
