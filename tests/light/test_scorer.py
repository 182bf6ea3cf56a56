"""Scores of a store, of a tick, and of a history in memory: one code, where torch is not installed."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from qad_dl.backtest import run_backtest, score_tick
from qad_dl.errors import BundleError, ConfigError, InputError
from qad_dl.grid import times_of
from qad_dl.reconstruction import BATCH
from qad_dl.rows import merge_rows
from qad_dl.schema import REASONS
from qad_dl.scorer import Scorer
from qad_dl.scores_file import scores_table
from qad_dl.store import Store
from tests.light.made import TICK, at, history
from tests.light.made_bundle import METADATA, QUEUES, made_history, write_made_bundle

if TYPE_CHECKING:
    from pathlib import Path

    from qad_dl.results import Results

DAY = TICK.per_day
DAYS = 10
GAP = (8 * DAY, 8 * DAY + 50)
MISSING = 9 * DAY + 7
FROZEN = 9 * DAY + 30
NEW = 9 * DAY + 60
GONE = 30
FIRST, END = at(7 * DAY + 100), at(DAYS * DAY)


def troubled() -> pa.Table:
    """The made history with a gap, a missing tick, a frozen one, a new queue, one that went, one out of its mind."""
    table = made_history(DAYS, seed=3)
    place = ((times_of(table) - at(0)) // TICK.delta).astype(int)
    wild = [(9 * DAY + 90 + t, "Q4", s, 5000.0) for t in range(20) for s in ("activated", "failed")]
    table = table.filter(pa.array(~(((place >= GAP[0]) & (place < GAP[1])) | np.isin(place, [MISSING, FROZEN]))))
    before = [(p, q, s, n) for p, q, s, n in _plain(made_history(DAYS, seed=3)) if p == FROZEN - 1]
    frozen = [(FROZEN, q, s, n if s in ("activated", "running") else n + 1) for _, q, s, n in before]
    new = [(NEW + t, "NEW", "running", 50.0 + t % 5) for t in range(DAYS * DAY - NEW)]
    gone = [(t, "GONE", "running", 50.0) for t in range(GONE)]
    return merge_rows([table, history([*wild, *frozen, *new, *gone])])


def _plain(table: pa.Table) -> list[tuple]:
    places = ((times_of(table) - at(0)) // TICK.delta).astype(int).tolist()
    columns = [table.column(name).to_pylist() for name in ("panda_queue", "job_status", "jobs")]
    return list(zip(places, *columns, strict=True))


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    path = tmp_path_factory.mktemp("bundles") / "bundle"
    write_made_bundle(path)
    return Scorer.load(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_of(tmp_path_factory.mktemp("store") / "store", troubled())


def store_of(path: Path, rows: pa.Table) -> Store:
    made = Store.create(path)
    made.put(rows)
    made.add_metadata(METADATA.dumps[0], at(0))
    return made


@pytest.fixture(scope="module")
def backtest(store: Store, scorer: Scorer) -> Results:
    return run_backtest(store, scorer, FIRST, END, details=True)


def rows_of(results: Results) -> dict[tuple, tuple]:
    """(time, queue) -> score, flagged, reason, expected, state, direction."""
    rows = [tuple(row.values()) for row in scores_table(results, "").to_pylist()]
    return {row[:2]: row[2:] for row in rows}


def assert_same(left: dict[tuple, tuple], right: dict[tuple, tuple]) -> None:
    assert left.keys() == right.keys()
    for key, mine in left.items():
        assert mine[1:] == right[key][1:], key
        assert mine[0] == pytest.approx(right[key][0], abs=1e-5), key


def between(rows: dict[tuple, tuple], first: np.datetime64, end: np.datetime64) -> dict[tuple, tuple]:
    return {k: v for k, v in rows.items() if first <= np.datetime64(k[0].replace(tzinfo=None), "s") < end}


AWKWARD = [FIRST, at(GAP[0] - 1), at(GAP[0]), at(GAP[1]), at(GAP[1] + 20), at(MISSING), at(MISSING + 1), at(FROZEN),
           at(FROZEN + 1), at(NEW), at(NEW + 50), at(9 * DAY + 95), at(DAYS * DAY - 1)]  # fmt: skip


@pytest.mark.parametrize("tick", AWKWARD, ids=str)
def test_a_tick_is_the_backtests_row(store: Store, scorer: Scorer, backtest: Results, tick: np.datetime64) -> None:
    got = rows_of(score_tick(store, scorer, tick + np.timedelta64(123, "s")))
    assert_same(got, between(rows_of(backtest), tick, tick + TICK.delta))
    assert got


@pytest.mark.parametrize("start", [at(8 * DAY + 17), at(GAP[1]), at(FROZEN), at(DAYS * DAY - 3)], ids=str)
def test_another_start(store: Store, scorer: Scorer, backtest: Results, start: np.datetime64) -> None:
    assert_same(rows_of(run_backtest(store, scorer, start, END)), between(rows_of(backtest), start, END))


def test_the_future_has_no_say(scorer: Scorer, backtest: Results, tmp_path: Path) -> None:
    now, rows = at(9 * DAY + 75), troubled()
    early = store_of(tmp_path / "store", rows.filter(pa.array(times_of(rows) < now)))
    assert_same(rows_of(run_backtest(early, scorer, FIRST, now)), between(rows_of(backtest), FIRST, now))


def test_asking_for_one_queue_gives_its_rows(store: Store, scorer: Scorer, backtest: Results) -> None:
    got = rows_of(run_backtest(store, scorer, FIRST, END, queues=["Q4", "NEW"]))
    assert_same(got, {k: v for k, v in rows_of(backtest).items() if k[1] in ("Q4", "NEW")})


def test_other_queues_have_no_say_in_a_score(scorer: Scorer, backtest: Results, tmp_path: Path) -> None:
    rows = troubled()
    keep = np.isin(rows.column("panda_queue").to_pylist(), ["Q1", "Q4", "GONE"])
    few = rows_of(run_backtest(store_of(tmp_path / "store", rows.filter(pa.array(keep))), scorer, FIRST, END))
    every = rows_of(backtest)
    for key, row in few.items():
        if key[1] in ("Q1", "Q4") and row[0] is not None and every[key][0] is not None:
            assert row[0] == pytest.approx(every[key][0], abs=1e-5), key


def test_the_model_always_runs_batches_of_one_size(
    store: Store, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    session = scorer.judge.networks.whole.session

    class Watched:
        def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            sizes.extend({len(array) for array in feeds.values()})
            return list(session.run(names, feeds))

    monkeypatch.setattr(scorer.judge.networks.whole, "session", Watched())
    score_tick(store, scorer, FIRST)
    score_tick(store, scorer, FIRST, queues=["Q2"])
    assert set(sizes) == {BATCH}


def test_every_known_queue_of_every_tick_has_a_score_or_a_reason(backtest: Results) -> None:
    rows = rows_of(backtest)
    ticks = len(backtest.times)
    queues = {q: sum(k[1] == q for k in rows) for q in (*QUEUES, "GONE", "NEW")}
    assert queues == dict.fromkeys((*QUEUES, "GONE"), ticks) | {"NEW": DAYS * DAY - NEW}
    for score, flagged, reason, _, state, direction in rows.values():
        assert (score is None) == (reason != "")
        assert (state is None) == (direction is None) == (score is None)
        assert score is not None or not flagged
        assert reason in REASONS


@pytest.mark.parametrize(
    ("queue", "place", "reason"),
    [
        ("Q0", 7 * DAY + 100, ""),
        ("Q0", GAP[0] + 3, "missing_tick"),
        ("Q0", GAP[1], "gap"),
        ("Q0", GAP[1] + 17, ""),  # half of the newest six hours are there again
        ("Q0", MISSING, "missing_tick"),
        ("Q0", FROZEN, "frozen"),
        ("Q0", FROZEN + 1, ""),
        ("GONE", FROZEN, "frozen"),
        ("GONE", 9 * DAY, "retired"),
        ("NEW", NEW, "too_short"),
        ("NEW", NEW + 34, "too_short"),
        ("NEW", NEW + 35, ""),  # six hours
    ],
)
def test_reasons(backtest: Results, queue: str, place: int, reason: str) -> None:
    tick = (at(place) - FIRST) // TICK.delta
    code = backtest.reason[backtest.series.index((queue,)), tick]
    assert REASONS[code] == reason


def test_a_model_that_gives_nan_is_invalid_and_never_flagged(store: Store, scorer: Scorer) -> None:
    odd = Scorer(scorer.bundle)

    def run(feeds: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        middle, spread = scorer.judge.networks.whole.run(feeds)
        return np.full_like(middle, np.nan), spread

    odd.judge.networks.whole = SimpleNamespace(run=run)
    results = score_tick(store, odd, at(7 * DAY + 120))
    assert {REASONS[c] for c in results.reason[:, 0]} == {"invalid", "retired"}
    assert np.isnan(results.score).all()
    assert not results.flagged.any()


def test_what_is_out_of_its_mind_is_flagged_and_named(backtest: Results) -> None:
    series, tick = backtest.series.index(("Q4",)), int((at(9 * DAY + 95) - FIRST) // TICK.delta)
    assert backtest.flagged[series, tick]
    assert backtest.states[backtest.state[series, tick]] in ("activated", "failed")
    assert backtest.direction[series, tick] == 1
    assert backtest.flagged.sum() < 60


def test_an_expected_fall_is_no_anomaly_and_a_burst_of_failures_still_is(scorer: Scorer, tmp_path: Path) -> None:
    """Q1 and Q2 drain in the same way; Q1 says that it is offline, and later all of its jobs fail."""
    table = made_history(9, seed=3)
    stop, burst, end = 8 * DAY, 8 * DAY + 20, 8 * DAY + 40
    place = ((times_of(table) - at(0)) // TICK.delta).astype(int)
    drained = (place >= stop) & np.isin(table.column("panda_queue").to_pylist(), ["Q1", "Q2"])
    rows = [(t, q, "running", 0.0, "offline" if q == "Q1" else None) for t in range(stop, end) for q in ("Q1", "Q2")]
    rows += [(t, "Q1", "failed", 9000.0) for t in range(burst, end)]
    table = merge_rows([table.filter(pa.array(~drained & (place < end))), history(rows)])
    results = run_backtest(store_of(tmp_path / "store", table), scorer, at(stop), at(end))
    q1, q2 = (results.series.index((q,)) for q in ("Q1", "Q2"))
    assert results.expected[q1].all()
    assert not results.expected[q2].any()
    assert not results.flagged[q1, : burst - stop].any()
    assert results.flagged[q2, : burst - stop].any()
    assert results.flagged[q1, burst - stop :].any()
    failed = results.states.index("failed")
    assert results.state[q1, -1] == failed
    assert results.direction[q1, -1] == 1


def test_a_huge_budget_flags_no_tick_without_a_score(store: Store, scorer: Scorer) -> None:
    results = run_backtest(store, scorer, at(GAP[0]), at(GAP[1]), budget=10)
    assert not results.flagged.any()


def test_details(backtest: Results) -> None:
    details = backtest.details
    assert details is not None
    scored = backtest.reason == 0
    for name in ("observed", "reconstruction", "lower", "upper", "contribution"):
        assert np.array_equal(np.isfinite(getattr(details, name)).all(axis=2), scored)
    assert np.allclose(details.contribution[scored].sum(axis=1), 1, atol=1e-5)
    assert (details.lower[scored] <= details.reconstruction[scored] + 1e-3).all()
    assert (details.reconstruction[scored] <= details.upper[scored] + 1e-3).all()
    running, tick = backtest.states.index("running"), int((at(7 * DAY + 101) - FIRST) // TICK.delta)
    counted = {(q, s): n for p, q, s, n in _plain(troubled()) if p == 7 * DAY + 101}
    for i, (queue,) in enumerate(backtest.series[1:7], start=1):
        if queue in QUEUES:
            assert details.observed[i, tick, running] == pytest.approx(counted[queue, "running"], rel=1e-4)


def test_the_history_in_memory_gives_what_the_store_gives(store: Store, scorer: Scorer) -> None:
    frame = troubled().to_pandas()
    for tick in (at(9 * DAY + 95), at(MISSING), at(NEW + 40)):
        got = scorer.score(frame, METADATA, at=tick)
        pd.testing.assert_frame_equal(got, scores_table(score_tick(store, scorer, tick), "").to_pandas())
    tick = at(9 * DAY + 95)
    for spelt in (str(tick), pd.Timestamp(tick), pd.Timestamp(tick, tz="UTC").tz_convert("Europe/Paris")):
        pd.testing.assert_frame_equal(scorer.score(frame, METADATA, at=spelt), scorer.score(frame, METADATA, at=tick))
    newest = scorer.score(frame, {q: dict(r) for q, r in METADATA.dumps[0].items()}, at=None, queues=["Q2"])
    wanted = scores_table(score_tick(store, scorer, queues=["Q2"]), "").to_pandas()
    pd.testing.assert_frame_equal(newest, wanted)


def test_seven_days_of_history_are_enough(scorer: Scorer) -> None:
    rows, now = troubled(), at(9 * DAY + 95)
    young = rows.filter(pa.array(times_of(rows) >= now - 7 * DAY * TICK.delta))
    every, few = (scorer.score(t.to_pandas(), METADATA, at=now).set_index("panda_queue") for t in (rows, young))
    pd.testing.assert_frame_equal(every.drop(index="GONE"), few)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.assign(jobs=-1.0), "jobs is -1"),
        (lambda f: f.drop(columns="job_status"), "job_status"),
        (lambda f: f.iloc[:0], "no rows"),
    ],
)
def test_a_history_in_memory_that_is_refused(scorer: Scorer, change, said: str) -> None:
    with pytest.raises(InputError, match=said):
        scorer.score(change(made_history(0.1).to_pandas()))


def test_questions_that_make_no_sense(store: Store, scorer: Scorer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="NOBODY"):
        score_tick(store, scorer, queues=["NOBODY"])
    with pytest.raises(ConfigError, match="--start"):
        run_backtest(store, scorer, END, FIRST)
    with pytest.raises(InputError, match="holds"):
        score_tick(store, scorer, at(DAYS * DAY + 5))
    with pytest.raises(InputError, match="holds"):
        score_tick(store, scorer, at(-5))
    with pytest.raises(InputError, match="no job history"):
        score_tick(Store.create(tmp_path / "empty"), scorer)
    with pytest.raises(ConfigError, match="budget"):
        score_tick(store, scorer, budget=0)


def test_a_selection_of_nothing_gives_no_rows(store: Store, scorer: Scorer) -> None:
    bundle = scorer.bundle
    none = dataclasses.replace(bundle.preprocess, select={"cloud": "MARS"})
    results = score_tick(store, Scorer(dataclasses.replace(bundle, preprocess=none)))
    assert results.series == ()
    assert scores_table(results, "").num_rows == 0


def test_a_store_of_another_tick_length_is_refused(scorer: Scorer, tmp_path: Path) -> None:
    from qad_dl.schema import Tick

    hourly = Store.create(tmp_path / "store", Tick(60))
    rows = made_history(3)
    hourly.put(rows.filter(pa.array(times_of(rows).astype(int) % 3600 == 0)))
    with pytest.raises(BundleError, match="60-minute"):
        score_tick(hourly, scorer)


@pytest.mark.everywhere
def test_the_ticks_path_imports_neither_torch_nor_pandas(store: Store, scorer: Scorer, tmp_path: Path) -> None:
    write_made_bundle(tmp_path / "bundle")
    code = f"""
import sys
from pathlib import Path
from qad_dl.backtest import score_tick
from qad_dl.scorer import Scorer
from qad_dl.scores_file import scores_table
from qad_dl.store import Store
results = score_tick(Store.open(Path({str(store.path)!r})), Scorer.load({str(tmp_path / "bundle")!r}))
assert results.reason.size
scores_table(results, "x")
print(*sorted({{"torch", "pandas", "onnx", "hydra"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == []


@pytest.mark.parametrize("block", [1, 3])
def test_who_is_scored_together_makes_no_difference(
    store: Store, scorer: Scorer, backtest: Results, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qad_dl.scorer.SERIES_BLOCK", block)
    assert (backtest.reason == REASONS.index("retired")).all(axis=1).sum() == 0
    assert (backtest.reason[:, -1] == REASONS.index("retired")).any()
    for start in (FIRST, at(DAYS * DAY - 1)):  # one queue is retired in all of the last
        again = run_backtest(store, scorer, start, END, details=True)
        ticks = slice(-again.score.shape[1], None)
        assert again.series == backtest.series
        for name in ("reason", "flagged", "expected", "known", "state", "direction", "kind"):
            assert np.array_equal(getattr(again, name), getattr(backtest, name)[:, ticks]), name
        np.testing.assert_allclose(again.score, backtest.score[:, ticks], atol=1e-5)
        assert again.details is not None
        assert backtest.details is not None
        for name in ("observed", "reconstruction", "lower", "upper", "contribution"):
            mine, other = getattr(again.details, name), getattr(backtest.details, name)[:, ticks]
            np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4, err_msg=name)
