"""Fitting a network: the linear highway first, then what it cannot say."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from qad_dl.errors import ConfigError, InputError
from qad_dl.nn.data import Masking, WindowBatches, WindowLoaders
from qad_dl.nn.highway import solve_highway
from qad_dl.nn.lightning_module import AutoencoderModule
from qad_dl.nn.modules import MaskedAutoencoder, Shape
from qad_dl.preprocess import CALENDAR_CHANNELS
from qad_dl.timeparse import format_time
from training.losses import Before
from training.ranks import is_first, many, placement, quiet, told

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytorch_lightning.strategies import Strategy

    from training.period import Period
    from training.settings import Settings


def fit_network(settings: Settings, period: Period) -> MaskedAutoencoder:
    """Train and return the network of the best epoch, on the CPU, in evaluation mode.

    Raises:
        ConfigError: the accelerator is not there, or the checkpoint to resume from is of another configuration.
        StoppedError: interrupted, or a process of several was lost.
        InputError: a part of the period has nothing to learn from.
    """
    pl.seed_everything(settings.seed, workers=True, verbose=False)
    quiet()
    train, validation = (_windows(settings, period, training) for training in (True, False))
    _refuse_empty(period, train, validation)
    module = _module(settings, period, len(train))
    best = ModelCheckpoint(settings.run_dir, "best", monitor="val_loss", enable_version_counter=False)
    last = ModelCheckpoint(settings.run_dir, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    checkpoint = _resume_from(settings, period)
    before = [] if checkpoint is None else [Before(settings.run_dir, checkpoint)]
    with many(settings.trainer) as strategy:
        trainer = _trainer(settings, [best, last, *before], strategy)
        with told(trainer, settings.run_dir / "last.ckpt"):
            loaders = WindowLoaders(train, validation, int(settings.trainer["ahead"]))
            trainer.fit(module, loaders, ckpt_path=checkpoint, weights_only=True)
    saved = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
    module.load_state_dict(saved["state_dict"])
    return in_use(module.network.cpu(), settings)


def in_use(network: MaskedAutoencoder, settings: Settings) -> MaskedAutoencoder:
    """A trained network as it is exported.

    A network that sees an anomaly is unsure, and its own spread would excuse it: what is far off is measured by the
    spread of the linear part, which knows nothing of the tick, and by both where channels of evidence ask for it.
    """
    network.own_spread = settings.model["spread"] == "own"
    network.own_views = settings.own_views
    return network.eval()


def network_shape(settings: Settings, period: Period) -> Shape:
    """Sizes of the network for this data.

    Raises:
        ConfigError: the model looks back further than a window reaches.
    """
    preprocess = period.preprocess
    reach, context = max(settings.model["horizons"]) + settings.model["lags"] - 1, preprocess.plan.context
    if reach > context:
        msg = (
            f"model.horizons={settings.model['horizons']} with model.lags={settings.model['lags']} look back {reach} "
            f"ticks, further than the {context} of a window: make one of them smaller"
        )
        raise ConfigError(msg)
    return Shape(
        states=len(preprocess.states),
        calendar=CALENDAR_CHANNELS,
        vocabulary=tuple(len(v) for v in preprocess.vocabularies),
        context=preprocess.plan.context,
        day=preprocess.plan.day,
        horizons=tuple(settings.model["horizons"]),
        lags=int(settings.model["lags"]),
    )


def _module(settings: Settings, period: Period, batches: int) -> AutoencoderModule:
    model, trainer = settings.model, settings.trainer
    shape = network_shape(settings, period)
    limit = trainer["limit_batches"] or batches
    module = AutoencoderModule(
        shape=shape.plain(),
        encoder=str(model["encoder"]),
        latent=int(model["latent"]),
        hidden=int(model["hidden"]),
        embedding=int(model["embedding"]),
        settings=dict(model["settings"]),
        highway=bool(model["highway"]),
        own_spread=model["spread"] != "linear",
        identity=_identity(settings),
        learning_rate=float(trainer["learning_rate"]),
        weight_decay=float(trainer["weight_decay"]),
        unknown_share=float(model["masking"]["ids"]),
        total_steps=min(limit, batches) * int(trainer["epochs"]),
    )
    table, spread = solve_highway(
        period.preprocess, period.prepared, period.weight, period.fit, shape, bool(model["pooled"])
    )
    module.network.highway.table.copy_(torch.from_numpy(table))
    module.network.highway.spread.copy_(torch.from_numpy(spread))
    return module


def _identity(settings: Settings) -> bool:
    """Whether the network is to know each series by itself; `model.identity` null leaves it to the data."""
    asked, metadata = settings.model["identity"], settings.data["metadata"]
    return not metadata if asked is None else bool(asked)


def _refuse_empty(period: Period, train: WindowBatches, validation: WindowBatches) -> None:
    """Raise `InputError` where there is nothing to learn from, or nothing that could stop the training."""
    for batches, (first, end) in ((train, period.fit), (validation, period.validation)):
        if not len(batches):
            since, until = (format_time(period.prepared.times[i]) for i in (first, end - 1))
            msg = f"no queue is online with data from {since} to {until}: choose data.start and data.end elsewhere"
            raise InputError(msg)


def _windows(settings: Settings, period: Period, training: bool) -> WindowBatches:
    plan = period.preprocess.plan
    masking = Masking(**{k: float(v) for k, v in settings.model["masking"].items()})
    return WindowBatches(
        period.preprocess,
        period.prepared,
        period.weight,
        span=period.fit if training else period.validation,
        outputs=int(settings.trainer["outputs"]) if training else plan.recent,  # less is left over at the end
        batch_size=int(settings.trainer["batch_size"]),
        masking=masking if training else None,
        seed=settings.seed,
    )


def _trainer(settings: Settings, callbacks: Sequence[pl.Callback], strategy: Strategy | str) -> pl.Trainer:
    config = settings.trainer
    stop = EarlyStopping("val_loss", patience=int(config["patience"]))
    # No kernel of ours reads what nobody wrote; `deterministic` would fill all of it first.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property that torch gives the module as it runs
    bar: list[Any] = [TQDMProgressBar(refresh_rate=5)] if sys.stderr.isatty() else []
    try:
        return pl.Trainer(
            accelerator=config["accelerator"],
            strategy=strategy,
            **placement(config),
            precision=config["precision"],
            max_epochs=int(config["epochs"]),
            limit_train_batches=config["limit_batches"] or 1.0,
            callbacks=[*callbacks, stop, *bar],
            logger=_loggers(settings),
            enable_progress_bar=bool(bar),
            enable_model_summary=False,
            deterministic=True,
            gradient_clip_val=1.0,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # batches are shared out by the windows themselves
            # Epochs differ in their number of batches: one with fewer than the first would end without validation.
            reload_dataloaders_every_n_epochs=1,
            log_every_n_steps=1,
            default_root_dir=settings.run_dir,
        )
    except (MisconfigurationException, ValueError) as error:
        asked = ", ".join(f"trainer.{name}={config[name]}" for name in ("accelerator", "devices", "precision"))
        msg = f"{asked}: {' '.join(str(error).split())}; use trainer=cpu"
        raise ConfigError(msg) from error


def _loggers(settings: Settings) -> list[Logger]:
    loggers: list[Logger] = [CSVLogger(settings.run_dir, name="", version="")]
    if settings.trainer["tensorboard"]:
        loggers.append(TensorBoardLogger(settings.run_dir, name="", version="tensorboard"))
    return loggers


def _resume_from(settings: Settings, period: Period) -> Path | None:
    """The checkpoint to go on from; notes what this run is of, so that another one cannot go on from it."""
    note, digest = settings.run_dir / "config.sha256", _digest(settings, period)
    checkpoint = settings.run_dir / "last.ckpt"
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    if not is_first():
        return checkpoint if settings.resume and checkpoint.exists() else None
    if not settings.resume or not checkpoint.exists():
        note.write_text(digest)
        return None
    if not note.exists() or note.read_text() != digest:
        msg = f"resume=true: {checkpoint} was written with another configuration; give the same one, or resume=false"
        raise ConfigError(msg)
    return checkpoint


def _digest(settings: Settings, period: Period) -> str:
    """Hash of what a resumed run must share with the one that it goes on from."""
    same = {k: v for k, v in settings.resolved.items() if k not in {"resume", "run_dir", "bundle"}}
    same["data"] = {k: v for k, v in same["data"].items() if k not in {"shards", "shard_series"}}  # the same numbers
    if period.labels is not None:
        same["labels"] = period.labels["sha256"]
    return hashlib.sha256(json.dumps(same, sort_keys=True, default=str).encode()).hexdigest()
