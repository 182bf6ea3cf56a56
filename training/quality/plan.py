"""What is made of what: the parts of the evaluation, as configs/quality.yaml asks for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.errors import ConfigError
from qad_dl.simulator import WorldParams
from training.quality.bundles import make_bundle
from training.quality.facts import make_facts
from training.quality.measure import measure_decision, measure_model
from training.quality.parts import Part
from training.quality.peer_figures import measure_peer
from training.quality.peers import PEERS, make_peer
from training.quality.scored import make_scores
from training.quality.sources import source_digest
from training.quality.worlds import make_world

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TRAINING_FILES: Final = ("configs/train.yaml", "configs/[cdmt]*/*.yaml", "qad_dl/*.json")
QUIET: Final = "quiet"
POLLUTED: Final = "polluted"
SEED: Final = 1


@dataclass(frozen=True)
class World:
    """A world of the plan.

    Attributes:
        name: as in the names of its parts.
        params: of `WorldParams`.
        split: where training ends and scoring begins.
        end: one past the last tick.
    """

    name: str
    params: Mapping[str, Any]
    split: str
    end: str
    start: str


class Plan:
    """Parts for a resolved configuration."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.scale: Mapping[str, Any] = config["scale"]
        self.code = {
            "world": source_digest(["training.quality.worlds"]),
            "facts": source_digest(["training.quality.facts"]),
            "bundle": source_digest(["training.train", "training.quality.bundles"], TRAINING_FILES),
            "scores": source_digest(["training.quality.scored"]),
            "measure": source_digest(["training.quality.measure"]),
            "peer": source_digest(["training.quality.peers"]),
            "peer figures": source_digest(["training.quality.peer_figures"]),
        }

    @property
    def reporting(self) -> list[str]:
        """Names of the worlds that are reported."""
        names = self.scale["reporting"]
        return list(self.config["worlds"]["reporting"]) if names is None else list(names)

    @property
    def more_seeds(self) -> list[int]:
        """Training seeds beside the first."""
        return list(self.config["seeds"]["more"])

    def world(self, name: str) -> World:
        """A world by its name.

        Raises:
            ConfigError: there is none of that name.
        """
        worlds = self.config["worlds"]
        table = {**worlds["tuning"], **worlds["reporting"], QUIET: self.config["quiet"]}
        polluted = self.config["polluted"]
        table[POLLUTED] = {**table.get(polluted["world"], {}), "pollution": polluted["pollution"]}
        if name not in table:
            msg = f"configs/quality.yaml has no world {name!r}; it has {', '.join(table)}"
            raise ConfigError(msg)
        params = {**self.scale["world"], **table[name]}
        if name == QUIET:
            params["days"] = self.scale["quiet_days"]
        start = WorldParams(**params).start
        split, end = (start + np.timedelta64(days, "D") for days in (self.scale["trained_days"], params["days"]))
        return World(name, params, str(split), str(end), str(start))

    def parts(self) -> Iterator[Part]:
        """All parts, each after those that it needs."""
        tuning, names = self.config["ablation"]["world"], [*self.scale["tuning"], *self.reporting]
        for name in dict.fromkeys([tuning, *names, POLLUTED, QUIET]):
            yield self._world(name)
        for name in names:
            yield from self._reported(name)
        yield from self._further()
        yield from self._ablation(tuning)

    def _reported(self, name: str) -> Iterator[Part]:
        """A reporting world: facts, peers, every variant."""
        world = self.world(name)
        span = {"start": world.split, "end": world.end}
        yield Part(f"facts/{name}", make_facts, span, self.code["facts"], (f"world/{name}",), 60)
        for peer in PEERS:
            yield from self._peer(world, peer)
        for variant, overrides in self.config["variants"].items():
            yield from self._model(world, variant, overrides)

    def _further(self) -> Iterator[Part]:
        """What is looked at on one world only."""
        default, week = self.config["variants"]["default"], self.config["week"]
        for seed in self.more_seeds:
            yield from self._model(self.world(self.config["seeds"]["world"]), "default", default, seed)
        world = self.world(week["world"])
        from_ = str(np.datetime64(world.split) - np.timedelta64(min(week["days"], self.scale["trained_days"]), "D"))
        yield from self._model(world, "week", default, start=from_)
        yield from self._model(self.world(POLLUTED), "default", default)
        yield from self._model(self.world(QUIET), "default", default)

    def _ablation(self, name: str) -> Iterator[Part]:
        """The default and the default without something, trained for a quarter."""
        world, short = self.world(name), list(self.scale["ablation_training"])
        for variant, overrides in {"all": [], **self.config["ablation"]["without"]}.items():
            yield from self._model(world, f"ablation-{slug(variant)}", [*short, *overrides])

    def _world(self, name: str) -> Part:
        return Part(f"world/{name}", make_world, self.world(name).params, self.code["world"], (), 90)

    def _peer(self, world: World, peer: str) -> Iterator[Part]:
        w, p = f"world/{world.name}", f"peer/{world.name}/{peer}"
        span = {"start": world.split, "end": world.end}
        yield Part(p, make_peer, {"peer": peer, "trained": world.split}, self.code["peer"], (w,), 90)
        yield Part(f"peer-figures/{world.name}/{peer}", measure_peer, span, self.code["peer figures"], (w, p), 60)

    def _model(
        self, world: World, variant: str, overrides: Sequence[str], seed: int = SEED, start: str | None = None
    ) -> Iterator[Part]:
        """Bundle, scores and figures of one training."""
        w, of = f"world/{world.name}", f"{world.name}/{variant}/{seed}"
        span = {"start": start or world.start, "end": world.split}
        trained = {**span, "seed": seed, "overrides": [*self.scale["training"], *overrides]}
        scored_ = {"start": world.split, "end": world.end}
        measure = measure_decision if world.name == QUIET else measure_model
        yield Part(f"bundle/{of}", make_bundle, trained, self.code["bundle"], (w,), 600)
        yield Part(f"scores/{of}", make_scores, scored_, self.code["scores"], (w, f"bundle/{of}"), 200)
        yield Part(f"measure/{of}", measure, {}, self.code["measure"], (w, f"scores/{of}"), 60)


def slug(name: str) -> str:
    """A name that is good for a folder."""
    return "-".join(name.split())
