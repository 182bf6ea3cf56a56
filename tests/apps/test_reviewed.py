"""Labels in training: a problem is missing, what is expected calibrates, and without labels nothing changes."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import hydra
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import training.retrain
from qad_dl.backtest import run_backtest
from qad_dl.bundle import read_bundle
from qad_dl.card import card
from qad_dl.labels import LabelLog, event_of
from qad_dl.nn.highway import solve_highway
from qad_dl.schema import Tick
from qad_dl.scorer import Scorer
from qad_dl.store import Store
from tests.apps.conftest import START, TRAINED, seconds
from tests.apps.polluted_grid import Course, make_grid, polluted_share, write_labels
from tests.light.made_labels import put
from training.fit import network_shape
from training.freeze import exported_errors
from training.period import load_period, make_period
from training.quality.life import rebuilt
from training.reviewed import spoken
from training.settings import read_settings
from training.start import CONFIGS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.apps.conftest import Train, World
    from training.period import Period

SMALL = ("model.settings={channels: 8, levels: 2, kernel: 3, dropout: 0.0}", "trainer.limit_batches=2")
DRAINS = ("2026-01-07", "2026-01-09", "2026-01-13")
GRACE = Tick().per_day // 4


def on(queue: str, start: str, end: str, word: str = "problem", author: str = "ada", **changes: object) -> dict:
    target = {"type": "queue", "panda_queue": queue, "start": start, "end": end}
    return put(target, word=word, author=author, **changes)


def write(path: Path, *events: dict) -> Path:
    for event in events:
        LabelLog(path).add(event_of(event, "test"))
    return path


def period_of(world: World, labels: Path | None, *more: str) -> Period:
    given = [f"store={world.store}", f"bundle={world.path / 'none'}", f"data.start={START}", f"data.end={TRAINED}"]
    given += [] if labels is None else [f"labels={labels}"]
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return load_period(read_settings(hydra.compose("train", [*given, *more])))


def at(period: Period, queue: str, start: str, end: str) -> tuple[list[int], slice]:
    grid = period.prepared.grid
    place = grid.entity.index("panda_queue")
    first, last = np.searchsorted(grid.times, [np.datetime64(start), np.datetime64(end)])
    return [n for n, key in enumerate(grid.series) if key[place] == queue], slice(int(first), int(last))


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return tmp_path / "labels.jsonl"


def test_a_problem_is_missing_everywhere(world: World, labels: Path) -> None:
    queue, (start, end) = world.queues[0], ("2026-01-07T03:00", "2026-01-07T09:00")
    write(labels, on(queue, f"{start}:00Z", f"{end}:00Z"))
    plain, without = period_of(world, None), period_of(world, labels)
    rows, ticks = at(without, queue, start, end)
    assert plain.weight[rows, ticks].any()
    gone = np.zeros_like(plain.weight)
    gone[rows, ticks] = True
    kept, before = without.prepared, plain.prepared
    assert not kept.usable[gone].any()
    assert np.array_equal(kept.usable[~gone], before.usable[~gone])
    assert np.isnan(kept.x[gone]).all()
    assert np.isnan(kept.values[gone]).all()
    # It is not learned from either while the queue comes back.
    gone[rows, ticks.stop : ticks.stop + GRACE] = True
    assert not without.weight[gone].any()
    assert np.array_equal(without.weight[~gone], plain.weight[~gone])


def test_the_context_of_later_windows_carries_on_what_was_before(world: World, labels: Path) -> None:
    queue = world.queues[0]
    write(labels, on(queue, "2026-01-07T03:00:00Z", "2026-01-07T09:00:00Z"))
    period = period_of(world, labels)
    (row,), ticks = at(period, queue, "2026-01-07T03:00", "2026-01-07T09:00")
    plan = period.preprocess.plan
    first = ticks.stop + 2
    window = period.preprocess.cut(period.prepared, np.array([row]), np.array([first]), plan.stride)
    inside = slice(ticks.start - first + plan.context, ticks.stop - first + plan.context)
    assert not window.observed[0, inside].any()
    assert (window.values[0, inside] == window.values[0, inside.start - 1]).all()
    assert window.observed[0, inside.stop :].any()


def test_what_is_learned_of_a_queue_does_not_know_its_problem(world: World, labels: Path, tmp_path: Path) -> None:
    """Other counts in the labelled time give the same scales, to the bit."""
    queue = world.queues[0]
    write(labels, on(queue, "2026-01-06T00:00:00Z", "2026-01-07T12:00:00Z"))
    one = period_of(world, labels)
    (row,), ticks = at(one, queue, "2026-01-06T00:00", "2026-01-07T12:00")
    counts = one.prepared.grid.counts.copy()
    counts[row, ticks] = 9999.0

    data = {"held_out": 0.3, "validation": 0.2, "metadata": ["cloud"], "select": None}
    grid = replace(one.prepared.grid, counts=counts)
    a = make_period(one.prepared.grid, one.metadata, data, reviewed=one.reviewed)
    b = make_period(grid, one.metadata, data, reviewed=one.reviewed)
    assert a.preprocess.to_json() == b.preprocess.to_json()
    assert np.array_equal(a.prepared.values, b.prepared.values, equal_nan=True)
    new = [of.part(np.arange(len(grid.series))).as_if_new().prepared.values for of in (a, b)]
    assert np.array_equal(*new, equal_nan=True)
    assert a.preprocess.to_json() != make_period(grid, one.metadata, data).preprocess.to_json()


def test_no_calibration_on_problems_and_no_error_in_them(world: World, labels: Path, bundle: Path) -> None:
    queue, start, end = world.queues[0], "2026-01-10T06:00", "2026-01-10T09:00"
    write(labels, on(queue, f"{start}:00Z", f"{end}:00Z"))
    model = Scorer.load(bundle).judge.networks.whole
    plain, without = period_of(world, None), period_of(world, labels)
    (row,), ticks = at(without, queue, start, end)
    for as_if_new in (False, True):
        data, use = exported_errors(without, model, 0, as_if_new=as_if_new)
        first = data.z.shape[1] - len(without.prepared.times)
        assert not use[row, ticks.start + first : ticks.stop + GRACE + first].any()
        assert not data.z[row, ticks.start + first : ticks.stop + first].any()
    before = exported_errors(plain, model, 0)[1]
    assert before[row, ticks.start + first : ticks.stop + first].any()


def test_contradicted_unsure_unknown_and_elsewhere_do_nothing(world: World, labels: Path) -> None:
    a, b, c = world.queues[:3]
    day = ("2026-01-07T00:00:00Z", "2026-01-08T00:00:00Z")
    field = {"type": "group", "field": "flavour", "value": "sweet", "start": day[0], "end": day[1]}
    value = {**field, "field": "cloud", "value": "NOWHERE"}
    write(
        labels,
        *(on(a, *day), on(a, *day, word="expected", author="grace")),
        *(on(b, *day, word="unsure"), put(field), put(value), on("NO_SUCH_QUEUE", *day)),
        on(c, "2025-01-07T00:00:00Z", "2025-01-08T00:00:00Z"),
    )
    plain, with_labels = period_of(world, None), period_of(world, labels)
    assert np.array_equal(plain.weight, with_labels.weight)
    assert np.array_equal(plain.prepared.values, with_labels.prepared.values, equal_nan=True)
    about = with_labels.labels
    assert about is not None
    assert about["labels"] == 7
    assert (about["problem"]["ranges"], about["expected"]["ranges"]) == (0, 0)
    assert (about["unsure"], about["disputed"], about["unknown"], about["outside"]) == (1, 1, 3, 1)
    assert "1 unsure, 1 contradicted, 3 on no queue of this training, 1 on another time" in spoken(about)


def test_only_where_labels_overlap_do_they_contradict(world: World, labels: Path) -> None:
    queue = world.queues[0]
    write(
        labels,
        on(queue, "2026-01-07T00:00:00Z", "2026-01-07T06:00:00Z"),
        on(queue, "2026-01-07T03:00:00Z", "2026-01-07T09:00:00Z", word="expected", author="grace"),
    )
    reviewed = period_of(world, labels).reviewed
    assert reviewed is not None
    assert (int(reviewed.marks.problem.sum()), int(reviewed.marks.expected.sum())) == (18, 18)
    assert (reviewed.ranges["problem"], reviewed.ranges["expected"], reviewed.disputed) == (1, 1, 0)


def test_a_word_that_was_taken_back_does_nothing_and_two_alike_count_once(world: World, labels: Path) -> None:
    a, b = world.queues[:2]
    day = ("2026-01-07T00:00:00Z", "2026-01-07T12:00:00Z")
    taken_back = on(a, *day)
    write(labels, taken_back, on(b, *day), on(b, *day, author="grace"))
    LabelLog(labels).add(
        event_of(
            {
                "id": "0" * 8 + "-0000-4000-8000-" + "0" * 12,
                "op": "undo",
                "label": taken_back["label"],
                "author": "ada",
                "time": "2026-01-08T13:00:00.000Z",
            },
            "test",
        )
    )
    period = period_of(world, labels)
    assert period.labels is not None
    assert period.labels["problem"]["ranges"] == 1
    assert period.labels["problem"]["queue_hours"] <= 12


def test_series_of_several_queues_are_a_problem_where_one_of_them_is(world: World, labels: Path) -> None:
    queue, day = world.queues[0], ("2026-01-07T00:00:00Z", "2026-01-07T12:00:00Z")
    write(labels, on(queue, *day), on(world.queues[1], *day, word="expected"))
    site = Store.open(world.store).metadata().dumps[0][queue]["atlas_site"]
    reviewed = period_of(world, labels, "data.entity=[atlas_site]").reviewed
    assert reviewed is not None
    period = period_of(world, labels, "data.entity=[atlas_site]")
    assert reviewed.of(np.array([period.prepared.series.index((site,))])).problem.sum() == 72
    assert not reviewed.marks.expected.any()
    finer = period_of(world, labels, "data.entity=[panda_queue,prod_source,resource]")
    assert finer.reviewed is not None
    rows, _ = at(finer, queue, START, TRAINED)
    assert len(rows) > 0
    assert (finer.reviewed.of(np.array(rows)).problem.sum(axis=1) == 72).all()


@pytest.fixture(scope="module")
def drained(world: World) -> str:
    """The queue with most running jobs."""
    rows = Store.open(world.store).read(np.datetime64(START, "s"), np.datetime64(TRAINED, "s"))
    running = rows.filter(pc.equal(rows["job_status"].cast(pa.string()), "running"))
    sums = running.group_by("panda_queue").aggregate([("jobs", "sum")])
    return str(sums["panda_queue"][int(np.argmax(sums["jobs_sum"].to_numpy()))])


@pytest.fixture(scope="module")
def drains(world: World, drained: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world, with six hours in which it is all but empty, twice in the training time and once after it."""
    path = tmp_path_factory.mktemp("drains") / "store"
    return rebuilt(Store.open(world.store), path, lambda rows: emptied(rows, drained)).path


def emptied(rows: pa.Table, queue: str) -> pa.Table:
    time = seconds(rows)
    days = [np.datetime64(day, "s") + np.timedelta64(6, "h") for day in DRAINS]
    inside = np.any([(time >= begin) & (time < begin + np.timedelta64(6, "h")) for begin in days], axis=0)
    mine = inside & np.array([str(name) == queue for name in rows["panda_queue"].to_pylist()])
    jobs = rows["jobs"].to_numpy()
    jobs = np.where(mine, np.floor(jobs * 0.05), jobs)
    place = rows.column_names.index("jobs")
    return rows.set_column(place, "jobs", pa.array(jobs).cast(rows.schema.field("jobs").type))


@pytest.fixture(scope="module")
def plain(train: Train, drains: Path) -> Path:
    """A bundle of these, without labels."""
    path = drains.with_name("plain")
    assert train(f"store={drains}", f"bundle={path}", *SMALL) == 0
    return path


@pytest.fixture(scope="module")
def labelled(world: World, train: Train, drains: Path, drained: str) -> Path:
    """The same with labels beside it: both drains of the training time are expected, another queue had a problem."""
    path, other = drains.with_name("labelled"), next(name for name in world.queues if name != drained)
    for day in DRAINS[:2]:
        write(drains.with_name("labels.jsonl"), on(drained, f"{day}T06:00:00Z", f"{day}T12:00:00Z", word="expected"))
    write(drains.with_name("labels.jsonl"), on(other, "2026-01-07T03:00:00Z", "2026-01-07T09:00:00Z"))
    assert train(f"store={drains}", f"bundle={path}", f"labels={drains.with_name('labels.jsonl')}", *SMALL) == 0
    return path


def test_a_drain_that_is_called_expected_alarms_no_more(
    drains: Path, drained: str, plain: Path, labelled: Path
) -> None:
    start, end = (np.datetime64(f"{DRAINS[2]}T{hour}", "s") for hour in ("04:00", "14:00"))
    before, after = (run_backtest(Store.open(drains), Scorer.load(path), start, end) for path in (plain, labelled))
    row = before.series.index((drained,))
    assert before.flagged[row].any()
    assert not after.flagged[row].any()
    ((odd, rare),) = [(u.odd, u.rare) for u in read_bundle(labelled).calibration.usual.values()]
    assert 1 < rare < 3 < odd


def test_labels_give_back_what_pollution_did_to_the_linear_part(tmp_path: Path) -> None:
    """How far off counts usually are, on a grid with many incidents, with and without labels, and on one with none."""
    course = Course(seed=2, pollution=8.0, queues=12, days=12, first=0, split=7)
    for name, pollution in (("polluted", course.pollution), ("clean", 0.0)):
        make_grid(tmp_path / name, replace(course, pollution=pollution))
    said = write_labels(tmp_path / "polluted", course)
    assert polluted_share(tmp_path / "polluted", course) > 0.05
    plain, labelled, clean = (
        linear_spread(tmp_path / name / "store", course, labels)
        for name, labels in (("polluted", None), ("polluted", said), ("clean", None))
    )
    wider, after = (float(np.log(of / clean).mean()) for of in (plain, labelled))
    assert wider > 0.1
    assert abs(after) < wider / 4
    assert np.abs(np.log(labelled / clean)).mean() < np.abs(np.log(plain / clean)).mean() / 2


def linear_spread(store: Path, course: Course, labels: Path | None) -> np.ndarray:
    start, end = course.trained
    given = [f"store={store}", f"bundle={store}.bundle", f"data.start={start}", f"data.end={end}"]
    given += [] if labels is None else [f"labels={labels}"]
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        settings = read_settings(hydra.compose("train", given))
    period = load_period(settings)
    shape = network_shape(settings, period)
    return solve_highway(period.preprocess, period.prepared, period.weight, period.fit, shape)[1]


class TestTheProgram:
    def test_a_run_and_its_card_say_what_was_left_out(
        self, world: World, train: Train, drains: Path, labelled: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        labels = drains.with_name("labels.jsonl")
        digest = hashlib.sha256(labels.read_bytes()).hexdigest()
        about = read_bundle(labelled).manifest["labels"]
        assert about["sha256"] == digest
        assert (about["problem"]["ranges"], about["expected"]["ranges"]) == (1, 2)
        assert 0 < about["problem"]["queue_hours"] <= 6
        assert 0 < about["problem"]["share"] < 0.01
        text = card("it", read_bundle(labelled))
        assert digest in text
        assert f"| left out, labelled as problems | 1 ranges, {about['problem']['queue_hours']:.1f} queue-hours" in text
        assert "| known to be healthy, labelled as expected | 2 ranges" in text
        assert f"labels={labels}" in text
        # Going on with other labels would mix two trainings.
        write(labels, on(world.queues[1], "2026-01-08T03:00:00Z", "2026-01-08T09:00:00Z"))
        digest = hashlib.sha256(labels.read_bytes()).hexdigest()
        assert train(f"store={drains}", f"bundle={labelled}", f"labels={labels}", "resume=true", *SMALL) == 2
        said, refused = capsys.readouterr().err.strip().splitlines()
        assert f"sha256 {digest[:12]}): left out 2 ranges (" in said
        assert "another configuration" in refused

    def test_a_file_of_labels_without_effect_changes_no_bit(
        self, train: Train, drains: Path, plain: Path, labels: Path, tmp_path: Path
    ) -> None:
        write(labels, on("NO_SUCH_QUEUE", "2026-01-07T03:00:00Z", "2026-01-07T09:00:00Z"))
        other = tmp_path / "other"
        assert train(f"store={drains}", f"bundle={other}", f"labels={labels}", *SMALL) == 0
        for name in ("model.onnx", "preprocess.json", "calibration.json", "detection.json"):
            assert (plain / name).read_bytes() == (other / name).read_bytes(), name
        assert "labels" not in json.loads((plain / "manifest.json").read_text())

    @pytest.mark.parametrize("content", [None, "no labels\n", '{"format": "qad-labels-log", "version": 1}\n{}\n'])
    def test_a_broken_file_is_one_line(
        self,
        world: World,
        train: Train,
        labels: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        content: str | None,
    ) -> None:
        if content is not None:
            labels.write_text(content)
        assert train(f"bundle={tmp_path / 'bundle'}", f"labels={labels}", *SMALL) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1
        assert str(labels) in said[0]
        assert not (tmp_path / "bundle").exists()


def test_retraining_hands_them_on(world: World, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(labels, on(world.queues[0], "2026-01-07T03:00:00Z", "2026-01-07T09:00:00Z"))
    started: list[list[str]] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        started.append(command)
        return subprocess.CompletedProcess(command, 2)

    monkeypatch.setattr(training.retrain.subprocess, "run", run)
    monkeypatch.chdir(labels.parent)
    given = ["--store", str(world.store), "--bundles", str(tmp_path / "bundles"), "--held-out-days", "3"]
    assert training.retrain.main([*given, "--labels", labels.name, "seed=2"]) == 2
    ((*_, named, seed),) = started
    assert (named, seed) == (f"labels={labels}", "seed=2")
    assert training.retrain.main(given) == 2
    assert not any(word.startswith("labels=") for word in started[1])
