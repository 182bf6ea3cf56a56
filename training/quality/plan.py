"""What is made of what: the parts of the evaluation, as configs/quality.yaml asks for them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.errors import ConfigError
from qad_dl.simulator import WorldParams
from training.peers import peer_names
from training.quality.bundles import make_bundle
from training.quality.commands import make_incidents
from training.quality.facts import make_facts
from training.quality.life import CASES, make_life
from training.quality.measure import measure_decision, measure_life, measure_model
from training.quality.no_ids import WITHOUT_IDS, make_no_ids
from training.quality.parts import Part
from training.quality.peer_figures import measure_peer
from training.quality.peers import make_peer, peer_digest
from training.quality.reader import SEED, ablation_name, ablations, seeds_of
from training.quality.ricc import make_ricc, measure_ricc
from training.quality.scored import make_scores
from training.quality.sources import ROOT, source_digest
from training.quality.worlds import make_world

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TRAINING_FILES: Final = ("configs/train.yaml", "configs/[cdmt]*/*.yaml", "qad_dl/*.json")
COMMANDS: Final = ("qad_dl.cli.cmd_backtest", "qad_dl.cli.cmd_incidents")
QUIET: Final = "quiet"
POLLUTED: Final = "polluted"


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
            "no ids": source_digest(["training.train", "training.quality.no_ids"], TRAINING_FILES),
            "life": source_digest(["training.quality.life"]),
            "commands": source_digest(
                ["training.quality.commands", "qad_dl.cli.cmd_backtest", "qad_dl.cli.cmd_incidents"]
            ),
            "ricc": source_digest(["training.quality.ricc"]),
            "peer figures": source_digest(["training.quality.peer_figures"]),
        }

    @property
    def reporting(self) -> list[str]:
        """Names of the worlds that are reported."""
        names = self.scale["reporting"]
        return list(self.config["worlds"]["reporting"]) if names is None else list(names)

    @property
    def peers(self) -> list[str]:
        """Names of the peers."""
        names = self.scale["peers"]
        return list(peer_names()) if names is None else list(names)

    def qualifying(self) -> list[str]:
        """Names of the parts that say which worlds count for reporting."""
        peers = [f"peer-figures/{name}/{peer}" for name in self.reporting for peer in ("rule", "ridge")]
        return [*(f"facts/{name}" for name in self.reporting), *peers]

    def world(self, name: str) -> World:
        """A world by its name.

        Raises:
            ConfigError: there is none of that name.
        """
        worlds = self.config["worlds"]
        table = {**worlds["tuning"], **worlds["reporting"], QUIET: self.config["quiet"]}
        table[POLLUTED] = {**table.get(self.config["closer"], {}), "pollution": self.config["pollution"]}
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
        """All parts, each after those that it needs.

        Raises:
            ConfigError: the world that is looked at more closely is not among those that are reported.
        """
        tuning, names = self.config["ablation"]["world"], self.reporting
        if self.config["closer"] not in names:
            msg = f"closer={self.config['closer']} is not among the worlds that are reported: {', '.join(names)}"
            raise ConfigError(msg)
        for name in dict.fromkeys([tuning, *names, POLLUTED, QUIET]):
            yield self._world(name)
        for name in names:  # first, so that it is soon said which worlds count
            yield from self._beside(self.world(name))
        for name in names:
            yield from self._models(self.world(name))
        yield from self._further()
        yield from self._ablation(tuning)

    def _beside(self, world: World) -> Iterator[Part]:
        """Facts and peers of a reporting world."""
        span, needs = {"start": world.split, "end": world.end}, (f"world/{world.name}",)
        yield Part(f"facts/{world.name}", make_facts, span, self.code["facts"], needs, 60)
        for peer in self.peers:
            yield from self._peer(world, peer)

    def _models(self, world: World) -> Iterator[Part]:
        """Every variant on a reporting world."""
        for variant, overrides in self.config["variants"].items():
            for seed in seeds_of(self.scale, variant):
                yield from self._model(world, variant, overrides, seed)
        yield from self._no_ids(world)

    def _further(self) -> Iterator[Part]:
        """What is looked at on one world only."""
        world, default = self.world(self.config["closer"]), self.config["variants"]["default"]
        days = np.timedelta64(self.scale["week_days"], "D")
        week = replace(world, start=str(np.datetime64(world.split) - days))
        yield from self._model(week, "week", default)
        yield from self._model(world, "polluted", default, trained_on=POLLUTED)
        yield from self._model(self.world(QUIET), "default", default)
        yield from self._life(world)
        yield from self._ricc()

    def _ablation(self, name: str) -> Iterator[Part]:
        """The default and the default without something, trained for a quarter."""
        world, short = self.world(name), list(self.scale["ablation_training"])
        for variant, overrides in {"all": [], **ablations(self.config)}.items():
            yield from self._model(world, ablation_name(variant), [*short, *overrides])

    def _life(self, world: World) -> Iterator[Part]:
        """What may happen to queues, with the default bundle."""
        name = world.name
        w, of = f"world/{name}", f"{name}/default/{SEED}"
        span = {"start": world.split, "end": world.end}
        for case in CASES:
            life = f"life/{name}/{case}"
            yield Part(life, make_life, {**span, "case": case}, self.code["life"], (w, f"bundle/{of}"), 300)
            needs = (w, life, f"scores/{of}")
            yield Part(f"life-figures/{name}/{case}", measure_life, {}, self.code["measure"], needs, 60)
        told = {"end": world.end, "days": self.config["command_days"]}
        yield Part(f"commands/{name}", make_incidents, told, self.code["commands"], (w, f"bundle/{of}"), 60)

    def _ricc(self) -> Iterator[Part]:
        """The real batch system, where its history is."""
        config = self.config["ricc"]
        jobs = ROOT / config["jobs"]
        if not (self.scale["ricc"] and jobs.is_file()):
            return
        content = hashlib.sha256(jobs.read_bytes()).hexdigest()
        yield Part("world/ricc", make_ricc, {"jobs": config["jobs"], "sha256": content}, self.code["ricc"], (), 30)
        world = World("ricc", {}, config["split"], config["end"], config["start"])
        *made, measured = self._model(world, "default", self.config["variants"]["default"])
        yield from made
        yield replace(measured, make=measure_ricc, inputs={"stops": config["stops"]}, code=self.code["ricc"])

    def _no_ids(self, world: World) -> Iterator[Part]:
        """The default bundle with all metadata ids 0, calibrated anew."""
        default = self.config["variants"]["default"]
        for variant, overrides in WITHOUT_IDS.items():
            for seed in seeds_of(self.scale, variant):
                bundle, *others = self._model(world, variant, [*default, *overrides], seed)
                needs = (*bundle.needs, f"bundle/{world.name}/default/{seed}")
                yield replace(bundle, make=make_no_ids, needs=needs, code=self.code["no ids"], guess_s=200)
                yield from others

    def _world(self, name: str) -> Part:
        return Part(f"world/{name}", make_world, self.world(name).params, self.code["world"], (), 90)

    def _peer(self, world: World, peer: str) -> Iterator[Part]:
        w, p = f"world/{world.name}", f"peer/{world.name}/{peer}"
        span = {"start": world.split, "end": world.end}
        yield Part(p, make_peer, {"peer": peer, "trained": world.split}, peer_digest(peer), (w,), 120)
        yield Part(f"peer-figures/{world.name}/{peer}", measure_peer, span, self.code["peer figures"], (w, p), 60)

    def _model(
        self, world: World, variant: str, overrides: Sequence[str], seed: int = SEED, trained_on: str | None = None
    ) -> Iterator[Part]:
        """Bundle, scores and figures of one training; the bundle may come from another world with the same queues."""
        w, of = f"world/{world.name}", f"{world.name}/{variant}/{seed}"
        span = {"start": world.start, "end": world.split}
        trained = {**span, "seed": seed, "overrides": [*self.scale["training"], *overrides]}
        scored_ = {"start": world.split, "end": world.end}
        measure = measure_decision if world.name == QUIET else measure_model
        yield Part(
            f"bundle/{of}", make_bundle, trained, self.code["bundle"], (f"world/{trained_on or world.name}",), 600
        )
        yield Part(f"scores/{of}", make_scores, scored_, self.code["scores"], (w, f"bundle/{of}"), 200)
        yield Part(f"measure/{of}", measure, {}, self.code["measure"], (w, f"scores/{of}"), 60)
