"""Training of a network: the loss, the optimiser, what is logged."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import Tensor, distributed

from qad_dl.nn.modules import MaskedAutoencoder, Shape, unknown_ids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qad_dl.nn.data import Batch

DEGREES = 5.0
"""Degrees of freedom of the Student t: incidents in the training time must not pull at the fit as squares would."""


def student_loss(target: Tensor, reconstruction: Tensor, spread: Tensor, weight: Tensor) -> Tensor:
    """Mean negative log likelihood of a Student t with `DEGREES` degrees of freedom, without its constant.

    Args:
        target: [B, M, S].
        reconstruction: [B, M, H, S], the location.
        spread: [B, M, H, S], the scale.
        weight: [B, M, S], 1 where the cell counts.
    """
    z = (target.unsqueeze(2) - reconstruction) / spread
    loss = torch.log(spread) + (DEGREES + 1) / 2 * torch.log1p(z**2 / DEGREES)
    return (loss * weight.unsqueeze(2)).sum() / (weight.sum() * spread.shape[2]).clamp(min=1)


def together(loss: Tensor, batch: Batch) -> tuple[Tensor, int]:
    """Loss of a share of a batch such that the mean over processes is the loss of the whole; windows of the whole.

    The mean over cells of a batch is no mean of the means over its shares, which have different numbers of cells that
    count. With this factor the gradients of several processes are, but for rounding, those that one would have.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return loss, len(batch["target"])
    mine = batch["weight"].sum()
    windows = (batch["weight"].sum(dim=(1, 2)) > 0).sum()
    total = torch.stack([mine, windows.to(mine.dtype)])
    distributed.all_reduce(total)
    return loss * (mine * distributed.get_world_size() / total[0].clamp(min=1)), int(total[1])


class AutoencoderModule(pl.LightningModule):
    """A `MaskedAutoencoder` with its training.

    All hyper-parameters are plain keyword arguments, so that a checkpoint loads with `weights_only=True`.
    """

    def __init__(
        self,
        shape: Mapping[str, Any],
        encoder: str,
        latent: int,
        hidden: int,
        embedding: int,
        settings: Mapping[str, Any],
        highway: bool,
        learning_rate: float,
        weight_decay: float,
        unknown_share: float,
        total_steps: int,
        own_spread: bool = True,
        identity: bool = True,
    ) -> None:
        """Build the network; `total_steps` is the length of the learning rate's one cycle."""
        super().__init__()
        self.save_hyperparameters()
        self.network = MaskedAutoencoder(
            Shape.of(shape), encoder, latent, hidden, embedding, settings, highway, own_spread, identity
        )
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.unknown_share, self.total_steps = unknown_share, total_steps

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch, with some ids turned into the unknown one."""
        loss, windows = together(self._loss(batch, unknown_ids(batch["static_cat"], self.unknown_share)), batch)
        self.log("train_loss", loss, prog_bar=True, on_step=False, on_epoch=True, batch_size=windows, sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss on held-out time."""
        loss = self._loss(batch, batch["static_cat"])
        self.log("val_loss", loss, prog_bar=True, batch_size=int(batch["weight"].sum()), sync_dist=True)

    def _loss(self, batch: Batch, static_cat: Tensor) -> Tensor:
        reconstruction, spread = self.network(
            batch["values"], batch["observed"], batch["calendar"], static_cat, batch["static_num"]
        )
        return student_loss(batch["target"], reconstruction, spread, batch["weight"])

    def on_train_start(self) -> None:
        """Processes that train together drop other units and other ids each: the first those that it drops alone."""
        if self.global_rank:
            torch.manual_seed(torch.initial_seed() + self.global_rank)

    def configure_optimizers(self) -> Any:
        """AdamW with a warm-up and a cosine to zero."""
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _rate(self, step: int) -> float:
        warm = max(1, self.total_steps // 20)
        if step < warm:
            return (step + 1) / warm
        done = min(1.0, (step - warm) / max(1, self.total_steps - warm))
        return 0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2
