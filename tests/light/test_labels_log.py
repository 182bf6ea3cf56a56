"""The log of labels on disk: nothing that was acknowledged is lost or doubled, whoever writes, whoever is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.errors import InputError, StoreError
from qad_dl.labels import ConflictError, LabelLog, event_of, format_events, parse_events
from tests.conftest import ROOT
from tests.light.made_labels import INCIDENT, new_id, put, undo

if TYPE_CHECKING:
    from pathlib import Path

NOW = np.datetime64("2026-01-06T00:00:00", "ms")

ADDS = """
import sys
from pathlib import Path
from qad_dl.labels import LabelLog, event_of
from tests.light.made_labels import put
log, author, n = LabelLog(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
print("go", flush=True)
for _ in range(n):
    event = event_of(put(author=author, comment="x" * 3000), "event")
    log.add(event)
    with open(sys.argv[4], "a") as told:
        told.write(event.id + "\\n")
"""


@pytest.fixture
def log(tmp_path: Path) -> LabelLog:
    return LabelLog(tmp_path / "labels" / "labels.jsonl")


def ids(log: LabelLog) -> list[str]:
    """Ids of the events by line."""
    return [json.loads(line)["id"] for line in log.path.read_text().splitlines()[1:]]


def test_there_is_nothing_before_the_first_label(log: LabelLog) -> None:
    assert log.read().to_json() == {"version": 0, "labels": []}
    assert not log.path.parent.exists()


def test_add_edit_and_take_back(log: LabelLog) -> None:
    first = put()
    version, label = log.add(event_of(first, "event"))
    assert (version, label.to_json()) == (1, {**first, "history": [first]})
    second = {**first, "id": new_id(), "word": "unsure", "time": "2026-01-05T12:10:00.000Z"}
    version, label = log.add(event_of(second, "event"))
    assert (version, label.word, len(label.history)) == (2, "unsure", 2)
    version, label = log.add(event_of(undo(first["label"]), "event"))
    assert (version, label.in_force) == (3, False)
    assert LabelLog(log.path).read() == log.read()
    assert log.read().in_force == ()


def test_sent_twice_done_once(log: LabelLog) -> None:
    event = put()
    assert log.add(event_of(event, "event")) == log.add(event_of({**event, "time": "2026-01-05T15:00:00Z"}, "event"))
    assert LabelLog(log.path).add(event_of(event, "event"))[0] == 1
    assert ids(log) == [event["id"]]
    with pytest.raises(ConflictError, match="was used for something else"):
        log.add(event_of({**event, "word": "expected"}, "event"))
    assert ids(log) == [event["id"]]


def test_nobody_changes_another_s_label(log: LabelLog) -> None:
    event = put()
    log.add(event_of(event, "event"))
    for other in ({**event, "id": new_id(), "author": "bob"}, undo(event["label"], author="bob")):
        with pytest.raises(ConflictError, match="is ada's, which bob cannot change"):
            log.add(event_of(other, "event"))
    with pytest.raises(ConflictError, match="there is none; nothing to undo"):
        log.add(event_of(undo(new_id()), "event"))
    log.add(event_of(undo(event["label"]), "event"))
    with pytest.raises(ConflictError, match="was taken back already"):
        log.add(event_of(undo(event["label"]), "event"))
    assert log.read().version == 2


def test_a_clock_that_is_set_back_loses_no_newest_word(log: LabelLog) -> None:
    event = put()
    log.add(event_of(event, "event"))
    _, label = log.add(event_of({**event, "id": new_id(), "word": "expected", "time": "2026-01-01T00:00:00Z"}, "event"))
    assert label.word == "expected"
    assert log.read().in_force[0].word == "expected"


def test_merging_is_by_id_and_all_or_nothing(log: LabelLog, tmp_path: Path) -> None:
    mine, theirs = put(), put(author="bob")
    log.add(event_of(mine, "event"))
    again = {**mine, "time": "2026-01-05T09:00:00.000Z"}  # the live server had another clock
    offline = [event_of(e, "event") for e in (undo(theirs["label"], author="bob"), theirs, again)]
    merged = log.merge(offline, NOW, "file")
    assert (merged.added, merged.known, merged.version) == (2, 1, 3)
    assert log.merge(offline, NOW, "file").added == 0
    other = LabelLog(tmp_path / "other.jsonl")
    other.merge(parse_events(format_events(log.events()), "file"), NOW, "file")
    assert other.read() == log.read()
    before = log.path.read_bytes()
    for bad, said in (
        (put(time="2026-01-08T00:00:00Z"), "is in the future"),
        ({**mine, "comment": "other"}, "was used for something else"),
        ({**mine, "id": new_id(), "author": "eve"}, "is ada's, which eve cannot change"),
        (undo(new_id()), "is taken back, and neither it nor"),
    ):
        with pytest.raises(InputError, match=said):
            log.merge([event_of(e, "event") for e in (put(), bad)], NOW, "file")
        assert log.path.read_bytes() == before


@pytest.mark.parametrize("cut", [1, 2, 30, 4096])
def test_a_torn_end_is_put_aside_and_everything_before_it_kept(log: LabelLog, cut: int) -> None:
    kept = [put() for _ in range(3)]
    for event in kept:
        log.add(event_of(event, "event"))
    whole = log.path.read_bytes()
    lost = (json.dumps(put(comment="x" * 4000)) + "\n").encode()[:-cut]
    log.path.write_bytes(whole + lost)
    assert [e.id for e in LabelLog(log.path).events()] == sorted(e["id"] for e in kept)
    assert log.path.read_bytes() == whole + lost  # whoever reads changes nothing
    new = put()
    version, _ = log.add(event_of(new, "event"))
    assert (version, ids(log)) == (4, [*(e["id"] for e in kept), new["id"]])
    assert log.path.with_name("labels.jsonl.torn").read_bytes() == lost + b"\n"


@pytest.mark.parametrize("length", [0, 5])
def test_a_file_that_was_killed_in_its_first_line(log: LabelLog, length: int) -> None:
    log.path.parent.mkdir()
    log.path.write_bytes(b'{"format": "qad-labels-log"'[:length])
    assert log.read().version == 0
    assert log.add(event_of(put(), "event"))[0] == 1
    assert LabelLog(log.path).read().version == 1


@pytest.mark.parametrize(
    ("line", "content", "said"),
    [
        (1, b'{"format": "qad-labels-log", "version": 2}\n', "line 1: must be"),
        (1, b"rubbish\n", "line 1: must be"),
        (2, b"rubbish\n", "line 2: is no JSON"),
        (2, b"\n", "line 2: is no JSON"),
        (3, b'{"id": 1}\n', "line 3: op: None"),
    ],
)
def test_damage_is_told_by_line_and_nothing_is_written(log: LabelLog, line: int, content: bytes, said: str) -> None:
    for _ in range(3):
        log.add(event_of(put(), "event"))
    lines = log.path.read_bytes().splitlines(keepends=True)
    lines[line - 1] = content
    damaged = b"".join(lines)
    log.path.write_bytes(damaged)
    fresh = LabelLog(log.path)
    for act in (fresh.read, fresh.events, lambda: fresh.add(event_of(put(), "event"))):
        with pytest.raises(StoreError, match=said):
            act()
    assert log.path.read_bytes() == damaged


def test_a_file_put_back_is_read_anew(log: LabelLog) -> None:
    first = put()
    log.add(event_of(first, "event"))
    old = log.path.read_bytes()
    log.add(event_of(put(), "event"))
    assert log.read().version == 2
    replacement = log.path.with_name("copy")
    replacement.write_bytes(old)
    replacement.replace(log.path)
    assert log.read().version == 1
    assert log.add(event_of(put(), "event"))[0] == 2


def test_a_full_disk_keeps_nothing_of_the_event_and_all_before_it(
    log: LabelLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.add(event_of(put(), "event"))
    before = log.path.read_bytes()
    write = os.write
    calls: list[int] = []

    def short(descriptor: int, data: memoryview) -> int:
        if calls:
            raise OSError(28, "No space left on device")
        calls.append(write(descriptor, data[:20]))
        return calls[0]

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", short)
        with pytest.raises(StoreError, match="cannot be written \\(No space left on device\\)"):
            log.add(event_of(put(), "event"))
    assert calls == [20]
    assert log.path.read_bytes() == before
    assert log.add(event_of(put(), "event"))[0] == 2
    assert LabelLog(log.path).read().version == 2


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for log in (LabelLog(tmp_path / "file" / "labels.jsonl"), LabelLog(tmp_path)):
        with pytest.raises(StoreError, match="cannot be"):
            log.add(event_of(put(INCIDENT), "event"))


def test_threads_of_one_log_and_a_reader_beside_them(log: LabelLog) -> None:
    sent = [[put(author=f"author {i}") for _ in range(25)] for i in range(4)]
    seen: list[int] = []
    done = threading.Event()

    def read() -> None:
        other = LabelLog(log.path)
        while not done.is_set():
            seen.append(other.read().version)

    reader = threading.Thread(target=read)
    reader.start()
    writers = [
        threading.Thread(target=lambda mine=mine: [log.add(event_of(e, "event")) for e in mine]) for mine in sent
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    done.set()
    reader.join()
    assert sorted(ids(log)) == sorted(e["id"] for mine in sent for e in mine)
    assert seen == sorted(seen)


def test_processes_at_once(log: LabelLog, tmp_path: Path, root: Path) -> None:
    told = [tmp_path / f"told {i}" for i in range(4)]
    command = [sys.executable, "-c", ADDS, str(log.path)]
    processes = [subprocess.Popen([*command, f"author {i}", "25", str(path)], cwd=root) for i, path in enumerate(told)]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert sorted(ids(log)) == sorted(line for path in told for line in path.read_text().split())
    assert len(ids(log)) == 100


def kill_after(command: list[str], told: Path, lines: int, rng: np.random.Generator) -> None:
    """Start a writer, and kill it a moment after it was told that so many more events are kept."""
    before = count(told)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT) as process:
        while count(told) < before + lines:
            assert process.poll() is None
            time.sleep(0.001)
        time.sleep(float(rng.uniform(0, 0.02)))
        process.kill()


def count(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_killed_writers_lose_nothing_that_was_acknowledged(log: LabelLog, tmp_path: Path) -> None:
    rng, told, kills = np.random.default_rng(5), tmp_path / "told", 8
    command = [sys.executable, "-c", ADDS, str(log.path), "ada", "100000", str(told)]
    for _ in range(kills):
        kill_after(command, told, 5, rng)
    acknowledged = told.read_text().split()
    assert len(acknowledged) >= 5 * kills
    log.add(event_of(put(), "event"))
    found = ids(log)
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)
    assert len(found) - 1 - len(acknowledged) <= kills  # on the disk, but killed before it could be said
    assert LabelLog(log.path).read().version == len(found)
