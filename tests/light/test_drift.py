"""Whether queues still look like the training: each kind of change is told by its name, and quiet is quiet."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from qad_dl.cli import main as qad
from qad_dl.drift import BULK_RATE, Drift, calibration, drift
from qad_dl.errors import InputError
from qad_dl.grid import times_of
from qad_dl.rows import merge_rows
from qad_dl.scorer import Scorer
from qad_dl.store import Store
from tests.light.made import TICK, at, history
from tests.light.made_bundle import METADATA, QUEUES, made_history, made_store, write_made_bundle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DAY = TICK.per_day
CHANGE = 2 * DAY
DAYS = 4


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "bundle"
    write_made_bundle(path, training={"start": "2026-01-05T00:00:00Z", "end": "2026-01-07T00:00:00Z"})
    return path


@pytest.fixture(scope="module")
def scorer(bundle: Path) -> Scorer:
    return Scorer.load(bundle)


def looked_at(tmp_path: Path, scorer: Scorer, rows: pa.Table, metadata: dict | None = None, **how: object) -> Drift:
    store = Store.create(tmp_path / "store")
    store.put(rows)
    store.add_metadata(metadata or METADATA.dumps[0], at(0))
    return drift(store, scorer, days=2, **how)


def after(table: pa.Table) -> pa.Array:
    return pa.array(times_of(table) >= at(CHANGE))


def with_column(table: pa.Table, name: str, change: Callable[[pa.Array], pa.Array]) -> pa.Table:
    """A column changed from the change on."""
    plain = table[name].cast(pa.float64() if name == "jobs" else pa.string()).combine_chunks()
    made = pc.if_else(after(table), change(plain), plain)
    changed = table.set_column(table.column_names.index(name), name, made)
    rows = zip(*(changed[c].to_pylist() for c in ("panda_queue", "job_status", "jobs")), strict=True)
    places = ((times_of(table) - at(0)) // TICK.delta).astype(int).tolist()
    return history([(p, *row) for p, row in zip(places, rows, strict=True)])


def drifted(found: Drift) -> dict[tuple[str, str], float]:
    return {(sign.name, sign.of): sign.value for sign in found.signs if sign.drifted}


def test_nothing_changed(tmp_path: Path, scorer: Scorer) -> None:
    found = looked_at(tmp_path, scorer, made_history(DAYS, seed=4))
    assert drifted(found) == {}
    assert not found.drifted
    assert {sign.name for sign in found.signs} == {
        "new_queues", "gone_queues", "new_values", "vanished_state", "level", "bulk", "flags",
    }  # fmt: skip
    assert not any(sign.advice for sign in found.signs)
    assert (found.start, found.end) == (at((DAYS - 2) * DAY), at(DAYS * DAY))


def test_queues_that_come_and_go(tmp_path: Path, scorer: Scorer) -> None:
    rows = made_history(DAYS, seed=4)
    gone = pc.and_(after(rows), pc.equal(rows["panda_queue"].cast(pa.string()), "Q3"))
    rows = rows.filter(pc.invert(gone))
    new = [(CHANGE + t, name, "running", 60.0 + t % 7) for name in ("N1", "N2") for t in range(2 * DAY)]
    found = looked_at(tmp_path, scorer, merge_rows([rows, history(new)]))
    assert drifted(found)["new_queues", ""] == pytest.approx(2 / 7)
    assert drifted(found)["gone_queues", ""] == pytest.approx(1 / 6)
    assert (found.lists["new_queues"], found.lists["gone_queues"]) == (("N1", "N2"), ("Q3",))


def test_a_renamed_state_is_told_as_such(tmp_path: Path, scorer: Scorer) -> None:
    rename = with_column(
        made_history(DAYS, seed=4), "job_status", lambda s: pc.if_else(pc.equal(s, "activated"), "queued", s)
    )
    found = looked_at(tmp_path, scorer, rename)
    signs = drifted(found)
    assert signs["renamed_state", "activated"] > 0.99
    assert not {("new_state", "queued"), ("vanished_state", "activated"), ("level", "activated")} & signs.keys()
    sign = next(s for s in found.signs if s.name == "renamed_state")
    assert "activated is now called queued" in sign.text


def test_a_state_that_vanished_and_one_that_is_new_are_not_one(tmp_path: Path, scorer: Scorer) -> None:
    rows = made_history(DAYS, seed=4)
    rows = rows.filter(pc.invert(pc.and_(after(rows), pc.equal(rows["job_status"].cast(pa.string()), "failed"))))
    rng = np.random.default_rng(1)
    strange = [
        (CHANGE + t, queue, "throttled", float(rng.poisson(level)))
        for queue, level in zip(QUEUES, (90, 2, 70, 5, 60, 1), strict=True)
        for t in range(2 * DAY)
    ]
    signs = drifted(looked_at(tmp_path, scorer, merge_rows([rows, history(strange)])))
    assert signs["vanished_state", "failed"] == 0
    assert signs["new_state", "throttled"] > 0.5
    assert ("renamed_state", "failed") not in signs


def test_a_state_of_other_numbers_is_another(tmp_path: Path, scorer: Scorer) -> None:
    rows = made_history(DAYS, seed=4)
    rows = rows.filter(pc.invert(pc.and_(after(rows), pc.equal(rows["job_status"].cast(pa.string()), "failed"))))
    tenth = [  # it goes with the size of the queue, as all states do
        (CHANGE + t, queue, "throttled", float(8 * (i + 1) + t % 3))
        for i, queue in enumerate(QUEUES)
        for t in range(2 * DAY)
    ]
    signs = drifted(looked_at(tmp_path, scorer, merge_rows([rows, history(tenth)])))
    assert {("vanished_state", "failed"), ("new_state", "throttled")} <= signs.keys()
    assert ("renamed_state", "failed") not in signs


@pytest.mark.parametrize(("factor", "told"), [(2.0, True), (0.5, True), (1.3, False)])
def test_levels(tmp_path: Path, scorer: Scorer, factor: float, told: bool) -> None:
    rows = with_column(made_history(DAYS, seed=4), "jobs", lambda n: pc.multiply(n, factor))
    found = looked_at(tmp_path, scorer, rows)
    level = {sign.of: sign for sign in found.signs if sign.name == "level"}
    assert set(level) == {"activated", "running", "finished", "failed"}
    for sign in level.values():
        assert sign.value == pytest.approx(factor, rel=0.05)
        assert sign.drifted == told


def test_one_queue_alone_moves_no_level(tmp_path: Path, scorer: Scorer) -> None:
    rows = made_history(DAYS, seed=4)
    mine = pc.equal(rows["panda_queue"].cast(pa.string()), "Q1").combine_chunks()
    rows = with_column(rows, "jobs", lambda n: pc.if_else(mine, pc.multiply(n, 10.0), n))
    assert not any(name == "level" for name, _ in drifted(looked_at(tmp_path, scorer, rows)))


def test_new_values_of_metadata(tmp_path: Path, scorer: Scorer) -> None:
    moved = {queue: {**record, "cloud": "IT" if queue in ("Q0", "Q1") else record["cloud"]}
             for queue, record in METADATA.dumps[0].items()}  # fmt: skip
    signs = drifted(looked_at(tmp_path, scorer, made_history(DAYS, seed=4), moved))
    assert signs["new_values", "cloud"] == pytest.approx(2 / 6)


def test_calibration_counts_episodes(scorer: Scorer) -> None:
    from dataclasses import replace

    from qad_dl.results import Results

    n, t = 50, 7 * DAY
    threshold = scorer.bundle.detection.threshold(BULK_RATE)
    nothing = np.zeros((n, t), np.int8)
    results = Results(
        ("panda_queue",), tuple((f"Q{i}",) for i in range(n)), at(0) + np.arange(t) * TICK.delta, np.zeros((n, t)),
        np.zeros((n, t)), nothing > 0, nothing, nothing == 0, nothing > 0, nothing.astype(np.int16), nothing, nothing,
        (), (), 0.01, 9.0,
    )  # fmt: skip
    score = np.zeros((n, t))
    score[:, 50 :: 5 * DAY] = threshold + 0.01  # two episodes in a week of 7 days: 0.286 a queue-day
    bulk, flags = calibration(scorer.bundle, replace(results, score=score))
    assert bulk.value == pytest.approx((2 / 7) / (0.3 - 0.003), rel=0.01)
    assert (bulk.drifted, flags.value) == (False, 0)
    score[:, 50::60] = 99.0  # far out: no part of the bulk, but flagged
    bulk, flags = calibration(scorer.bundle, replace(results, score=score))
    assert flags.drifted
    assert bulk.drifted  # incidents taken off, there is nothing left
    bulk, flags = calibration(scorer.bundle, replace(results, score=score, expected=nothing == 0))
    assert not np.isfinite([bulk.value, flags.value]).any()
    assert not bulk.drifted
    assert not flags.drifted


def test_a_time_without_jobs_is_refused(tmp_path: Path, scorer: Scorer) -> None:
    rows = history([(t, "Q1", "running", 0.0) for t in range(3 * DAY)])
    with pytest.raises(InputError, match="had a job"):
        looked_at(tmp_path, scorer, rows)


def test_the_command(tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = with_column(made_history(DAYS, seed=4), "jobs", lambda n: pc.multiply(n, 2.0))
    store = made_store(tmp_path / "store", rows)
    command = ["drift", str(store.path), "--bundle", str(bundle), "--days", "2"]
    assert qad(command) == 1
    text = capsys.readouterr().out
    assert text.count("-> if it is to stay, train again") == 1  # one line for all states
    assert text.count("DRIFT") == 4
    assert qad([*command, "--format", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["drift"] is True
    assert sum(sign["drift"] for sign in document["signs"]) == 4
    assert qad([*command, "--at", "2026-01-06T23:50"]) == 0
    assert "no sign of drift" in capsys.readouterr().out
    assert qad([*command[:-1], "0"]) == 2
    assert "--days 0" in capsys.readouterr().err
