"""`python -m serving.silence`: what people type, and what they get."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from qad_dl.sinks.silences import Silences
from serving.silence import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "qad.toml"
    path.write_text('store = "store"\nbundles = ["b"]\n[source]\nkind = "files"\nurl = "in"\n')
    return path


def run(config: Path, *args: str) -> int:
    return main(["--config", str(config), *args])


def test_add_list_expire(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "list") == 0
    assert capsys.readouterr().out == "nothing is silenced\n"
    add = ("add", "--match", "atlas_site=DESY-HH", "--match", "kind=site_down", "--reason", "it\nmoves", "--by", "ada")
    assert run(config, *add, "--for", "3h") == 0
    line = capsys.readouterr().out
    assert "in force" in line
    assert "atlas_site=DESY-HH, kind=site_down  (ada: it moves)\n" in line
    (silence,) = Silences(config.parent / "state" / "silences.json").read()
    assert (silence.end - silence.start).item().total_seconds() == 3 * 3600
    assert run(config, "list") == 0
    assert capsys.readouterr().out == line
    assert run(config, "expire", silence.id) == 0
    assert re.match(rf"{silence.id}  over ", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--match", "DE", "--for", "3h"), "is not NAME=VALUE"),
        (("--match", "cloud=", "--for", "3h"), "is not NAME=VALUE"),
        (("--match", "cloud=DE", "--for", "3 hours"), "is no length"),
        (("--match", "cloud=DE", "--until", "tomorrow"), "not an ISO 8601 time"),
        (("--match", "cloud=DE", "--until", "2020-01-01"), "is not after now"),
    ],
)
def test_one_line_for_what_cannot_be(
    config: Path, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], said: str
) -> None:
    assert run(config, "add", "--reason", "r", *args) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1


def test_expire_names_those_in_force(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "expire", "abc") == 2
    assert "in force: none" in capsys.readouterr().err
