"""A history that is worth several workers, and what one core makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qad_dl.cli import main as qad
from qad_dl.store import Store
from tests.light.made import START, TICK
from tests.light.made_bundle import METADATA, STATES, write_made_bundle

if TYPE_CHECKING:
    from pathlib import Path

N_QUEUES, DAYS = 40, 16
FROM, UNTIL = START + np.timedelta64(7, "D"), START + np.timedelta64(DAYS, "D")


@dataclass(frozen=True)
class World:
    """A store of forty queues, a bundle that knows six of them, and what one core says of the last nine days."""

    path: Path

    @property
    def range(self) -> list[str]:
        return ["--bundle", str(self.path / "bundle"), "--start", str(FROM), "--end", str(UNTIL)]

    def backtest(self, out: Path, *more: str) -> list[str]:
        return ["backtest", str(self.path / "store"), *self.range, "--out", str(out), *more]

    def evaluate(self, *more: str) -> list[str]:
        words = ["--store", str(self.path / "store"), "--incidents", str(self.path / "incidents.csv"), *more]
        return ["evaluate", str(self.path / "one.parquet"), *words, "--format", "json"]


def jobs() -> pa.Table:
    """Poisson about a level of its own for each queue and state; one queue comes late, a tick is missing."""
    rng = np.random.default_rng(1)
    ticks, queues = np.arange(DAYS * TICK.per_day), [f"Q{i}" for i in range(N_QUEUES)]
    level = 20 * (np.arange(N_QUEUES) % 7 + 1)[:, None, None] * (np.arange(len(STATES)) + 1)[None, :, None]
    counts = rng.poisson(np.broadcast_to(level, (N_QUEUES, len(STATES), len(ticks))))
    counts[5, 1, 1600:1660] = 0
    queue, state, tick = np.indices(counts.shape).reshape(3, -1)
    keep = (tick != 1700) & ~((queue == 39) & (tick < 1900))
    order = np.argsort(tick[keep], kind="stable")
    queue, state, tick, count = (a[keep][order] for a in (queue, state, tick, counts.reshape(-1)))
    return pa.table(
        {
            "time": pa.array(START + tick * TICK.delta, pa.timestamp("s")),
            "panda_queue": np.array(queues)[queue],
            "job_status": np.array(STATES)[state],
            "jobs": count,
        }
    )


def make_world(path: Path) -> World:
    """Write it into a folder, with what one core says."""
    made = World(path)
    pq.write_table(jobs(), path / "jobs.parquet", row_group_size=40_000)
    write_made_bundle(path / "bundle")
    (path / "incidents.csv").write_text(
        "incident,kind,field,value,start,end,severity,queues\n"
        f"i1,site_down,panda_queue,Q5,{START + 1600 * TICK.delta},{START + 1660 * TICK.delta},,Q5|Q6\n"
        f"i2,other,panda_queue,Q7,{START + 1800 * TICK.delta},{START + 1830 * TICK.delta},,Q7\n"
    )
    assert qad(["import", str(path / "store"), "--jobs", str(path / "jobs.parquet")]) == 0
    Store.open(path / "store").add_metadata(METADATA.dumps[0], START)
    assert qad(made.backtest(path / "one.parquet", "--details")) == 0
    return made
