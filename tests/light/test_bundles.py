"""A folder of bundles: one is in use at every moment, and what was done is known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from qad_dl.bundle import read_bundle
from qad_dl.bundles import Bundles, label_of
from qad_dl.cli import main as qad
from qad_dl.errors import BundleError, ConfigError
from serving.config import read_config
from serving.evaluate import evaluate
from serving.state import State
from tests.light.made import at
from tests.light.made_bundle import made_history, made_store, write_made_bundle

NOW = "2026-01-26T00:00:00Z"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    for seed, name in enumerate(("a", "b", "c"), 1):
        write_made_bundle(folder / name, seed=seed, training={"start": "2026-01-05T00:00:00Z", "end": NOW})
    return folder


@pytest.fixture
def bundles(made: Path, tmp_path: Path) -> Bundles:
    shutil.copytree(made, tmp_path / "queues")
    return Bundles.open(tmp_path / "queues")


def report(bundles: Bundles, champion: str, challenger: str, winner: str = "challenger") -> dict[str, Any]:
    """As much of a comparison as a promotion looks at, and the list shows."""
    side = {"rates": {"0.1": {"seen_injected": 0.5, "seen_known": None}}, "bulk": 1.0, "flags": None}
    named = {
        k: {"bundle": read_bundle(bundles.path / n).name, **side}
        for k, n in (("champion", champion), ("challenger", challenger))
    }
    return {**named, "verdict": {"winner": winner, "why": "it sees more", "measure": "injected"}}


def test_the_first_is_promoted_as_it_is(bundles: Bundles) -> None:
    assert bundles.current() is None
    done = bundles.promote("a", NOW, "")
    assert (done.name, done.before, done.reason) == ("a", "", "the first one")
    assert bundles.current() == "a"
    assert (bundles.path / "current").resolve() == bundles.path / "a"
    assert read_bundle(bundles.path / "current").name == read_bundle(bundles.path / "a").name
    assert bundles.names() == ("a", "b", "c")


def test_only_a_winner_is_promoted(bundles: Bundles) -> None:
    bundles.promote("a", NOW, "")
    with pytest.raises(ConfigError, match="was not compared with a"):
        bundles.promote("b", NOW, "")
    bundles.keep("b", report(bundles, "a", "b", "champion"))
    with pytest.raises(ConfigError, match="has not won against a"):
        bundles.promote("b", NOW, "")
    bundles.keep("b", report(bundles, "c", "b"))
    with pytest.raises(ConfigError, match="was compared with another bundle than a"):
        bundles.promote("b", NOW, "")
    bundles.keep("b", report(bundles, "a", "c"))  # another challenger has won
    with pytest.raises(ConfigError, match="another bundle"):
        bundles.promote("b", NOW, "")
    assert bundles.current() == "a"
    bundles.keep("b", report(bundles, "a", "b"))
    assert bundles.promote("b", NOW, "").reason == "won against a: it sees more"
    assert bundles.current() == "b"


def test_force_needs_a_reason(bundles: Bundles) -> None:
    bundles.promote("a", NOW, "")
    with pytest.raises(ConfigError, match="needs a reason"):
        bundles.promote("b", NOW, " ", force=True)
    assert bundles.promote("b", NOW, "a is too loud", force=True).reason == "a is too loud"


def test_rolling_back_twice_goes_back_twice(bundles: Bundles) -> None:
    bundles.promote("a", NOW, "")
    for name in ("b", "c"):
        bundles.promote(name, NOW, "try", force=True)
    assert [bundles.rollback(NOW, "").name for _ in range(2)] == ["b", "a"]
    with pytest.raises(ConfigError, match="nothing was in use before a"):
        bundles.rollback(NOW, "")
    assert [p.action for p in bundles.promotions()] == ["promote"] * 3 + ["rollback"] * 2


def test_after_a_rollback_another_is_rolled_back_to_it(bundles: Bundles) -> None:
    bundles.promote("a", NOW, "")
    bundles.promote("b", NOW, "try", force=True)
    bundles.rollback(NOW, "")
    bundles.promote("c", NOW, "try", force=True)
    assert bundles.rollback(NOW, "c is worse").name == "a"


def test_a_broken_bundle_is_never_taken_into_use(bundles: Bundles) -> None:
    bundles.promote("a", NOW, "")
    bundles.promote("b", NOW, "try", force=True)
    for name in ("a", "c"):
        (bundles.path / name / "model.onnx").write_bytes(b"x")
    with pytest.raises(BundleError):
        bundles.promote("c", NOW, "try", force=True)
    with pytest.raises(BundleError):
        bundles.rollback(NOW, "")
    assert bundles.current() == "b"
    listed = {one.name: one for one in bundles.listed()}
    assert "was changed" in listed["c"].trouble
    assert listed["b"].current
    assert listed["b"].bundle is not None


def test_who_is_killed_between_has_promoted_nothing(bundles: Bundles, monkeypatch: pytest.MonkeyPatch) -> None:
    bundles.promote("a", NOW, "")
    bundles.promote("b", NOW, "try", force=True)

    def killed(self: Path, target: Path) -> Path:
        if Path(target).name == "current":
            raise KeyboardInterrupt
        return replace(self, target)

    replace = Path.replace
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            bundles.promote("c", NOW, "try", force=True)
    assert bundles.current() == "b"
    assert bundles.rollback(NOW, "").name == "a"  # and not to b, from which nobody has gone away
    assert not [p for p in bundles.path.iterdir() if p.is_symlink() and p.name != "current"]


@pytest.mark.parametrize("kind", ["folder", "elsewhere", "gone"])
def test_a_current_that_is_none_is_refused(bundles: Bundles, kind: str, tmp_path: Path) -> None:
    link = bundles.path / "current"
    if kind == "folder":
        shutil.copytree(bundles.path / "a", link)
    else:
        link.symlink_to(tmp_path / "else" if kind == "elsewhere" else "d")
    with pytest.raises(ConfigError, match="is no link to a bundle beside it"):
        bundles.current()


def test_the_commands_say_what_is_wrong(bundles: Bundles, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(bundles.path)
    for command, said in (
        (["list", folder + "/a"], "is a bundle; give the folder that it lies in"),
        (["list", folder + "/none"], "there is no such folder"),
        (["show", folder], "has no bundle in use"),
        (["show", folder, "d"], "has no bundle d; it has a, b, c"),
        (["promote", folder, "d"], "has no bundle 'd'"),
        (["rollback", folder], "nothing was in use before now"),
    ):
        assert qad(["bundles", *command]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert qad(["bundles", "promote", folder, "a"]) == 0
    assert qad(["bundles", "promote", folder, "a"]) == 2
    assert "a is in use already" in capsys.readouterr().err
    bundles.path.joinpath("promotions.json").write_text("{", encoding="utf-8")
    assert qad(["bundles", "rollback", folder]) == 2
    assert "promotions.json: cannot be read" in capsys.readouterr().err


def test_the_list_and_the_card(bundles: Bundles, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(bundles.path)
    bundles.promote("a", NOW, "")
    bundles.keep("b", report(bundles, "a", "b", "champion"))
    assert qad(["bundles", "list", folder]) == 0
    table = capsys.readouterr().out
    assert "*  a" in table
    assert "champion won" in table
    assert "50.0 %" in table
    assert qad(["bundles", "list", folder, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["current"], [b["name"] for b in document["bundles"]]) == ("a", ["a", "b", "c"])
    assert document["promotions"][0]["reason"] == "the first one"
    assert qad(["bundles", "show", folder, "--card"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# Bundle a\n")
    assert "was not compared" in text
    assert qad(["bundles", "show", folder]) == 0
    assert "promote a: the first one" in capsys.readouterr().out


def test_the_collector_calls_it_by_its_folder(bundles: Bundles, tmp_path: Path) -> None:
    bundles.promote("a", NOW, "")
    assert label_of(bundles.path / "current") == "queues"
    assert label_of(bundles.path / "a") == "a"
    config = tmp_path / "collector.toml"
    text = 'store = "s"\nbundles = [{}]\n[source]\nkind = "panda"\n'
    config.write_text(text.format('"queues/current", "sites/current"'), encoding="utf-8")
    assert len(read_config(config, {}).bundles) == 2
    config.write_text(text.format('"queues/current", "x/queues/current"'), encoding="utf-8")
    with pytest.raises(ConfigError, match="two folders called 'queues'"):
        read_config(config, {})
    store = made_store(tmp_path / "store", made_history(1.1))
    done = evaluate(store, State(tmp_path / "state"), [bundles.path / "current"], at(150), at(150), 0.01)
    assert [(part.label, part.name) for part in done.scored] == [("queues", read_bundle(bundles.path / "a").name)]
