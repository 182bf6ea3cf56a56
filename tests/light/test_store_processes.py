"""The embedded store, when several processes use it at once."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qad_dl.downtimes import Downtime
from qad_dl.rows import seconds_of
from qad_dl.schema import Tick
from qad_dl.store import Store
from tests.light.store_rows import EVER, block, t, table, values

DAYS = ("2020-01-01", "2020-01-02")
ROUNDS = 12


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def write_rounds(path: str) -> None:
    """Give every row of both days one value per round: 1, 2, ..., by put or as parts, compacted now and then."""
    store = Store.open(Path(path))
    for value in range(1, ROUNDS + 1):
        for day in DAYS:
            rows = block(Tick().range(t(day), t(day) + np.timedelta64(4, "h")), 3, value)
            (store.append if value % 3 else store.put)(rows)
        if value % 4 == 0:
            store.compact(t("2020-01-03"))


def append_own(path: str, name: str) -> None:
    """Put, append and compact rows of a queue of its own, and downtimes."""
    store = Store.open(Path(path))
    for i, tick in enumerate(Tick().range(t(DAYS[0]), t(DAYS[0]) + np.timedelta64(4, "h"))):
        (store.append if i % 2 else store.put)(table([(str(tick), name, i)]))
        store.add_downtimes([Downtime(name, tick, tick + Tick().delta, "x")])
        if i % 7 == 0:
            store.compact(t("2020-01-03"))


def start(*calls: tuple[Any, tuple[Any, ...]]) -> list[Any]:
    """Processes of their own, not forks: Arrow's threads do not survive a fork."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=function, args=arguments) for function, arguments in calls]
    for process in processes:
        process.start()
    return processes


def test_a_reader_sees_whole_days_while_another_writes(store: Store) -> None:
    (writer,) = start((write_rounds, (str(store.path),)))
    last = dict.fromkeys(DAYS, 0.0)
    reads = 0
    while writer.is_alive():
        rows = store.read(*EVER)
        days = seconds_of(rows).view("datetime64[s]").astype("datetime64[D]")
        jobs = rows.column("jobs").to_numpy()
        for day in DAYS:
            found = jobs[days == np.datetime64(day)]
            if found.size:
                assert found.size == 3 * 24, "a day is whole"
                assert np.unique(found).size == 1, "of one round"
                assert found[0] >= last[day], "never an older one than before"
                last[day] = found[0]
        reads += 1
    writer.join()
    assert writer.exitcode == 0
    assert reads > 1
    assert set(values(store).values()) == {float(ROUNDS)}


def test_two_writers_lose_nothing(store: Store) -> None:
    processes = start((append_own, (str(store.path), "A")), (append_own, (str(store.path), "B")))
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    found = values(store)
    assert len(found) == 48
    assert {jobs for (_, queue), jobs in found.items() if queue == "A"} == set(range(24))
    assert {jobs for (_, queue), jobs in found.items() if queue == "B"} == set(range(24))
    assert len(store.downtimes()) == 48
