"""The figures that have been made, by what they are of; None where a part has not been made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from training.quality.parts import Made

DEFAULT = "default"

SEED: Final = 1
"""Of what is trained with one seed."""


@dataclass(frozen=True)
class Reader:
    """Figures by world, variant and seed.

    Attributes:
        find: a part by its name, None where it has not been made.
        worlds: names of the reporting worlds.
        peers: names of the peers.
        config: configs/quality.yaml, resolved.
        parts: names of all parts.
    """

    find: Callable[[str], Made | None]
    worlds: Sequence[str]
    peers: Sequence[str]
    config: Mapping[str, Any]
    parts: Sequence[str] = ()

    def result(self, name: str) -> Mapping[str, Any] | None:
        """What a part told."""
        made = self.find(name)
        return None if made is None else made.result

    def model(self, world: str, variant: str = DEFAULT, seed: int = 1) -> Mapping[str, Any] | None:
        """Figures of a bundle on a world."""
        return self.result(f"measure/{world}/{variant}/{seed}")

    def area(self, world: str, variant: str = DEFAULT, key: str = "auc_pr") -> float | None:
        """AUC-PR, or VUS-PR (`vus_pr`), of a variant on a world, the mean of its training seeds."""
        return mean([None if m is None else m[key] for m in self.by_seed(world, variant)])

    def by_seed(self, world: str, variant: str = DEFAULT) -> list[Mapping[str, Any] | None]:
        """Figures of each of its training seeds."""
        return [self.model(world, variant, seed) for seed in seeds_of(self.config["scale"], variant)]

    def bundle(self, world: str, variant: str = DEFAULT, seed: int = 1) -> Mapping[str, Any] | None:
        """What training said."""
        return self.result(f"bundle/{world}/{variant}/{seed}")

    def peer(self, world: str, name: str) -> Mapping[str, Any] | None:
        """Figures of a peer on a world."""
        return self.result(f"peer-figures/{world}/{name}")

    def facts(self, world: str) -> Mapping[str, Any] | None:
        """Incidents of a world and what hindsight sees of them."""
        return self.result(f"facts/{world}")

    def hindsight(self, world: str, budget: str) -> float | None:
        """Share of the incidents that hindsight sees."""
        facts = self.facts(world)
        return None if facts is None else facts["hindsight"].get(budget)

    def seen(self, figures: Mapping[str, Any] | None, budget: str) -> float | None:
        """Share of the incidents that a score sees at a budget."""
        return None if figures is None else figures["budgets"][budget]["seen"]

    def all_models(self, variant: str = DEFAULT) -> list[Mapping[str, Any]]:
        """Figures of a variant on all reporting worlds; empty if any is missing."""
        return complete([self.model(world, variant) for world in self.worlds])


def seeds_of(scale: Mapping[str, Any], variant: str) -> list[int]:
    """Training seeds of a variant on every reporting world."""
    return [SEED, *(scale["seeds"] if variant in scale["seeded"] else [])]


def complete(values: Sequence[Any]) -> list[Any]:
    """The values, or nothing where any of them is None."""
    return [] if any(v is None for v in values) else list(values)


def ratio(part: float | None, whole: float | None) -> float | None:
    """Part / whole; None where either is not known or the whole is 0."""
    return None if part is None or not whole else part / whole


def mean(values: Sequence[float | None]) -> float | None:
    """Mean; None where a value is, or where there is none."""
    known = complete(values)
    return sum(known) / len(known) if known else None


def ablations(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """Overrides of configs/train.yaml by the name of what is left out, of those that this scale asks for."""
    without, wanted = config["ablation"]["without"], config["scale"]["without"]
    return {name: list(without[name]) for name in (without if wanted is None else wanted)}


def ablation_name(name: str) -> str:
    """The variant that an ablation is, good for a folder."""
    return f"ablation-{'-'.join(name.split())}"
