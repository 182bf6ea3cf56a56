"""The four files of a simulated grid, in the formats of interfaces, sections 1 to 3."""

from __future__ import annotations

import csv
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qad_dl.atomic import temporary_name
from qad_dl.errors import ConfigError
from qad_dl.progress import progress
from qad_dl.schema import JOBS_COLUMNS, STATUSES, Tick
from qad_dl.simulator.collector import collection, observe, reported_rows
from qad_dl.simulator.mechanism import REPORTED
from qad_dl.timeparse import format_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.simulator.collector import Collection
    from qad_dl.simulator.run import Run

TEXT = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("time", pa.timestamp("s", tz="UTC")),
        *((name, TEXT) for name in JOBS_COLUMNS[1:5]),
        ("jobs", pa.int32()),
        ("site_state", TEXT),
    ]
)
"""Columns of jobs.parquet, named and ordered as `schema.JOBS_COLUMNS`."""

FILES = ("jobs.parquet", "cric.json", "incidents.csv", "downtimes.csv")


def write(run: Run, out: Path) -> dict[str, int]:
    """Write the four files into `out`; each appears whole, and none before all four are written.

    Raises:
        ConfigError: `out` is a file, or cannot be created.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"simulate: {out} cannot be used as a directory ({error.strerror}); name another"
        raise ConfigError(msg) from error
    draft = temporary_name(out / "draft")
    draft.mkdir()
    try:
        rows = write_jobs(run, draft / FILES[0])
        (draft / FILES[1]).write_text(json.dumps(run.world.records, indent=1) + "\n", encoding="utf-8")
        write_incidents(run, draft / FILES[2])
        write_downtimes(run, draft / FILES[3])
        for name in FILES:
            (draft / name).replace(out / name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return {
        "queues": len(run.world.names),
        "ticks": run.params.ticks,
        "rows": rows,
        "incidents": len(run.told),
        "downtimes": len(run.life.downtimes),
    }


def write_jobs(run: Run, path: Path) -> int:
    """Write the long table, a day at a time; returns the number of rows."""
    how = collection(run.params)
    seen = observe(run.counts, how)
    per_day = Tick().per_day
    total = 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd", version="2.6") as writer:
        for first in progress(range(0, run.params.ticks, per_day), "write", unit="day"):
            table = day_table(run, seen, how, np.arange(first, min(first + per_day, run.params.ticks)))
            writer.write_table(table)
            total += table.num_rows
    return total


def day_table(run: Run, seen: NDArray[np.int32], how: Collection, ticks: NDArray[np.int64]) -> pa.Table:
    """Rows of some ticks, in the order in which the file has them: by tick, but late ones behind the next."""
    ticks = ticks[how.arrived[ticks]]
    ticks = ticks[np.argsort(ticks + 1.5 * how.behind[ticks], kind="stable")]
    at, group, state = np.nonzero(reported_rows(seen[ticks], run.params.zero_fill))
    queue = run.world.layout.queue[group]
    tick = ticks[at]
    seconds = run.params.start.astype("datetime64[s]") + tick * Tick().delta
    return pa.table(
        [
            pa.array(seconds, pa.timestamp("s")).cast(SCHEMA.field("time").type),
            _text(queue, run.world.names),
            _labels(group, run.world.source),
            _labels(group, run.world.resource),
            _text(state, REPORTED),
            pa.array(seen[tick, group, state], pa.int32()),
            _text(run.life.status[tick, queue], STATUSES),
        ],
        schema=SCHEMA,
    )


def _text(index: NDArray[np.integer], names: Sequence[str]) -> pa.DictionaryArray[Any, Any]:
    """A dictionary column from indices into `names`."""
    indices: Any = pa.array(index.astype(np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array(list(names), pa.string()))


def _labels(group: NDArray[np.int64], labels: tuple[str, ...]) -> pa.DictionaryArray[Any, Any]:
    """A dictionary column of a label of each group."""
    names = sorted(set(labels))
    return _text(np.array([names.index(label) for label in labels])[group], names)


def write_incidents(run: Run, path: Path) -> None:
    """incidents.csv; `queues` lists those hit wherever it is not the one queue that `value` names."""
    rows = [
        (
            f"sim-{item.number + 1:04d}",
            item.kind,
            item.field,
            item.value,
            _time(run, item.begin),
            _time(run, item.end),
            f"{item.severity:.2f}",
            "" if item.field == "panda_queue" else "|".join(item.queues),
        )
        for item in run.told
    ]
    _write_csv(path, ("incident", "kind", "field", "value", "start", "end", "severity", "queues"), rows)


def write_downtimes(run: Run, path: Path) -> None:
    """downtimes.csv: the declared downtimes, one row per queue and status."""
    rows = [
        (run.world.names[w.queue], _time(run, w.begin), _time(run, w.end), STATUSES[w.status])
        for w in run.life.downtimes
    ]
    _write_csv(path, ("panda_queue", "start", "end", "status"), rows)


def _time(run: Run, tick: int) -> str:
    """A tick as text."""
    return format_time(run.params.start + tick * Tick().delta)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A CSV file with Unix line ends."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
