"""The configuration of a benchmark as plain, checked values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qad_dl.errors import ConfigError
from qad_dl.schema import Tick
from training.checks import whole
from training.settings import Settings, read_settings

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True)
class Benchmark:
    """What a run is asked to do.

    Attributes:
        dataset: folder with `train`, `test` and perhaps `label`.
        out: folder of the scores.
        tick: how long a sample is said to last.
        peers: names of the peers that are scored too.
        training: as of any other training; the bundle goes into `out`.
    """

    dataset: Path
    out: Path
    tick: Tick
    peers: tuple[str, ...]
    training: Settings

    @property
    def model(self) -> str:
        """Name of the model in the table."""
        return f"qad-dl ({self.training.model['encoder']})"


def read_benchmark(config: DictConfig) -> Benchmark:
    """Resolve and check a composed configuration.

    Raises:
        ConfigError: a value is missing or makes no sense.
    """
    training = read_settings(config)
    plain = training.resolved
    return Benchmark(
        dataset=Path(plain["dataset"]),
        out=Path(plain["out"]),
        tick=_tick(plain["tick_minutes"]),
        peers=_peers(plain["peers"]),
        training=training,
    )


def _tick(minutes: Any) -> Tick:
    try:
        return Tick(whole("tick_minutes", minutes, 1))
    except ValueError as error:
        msg = f"tick_minutes={minutes}: {error}; give the minutes from one sample to the next"
        raise ConfigError(msg) from error


def _peers(value: Any) -> tuple[str, ...]:
    if value == "none":
        return ()
    # scikit-learn and pyod take seconds to import, and are an extra of their own.
    from training.peers import peer_names

    known = peer_names(counts=False)
    if value == "all":
        return known
    if not isinstance(value, list) or not set(value) <= set(known):
        msg = f"peers={value!r}: give all, none, or a list of {', '.join(known)}"
        raise ConfigError(msg)
    return tuple(value)
