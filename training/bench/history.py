"""Importing a long table, and reading days of a store as a grid."""

from __future__ import annotations

import contextlib
import io
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from qad_dl.grid import build_grid
from qad_dl.store import Store
from training.bench.clock import PartClock, peak_mb
from training.bench.hooks import IMPORT, READ

if TYPE_CHECKING:
    from collections.abc import Mapping


def write_rows(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """A long table of `rows` rows in `out`: those of `jobs`, repeated with the queues under other names if need be."""
    left, copy = int(inputs["rows"]), 0
    with (
        pq.ParquetFile(inputs["jobs"]) as file,
        pq.ParquetWriter(inputs["out"], file.schema_arrow, compression="zstd") as out,
    ):
        while left:
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group).slice(0, left)
                left -= rows.num_rows
                out.write_table(_renamed(rows, copy))
            copy += 1
    return {"rows": int(inputs["rows"])}


def import_in_parts(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """`qad import` of `jobs` into `store`, with the clock of its parts running."""
    from qad_dl.cli import main

    clock = PartClock()
    clock.watch(IMPORT)
    with contextlib.redirect_stdout(io.StringIO()), clock.part("other"):
        code = main(["import", inputs["store"], "--jobs", inputs["jobs"]])
    if code:
        msg = f"exit code {code} of qad import"
        raise RuntimeError(msg)
    return {"parts": clock.figures()}


def read_as_grid(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """[start, end) of `store` as a grid of queues, as training reads it.

    Returns:
        Median seconds of `repeats` readings or of as many as fill `seconds` of processor time, the parts of the first,
        and by how much the process grew in that one over the bytes of the counts.
    """
    store = Store.open(Path(inputs["store"]))
    times = store.tick.range(*(np.datetime64(inputs[name], "s") for name in ("start", "end")))
    clock, before = PartClock(), peak_mb()
    took: list[tuple[float, float]] = []
    clock.watch(READ)
    grown, size, until_s = 0.0, 1, time.process_time() + inputs["seconds"]
    parts: dict[str, Any] = {}
    while len(took) < int(inputs["repeats"]) or time.process_time() < until_s:
        began = time.perf_counter(), time.process_time()
        with clock.part("grid"):
            rows = store.pieces(times[0], times[-1] + store.tick.delta)
            grid = build_grid(rows, times, store.tick, store.metadata(), downtimes=store.downtimes())
        took.append((time.perf_counter() - began[0], time.process_time() - began[1]))
        if not parts:
            grown, size, parts = peak_mb() - before, grid.counts.nbytes, clock.figures()
        del grid
    return {
        "parts": parts,
        "wall_s": statistics.median(wall for wall, _ in took),
        "cpu_s": min(cpu for _, cpu in took),
        "grid_mb": size / 1e6,
        "over_grid": grown * 1e6 / size,
    }


def _renamed(rows: Any, copy: int) -> Any:
    import pyarrow as pa

    if copy == 0:
        return rows
    at = rows.schema.get_field_index("panda_queue")
    column = rows.column(at).combine_chunks()
    names = pa.array([f"{name}~{copy:04d}" for name in column.dictionary.to_pylist()], pa.string())
    return rows.set_column(at, rows.schema.field(at), pa.DictionaryArray.from_arrays(column.indices, names))
