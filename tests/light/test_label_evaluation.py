"""Flags held against labels: small cases with known answers, and the command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qad_dl.cli import main
from qad_dl.label_evaluation import AgainstLabels, OfVerdict, against_labels
from qad_dl.labels import LabelLog, event_of, labels_of
from qad_dl.metadata import Metadata
from qad_dl.metrics.scores import Scores
from qad_dl.schema import Tick
from tests.light.made_labels import GROUP, INCIDENT, QUEUE, put, undo

if TYPE_CHECKING:
    from pathlib import Path

TICK = Tick()
START = np.datetime64("2026-01-05T00:00:00", "s")
QUEUES = ("Q0", "Q1", "Q2", "Q3")
METADATA = Metadata.single({q: {"cloud": "DE" if i % 2 else "FR"} for i, q in enumerate(QUEUES)})


def scores(*flags: tuple[int, int, int]) -> Scores:
    """Two days of four queues, flagged in (row, first, end)."""
    times = TICK.range(START, START + np.timedelta64(2, "D"))
    flagged = np.zeros((4, len(times)), dtype=bool)
    for row, first, end in flags:
        flagged[row, first:end] = True
    return Scores(
        times=times,
        entity=("panda_queue",),
        series=tuple((q,) for q in QUEUES),
        score=np.where(flagged, 5.0, 0.0),
        flagged=flagged,
        present=np.ones_like(flagged),
        budget=0.01,
    )


def judged(found: Scores, *events: dict[str, Any]) -> AgainstLabels:
    labels = labels_of(event_of(e, "event") for e in events).in_force
    return against_labels(found, labels, METADATA, TICK.per_day)


def hours(queue: str, start: int, end: int) -> dict[str, Any]:
    times = {name: f"{START + np.timedelta64(h, 'h')}Z" for name, h in (("start", start), ("end", end))}
    return {**QUEUE, "panda_queue": queue, **times}


def test_problems_seen_and_missed_and_flags_by_what_is_said_of_them() -> None:
    found = scores((0, 8, 12), (1, 100, 110), (2, 50, 60), (3, 200, 203))
    said = judged(
        found,
        put(hours("Q0", 1, 3)),  # from tick 6 on: flagged two ticks later
        put(hours("Q0", 30, 31)),  # missed
        put(hours("Q1", 15, 20), word="expected"),
        put(hours("Q2", 8, 9), word="unsure"),
    )
    assert said.verdicts == {
        "problem": OfVerdict(2, 1, 20.0),
        "expected": OfVerdict(1, 1, 100.0),
        "unsure": OfVerdict(1, 1, 20.0),
        "disputed": OfVerdict(0, 0, None),
    }
    assert said.episodes == {"problem": 1, "expected": 1, "unsure": 1, "disputed": 0, "unlabelled": 1}
    assert said.precision == 0.5
    assert (said.reviewers, said.labels, said.elsewhere) == (1, 4, 0)


def test_an_hour_after_the_end_still_belongs_to_it() -> None:
    assert judged(scores((0, 23, 25)), put(hours("Q0", 1, 3))).episodes["problem"] == 1
    assert judged(scores((0, 24, 25)), put(hours("Q0", 1, 3))).episodes["unlabelled"] == 1


def test_one_thing_by_two_reviewers_is_one_thing_and_disputed_where_they_differ() -> None:
    found = scores((0, 8, 12))
    agreed = judged(found, put(hours("Q0", 1, 3)), put(hours("Q0", 1, 3), author="bob"))
    assert (agreed.verdicts["problem"].things, agreed.episodes["problem"], agreed.reviewers) == (1, 1, 2)
    differ = judged(found, put(hours("Q0", 1, 3)), put(hours("Q0", 1, 3), author="bob", word="expected"))
    assert differ.verdicts["disputed"] == OfVerdict(1, 1, 20.0)
    assert differ.precision is None
    overlapping = judged(found, put(hours("Q0", 1, 3)), put(hours("Q0", 0, 5), word="expected"))
    assert overlapping.episodes == {"problem": 0, "expected": 0, "unsure": 0, "disputed": 1, "unlabelled": 0}


def test_groups_and_incidents_are_seen_on_any_of_their_queues() -> None:
    found = scores((3, 8, 12))
    for target in (GROUP, INCIDENT):
        assert judged(found, put(target)).verdicts["problem"] == OfVerdict(1, 1, 80.0)


def test_what_is_taken_back_or_elsewhere_does_not_count() -> None:
    event = put(hours("Q0", 1, 3))
    assert judged(scores(), event, undo(event["label"])).labels == 0
    assert judged(scores(), put(hours("Q9", 1, 3)), put(hours("Q0", 100, 101))).elsewhere == 2


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A store, a bundle made by hand, and the scores of an hour."""
    from qad_dl.store import Store
    from tests.light.made import at
    from tests.light.made_bundle import METADATA as MADE
    from tests.light.made_bundle import made_history, write_made_bundle

    store = Store.create(tmp_path / "store")
    store.put(made_history(2))
    store.add_metadata(MADE.dumps[0], at(0))
    write_made_bundle(tmp_path / "bundle")
    range_ = ["--start", f"{at(276)}Z", "--end", f"{at(288)}Z"]
    where = ["--bundle", str(tmp_path / "bundle"), "--out", str(tmp_path / "scores.parquet")]
    assert main(["backtest", str(tmp_path / "store"), *where, *range_]) == 0
    return tmp_path


def test_the_command(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", str(made / "scores.parquet"), "--store", str(made / "store")]
    assert main(command) == 2
    assert "give --incidents, --labels, or both" in capsys.readouterr().err
    assert main([*command, "--labels", str(made / "labels.jsonl")]) == 2
    assert "is no file of labels" in capsys.readouterr().err
    target = {**QUEUE, "start": "2026-01-01T00:00:00Z", "end": "2026-12-31T00:00:00Z"}
    LabelLog(made / "labels.jsonl").add(event_of(put(target), "event"))
    assert main([*command, "--labels", str(made / "labels.jsonl")]) == 0
    assert "Labels        1 of 1 reviewers in the range; 0 elsewhere" in capsys.readouterr().out
    (made / "incidents.csv").write_text("incident,kind,field,value,start,end\n")
    both = ["--labels", str(made / "labels.jsonl"), "--incidents", str(made / "incidents.csv"), "--format", "json"]
    assert main([*command, *both]) == 0
    data = json.loads(capsys.readouterr().out)
    assert {"model", "rule", "labels"} <= data.keys()
    assert data["labels"]["verdicts"]["problem"]["things"] == 1
