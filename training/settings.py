"""The configuration as plain, checked values: nothing after this line knows of Hydra."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qad_dl.errors import ConfigError
from qad_dl.scoring import Channel, Evidence
from qad_dl.signatures import DOUBT, OWN, ChannelName
from qad_dl.timeparse import parse_time
from qad_dl.together import JOINED_FIELDS
from training.checks import check_settings, number, selection, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from omegaconf import DictConfig


@dataclass(frozen=True)
class Settings:
    """What a training run is asked to do.

    Attributes:
        store: address of the history.
        bundle: folder to write.
        run_dir: folder of checkpoints and logs.
        labels: file of reviewers' labels; None to learn from everything.
        resume: go on from the last checkpoint of `run_dir`.
        seed: fixes everything.
        start: first tick, None for the store's first.
        end: one past the last tick, None for the store's end.
        shards: folder of the prepared history; None to hold it in memory.
        shard_series: series per shard.
        learn_suspects: whether to learn from what looks like an incident.
        data: the `data` group.
        model: the `model` group.
        trainer: the `trainer` group.
        channels: of each way of accumulating evidence.
        signatures: whether the package's signatures of incidents are used where the history has their states.
        whiten: whether evidence is judged by what states usually do together.
        combine: `max` or `mean` of the channels.
        shared: metadata fields that may be the cause of an incident: what series with a common value show is joined.
        resolved: the whole configuration, for the manifest.
    """

    store: str
    bundle: Path
    run_dir: Path
    labels: Path | None
    resume: bool
    seed: int
    start: np.datetime64 | None
    end: np.datetime64 | None
    shards: Path | None
    shard_series: int
    learn_suspects: bool
    data: Mapping[str, Any]
    model: Mapping[str, Any]
    trainer: Mapping[str, Any]
    channels: tuple[ChannelName, ...]
    signatures: bool
    whiten: bool
    combine: str
    shared: tuple[str, ...]
    resolved: Mapping[str, Any]

    @property
    def own_views(self) -> tuple[int, ...]:
        """Indices of the horizons that channels want in the network's own spread as well, or beside it."""
        wanted = {horizon for horizon, _, *own in self.channels if own}
        return tuple(i for i, h in enumerate(self.model["horizons"]) if int(h) in wanted)

    @property
    def views(self) -> list[int]:
        """Horizons of what the network gives in use: all of them, and those in its own spread after them."""
        horizons = [int(h) for h in self.model["horizons"]]
        return horizons + [horizons[i] for i in self.own_views]

    def without_own(self) -> Settings:
        """Less the channels in the network's own spread, which only signatures have learned what to think of."""
        return replace(self, channels=tuple(channel for channel in self.channels if len(channel) == 2))

    def evidence(self, ticks: int) -> Evidence:
        """How errors are accumulated, those older than `ticks` without influence."""
        horizons = [int(h) for h in self.model["horizons"]]
        views: list[tuple[int | str, ...]] = [(h,) for h in horizons]
        views += [(horizons[i], OWN) for i in self.own_views]
        unsure = [h for h in horizons if any(h == of and DOUBT in way for of, _, *way in self.channels)]
        doubts = tuple((views.index((h,)), views.index((h, OWN))) for h in unsure)
        views += [(h, DOUBT) for h in unsure]
        channels = tuple(Channel(views.index((h, *way)), w, DOUBT in way) for h, w, *way in self.channels)
        return Evidence(channels, ticks, doubts)


def read_settings(config: DictConfig) -> Settings:
    """Resolve and check a composed configuration.

    Raises:
        ConfigError: a value is missing or makes no sense.
    """
    plain = _resolve(config)
    data, model, trainer = plain["data"], plain["model"], plain["trainer"]
    settings = Settings(
        store=str(plain["store"]),
        bundle=Path(plain["bundle"]),
        run_dir=Path(plain["run_dir"]),
        labels=None if plain["labels"] is None else Path(str(plain["labels"])),
        resume=bool(plain["resume"]),
        seed=whole("seed", plain["seed"], 0),
        start=parse_time(str(data["start"]), "data.start") if data["start"] is not None else None,
        end=parse_time(str(data["end"]), "data.end") if data["end"] is not None else None,
        shards=None if data["shards"] is None else Path(str(data["shards"])),
        shard_series=whole("data.shard_series", data["shard_series"], 1),
        learn_suspects=data["learn_suspects"],
        data={**data, "select": selection(data["select"])},
        model=model,
        trainer=trainer,
        channels=_channels(plain["calibration"]["channels"]),
        signatures=bool(plain["calibration"]["signatures"]),
        whiten=bool(plain["calibration"]["whiten"]),
        combine=str(plain["calibration"]["combine"]),
        shared=_shared(plain["calibration"]["shared"]),
        resolved=plain,
    )
    check_settings(settings)
    return settings


def _channels(value: Any) -> tuple[ChannelName, ...]:
    ways = value if isinstance(value, list) and value else [value]
    for way in ways:
        if not isinstance(way, list) or len(way) not in (2, 3) or way[2:] not in ([], [OWN], [DOUBT]):
            msg = (
                f"calibration.channels={value!r}: give pairs of a horizon and a weight, and after them own for the "
                "network's own spread or doubt for how unsure it is, for example '[[1,0.3],[1,0.3,own],[1,1.0,doubt]]'"
            )
            raise ConfigError(msg)
    return tuple(
        (
            whole("calibration.channels: horizon", way[0], 1),
            number("calibration.channels: weight", way[1], 0),
            *way[2:],
        )
        for way in ways
    )


def _shared(value: Any) -> tuple[str, ...]:
    fields = value if isinstance(value, list) else [value]
    for field in fields:
        if field not in JOINED_FIELDS:
            msg = f"calibration.shared: no field {field!r} that may be the cause of an incident; there are: "
            raise ConfigError(msg + ", ".join(JOINED_FIELDS))
    return tuple(fields)


def _resolve(config: DictConfig) -> dict[str, Any]:
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        msg = f"{' '.join(str(error).split())}: give it as key=value, for example store=STORE bundle=DIR"
        raise ConfigError(msg) from error
    if not isinstance(plain, dict):
        raise TypeError("the configuration is no mapping")
    return {str(k): v for k, v in plain.items()}
