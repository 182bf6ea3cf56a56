"""Training as `python -m training.train` does it, and where its time goes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from training.bench.anonymous import AnonymousPeak
from training.bench.busy import AcceleratorBusy
from training.bench.clock import PartClock
from training.bench.hooks import TRAINING

if TYPE_CHECKING:
    from collections.abc import Mapping


def train(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Train a bundle.

    Args:
        inputs: `overrides` of configs/train.yaml.

    Returns:
        Seconds of the parts; samples (windows) and batches that were learned from, and their rate over all of the
        fitting, validation included; share of that time in which batches were cut; what the accelerator was, and the
        share of the time in which it computed (None for a processor); and the most anonymous memory, by how much it
        was more than after the imports.
    """
    clock, began = PartClock(), time.perf_counter()
    with clock.part("import"):
        import hydra

        from qad_dl.nn.data import WindowBatches
        from training import fit, freeze, period, suspects
        from training.settings import read_settings
        from training.start import CONFIGS
    learned = _Counted()
    clock.watch(TRAINING)
    _count(WindowBatches, learned)
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        settings = read_settings(hydra.compose("train", inputs["overrides"]))
    accelerator = str(settings.trainer["accelerator"])
    with AnonymousPeak() as memory:
        with clock.part("history"):
            ready = period.load_period(settings)
        with AcceleratorBusy(watched=accelerator == "gpu") as busy, clock.part("preparing"):
            ready = suspects.leave_out_suspects(settings, ready)
            network = fit.fit_network(settings, ready)
        with clock.part("freezing"):
            freeze.freeze(settings, ready, network)
    parts = clock.figures()
    fitting = parts["learning"]["wall_s"] + parts["loading"]["wall_s"]
    return {
        "parts": parts,
        "total_s": time.perf_counter() - began,
        "samples": learned.samples,
        "batches": learned.batches,
        "samples_per_s": learned.samples / fitting,
        "loading_share": parts["loading"]["wall_s"] / fitting,
        "accelerator": accelerator,
        "accelerator_busy": busy.share,
        "anonymous_mb": memory.peak_mb - memory.before_mb,
        "epochs": int(settings.trainer["epochs"]),
        "whole": settings.trainer["limit_batches"] is None,
    }


class _Counted:
    """Windows and batches that were cut to be learned from."""

    def __init__(self) -> None:
        self.samples = self.batches = 0


def _count(batches: Any, counted: _Counted) -> None:
    """Count what is cut with masks, which is what is learned from."""
    plain = batches.__getitem__

    def counting(self: Any, index: int) -> Any:
        batch = plain(self, index)
        if self.masking is not None:
            counted.samples += len(batch["target"])
            counted.batches += 1
        return batch

    batches.__getitem__ = counting
