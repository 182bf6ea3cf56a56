"""A made history to import, a bundle and a store: what tests of storage begin with."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qad_dl.cli import main as qad
from qad_dl.rows import from_numpy, seconds_of
from tests.light.made import START
from tests.light.made_bundle import METADATA, made_history, write_made_bundle

if TYPE_CHECKING:
    from pathlib import Path

DAYS = 10
DAY = np.timedelta64(1, "D")
FROM, UNTIL = START + 8 * DAY, START + 9 * DAY
EVER = np.datetime64("1970-01-01", "s"), np.datetime64("2200-01-01", "s")


def dump(path: Path) -> Path:
    """The made metadata as CRIC gives them."""
    with gzip.open(path, "wt") as file:
        json.dump({queue: dict(record) for queue, record in METADATA.dumps[0].items()}, file)
    return path


@dataclass(frozen=True)
class World:
    """Files to import, a bundle, and a store of the files in a folder."""

    path: Path

    def words(self, store: str | Path, name: str = "jobs.parquet") -> list[str]:
        return ["import", str(store), "--jobs", str(self.path / name), "--cric", str(self.path / "cric.json.gz")]

    def backtest(self, store: str | Path, out: Path) -> list[str]:
        span = ["--start", str(FROM), "--end", str(UNTIL)]
        return ["backtest", str(store), "--bundle", str(self.path / "bundle"), *span, "--out", str(out), "--details"]


def make_world(path: Path) -> World:
    """Into an empty folder; `few.parquet` has the first three days."""
    made = World(path)
    rows = made_history(DAYS)
    pq.write_table(rows, path / "jobs.parquet")
    times = seconds_of(rows).view("datetime64[s]")
    pq.write_table(rows.filter(from_numpy(times < START + 3 * DAY, pa.bool_())), path / "few.parquet")
    dump(path / "cric.json.gz")
    write_made_bundle(path / "bundle")
    assert qad(made.words(path / "store")) == 0
    return made
