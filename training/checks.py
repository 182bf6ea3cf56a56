"""What a configuration must say: each value that makes no sense is named, with the one that is wanted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from qad_dl.errors import ConfigError
from qad_dl.metadata import spelling
from qad_dl.signatures import DOUBT, all_shipped

if TYPE_CHECKING:
    from pathlib import Path

    from training.settings import Settings

ENCODERS: Final = {
    "tcn": {"channels", "levels", "kernel", "dropout"},
    "lstm": {"hidden", "layers", "dropout"},
}
"""The encoders, and the settings that each must be given."""

SPREADS: Final = ("own", "training", "linear")
"""Whose spread errors come in units of: the network's own, that in training alone, or always the linear part's."""

SEEDS: Final = 2**32

MANIFEST: Final = "manifest.json"


def check_settings(settings: Settings) -> None:
    """Check what can be checked without the history.

    Raises:
        ConfigError: a value that makes no sense.
    """
    number("seed", settings.seed, 0, SEEDS)
    _check_data(settings)
    _check_model(settings.model, settings.data["metadata"])
    _check_trainer(settings.trainer)
    _check_channels(settings)
    if settings.signatures and settings.channels not in (readable := [one.channels for one in all_shipped()]):
        wanted = " or ".join(str([list(channel) for channel in channels]) for channels in readable)
        msg = f"calibration.channels: signatures read {wanted}: give these, or calibration.signatures=false"
        raise ConfigError(msg)
    if settings.combine not in ("max", "mean"):
        msg = f"calibration.combine={settings.combine}: give max or mean"
        raise ConfigError(msg)
    if settings.signatures and settings.whiten:
        msg = "calibration.whiten=true: signatures read evidence as it is: give calibration.signatures=false too"
        raise ConfigError(msg)
    check_target(settings.bundle)


def _check_channels(settings: Settings) -> None:
    horizons, spread = list(settings.model["horizons"]), settings.model["spread"]
    for horizon, weight, *own in settings.channels:
        if horizon not in horizons or not 0 < weight <= 1:
            msg = (
                f"calibration.channels has [{horizon}, {weight}]: wanted a horizon of {horizons} and a weight in (0, 1]"
            )
            raise ConfigError(msg)
        if DOUBT in own and weight < 1:
            msg = f"calibration.channels has [{horizon}, {weight}, doubt]: a doubt is of one tick, give it the weight 1"
            raise ConfigError(msg)
        if own and spread != "training":
            msg = (
                f"calibration.channels has [{horizon}, {weight}, {own[0]}], and model.spread={spread} has one spread "
                f"for all errors: leave out {own[0]}, or give model.spread=training"
            )
            raise ConfigError(msg)


def check_target(bundle: Path) -> None:
    """Refuse to put a bundle in place of anything that is none: it would be removed.

    Raises:
        ConfigError: `bundle` is a file, or a folder with something else in it.
    """
    is_bundle = (bundle / MANIFEST).exists()
    if bundle.exists() and not is_bundle and not (bundle.is_dir() and not any(bundle.iterdir())):
        msg = f"bundle={bundle}: there is something else than a bundle; give a folder that is empty or not there yet"
        raise ConfigError(msg)


def selection(value: Any) -> dict[str, str]:
    """`data.select` with its values spelt as in the metadata: 8 and True are '8' and 'True'; empty if there is none.

    Raises:
        ConfigError: not a mapping of fields to single values.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        msg = f"data.select={value!r}: give fields and values, for example data.select='{{cloud: DE}}'"
        raise ConfigError(msg)
    chosen = {str(field): spelling(wanted) for field, wanted in value.items()}
    for field, text in chosen.items():
        if text is None:
            msg = f"data.select: {field}={value[field]!r}: give the one value that is wanted"
            raise ConfigError(msg)
    return {field: text for field, text in chosen.items() if text is not None}


def whole(name: str, value: Any, least: int) -> int:
    """A whole number of at least `least`; ConfigError if it is none."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        msg = f"{name}={value!r}: give a whole number of at least {least}"
        raise ConfigError(msg)
    return value


def number(name: str, value: Any, least: float, below: float = math.inf) -> float:
    """A number in [least, below); ConfigError if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < below:
        limit = f" and below {below:g}" if math.isfinite(below) else ""
        msg = f"{name}={value!r}: give a number of at least {least:g}{limit}"
        raise ConfigError(msg)
    return float(value)


def _check_data(settings: Settings) -> None:
    data = settings.data
    for name in ("held_out", "validation"):
        share = data[name]
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            msg = f"data.{name}={share!r}: give a share between 0 and 1"
            raise ConfigError(msg)
    if not isinstance(settings.learn_suspects, bool):
        msg = f"data.learn_suspects={settings.learn_suspects!r}: give true or false"
        raise ConfigError(msg)
    for name, least in (("entity", 1), ("metadata", 0)):
        fields = data[name]
        texts = isinstance(fields, list) and all(isinstance(f, str) and f for f in fields)
        if not texts or len(fields) < least or len(set(fields)) < len(fields):
            msg = f"data.{name}={fields!r}: give a list of different fields, for example data.{name}='[cloud]'"
            raise ConfigError(msg)
    if settings.start is not None and settings.end is not None and settings.start >= settings.end:
        msg = f"data.start={data['start']} is not before data.end={data['end']}"
        raise ConfigError(msg)


def _check_model(model: Mapping[str, Any], metadata: list[str]) -> None:
    if model["encoder"] not in ENCODERS:
        msg = f"model.encoder={model['encoder']!r}: give one of {', '.join(ENCODERS)}"
        raise ConfigError(msg)
    settings, wanted = model["settings"], ENCODERS[model["encoder"]]
    if not isinstance(settings, Mapping) or set(settings) != wanted:
        msg = f"model.settings={settings!r}: a {model['encoder']} has the settings {', '.join(sorted(wanted))}"
        raise ConfigError(msg)
    for name in wanted - {"dropout"}:
        whole(f"model.settings.{name}", settings[name], 1)
    number("model.settings.dropout", settings["dropout"], 0, 1)
    for name in ("latent", "hidden", "embedding", "lags"):
        whole(f"model.{name}", model[name], 1)
    if model["spread"] not in SPREADS:
        msg = f"model.spread={model['spread']}: give one of {', '.join(SPREADS)}"
        raise ConfigError(msg)
    identity = model["identity"]
    if not isinstance(identity, bool | None) or (identity is False and not metadata):
        msg = (
            f"model.identity={identity!r} with data.metadata={metadata}: give true or null, or false where there are "
            "metadata that a series is known by"
        )
        raise ConfigError(msg)
    horizons = model["horizons"]
    if not isinstance(horizons, list) or not horizons or len(set(map(str, horizons))) < len(horizons):
        msg = f"model.horizons={horizons!r}: give a list of different numbers of ticks, for example '[1,6]'"
        raise ConfigError(msg)
    for horizon in horizons:
        whole("model.horizons", horizon, 1)
    for name in ("ticks", "cells", "ids"):
        number(f"model.masking.{name}", model["masking"][name], 0, 1)


def _check_trainer(trainer: Mapping[str, Any]) -> None:
    for name in ("epochs", "patience", "batch_size", "outputs"):
        whole(f"trainer.{name}", trainer[name], 1)
    number("trainer.timeout_s", trainer["timeout_s"], 1)
    devices = trainer["devices"]
    if trainer["accelerator"] == "cpu" or (devices not in (-1, "auto") and not isinstance(devices, list)):
        whole("trainer.devices", devices, 1)
    if trainer["limit_batches"] is not None:
        whole("trainer.limit_batches", trainer["limit_batches"], 1)
    for name in ("learning_rate", "weight_decay"):
        number(f"trainer.{name}", trainer[name], 0)
