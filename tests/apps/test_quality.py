"""The evaluation in the small: one tiny world end to end, parts alone, a page."""

from __future__ import annotations

import fnmatch
import io
import json
import shutil
import subprocess
import sys
from contextlib import redirect_stderr
from functools import cached_property
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from qad_dl.bundle import read_bundle
from tests.apps.conftest import start_in_process
from training.quality.__main__ import main
from training.quality.no_ids import WITHOUT_IDS
from training.quality.parts import Workshop, table_of
from training.quality.peers import FILE, load_peer, peer_series
from training.quality.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ROOT / "checkpoints" / "quality-smoke"
"""Where `make quality-smoke` makes its parts. Those that are made here need not be made there, nor the other way round:
a part is known by the hash of what it is made of, its code among it."""

PARTS = (
    *("facts/c1", "peer-figures/c1/rule", "peer-figures/c1/ridge"),
    *("measure/c1/linear/1", "measure/c1/no_ids/1", "measure/c1/no_embeddings/1"),
)


class Quality:
    """`python -m training.quality scale=smoke`, in this process; bundles are trained in processes of their own.

    Attributes:
        work: where parts are made.
        page: the page.
        said: what the last call wrote to stderr.
    """

    def __init__(self, work: Path, page: Path) -> None:
        self.work, self.page, self.said = work, page, ""

    def command(self, *overrides: str) -> list[str]:
        return ["scale=smoke", f"work={self.work}", f"out={self.page}", *overrides]

    def __call__(self, *overrides: str) -> int:
        with redirect_stderr(io.StringIO()) as said:
            code = start_in_process(*self.command(*overrides), main=main, name="quality")
        self.said = said.getvalue()
        return code

    def result(self, name: str) -> dict:
        return json.loads((self.place(name) / "result.json").read_text(encoding="utf-8"))["result"]

    def place(self, name: str) -> Path:
        """Folder of a part, as it is made from what is there now."""
        return self.work / name / self._keys[name]

    @cached_property
    def _keys(self) -> dict[str, str]:
        return keys(self.work, "scale=smoke")


@pytest.fixture(scope="module")
def quality(tmp_path_factory: pytest.TempPathFactory) -> Quality:
    made = Quality(SMOKE, tmp_path_factory.mktemp("quality") / "quality.md")
    for part in (*PARTS, "life-figures/c1/back"):
        assert made(f"part={part}") == 0, made.said[-3000:]
    return made


def test_what_is_there_is_not_made_again(quality: Quality) -> None:
    assert quality("part=measure/c1/no_ids/*") == 0
    assert "5 parts, 5 are there" in quality.said


def test_the_figures_of_a_part(quality: Quality) -> None:
    of = quality.result("measure/c1/no_ids/1")
    assert 0 <= of["auc_pr"] <= 1
    assert set(of["realised"]) == {"1", "0.3", "0.1", "0.03", "0.01", "0.003", "0.001"}
    assert set(of["delays_min"]) == set(quality.result("facts/c1")["incidents"])
    false = [of["realised"][b]["healthy"] for b in ("0.1", "0.01", "0.001")]
    assert false == sorted(false, reverse=True)


def test_without_ids_each_queue_is_judged_by_itself(quality: Quality) -> None:
    of = {v: read_bundle(quality.place(f"bundle/c1/{v}/1") / "bundle") for v in WITHOUT_IDS}
    assert of["no_ids"].calibration.shared == ()
    assert "harvester" in of["no_embeddings"].calibration.shared
    # and flagged from where normal life is as rare by itself, which is lower than what many show together
    assert of["no_ids"].detection.threshold(0.01) < of["no_embeddings"].detection.threshold(0.01)


def test_what_was_away_is_looked_at_only_once_it_is_back(quality: Quality) -> None:
    back = quality.result("life-figures/c1/back")
    assert back["happened"]["healthy_days"] <= back["ordinary"]["healthy_days"]
    assert back["ordinary"]["healthy_days"] < 0.8 * 30 * 3, "a third of the days each before two thirds of the queues"


def test_the_linear_part_alone_is_the_highway_as_it_was_solved(quality: Quality) -> None:
    checkpoint = quality.place("bundle/c1/linear/1") / "run" / "best.ckpt"
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    decoders = [v for k, v in weights.items() if k.startswith("network.decoders.") and ".net.2." in k]
    assert decoders
    assert not any(v.any() for v in decoders)


def test_the_page_says_what_has_not_been_measured(quality: Quality, tmp_path: Path) -> None:
    few = Quality(tmp_path / "work", tmp_path / "quality.md")
    for name in PARTS:
        shutil.copytree(quality.place(name), few.place(name))
    assert few("part=report") == 0, few.said[-3000:]
    page = few.page.read_text(encoding="utf-8")
    assert page.count("\n## ") >= 15
    assert "not measured" in page
    assert "| c1 | no_ids |" in page
    assert len(json.loads((few.work / "verdicts.json").read_text(encoding="utf-8"))) >= 20


def test_what_there_is_not_is_refused_in_one_line(quality: Quality) -> None:
    command = [sys.executable, "-m", "training.quality", *quality.command("part=bundel/c1/*")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "no such part" in done.stderr


def keys(folder: Path, *overrides: str) -> dict[str, str]:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = OmegaConf.to_container(hydra.compose("quality", list(overrides)), resolve=True)
    assert isinstance(config, dict)
    shop = Workshop(table_of(Plan({str(k): v for k, v in config.items()}).parts()), folder)
    return {name: shop.key(name) for name in shop.parts}


@pytest.mark.parametrize(("override", "touched"), [
    ("variants.lstm=[model=lstm,model.hidden=32]", "*/lstm/*"),
    ("worlds.reporting.c2.noise=0.5", "*/c2*"),
    ("needed.delay_min=20", ""),
    ("scale.ablation_training=[trainer.epochs=2]", "*/ablation-*"),
    ("quiet.seed=5", "*/quiet*"),
    ("pollution=3.0", "*pollut*"),
])  # fmt: skip
def test_a_change_makes_again_what_it_touches(tmp_path: Path, override: str, touched: str) -> None:
    name, value = override.split("=", 1)
    quoted = "[" + ",".join(f"'{v}'" for v in value[1:-1].split(",")) + "]" if value.startswith("[") else value
    before, after = keys(tmp_path), keys(tmp_path, f"{name}={quoted}")
    changed = {n for n in before if before[n] != after[n]}
    assert changed == set(fnmatch.filter(before, touched))


def test_every_peer_of_the_table_is_in_the_plan(tmp_path: Path) -> None:
    names = {name.rsplit("/", 1)[1] for name in keys(tmp_path) if name.startswith("peer/")}
    assert {"rule", "rule_per_queue", "averages", "ridge", "pca", "pca_windows", "kmeans_windows"} <= names
    assert {"isolation_forest", "autoencoder", "seasonal"} <= names


def test_scores_of_a_peer_are_put_in_their_place(tmp_path: Path) -> None:
    times = np.datetime64("2026-01-05", "s") + np.arange(10) * np.timedelta64(600, "s")
    np.savez(tmp_path / FILE, score=np.arange(20.0).reshape(2, 10), times=times, series=np.array(["A", "C"]))
    assert peer_series(tmp_path) == (("A",), ("C",))
    score = load_peer(tmp_path, (("B",), ("C",)), times[4:7])
    assert np.isnan(score[0]).all()
    assert score[1].tolist() == [14, 15, 16]
