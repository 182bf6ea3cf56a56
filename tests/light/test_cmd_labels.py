"""`qad labels`: what people type, and what they get."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from qad_dl.cli import main
from qad_dl.labels import LabelLog, event_of, format_events
from tests.light.made_labels import GROUP, INCIDENT, QUEUE, put, undo

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def log(tmp_path: Path) -> LabelLog:
    return LabelLog(tmp_path / "labels.jsonl")


def test_import_list_history_undo_export(log: LabelLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = [put(INCIDENT), put(GROUP, author="bob", word="expected"), put({**QUEUE, "panda_queue": "Q\n\x1b[31m"})]
    file = tmp_path / "exported.json"
    file.write_bytes(format_events(event_of(event, "event") for event in events))
    assert main(["labels", "list", str(log.path)]) == 0
    assert capsys.readouterr().out == "there are no labels\n"
    for said in (f"3 events added, 0 known already; {log.path} has 3", "0 events added, 3 known already"):
        assert main(["labels", "import", str(log.path), str(file)]) == 0
        assert said in capsys.readouterr().out
    assert main(["labels", "list", str(log.path)]) == 0
    out = capsys.readouterr().out
    assert "problem   site_down  ada" in out
    assert "incident 20260105T0000-ab12, cloud=DE, 2 queues from 2026-01-05T00:00:00Z  down since" in out
    assert "cloud=DE from 2026-01-05T00:00:00Z to 2026-01-06T00:00:00Z" in out
    assert "Q \\x1b[31m from" in out
    ada = events[0]["label"]
    assert main(["labels", "undo", str(log.path), ada[:13], "--by", "ada"]) == 0
    assert "taken back by ada" in capsys.readouterr().out
    assert main(["labels", "list", str(log.path), "--format", "json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert (listed["version"], {label["author"] for label in listed["labels"]}) == (4, {"ada", "bob"})
    assert main(["labels", "list", "--all", str(log.path)]) == 0
    assert "(problem)" in capsys.readouterr().out
    assert main(["labels", "history", str(log.path), ada]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (len(lines), "taken back" in lines[3]) == (4, True)
    assert main(["labels", "export", str(log.path), "--out", str(tmp_path / "all.json")]) == 0
    other = tmp_path / "other.jsonl"
    assert main(["labels", "import", str(other), str(tmp_path / "all.json")]) == 0
    assert LabelLog(other).read() == log.read()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("undo", "LABELS", "ffff"), "'ffff' is no label's id"),
        (("undo", "LABELS", ""), "'' is no label's id"),
        (("history", "LABELS", "0"), "'0' begins the ids of 2 labels"),
        (("undo", "LABELS", "01", "--by", "eve"), "is ada's, which eve cannot change"),
        (("undo", "LABELS", "01", "--by", "a\nb"), "--by: 'a\\nb' holds characters"),
        (("undo", "LABELS", "02", "--by", "ada"), "was taken back already"),
        (("import", "LABELS", "nowhere"), "nowhere: cannot be read"),
        (("import", "LABELS", "LABELS"), "is no JSON"),
        (("export", "LABELS", "--out", "nowhere/file"), "--out: nowhere/file cannot be written"),
    ],
)
def test_one_line_for_what_cannot_be(
    log: LabelLog, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], said: str
) -> None:
    names = [f"0{i}000000-0000-4000-8000-000000000000" for i in (1, 2)]
    for name in names:
        log.add(event_of(put(label=name), "event"))
    log.add(event_of(undo(names[1]), "event"))
    before = log.path.read_bytes()
    assert main(["labels", *(str(log.path) if arg == "LABELS" else arg for arg in args)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
    assert log.path.read_bytes() == before
