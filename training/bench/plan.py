"""What is measured on what: the parts of the measurement, as configs/bench.yaml asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.errors import ConfigError
from qad_dl.simulator import WorldParams
from training.bench import rows
from training.bench.world import make_world
from training.quality.parts import Part
from training.quality.sources import ROOT, source_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TRAINING_FILES: Final = ("configs/train.yaml", "configs/[cdmt]*/*.yaml", "qad_dl/*.json")
ENTITY: Final = "data.entity=[panda_queue,prod_source,resource]"
NOON_H: Final = 12
WORLD: Final = "world/history"

WORK: Final = {
    "scoring": ("qad_dl.cli.cmd_backtest", "training.bench.tick", "training.bench.grown"),
    "collector": ("serving.tick", "training.bench.grown"),
    "kept": ("qad_dl.cli.cmd_score", "training.bench.kept", "training.bench.grown"),
    "network": ("training.bench.network",),
    "history": ("qad_dl.cli.cmd_import", "training.bench.history"),
    "averages": ("training.bench.averages",),
    "peer": ("training.bench.peer",),
    "eager": ("training.bench.eager",),
}
"""What the code of a row's measurement is: with other code it is measured again."""


class Plan:
    """Parts for a resolved configuration."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Read the scale that is asked for.

        Raises:
            ConfigError: there is none of that name, or what it says is there already is not.
        """
        name = config["scale"]["name"]
        if name not in config["sizes"]:
            msg = f"scale={name}: configs/bench.yaml has sizes for {', '.join(config['sizes'])}"
            raise ConfigError(msg)
        self.scale: Mapping[str, Any] = config["sizes"][name]
        self.seal = self._seal()
        params = WorldParams(**self.scale["world"])
        self.start = params.start
        self.split = params.start + np.timedelta64(int(self.scale["trained_days"]), "D")
        day = min(int(self.scale["trained_days"]) + 8, params.days - 1)
        self.at = params.start + np.timedelta64(day * 24 + NOON_H, "h")

    def parts(self) -> Iterator[Part]:
        """All parts, each after those that it needs."""
        if not self.scale["made"]:
            yield from self._foundations()
        yield from self._ticks()
        for name in self.scale["training"]:
            yield self._row(f"4/{name}", rows.network, "network", name, self._scored(), 120)
        yield from self._ranges()
        yield from self._histories()
        yield from self._others()

    def _seal(self) -> str:
        """What says which bundle is there already."""
        if not self.scale["made"]:
            return ""
        seal = ROOT / self.scale["made"] / "bundle" / "manifest.sha256"
        if not seal.is_file():
            msg = f"{seal}: is not there; `make trained` makes it"
            raise ConfigError(msg)
        return str(seal.read_text(encoding="utf-8"))

    def _foundations(self) -> Iterator[Part]:
        """The world and the bundles."""
        yield Part(WORLD, make_world, self.scale["world"], source_digest(["training.bench.world"]), (), 300)
        for name, overrides in self.scale["training"].items():
            yield self._bundle(name, [f"model={name}", *overrides], 900)
        if self.scale["series"] or self.scale["growth"]:
            yield self._bundle("series", ["trainer=smoke", ENTITY], 200)

    def _bundle(self, name: str, overrides: list[str], guess_s: float) -> Part:
        code = source_digest(["training.train", "training.bench.training_rate"], TRAINING_FILES)
        span = [f"data.start={self.start}", f"data.end={self.split}"]
        return Part(f"bundle/{name}", rows.train_bundle, {"overrides": [*span, *overrides]}, code, (WORLD,), guess_s)

    def _row(
        self, name: str, make: Any, code: str, bundle: str | None, inputs: Mapping[str, Any], guess_s: float, *more: str
    ) -> Part:
        """A row; it finds its world and its bundle among its needs, or in the folder where they are already."""
        common = {"made": self.scale["made"], "seal": self.seal, "at": str(self.at)}
        needs = () if self.scale["made"] else (WORLD, *([f"bundle/{bundle}"] if bundle else []))
        digest = source_digest(["training.bench.rows", "training.bench.child", *WORK[code]])
        return Part(f"row/{name}", make, {**common, **inputs}, digest, (*needs, *more), guess_s)

    def _ticks(self) -> Iterator[Part]:
        """Rows 1 to 3."""
        repeats, series = self.scale["repeats"], self.scale["series"]
        if self.scale["queues"]:
            ticks = {"number": self.scale["queues"], "repeats": repeats}
            yield self._row("1/tick", rows.tick, "scoring", "tcn", ticks, 60)
            yield self._row("1/collector", rows.collector, "collector", "tcn", ticks, 60)
        if series:
            yield self._row("2/sizes", rows.kept, "kept", "series", self._sizes([series], None), series / 40)
        if growth := self.scale["growth"]:
            guess_s = sum(20 + number / 500 for number in growth)
            yield self._row("3/sizes", rows.kept, "kept", "series", self._sizes(growth, self.scale["base"]), guess_s)

    def _sizes(self, numbers: list[int], base: int | None) -> dict[str, Any]:
        """Of rows 2 and 3."""
        return {
            "numbers": numbers,
            "repeats": self.scale["repeats"],
            "base": base,
            "field": self.scale["counted"],
        }

    def _scored(self) -> dict[str, Any]:
        """Of row 4."""
        names = ("batches", "seconds", "scored")
        return {name: self.scale[name] for name in names}

    def _ranges(self) -> Iterator[Part]:
        """Rows 5 and 6."""
        if self.scale["backtest_days"]:
            end = self.split + np.timedelta64(self.scale["backtest_days"], "D")
            inputs = {"start": str(self.split), "end": str(end), "repeats": min(3, self.scale["repeats"])}
            yield self._row("5/backtest", rows.backtest, "scoring", "tcn", inputs, 150)
        if not self.scale["made"]:
            yield self._row("6/training", rows.training, "scoring", "tcn", {}, 5)

    def _histories(self) -> Iterator[Part]:
        """Row 7."""
        span = {"start": str(self.start), "end": str(self.split)}
        timed = {name: self.scale[name] for name in ("repeats", "seconds")}
        rows_ = {"rows": self.scale["rows"], "repeats": self.scale["repeats"]}
        yield self._row("7/import", rows.importing, "history", None, rows_, 100)
        yield self._row("7/read", rows.reading, "history", None, {**span, **timed}, 30)

    def _others(self) -> Iterator[Part]:
        """Rows 8 and 9."""
        yield self._row("8/averages", rows.averages, "averages", None, {"keys": self.scale["keys"]}, 100)
        ticks = {"number": self.scale["scored"]["queues"], "ticks": self.scale["compared"]}
        yield self._row("9/same", rows.same, "kept", "tcn", ticks, 60)
        if self.scale["peer"]:
            inputs = {"start": str(self.start), "split": str(self.split), **self.scale["peer"]}
            yield self._row("8/pyod", rows.pyod, "peer", "tcn", inputs, 200)
            batches = {name: self.scale[name] for name in ("batches", "seconds")}
            yield self._row("8/eager", rows.eager, "eager", "tcn", batches, 100)
