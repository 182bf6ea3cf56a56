"""`metrics.csv`: the losses of every epoch, those before a resume too."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Final

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger

if TYPE_CHECKING:
    from pathlib import Path

LOSSES: Final = "metrics.csv"


class Before(pl.Callback):
    """Gives back to `metrics.csv` what it had before a resume: the logger begins a new one.

    What was logged after the checkpoint, in an epoch that is done again, is left out.
    """

    def __init__(self, run_dir: Path, checkpoint: Path) -> None:
        """Read what is there, before the logger takes it away.

        Args:
            run_dir: the folder of the run.
            checkpoint: that it goes on from.
        """
        path = run_dir / LOSSES
        epochs = int(torch.load(checkpoint, map_location="cpu", weights_only=True)["epoch"])
        rows = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []
        self.rows = [row for row in rows if row["epoch"] and int(row["epoch"]) <= epochs]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write it, in the one process that writes."""
        for logger in trainer.loggers:
            if self.rows and trainer.is_global_zero and isinstance(logger, CSVLogger):
                logger.experiment.metrics.extend({k: v for k, v in row.items() if v} for row in self.rows)
                logger.save()
