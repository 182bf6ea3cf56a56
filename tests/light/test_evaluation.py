"""`qad evaluate` from files to figures, on a history small enough to work out by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qad_dl.cli import main
from qad_dl.evaluation import evaluate, evaluate_files
from qad_dl.history import normalise_jobs
from qad_dl.metrics.truth import Window, build_truth
from qad_dl.schema import Tick
from qad_dl.store import Store

if TYPE_CHECKING:
    from pathlib import Path

TICK = Tick()
T0 = np.datetime64("2026-01-01", "s")
DAY = 144
FIRST, LAST = 2 * DAY, 6 * DAY
"""Ticks of the history that are scored: four days of six."""
QUEUES = ("A", "B", "C")
INCIDENT = "i1,site_down,atlas_site,X,2026-01-04T00:00,2026-01-04T06:00"
"""Hits A and B from tick 432 to 467."""
HEADER = "incident,kind,field,value,start,end"


@dataclass(frozen=True)
class Files:
    store: Path
    scores: Path
    incidents: Path

    def arguments(self, *more: str) -> list[str]:
        return ["evaluate", str(self.scores), "--store", str(self.store), "--incidents", str(self.incidents), *more]


def at(ticks: Any) -> Any:
    return T0 + np.asarray(ticks) * TICK.delta


def history() -> pa.Table:
    """100 jobs run on each queue at every tick but 600; on A none in the incident."""
    ticks = np.delete(np.arange(6 * DAY), 600)
    running = np.full((len(QUEUES), len(ticks)), 100.0)
    running[0, (ticks >= 432) & (ticks < 468)] = 0
    return pa.table(
        {
            "time": pa.array(np.tile(at(ticks), len(QUEUES)), pa.timestamp("s")),
            "panda_queue": np.repeat(QUEUES, len(ticks)),
            "job_status": ["running"] * running.size,
            "jobs": running.reshape(-1),
        }
    )


def write_scores(path: Path, score: np.ndarray, flagged: np.ndarray, queues: tuple[str, ...] = QUEUES) -> None:
    n, t = score.shape
    table = pa.table(
        {
            "time": pa.array(np.tile(at(np.arange(FIRST, FIRST + t)), n), pa.timestamp("s", "UTC")),
            "panda_queue": np.repeat(queues, t),
            "score": pa.array(score.reshape(-1), from_pandas=True),
            "flagged": flagged.reshape(-1),
        }
    )
    pq.write_table(table.replace_schema_metadata({"qad.budget": "0.05"}), path)


def example() -> tuple[np.ndarray, np.ndarray]:
    """B is seen 20 minutes after the start at 5; C has false episodes at 6 and 3; the tick that is missing has none."""
    score = np.zeros((3, LAST - FIRST))
    score[1, 434 - FIRST] = 5
    score[2, 300 - FIRST] = 6
    score[2, 400 - FIRST] = 3
    score[:, 600 - FIRST] = np.nan
    return score, score >= 3


@pytest.fixture
def files(tmp_path: Path) -> Files:
    store = Store.create(tmp_path / "store")
    store.put(normalise_jobs(history(), TICK, "history"))
    store.add_metadata({"A": {"atlas_site": "X"}, "B": {"atlas_site": "X"}, "C": {"atlas_site": "Y"}}, T0)
    result = Files(tmp_path / "store", tmp_path / "scores.parquet", tmp_path / "incidents.csv")
    write_scores(result.scores, *example())
    result.incidents.write_text(f"{HEADER}\n{INCIDENT}\n")
    return result


def told(files: Files, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    assert main(files.arguments("--format", "json", *more)) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def refused(files: Files, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert main(files.arguments(*more)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("qad evaluate: ")
    assert err.count("\n") == 1
    return err


HEALTHY_DAYS = (3 * 4 * DAY - 2 * (36 + DAY) - 1) / DAY
"""Three queues, four days, less the incident and the day after it on two, less one tick on C: the missing tick 600 lies
in the day after the incident on A and B."""


def test_the_model_by_hand(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    result = told(files, capsys)
    assert set(result) == {"queue_days", "unscored", "model", "rule", "realised", "downtime"}
    assert result["queue_days"] == pytest.approx(HEALTHY_DAYS)
    assert result["unscored"] == pytest.approx(1 / (3 * 4 * DAY - 2 * DAY))
    tenth = result["model"]["budgets"]["0.1"]
    assert set(result["model"]["budgets"]) == {"0.1", "0.01", "0.001"}
    # 0.1 x 9.49 days is less than one episode, and the highest score of all is false.
    assert tenth == {
        "threshold": None,
        "false_episodes": 0,
        "seen": 0.0,
        "seen_by_kind": {"site_down": 0.0},
        "median_delay_min": None,
    }
    assert result["realised"] == {"budget": 0.05, "rate": pytest.approx(2 / HEALTHY_DAYS)}
    assert result["downtime"]["queue_days"] == 0
    assert 0 < result["model"]["auc_pr"] < 1


def test_the_incident_is_seen_where_the_score_is_above_all_false_episodes(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    score, flagged = example()
    score[1, 434 - FIRST] = 7
    write_scores(files.scores, score, flagged)
    tenth = told(files, capsys)["model"]["budgets"]["0.1"]
    assert tenth == {
        "threshold": 7.0,
        "false_episodes": 0,
        "seen": 1.0,
        "seen_by_kind": {"site_down": 1.0},
        "median_delay_min": 20.0,
    }


def test_the_rule_by_hand(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """On A the hour falls to 0 in six ticks while the day falls slowly; nothing else moves, and C's tick is missing."""
    rule = told(files, capsys)["rule"]
    # The lowest score of all is that of the first tick of the fall: 1 h is 5/6 of 100, 24 h is 143/144 of it.
    day, hour = 100 * 143 / 144, 100 * 5 / 6
    tenth = rule["budgets"]["0.1"]
    assert tenth["seen"] == 1.0
    assert tenth["median_delay_min"] == 0.0
    assert tenth["threshold"] <= (day - hour) / (day + 5)
    assert tenth["false_episodes"] == 0
    # All 36 ticks of A rank first, the 36 of B (at 0, as all of the healthy time) last.
    assert rule["auc_pr"] == pytest.approx((36 + 36 * 72 / (72 + HEALTHY_DAYS * DAY)) / 72)


def test_the_rule_reads_the_day_before_the_range(files: Files) -> None:
    """Without it, the mean of the day would be that of the hour on the first ticks."""
    score, flagged = example()
    files.incidents.write_text(f"{HEADER}\ni1,other,panda_queue,A,2026-01-04T00:00,2026-01-04T02:00\n")
    late = score[:, 434 - FIRST :]
    path = files.scores
    table = pa.table(
        {
            "time": pa.array(np.tile(at(np.arange(434, LAST)), 3), pa.timestamp("s", "UTC")),
            "panda_queue": np.repeat(QUEUES, late.shape[1]),
            "score": pa.array(late.reshape(-1), from_pandas=True),
            "flagged": flagged[:, 434 - FIRST :].reshape(-1),
        }
    )
    pq.write_table(table, path)
    result, truth = evaluate_files(path, files.store, files.incidents)
    assert truth.windows == ()
    assert result.model.budgets[0].seen is None
    assert result.realised.budget is None
    # The incident began before the first tick; its ticks are still there for the areas, and the rule ranks them first.
    assert truth.incident.sum() == 10
    assert result.rule.auc_pr == pytest.approx(1.0)


def test_downtimes_have_a_line_of_their_own(files: Files, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "downtimes.csv"
    path.write_text("panda_queue,start,end,status\nC,2026-01-03T02:00,2026-01-03T04:00,offline\n")
    result = told(files, capsys, "--downtimes", str(path))
    # Ticks 300 to 455 of C; the score of 6 lies at 300 and that of 3 at 400, so that nothing false is left.
    assert result["queue_days"] == pytest.approx(HEALTHY_DAYS - (12 + DAY) / DAY)
    assert result["downtime"]["queue_days"] == pytest.approx((12 + DAY) / DAY)
    assert result["downtime"]["flagged"] == 2
    tenth = result["model"]["budgets"]["0.1"]
    assert (tenth["threshold"], tenth["seen"]) == (3.0, 1.0)
    assert result["downtime"]["model"] == {"0.1": 2, "0.01": 2, "0.001": 2}
    assert result["realised"]["rate"] == 0


def test_downtimes_of_the_store_count_as_well(files: Files, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from qad_dl.downtimes import read_downtimes

    path = tmp_path / "downtimes.csv"
    path.write_text("panda_queue,start,end,status\nC,2026-01-03T02:00,2026-01-03T04:00,offline\n")
    given = told(files, capsys, "--downtimes", str(path))
    Store.open(files.store).add_downtimes(read_downtimes(path))
    assert told(files, capsys) == given


def test_an_incident_on_an_unscored_queue_is_no_incident(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    score, flagged = example()
    write_scores(files.scores, score[2:], flagged[2:], ("C",))
    result = told(files, capsys)
    assert result["model"]["auc_pr"] is None
    assert result["model"]["vus_pr"] is None
    assert result["model"]["budgets"]["0.1"]["seen"] is None
    assert result["queue_days"] == pytest.approx((4 * DAY - 1) / DAY)


def test_the_table_says_it_side_by_side(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(files.arguments()) == 0
    out = capsys.readouterr().out
    lines = {line.strip().split("  ")[0]: line for line in out.splitlines() if line.strip()}
    assert [float(cell) > 0 for cell in lines["AUC-PR"].split()[1:]] == [True, True]
    assert lines["incidents seen"].split()[2:] == ["0", "%", "100", "%"] * 3
    assert lines["median delay, minutes"].split()[3:] == ["-", "0"] * 3
    assert lines["site_down (1)"].split()[2:] == ["0", "%", "100", "%"] * 3
    rate = 2 / HEALTHY_DAYS
    assert f"{rate:.4g} false episodes a queue-day by `flagged`, {rate / 0.05:.2f} times its budget of 0.05" in out
    assert max(map(len, out.splitlines())) <= 100


def test_the_table_has_dashes_where_nothing_is_defined(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    files.incidents.write_text(f"{HEADER}\n")
    assert main(files.arguments()) == 0
    out = capsys.readouterr().out
    assert "AUC-PR      -     -" in out
    assert "0 that begin in the range" in out
    assert "nan" not in out.lower()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("i1,site_down,atlas_syte,X,2026-01-04T00:00,2026-01-04T06:00", "field 'atlas_syte' is in no metadata record"),
        ("i1,site_down,panda_queue,D,2026-01-04T00:00,2026-01-04T06:00", "queue 'D' is not in the store"),
        ("i1,site_down,atlas_site,Z,2026-01-04T00:00,2026-01-04T06:00", "no queue has atlas_site='Z'"),
        ("i1,flood,atlas_site,X,2026-01-04T00:00,2026-01-04T06:00", "kind 'flood' is not one of"),
    ],
)
def test_bad_incidents_are_refused(files: Files, capsys: pytest.CaptureFixture[str], line: str, says: str) -> None:
    files.incidents.write_text(f"{HEADER}\n{line}\n")
    assert says in refused(files, capsys)


def test_other_bad_input_is_refused(files: Files, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_scores(files.scores, *(a[:1] for a in example()), ("D",))
    assert "panda_queue 'D' is not in the store" in refused(files, capsys)
    files.scores.write_bytes(b"PAR1")
    assert "cannot be read" in refused(files, capsys)
    write_scores(files.scores, *example())
    assert "absent.csv: is no file" in refused(files, capsys, "--downtimes", str(tmp_path / "absent.csv"))
    assert "none: does not exist" in refused(Files(tmp_path / "none", files.scores, files.incidents), capsys)


def test_the_rule_is_held_against_the_time_in_which_the_model_has_a_score() -> None:
    times = TICK.range(T0, T0 + 4 * DAY * TICK.delta)
    truth = build_truth(times, TICK, 1, [Window(at(100), at(110), (0,), "other", "i")])
    score, rule = np.zeros((1, len(times))), np.zeros((1, len(times)))
    score[0, 400:450] = np.nan
    rule[0, [105, 420]] = [1, 2]
    result = evaluate(score, np.zeros(score.shape, np.bool_), rule, truth, 0.1)
    # The rule's false episode at 420 falls where the model has no score: it counts for neither.
    assert result.rule.queue_days == result.model.queue_days
    assert result.rule.budgets[0].seen == 1.0
