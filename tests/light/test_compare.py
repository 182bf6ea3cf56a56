"""Champion against challenger: who sees more on equal terms, and what is chance."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.bundle import read_bundle, write_bundle
from qad_dl.bundles import Bundles
from qad_dl.cli import main as qad
from qad_dl.compare import Figures, compare, sign_test, verdict
from qad_dl.drift import Sign
from qad_dl.errors import ConfigError
from qad_dl.grid import build_grid
from qad_dl.incidents_file import Incident, write_incidents
from qad_dl.injection import KINDS, TICKS, inject
from qad_dl.labelled import labelled, labels_in_force
from qad_dl.labels import LabelLog, event_of
from qad_dl.scorer import Scorer
from qad_dl.store import Store
from tests.light.made import TICK, at, ticks
from tests.light.made_bundle import METADATA, QUEUES, made_history, made_store, write_made_bundle

if TYPE_CHECKING:
    from pathlib import Path

DAY = TICK.per_day
TRAINED = {"start": "2026-01-05T00:00:00Z", "end": "2026-01-07T00:00:00Z"}
DAYS = 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, a bundle, and one like it that has forgotten what running jobs are: its errors there are nothing."""
    made = tmp_path_factory.mktemp("compare")
    write_made_bundle(made / "good", training=TRAINED)
    good = read_bundle(made / "good")
    spread = good.calibration.spread.copy()
    spread[..., [good.preprocess.states.index(s) for s in ("running", "finished")]] *= 40
    about = {k: v for k, v in good.manifest.items() if k not in ("files", "format_version")}
    blind = replace(good.calibration, spread=spread)
    write_bundle(made / "blind", good.model, good.preprocess, blind, good.detection, about)
    made_store(made / "store", made_history(DAYS, seed=6))
    return made


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return Store.open(folder / "store")


@pytest.fixture(scope="module")
def good(folder: Path) -> Scorer:
    return Scorer.load(folder / "good")


@pytest.fixture(scope="module")
def blind(folder: Path) -> Scorer:
    return Scorer.load(folder / "blind")


def test_who_sees_more_wins(store: Store, good: Scorer, blind: Scorer) -> None:
    done = compare(store, blind, good, at(2 * DAY), at(DAYS * DAY))
    assert done.verdict.winner == "challenger"
    assert done.verdict.measure == "injected"
    assert done.verdict.chance < 0.05
    assert done.verdict.only_challenger > done.verdict.only_champion
    assert done.incidents[0] > 10
    other = compare(store, good, blind, at(2 * DAY), at(DAYS * DAY))
    assert other.verdict.winner == "champion"
    assert "sees less" in other.verdict.why
    assert other.champion.injected[0].tolist() == done.challenger.injected[0].tolist()


def test_equals_change_nothing(store: Store, good: Scorer) -> None:
    done = compare(store, good, good, at(2 * DAY), at(DAYS * DAY))
    assert (done.verdict.winner, done.verdict.only_champion, done.verdict.only_challenger) == ("champion", 0, 0)
    assert done.verdict.chance == 1
    json.dumps(done.as_json(), allow_nan=False)


def figures(seen: list[int], known: list[int] = (), calibrated: bool = True) -> Figures:
    sign = Sign("bulk", "", 1.0 if calibrated else 9.0, 0.4, 2.0, "nine times")
    injected, of_known = np.array(seen, bool), np.array(known, bool)
    return Figures("x", {}, 1, (), 0.0, (sign,), (1.0, 2.0), (0, 0), (injected,) * 2, (of_known,) * 2)


@pytest.mark.parametrize(
    ("champion", "challenger", "winner", "why"),
    [
        (figures([0] * 10), figures([1] * 5 + [0] * 5), "challenger", "sees more"),
        (figures([0] * 10), figures([1] * 4 + [0] * 6), "champion", "could be chance"),
        (figures([1] * 10), figures([0] * 10), "champion", "sees less"),
        (figures([0] * 10), figures([1] * 10, calibrated=False), "champion", "not calibrated"),
        (figures([1] * 10, calibrated=False), figures([1] * 9 + [0]), "challenger", "the champion is not"),
        (figures([1] * 10, calibrated=False), figures([0] * 10), "champion", "sees less"),
        (figures([0] * 9, [1] * 20), figures([1] * 9, [0] * 20), "champion", "known incidents"),
        (figures([0] * 9, [1] * 19), figures([1] * 9, [0] * 19), "challenger", "injected incidents"),
    ],
)
def test_the_rule(champion: Figures, challenger: Figures, winner: str, why: str) -> None:
    said = verdict(champion, challenger)
    assert said.winner == winner
    assert why in said.why


def test_the_sign_test_is_exact() -> None:
    assert sign_test(0, 0) == 1
    assert sign_test(5, 0) == 1 / 32
    assert sign_test(3, 1) == pytest.approx(5 / 16)
    assert sign_test(1, 3) == pytest.approx(15 / 16)


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [(DAY, 8 * DAY, "was trained on time up to"), (3 * DAY, 4 * DAY, "too few"), (3 * DAY, DAY, "too few")],
)
def test_what_cannot_be_compared(store: Store, good: Scorer, start: int, end: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        compare(store, good, good, at(start), at(end))


def test_bundles_for_other_queues_are_not_compared(folder: Path, store: Store, good: Scorer) -> None:
    bundle = read_bundle(folder / "good")
    other = Scorer(replace(bundle, preprocess=replace(bundle.preprocess, select={"cloud": "DE"})))
    with pytest.raises(ConfigError, match="for other queues"):
        compare(store, good, other, at(2 * DAY), at(DAYS * DAY))


def grid_of(days: int = 6):
    return build_grid(made_history(days, seed=6), ticks(days * DAY), TICK, METADATA)


def test_incidents_are_put_in_and_nowhere_else() -> None:
    grid = grid_of()
    changed, put = inject(grid, 2 * DAY, np.random.default_rng(1))
    assert 0 < len(put) <= len(QUEUES) * 2
    assert {i.kind for i in put} <= set(KINDS)
    touched = (changed.counts != grid.counts).any(axis=2)
    for i in put:
        assert touched[i.series, i.start : i.start + TICKS].any()
        touched[i.series, i.start : i.start + TICKS] = False
    assert not touched.any()
    assert (changed.counts >= 0).all()
    assert (changed.counts == np.rint(changed.counts)).all()
    again, same = inject(grid, 2 * DAY, np.random.default_rng(1))
    assert same == put
    assert np.array_equal(again.counts, changed.counts)


def test_small_and_offline_queues_are_left_alone() -> None:
    grid = grid_of()
    online = grid.online.copy()
    online[0] = False
    counts = grid.counts.copy()
    counts[1] *= 0.01
    _, put = inject(replace(grid, online=online, counts=counts), 2 * DAY, np.random.default_rng(1))
    assert put
    assert not {0, 1} & {i.series for i in put}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_keeps_to_its_states(kind: str) -> None:
    base = {
        s: np.full(TICKS, 100.0)
        for s in ("assigned", "activated", "starting", "running", "holding", "transferring", "finished", "failed")
    }
    full = KINDS[kind](base, np.arange(1, TICKS + 1, dtype=float), 100.0)
    assert full.keys() <= base.keys()
    assert all((values >= 0).all() for values in full.values())
    assert full["finished"][-1] < 100


def labels(path: Path, *events: dict) -> Path:
    made = [event_of(e, f"event {i}") for i, e in enumerate(events)]
    LabelLog(path).merge(made, np.datetime64("2026-02-01", "ms"), "test")
    return path


def name(text: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, text))


def event(label: str, word: str, target: dict, time: str = "2026-01-10T00:00:00Z", op: str = "put") -> dict:
    made = {"id": name(label + time), "op": op, "label": name(label), "author": "me", "time": time}
    return made if op == "undo" else {**made, "target": target, "word": word, "kind": None, "comment": ""}


def test_what_labels_in_force_say(tmp_path: Path) -> None:
    queue = {"type": "queue", "panda_queue": "Q1", "start": "2026-01-08T00:00:00Z", "end": "2026-01-08T06:00:00Z"}
    group = {
        "type": "group",
        "field": "cloud",
        "value": "DE",
        "start": "2026-01-09T00:00:00Z",
        "end": "2026-01-09T02:00:00Z",
    }
    open_end = {"type": "incident", "incident": "i", "field": None, "value": None, "queues": ["Q2", "Q3"],
                "start": "2026-01-09T00:00:00Z", "end": None}  # fmt: skip
    path = labels(
        tmp_path / "labels.json",
        event("a", "problem", queue),
        event("b", "expected", group),
        event("c", "problem", open_end),
        event("d", "problem", queue),
        event("d", "problem", queue, "2026-01-11T00:00:00Z", "undo"),
        event("e", "problem", group),
        event("e", "unsure", queue, "2026-01-11T00:00:00Z"),
    )
    found = labelled(labels_in_force(path), METADATA)
    assert {(i.incident, i.value, i.queues) for i in found.incidents} == {
        (name("a"), "Q1", ("Q1",)),
        (name("c"), "", ("Q2", "Q3")),
    }
    goes_on = next(i for i in found.incidents if i.incident == name("c"))
    assert goes_on.end == np.datetime64("2026-01-10"), "up to the word: whoever said it knew no more"
    assert sorted(d.panda_queue for d in found.aside) == ["Q1", "Q1", "Q3", "Q5"]


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    queue = {"type": "queue", "panda_queue": "Q1", "start": "2026-01-08T00:00:00Z", "end": "2026-01-08T06:00:00Z"}
    label = labels(tmp_path / "labels.jsonl", event("a", "problem", queue))
    write_incidents(tmp_path / "known.csv", [Incident("K", "other", "panda_queue", "Q4", at(5 * DAY), at(5 * DAY + 9))])
    command = ["bundles", "compare", str(folder / "blind"), str(folder / "good"), str(folder / "store"),
               "--start", "2026-01-07", "--end", "2026-01-14"]  # fmt: skip
    assert qad([*command, "--incidents", str(tmp_path / "known.csv"), "--labels", str(label), "--keep"]) == 0
    table = capsys.readouterr().out
    assert "2 known" in table
    assert "The challenger wins: it sees more" in table
    kept = Bundles.open(folder).report("good")
    assert kept is not None
    assert kept["verdict"]["winner"] == "challenger"
    assert qad([*command, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["known"] == 0
    assert qad([*command, "--labels", str(tmp_path / "none.jsonl")]) == 2
    assert "is no file of labels" in capsys.readouterr().err
