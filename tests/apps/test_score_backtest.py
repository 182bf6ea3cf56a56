"""`qad score` and `qad backtest` with a trained bundle: the same rows by every way, and what is asked wrongly."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qad_dl.cli import main as qad
from qad_dl.metadata import read_cric
from qad_dl.schema import REASONS
from qad_dl.scorer import Scorer
from tests.apps.conftest import END, FROZEN, GAP, GONE_AFTER, MISSING, NEW_FROM, TICK, World, seconds

if TYPE_CHECKING:
    from pathlib import Path

FIRST = np.datetime64("2026-01-11T20:00", "s")
LAST = np.datetime64(END, "s") - TICK
SCORED = ("flagged", "reason", "expected", "state", "direction")


def backtest(world_store: Path, bundle: Path, out: Path, start: object, end: object, *more: str) -> pd.DataFrame:
    """The rows of `qad backtest`, by time and queue."""
    words = ["--bundle", str(bundle), "--start", str(start), "--end", str(end), "--out", str(out), *more]
    assert qad(["backtest", str(world_store), *words]) == 0
    frame = pq.read_table(out).to_pandas()
    frame["time"] = frame["time"].dt.tz_localize(None).astype("datetime64[s]")
    return frame.set_index(["time", "panda_queue"]).sort_index()


def same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    """The same rows: scores within 1e-5, all else identical."""
    left, right = left.sort_index(), right.sort_index()
    assert len(left) > 0
    assert left.index.equals(right.index)
    for column in SCORED:
        assert left[column].astype(object).where(left[column].notna(), None).tolist() == (
            right[column].astype(object).where(right[column].notna(), None).tolist()
        ), column
    a, b = left["score"].to_numpy(float), right["score"].to_numpy(float)
    assert np.allclose(a, b, atol=1e-5, rtol=0, equal_nan=True)


@pytest.fixture(scope="module")
def rows(world: World, bundle: Path) -> pd.DataFrame:
    """The whole test range."""
    return backtest(world.store, bundle, world.path / "scores.parquet", FIRST, END)


def at(rows: pd.DataFrame, tick: np.datetime64) -> pd.DataFrame:
    return rows[rows.index.get_level_values("time") == tick]


AWKWARD = [FIRST, GAP[0], GAP[1], GAP[1] + 18 * TICK, MISSING, MISSING + TICK, FROZEN, FROZEN + TICK,
           NEW_FROM, NEW_FROM + 36 * TICK, LAST]  # fmt: skip


@pytest.mark.parametrize("tick", AWKWARD, ids=str)
def test_a_tick_is_the_backtests_row(
    world: World, bundle: Path, rows: pd.DataFrame, capsys: pytest.CaptureFixture[str], tick: np.datetime64
) -> None:
    capsys.readouterr()
    when = str(tick + np.timedelta64(321, "s"))
    assert qad(["score", str(world.store), "--bundle", str(bundle), "--at", when, "--format", "json"]) == 0
    said = pd.DataFrame(_strictly(capsys.readouterr().out)["scores"])
    said["time"] = pd.to_datetime(said["time"]).dt.tz_localize(None).astype("datetime64[s]")
    same(said.set_index(["time", "panda_queue"]), at(rows, tick))


def _strictly(text: str) -> Any:
    def refuse(word: str) -> None:
        raise ValueError(word)

    return json.loads(text, parse_constant=refuse)


def test_the_first_day_of_the_store_has_reasons(world: World, bundle: Path, tmp_path: Path) -> None:
    first = backtest(world.store, bundle, tmp_path / "s.parquet", "2026-01-05", "2026-01-06")
    assert set(first["reason"].head(12)) <= {"too_short", "retired", "missing_tick"}
    young = backtest(world.store, bundle, tmp_path / "s.parquet", "2026-01-05T12:00", "2026-01-05T14:00")
    same(young, first[first.index.isin(young.index)])


def test_the_newest_tick_is_the_default(world: World, bundle: Path, rows: pd.DataFrame, capsys) -> None:
    newest = rows.index.get_level_values("time")[rows["reason"] != "missing_tick"].max()
    capsys.readouterr()
    assert qad(["score", str(world.store), "--bundle", str(bundle), "--format", "json"]) == 0
    times = {row["time"] for row in json.loads(capsys.readouterr().out)["scores"]}
    assert [pd.Timestamp(t).tz_localize(None) for t in times] == [newest]


@pytest.mark.parametrize("start", [GAP[1] + 5 * TICK, FROZEN, LAST], ids=str)
def test_another_start(world: World, bundle: Path, rows: pd.DataFrame, tmp_path: Path, start: np.datetime64) -> None:
    other = backtest(world.store, bundle, tmp_path / "s.parquet", start, END)
    same(other, rows[rows.index.get_level_values("time") >= start])


def test_without_the_future(world: World, bundle: Path, rows: pd.DataFrame, tmp_path: Path) -> None:
    now = NEW_FROM + 7 * TICK
    history = pq.read_table(world.jobs)
    pq.write_table(history.filter(pa.array(seconds(history) < now)), tmp_path / "jobs.parquet")
    known = ["--cric", str(world.path / "cric.json"), "--downtimes", str(world.path / "downtimes.csv")]
    assert qad(["import", str(tmp_path / "store"), "--jobs", str(tmp_path / "jobs.parquet"), *known]) == 0
    early = backtest(tmp_path / "store", bundle, tmp_path / "s.parquet", FIRST, now)
    same(early, rows[rows.index.get_level_values("time") < now])


def test_one_queue_of_many(world: World, bundle: Path, rows: pd.DataFrame, tmp_path: Path) -> None:
    queue = world.queues[5]
    alone = backtest(world.store, bundle, tmp_path / "s.parquet", FIRST, END, "--queue", queue)
    same(alone, rows[rows.index.get_level_values("panda_queue") == queue])


def test_every_known_queue_has_a_score_or_a_reason_in_every_tick(world: World, rows: pd.DataFrame) -> None:
    ticks = int((np.datetime64(END, "s") - FIRST) // TICK)
    counts = rows.groupby("panda_queue").size()
    assert set(counts.index) == {*world.queues, "NEW", "GONE"}
    assert (counts.drop("NEW") == ticks).all()
    assert (rows["score"].isna() == (rows["reason"] != "")).all()
    assert not rows.loc[rows["score"].isna(), "flagged"].any()
    assert set(rows["reason"]) <= set(REASONS)


@pytest.mark.parametrize(
    ("tick", "queue", "reason"),
    [
        (MISSING, None, "missing_tick"),
        (GAP[1], None, "gap"),
        (FROZEN, None, "frozen"),
        (NEW_FROM, "NEW", "too_short"),
        (GONE_AFTER + 7 * 144 * TICK + 6 * TICK, "GONE", "retired"),
    ],
)
def test_reasons(world: World, rows: pd.DataFrame, tick: np.datetime64, queue: str | None, reason: str) -> None:
    said = rows.loc[(pd.Timestamp(tick), queue or world.queues[3]), "reason"]
    assert said == reason


def test_most_of_the_rest_is_scored(world: World, rows: pd.DataFrame) -> None:
    mine = rows[rows.index.get_level_values("panda_queue").isin(world.queues)]
    assert (mine["reason"] == "").mean() > 0.8


def test_the_library_gives_what_the_command_gives(world: World, bundle: Path, tmp_path: Path) -> None:
    assert (
        qad(["import", str(tmp_path / "store"), "--jobs", str(world.jobs), "--cric", str(world.path / "cric.json")])
        == 0
    )
    wanted = backtest(tmp_path / "store", bundle, tmp_path / "s.parquet", FROZEN + TICK, FROZEN + 2 * TICK)
    frame = pd.read_parquet(world.jobs)
    raw = json.loads((world.path / "cric.json").read_text())
    got = Scorer.load(bundle).score(frame, raw, at=str(FROZEN + TICK))
    assert got.columns.tolist() == pq.read_table(tmp_path / "s.parquet").column_names
    got["time"] = got["time"].dt.tz_localize(None).astype("datetime64[s]")
    same(got.set_index(["time", "panda_queue"]), wanted)


class TestMetadata:
    """Acceptance row 10."""

    @pytest.fixture(scope="class")
    @classmethod
    def frame(cls, world: World) -> pd.DataFrame:
        return pd.read_parquet(world.jobs)

    def reconstruction(self, world: World, bundle: Path, frame: pd.DataFrame, cloud: str | None) -> np.ndarray:
        from qad_dl.grid import build_grid
        from qad_dl.history import normalise_jobs
        from qad_dl.metadata import Metadata

        records = {q: dict(r) for q, r in read_cric(world.path / "cric.json").items()}
        queue = world.queues[4]
        if cloud is not None:
            records[queue]["cloud"] = cloud
        scorer, metadata = Scorer.load(bundle), Metadata.single(records)
        preprocess = scorer.bundle.preprocess
        times = preprocess.tick.range(FIRST - 7 * 144 * TICK, FIRST + TICK)
        grid = build_grid(normalise_jobs(frame, preprocess.tick, "history"), times, preprocess.tick, metadata)
        results = scorer.score_grid(grid, metadata, len(times) - 1, details=True)
        assert results.details is not None
        return results.details.reconstruction[results.series.index((queue,)), 0]

    def test_another_cloud_gives_another_reconstruction(self, world: World, bundle: Path, frame: pd.DataFrame) -> None:
        vocabulary = next(v for v in Scorer.load(bundle).bundle.preprocess.vocabularies if v.field == "cloud")
        own = read_cric(world.path / "cric.json")[world.queues[4]]["cloud"]
        other = next(v for v in vocabulary.values if v != own)
        plain = self.reconstruction(world, bundle, frame, None)
        assert np.array_equal(self.reconstruction(world, bundle, frame, own), plain)
        assert not np.allclose(self.reconstruction(world, bundle, frame, other), plain, rtol=1e-6)

    def test_unknown_values_are_all_alike_and_scored(self, world: World, bundle: Path, frame: pd.DataFrame) -> None:
        moon, mars = (self.reconstruction(world, bundle, frame, c) for c in ("MOON", "MARS"))
        assert np.isfinite(moon).all()
        assert np.array_equal(moon, mars)
        assert not np.array_equal(moon, self.reconstruction(world, bundle, frame, None))


def test_details(world: World, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.parquet"
    backtest(world.store, bundle, out, FIRST, FIRST + 3 * TICK, "--details")
    details = pq.read_table(tmp_path / "s.details.parquet").to_pandas()
    shares = details.groupby(["time", "panda_queue"], observed=True)["contribution"].sum(min_count=1).dropna()
    assert len(shares) >= 3 * len(world.queues) - 3
    assert np.allclose(shares, 1, atol=1e-5)
    assert ((details["lower"] <= details["upper"]) | details["lower"].isna()).all()


def test_the_table_for_people(world: World, bundle: Path, capsys) -> None:
    capsys.readouterr()
    assert qad(["score", str(world.store), "--bundle", str(bundle), "--at", str(FIRST), "--budget", "0.1"]) == 0
    head, names, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("2026-01-11T20:00:00Z")
    assert "panda_queue" in names
    assert len(lines) == len(world.queues) + 1  # and GONE


def test_torch_is_not_needed(world: World, bundle: Path) -> None:
    code = f"""
import sys
for name in ("torch", "pytorch_lightning", "onnx", "hydra", "omegaconf"):
    sys.modules[name] = None
from qad_dl.cli import main
sys.exit(main(["score", {str(world.store)!r}, "--bundle", {str(bundle)!r}, "--at", {str(FIRST)!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--at", "noon"], "--at"),
        (["--at", "2030-01-01"], "the store holds"),
        (["--queue", "NOBODY"], "NOBODY"),
        (["--budget", "0"], "budget"),
        (["--budget", "nan"], "budget"),
    ],
)
def test_what_is_asked_wrongly_is_one_line_and_exit_code_2(
    world: World, bundle: Path, capsys, words: list[str], said: str
) -> None:
    assert qad(["score", str(world.store), "--bundle", str(bundle), *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]


def test_a_changed_bundle_and_a_store_that_is_none_are_refused(
    world: World, bundle: Path, tmp_path: Path, capsys
) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    content = bytearray((copy / "calibration.json").read_bytes())
    content[100] ^= 1
    (copy / "calibration.json").write_bytes(content)
    assert qad(["score", str(world.store), "--bundle", str(copy)]) == 2
    assert "calibration.json" in capsys.readouterr().err
    assert qad(["score", str(tmp_path), "--bundle", str(bundle)]) == 2
    assert "store" in capsys.readouterr().err


def test_a_place_to_write_that_is_none(world: World, bundle: Path, tmp_path: Path, capsys) -> None:
    words = ["--start", str(FIRST), "--end", str(FIRST + TICK), "--out", str(tmp_path)]
    assert qad(["backtest", str(world.store), "--bundle", str(bundle), *words]) == 2
    assert "cannot be written" in capsys.readouterr().err
