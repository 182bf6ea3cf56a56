"""A collector in a folder: a made bundle, two days of history, and a file of counts for each tick to come."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from qad_dl.store import Store
from serving.follow import Book
from tests.light.made import TICK, at
from tests.light.made import history as rows_of
from tests.light.made_bundle import METADATA, QUEUES, STATES, made_history, write_made_bundle

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
DAYS = 2
FIRST = DAYS * TICK.per_day
"""Position of the first tick that the collector does."""

STOPPED = ("Q1", range(FIRST + 6, FIRST + 14))
"""A queue, and the ticks in which nothing of it runs or ends."""


@dataclass(frozen=True)
class Collector:
    """A collector that is started by hand.

    Attributes:
        folder: with config, store, state and what it tells.
    """

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "collector.toml"

    @property
    def store(self) -> Store:
        return Store.open(self.folder / "store")

    @property
    def book(self) -> Book:
        return Book.read(self.folder / "state" / "incidents.json")

    @property
    def told(self) -> list[dict[str, Any]]:
        """What was told, in its order."""
        path = self.folder / "told.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def drop(self, position: int, seed: int = 5) -> None:
        """Write the file of a tick, as whoever counts the jobs would."""
        path = self.folder / "in" / f"{position:06d}.parquet"
        pq.write_table(tick_rows(position, seed), path.with_name(f".{path.name}"))
        path.with_name(f".{path.name}").rename(path)

    def start(self, position: int, *more: str) -> subprocess.Popen[str]:
        """Start a tick and do not wait for it."""
        command = [sys.executable, "-m", "serving.tick", "--config", str(self.config), "--at", f"{at(position)}Z"]
        return subprocess.Popen([*command, *more], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, position: int, *more: str, code: int = 0) -> dict[str, Any]:
        """Do a tick to its end; the line that it logs."""
        process = self.start(position, *more)
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, err
        lines = out.splitlines()
        line: dict[str, Any] = (
            json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {"said": out, "err": err}
        )
        return line


def tick_rows(position: int, seed: int = 5) -> Any:
    """The counts of one tick: those of `made_history`, and an incident."""
    rng = np.random.default_rng((seed, position))
    stopped, ticks = STOPPED
    rows = []
    for i, queue in enumerate(QUEUES):
        for s, state in enumerate(STATES):
            jobs = float(rng.poisson(20 * (i + 1) * (s + 1)))
            rows.append((position, queue, state, 0.0 if queue == stopped and position in ticks else jobs))
    return rows_of(rows)


def make_collector(folder: Path, config: Mapping[str, str] | None = None) -> Collector:
    """A collector with its history; `config` adds sections to its config."""
    folder.mkdir(parents=True)
    (folder / "in").mkdir()
    write_made_bundle(folder / "bundle")
    store = Store.create(folder / "store")
    store.put(made_history(DAYS))
    store.add_metadata(METADATA.dumps[0], at(0))
    sections = {"source": 'kind = "files"\nurl = "in"', "sink.jsonl": 'path = "told.jsonl"', **(config or {})}
    text = 'store = "store"\nbundles = ["bundle"]\n'
    text += "".join(f"[{name}]\n{content}\n" for name, content in sections.items())
    (folder / "collector.toml").write_text(text)
    return Collector(folder)
