"""QMonit's own way of deriving its averages beside ours, on the same points, with the same numbers coming out.

QMonit reads the last 24 h of ten-minute points and 30 days of daily ones as two lists, and for every (panda_queue,
prod_source, resource, job_status) goes through both whole lists to pick out its points; of those the last 6, 36, 72 and
144, or 7 and 30, are averaged. Written from that description.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qad_dl.arrow import one_chunk
from qad_dl.downsampling import DAYS, HOURS, downsample
from qad_dl.influx.qmonit import average_lines, averaged_rows
from qad_dl.rows import merge_rows, series_of
from qad_dl.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Point = dict[str, Any]

KEY: Final = ("panda_queue", "prod_source", "resource", "job_status")
TEN_MINUTES: Final = {"avg1h": 6, "avg6h": 36, "avg12h": 72, "avg24h": 144}
DAILY: Final = {"avg7d": 7, "avg30d": 30}
DAILY_DAYS: Final = 7
"""Days of daily points: with QMonit's 30 its own way would take longer still."""


def compare_averages(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Both ways for several numbers of series.

    Args:
        inputs: `store`, `at`, and `keys`: how many series.

    Returns:
        By number of series the processor seconds of both, and how many times as long QMonit's takes.

    Raises:
        RuntimeError: the averages differ.
    """
    store, at = Store.open(Path(inputs["store"])), np.datetime64(inputs["at"], "s")
    out = []
    for number in inputs["keys"]:
        ticks, days = _rows(store, at, int(number))
        records = store.metadata().at(at)
        theirs, theirs_s = _timed(partial(_theirs, ticks, days))
        ours, ours_s = _timed(partial(_ours, ticks, days, at, store.tick.per_day // 24, records), 9)
        _compare(theirs, ours)
        series = len(series_of(ticks))
        out.append({"series": series, "averages": len(ours), "qmonit_s": theirs_s, "ours_s": ours_s})
    return {"sizes": [{**one, "times": one["qmonit_s"] / one["ours_s"]} for one in out]}


def qmonit_averages(ticks: list[Point], days: list[Point]) -> dict[tuple[str, ...], dict[str, float]]:
    """The averages by key, from both lists whole for every key."""
    averages: dict[tuple[str, ...], dict[str, float]] = {}
    for key in {tuple(point[name] for name in KEY): None for point in ticks}:
        averages[key] = {}
        for points, lengths in ((ticks, TEN_MINUTES), (days, DAILY)):
            own = [point["jobs"] for point in points if all(point[n] == k for n, k in zip(KEY, key, strict=True))]
            for name, length in lengths.items():
                if own:
                    last = own[-length:]
                    averages[key][name] = round(sum(last) / len(last), 2)
    return averages


def _theirs(ticks: pa.Table, days: pa.Table) -> dict[tuple[str, ...], dict[str, float]]:
    return qmonit_averages(points_of(ticks), points_of(days))


def _ours(*asked: Any) -> list[str]:
    return list(average_lines(*asked))


def points_of(rows: pa.Table) -> list[Point]:
    """Rows as a client of InfluxDB gives points: one object each."""
    return rows.sort_by("time").select([*KEY, "jobs", "time"]).to_pylist()


def _rows(store: Store, at: np.datetime64, number: int) -> tuple[pa.Table, pa.Table]:
    """Ten-minute rows of the 24 h that end with a tick, and daily ones before it, of the first series."""
    day = np.timedelta64(1, "D")
    newest = store.read(at - day + store.tick.delta, at + store.tick.delta)
    # Whole queues: the number of series is then near what is asked for.
    chosen = pa.array(sorted({queue for queue, _, _ in sorted(series_of(newest))[:number]}), pa.string())

    def of(rows: pa.Table) -> pa.Table:
        return averaged_rows(
            merge_rows([rows.filter(pc.is_in(one_chunk(rows.column("panda_queue")).cast(pa.string()), chosen))])
        )

    midnight = at.astype("datetime64[D]").astype("datetime64[s]")
    points = []
    for stamp in (midnight - i * day for i in range(DAILY_DAYS)):
        hours = np.arange(stamp - day, stamp + HOURS.tick.delta, HOURS.tick.delta)
        finer = downsample(
            of(store.read(stamp - day - HOURS.reach, stamp + store.tick.delta)), hours, HOURS, store.tick
        )
        points.append(downsample(finer, np.array([stamp]), DAYS, HOURS.tick))
    return of(newest), merge_rows(points)


def _timed(run: Callable[[], Any], times: int = 1) -> tuple[Any, float]:
    """What it returned, and the least processor seconds."""
    took = []
    for _ in range(times):
        began = time.process_time()
        result = run()
        took.append(time.process_time() - began)
    return result, min(took)


def _compare(theirs: Mapping[tuple[str, ...], Mapping[str, float]], ours: list[str]) -> None:
    """Both must have derived the same numbers.

    Raises:
        RuntimeError: they have not.
    """
    wanted = sorted(tuple(sorted(averages.items())) for averages in theirs.values())
    got = []
    for line in ours:
        fields = (word.partition("=") for word in line.rsplit(" ", 2)[-2].split(","))
        values = {name: float(value) for name, _, value in fields}
        got.append(tuple(sorted((name, value) for name, value in values.items() if name in {**TEN_MINUTES, **DAILY})))
    if wanted != sorted(got):
        msg = f"the averages of {len(wanted)} keys differ from ours of {len(got)}"
        raise RuntimeError(msg)
