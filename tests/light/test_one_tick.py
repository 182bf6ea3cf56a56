"""`qad score --state`: a tick that finds what the one before it kept says what a tick from the store alone says."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qad_dl.arrow import from_numpy
from qad_dl.cli import main
from qad_dl.errors import ConfigError
from qad_dl.grid import times_of
from qad_dl.one_tick import alone, score_kept
from qad_dl.scorer import Scorer
from qad_dl.store import Store
from tests.light.made import START, TICK, history
from tests.light.made_bundle import METADATA, made_history, made_store, write_made_bundle
from training.bench.kept import grow_kept

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOON = 2 * 144 + 72
"""The first tick that is scored."""


def at(position: int) -> np.datetime64:
    return START + position * TICK.delta


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("one") / "bundle"
    write_made_bundle(path)
    return path


class Ticks:
    """A store to which a tick is added after the other."""

    def __init__(self, folder: Path, queues: pa.Table) -> None:
        self.rows, self.times = queues, times_of(queues)
        self.store = made_store(folder / "store", self._part(self.times <= at(NOON)))
        self.folder = folder

    def add(self, position: int) -> None:
        self.store.append(self._part(self.times == at(position)))

    def _part(self, mine: np.ndarray) -> pa.Table:
        return self.rows.filter(from_numpy(mine, pa.bool_()))


@pytest.fixture
def ticks(tmp_path: Path) -> Ticks:
    odd = [(NOON + 2, "Q1", "throttled", 4.0), *((t, "NEW", "running", 50.0) for t in range(200, NOON + 9))]
    return Ticks(tmp_path, pa.concat_tables([made_history(3), history(odd)]))


@pytest.fixture
def score(ticks: Ticks, bundle: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*words: str) -> str:
        assert main(["score", str(ticks.store.path), "--bundle", str(bundle), *words]) == 0
        return capsys.readouterr().out

    return run


def test_every_tick_says_what_it_says_without(ticks: Ticks, score: Callable[..., str]) -> None:
    state = str(ticks.folder / "kept")
    for position in range(NOON, NOON + 6):
        if position > NOON:
            ticks.add(position)
        for more in ([], ["--queue", "Q1", "--queue", "NEW"], ["--format", "json", "--details"]):
            assert score("--state", state, *more) == score(*more)


def test_the_table_is_that_of_a_backtest(ticks: Ticks, score: Callable[..., str], bundle: Path) -> None:
    ticks.add(NOON + 1)
    made, kept = ticks.folder / "made.parquet", ticks.folder / "scores" / "kept.parquet"
    said = score("--state", str(ticks.folder / "kept"), "--out", str(kept), "--details")
    assert said.splitlines()[0].startswith(f"{kept}: 2026-01-07T12:10:00Z  7 rows, 7 scored, ")
    assert "1 not known to the bundle, scored as their group is: NEW" in said
    span = ["--start", str(at(NOON + 1)), "--end", str(at(NOON + 2))]
    words = ["backtest", str(ticks.store.path), "--bundle", str(bundle), *span, "--out", str(made), "--details"]
    assert main(words) == 0
    for name in ("", ".details"):
        ours, theirs = (pq.read_table(path.with_suffix(f"{name}.parquet")) for path in (kept, made))
        assert ours.schema.equals(theirs.schema, check_metadata=True)
        for column in ours.column_names:
            one, other = (table.column(column).to_pylist() for table in (ours, theirs))
            assert one == (pytest.approx(other, abs=1e-5) if isinstance(one[0], float) else other)


@pytest.mark.everywhere
def test_a_table_of_a_tick_needs_nothing_that_is_slow_to_load(ticks: Ticks, bundle: Path) -> None:
    words = ["score", str(ticks.store.path), "--bundle", str(bundle), "--at", str(at(NOON)), "--state", "kept"]
    words += ["--out", "x.parquet"]
    loaded = "{'pandas', 'torch', 'requests'} & {*sys.modules}"
    code = f"import sys; from qad_dl.cli import main; main({words}); print({loaded})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ticks.folder, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_what_is_kept_is_small_and_found_again(ticks: Ticks, score: Callable[..., str]) -> None:
    kept = ticks.folder / "kept"
    score("--state", str(kept))
    before = {path.name for path in kept.iterdir()}
    ticks.add(NOON + 1)
    score("--state", str(kept))
    assert {path.name for path in kept.iterdir()} == before
    assert sorted(path.suffix for path in kept.iterdir()) == ["", ".json", ".ring"]


def test_what_no_bundle_uses_is_removed_after_a_week(ticks: Ticks, score: Callable[..., str]) -> None:
    kept = ticks.folder / "kept"
    score("--state", str(kept))
    mine = {path.name for path in kept.iterdir()}
    for age in (6, 8):
        for name in (f"old{age}.json", f"old{age}.0123abcd.ring"):
            (kept / name).write_text("{}")
            os.utime(kept / name, (time.time() - age * 86400,) * 2)
    score("--state", str(kept))
    assert {path.name for path in kept.iterdir()} == mine | {"old6.json", "old6.0123abcd.ring"}


@pytest.mark.parametrize("what", ["file", "far"])
def test_what_is_asked_wrongly_is_one_line(
    ticks: Ticks, bundle: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    state = ticks.folder / "kept"
    words = ["score", str(ticks.store.path), "--bundle", str(bundle), "--state", str(state)]
    if what == "file":
        state.write_text("")
    else:
        words += ["--at", "2027-01-01"]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert ("cannot be used to keep anything" if what == "file" else "no history between") in line


def hold(folder: Path, held: multiprocessing.synchronize.Event) -> None:
    with alone(folder):
        held.set()
        time.sleep(0.5)


def test_two_at_a_time_wait_for_each_other(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    other = context.Process(target=hold, args=(tmp_path, held))
    other.start()
    assert held.wait(30)
    began = time.monotonic()
    with alone(tmp_path):
        assert time.monotonic() - began > 0.2
    other.join()
    assert other.exitcode == 0


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file/kept: cannot be used"), alone(tmp_path / "file" / "kept"):
        pass


def test_what_is_grown_gives_every_copy_its_score(ticks: Ticks, bundle: Path) -> None:
    scorer, number = Scorer.load(bundle), 500
    kept = ticks.folder / "kept" / scorer.bundle.name
    score_kept(kept, ticks.store, scorer, at(NOON))
    world = Store.create(ticks.folder / "world")
    world.put(ticks.rows)
    world.add_metadata(METADATA.dumps[0] | {"NEW": {"cloud": "DE"}}, START)
    words = {"source": str(ticks.store.path), "kept": str(kept), "world": str(world.path), "number": number, "later": 1}
    to = ticks.folder / "grown" / kept.name
    more = {"path": str(ticks.folder / "many"), "to": str(to), "at": str(at(NOON)), "field": "panda_queue"}
    ticks.store.add_metadata(METADATA.dumps[0] | {"NEW": {"cloud": "DE"}}, START)
    score_kept(kept, ticks.store, scorer, at(NOON))
    assert grow_kept({**words, **more}) == {"series": number}
    many = Store.open(ticks.folder / "many")
    many.append(pq.read_table(ticks.folder / "0.parquet"))
    ticks.add(NOON + 1)
    own = score_kept(kept, ticks.store, scorer, at(NOON + 1)).results
    grown = score_kept(to, many, scorer, at(NOON + 1)).results
    assert len(grown.series) == number
    assert to.with_suffix(".json").exists()
    place = {key[0]: i for i, key in enumerate(own.series)}
    rows = [place[key[0].partition("~")[0]] for key in grown.series]
    # A copy has another name: the bundle does not know it, and judges it as its group.
    known = [i for i, key in enumerate(grown.series) if "~" not in key[0]]
    np.testing.assert_allclose(grown.score[known], own.score[[rows[i] for i in known]], atol=1e-6)
    assert np.isfinite(grown.score).all()
