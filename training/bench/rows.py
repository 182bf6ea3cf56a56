"""Makers of the rows: what each starts, and which figures it keeps. The matrix product is measured beside each."""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from qad_dl.schema import Tick
from qad_dl.store import Store
from training.bench.cost import cost_of, in_child, machine, middle
from training.quality.sources import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from training.bench.cost import Cost
    from training.quality.parts import Made

PYTHON = sys.executable

SPARE_TICKS = 6
"""So many ticks of a world may be missing where several are measured one after the other."""


@dataclass(frozen=True)
class Places:
    """What a row works on.

    Attributes:
        store: the history.
        jobs: its long table.
        bundle: folder; `run` beside it holds the checkpoint.
        run: what training left.
    """

    store: Path
    jobs: Path
    bundle: Path
    run: Path


def places(inputs: Mapping[str, Any], made: Mapping[str, Made]) -> Places:
    """Where the world and the bundle of a row are."""
    if inputs["made"]:
        folder = ROOT / inputs["made"]
        return Places(folder / "store", folder / "jobs.parquet", folder / "bundle", folder / "bundle.run")
    bundle = next((one.place for name, one in made.items() if name.startswith("bundle/")), Path("none"))
    world = made["world/history"].place
    return Places(world / "store", world / "jobs.parquet", bundle / "bundle", bundle / "run")


def train_bundle(place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """Train with the clock running; the figures are those of row 6."""
    store = made["world/history"].place / "store"
    folders = [f"store={store}", f"bundle={place / 'bundle'}", f"run_dir={place / 'run'}"]
    return _beside_product(in_child("training", {"overrides": [*folders, *inputs["overrides"]]}))


def tick(place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """One tick of so many queues from the store alone, as a whole process several times, and once with a clock."""
    at, of = np.datetime64(inputs["at"], "s"), places(inputs, made)
    words = {"source": str(of.store), "path": str(place / "store"), "at": inputs["at"]}
    in_child("growing", {**words, "number": inputs["number"], "field": "panda_queue"})
    result = _scored(place, place / "store", of.bundle, (at, at + Tick().delta), inputs["repeats"])
    _drop(place / "store")
    return {"number": inputs["number"], **result}


@dataclass(frozen=True)
class _Grown:
    """A store with a tick of so many series, and what is kept after it.

    Attributes:
        number: of series.
        place: the ticks that follow are files in it.
        store: folder of the history.
        state: folder of what is kept.
        kept_bytes: size of that.
        first: what the first tick cost, where it was one of so many series.
    """

    number: int
    place: Path
    store: Path
    state: Path
    kept_bytes: int
    first: dict[str, Any] | None


def kept(place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """Ticks of so many series, one after the other, each a process that finds what the one before it kept.

    Every tick is measured at each of the `numbers` before the next one is: a shared machine is not as fast all the
    time, and what is compared should have met it in the same state. With `base` the first tick is scored for so many
    series only, and what it kept is repeated under other names.

    Raises:
        RuntimeError: a tick did not score what it was given.
    """
    of, ticks = places(inputs, made), int(inputs["repeats"]) + 1 + SPARE_TICKS
    all_grown = [_grown(place / str(number), int(number), inputs, of, ticks) for number in inputs["numbers"]]
    costs: dict[int, list[Cost]] = {grown.number: [] for grown in all_grown}
    parts: dict[int, dict[str, Any]] = {}
    for i in range(ticks):
        when = str(np.datetime64(inputs["at"], "s") + (i + 1) * Tick().delta)
        for grown in all_grown:
            mine, out = costs[grown.number], str(grown.place / "scores.parquet")
            rows = pq.read_table(grown.place / f"{i}.parquet")
            if rows.num_rows == 0:  # missing in the world: none to be measured, but it passes all the same
                _score(grown.store, of.bundle, grown.state, when, out)
                continue
            Store.open(grown.store).append(rows)
            if len(mine) == inputs["repeats"]:
                words = {"store": str(grown.store), "bundle": str(of.bundle), "kept": str(grown.state)}
                parts[grown.number] = in_child("kept tick", {**words, "at": when, "out": out})
                continue
            mine.append(_score(grown.store, of.bundle, grown.state, when, out))
            _check_scored(mine[-1].said, grown.number)
        if parts:
            break
    found = {"python": middle([cost_of(PYTHON, "-c", "pass") for _ in range(3)])}
    sizes = [_found(grown, costs[grown.number], parts.get(grown.number, {})) | found for grown in all_grown]
    _drop(*(grown.place for grown in all_grown))
    return _beside_product({"sizes": sizes})


def _found(grown: _Grown, costs: Sequence[Cost], parts: Mapping[str, Any]) -> dict[str, Any]:
    """What was found of one size."""
    found = {"number": grown.number, "whole": middle(costs), "kept_bytes": grown.kept_bytes, **parts}
    return found if grown.first is None else {**found, "first": grown.first}


def same(place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """The scores of ticks that find what the one before kept, and those of a backtest."""
    of, store, later = places(inputs, made), place / "store", int(inputs["ticks"])
    words = {"source": str(of.store), "path": str(store), "at": inputs["at"], "field": "panda_queue"}
    in_child("growing", {**words, "number": inputs["number"], "later": later})
    words = {"store": str(store), "bundle": str(of.bundle), "kept": str(place / "kept"), "at": inputs["at"]}
    found = in_child("same ticks", {**words, "later": later})
    _drop(*place.iterdir())
    return found


def _grown(place: Path, number: int, inputs: Mapping[str, Any], of: Places, later: int) -> _Grown:
    """A store with a tick of so many series, and what is kept after it; the ticks that follow are files in `place`."""
    place.mkdir()
    base, state = place / "base", place / "state"
    words = {"source": str(of.store), "path": str(base), "at": inputs["at"], "field": inputs["field"]}
    in_child("growing", {**words, "number": inputs["base"] or number, "later": later})
    cost = _score(base, of.bundle, state, inputs["at"], str(place / "first.parquet"))
    if not inputs["base"]:
        return _Grown(number, place, base, state, _bytes(state), cost.figures())
    about = next(state.glob("*.json"))
    grown = {"source": str(base), "kept": str(about.with_suffix("")), "to": str(place / "grown" / about.stem)}
    more = {"world": str(of.store), "later": later, "path": str(place / "store"), "number": number}
    in_child("growing kept", {**grown, **more, "at": inputs["at"], "field": inputs["field"]})
    return _Grown(number, place, place / "store", place / "grown", _bytes(place / "grown"), None)


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _score(store: Path, bundle: Path, state: Path, when: str, out: str) -> Cost:
    asked = ["--bundle", str(bundle), "--state", str(state), "--at", when, "--out", out]
    return cost_of(PYTHON, "-m", "qad_dl.cli", "score", str(store), *asked)


def _check_scored(said: str, number: int) -> None:
    line = said.splitlines()[0]
    scored = int(line.partition(" scored")[0].rsplit(" ", 1)[1])
    if scored < number / 2:
        msg = f"of {number} series only {scored} were scored: {line}"
        raise RuntimeError(msg)


def collector(place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """Ticks of the collector, one after the other, each a process that finds what the one before it left.

    The first finds nothing and is given apart: it makes its grid from the store, and the hours and days of all of it.

    Raises:
        RuntimeError: a tick did not score what it was given.
    """
    at, of, repeats = np.datetime64(inputs["at"], "s"), places(inputs, made), int(inputs["repeats"])
    words = {"source": str(of.store), "path": str(place / "store"), "at": inputs["at"], "later": repeats + 1}
    in_child("growing", {**words, "number": inputs["number"], "field": "panda_queue"})
    (place / "in").mkdir()
    config, costs, steps = place / "collector.toml", [], []
    config.write_text(f'store = "store"\nbundles = ["{of.bundle.resolve()}"]\n[source]\nkind = "files"\nurl = "in"\n')
    for i in range(repeats + 1):
        (place / f"{i}.parquet").replace(place / "in" / f"{i}.parquet")
        when = f"{at + (i + 1) * Tick().delta}Z"
        costs.append(cost_of(PYTHON, "-m", "serving.tick", "--config", str(config), "--at", when))
        told = json.loads(costs[-1].said.splitlines()[-1])
        if sum(bundle["scored"] for bundle in told["queues"].values()) < inputs["number"] / 2:
            msg = f"the tick of {when} did not score what it was given: {told}"
            raise RuntimeError(msg)
        steps.append(told["seconds"])
    for path in place.iterdir():
        if path.name != "result.json":
            _drop(path)
    whole = {"whole": middle(costs[1:]), "first": costs[0].figures()}
    usual = {name: statistics.median(one[name] for one in steps[1:]) for name in steps[-1]}
    over = max(one["retention"] for one in steps[1:])
    found = {"number": inputs["number"], **whole, "steps": usual, "hour_over_s": over}
    return _beside_product(found)


def backtest(place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """A range of days."""
    of, span = places(inputs, made), (np.datetime64(inputs["start"], "s"), np.datetime64(inputs["end"], "s"))
    return _scored(place, of.store, of.bundle, span, inputs["repeats"])


def network(_place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """Rates of the network at several batch sizes, and of all of scoring."""
    of = _words(places(inputs, made))
    asked = {**of, "at": inputs["at"], "batches": inputs["batches"], "seconds": inputs["seconds"]}
    scored = in_child("scoring", {**asked, **inputs["scored"]})
    return _beside_product({"network": in_child("network", asked), "scoring": scored})


def training(_place: Path, _inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """What training the bundle took."""
    return dict(made["bundle/tcn"].result)


def importing(place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """`qad import` of a file of long rows, and the parts of it."""
    of, jobs = places(inputs, made), place / "jobs.parquet"
    rows = in_child("rows", {"jobs": str(of.jobs), "rows": inputs["rows"], "out": str(jobs)})["rows"]
    costs = []
    for i in range(min(3, inputs["repeats"])):
        costs.append(cost_of(PYTHON, "-m", "qad_dl.cli", "import", str(place / f"store{i}"), "--jobs", str(jobs)))
        _drop(place / f"store{i}")
    parts = in_child("storing", {"jobs": str(jobs), "store": str(place / "store")})
    _drop(place / "store", jobs)
    return _beside_product({"rows": rows, "whole": middle(costs), **parts})


def reading(_place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """Days of a store as a grid."""
    of = _words(places(inputs, made))
    return _beside_product(
        in_child("reading", {**of, **{n: inputs[n] for n in ("start", "end", "repeats", "seconds")}})
    )


def averages(_place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """QMonit's own way of deriving its averages, and ours."""
    of = _words(places(inputs, made))
    return _beside_product(in_child("averages", {**of, "at": inputs["at"], "keys": inputs["keys"]}))


def pyod(_place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """PyOD's autoencoder, and ours."""
    asked = {name: inputs[name] for name in ("start", "split", "series", "days")}
    trained = made["bundle/tcn"].result if "bundle/tcn" in made else None
    return _beside_product({**in_child("pyod", {**_words(places(inputs, made)), **asked}), "trained": trained})


def eager(_place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """The same network run by torch, and by onnxruntime."""
    asked = {name: inputs[name] for name in ("at", "batches", "seconds")}
    return _beside_product(in_child("eager", {**_words(places(inputs, made)), **asked}))


def _scored(
    place: Path, store: Path, bundle: Path, span: tuple[np.datetime64, np.datetime64], repeats: int
) -> dict[str, Any]:
    """`qad backtest` as a whole, and its parts.

    Raises:
        RuntimeError: hardly anything was scored, so that it shows nothing.
    """
    start, end, out = str(span[0]), str(span[1]), str(place / "scores.parquet")
    asked = [str(store), "--bundle", str(bundle), "--start", start, "--end", end, "--out", out]
    costs = [cost_of(PYTHON, "-m", "qad_dl.cli", "backtest", *asked) for _ in range(repeats)]
    words = {"store": str(store), "bundle": str(bundle), "start": start, "end": end, "out": out, "threads": 1}
    parts = in_child("tick", words)
    bare = middle([cost_of(PYTHON, "-c", "pass") for _ in range(3)])
    if parts["scored"] < parts["rows"] / 2:
        msg = f"of {parts['rows']} ticks only {parts['scored']} were scored: choose another time"
        raise RuntimeError(msg)
    return _beside_product({"whole": middle(costs), "python": bare, **parts})


def _beside_product(result: Mapping[str, Any]) -> dict[str, Any]:
    """With the unit as it is now, and the machine."""
    return {**result, "product": in_child("product", {}), "machine": machine()}


def _words(of: Places) -> dict[str, str]:
    return {name: str(path) for name, path in vars(of).items()}


def _drop(*paths: Path) -> None:
    """Remove what was only there to be measured."""
    import shutil

    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
