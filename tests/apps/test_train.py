"""Training: history in, bundle out; the seed fixes it; what is wrong is said in one line."""

from __future__ import annotations

import csv
import itertools
import json
from typing import TYPE_CHECKING

import hydra
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import training.freeze
from qad_dl.backtest import run_backtest
from qad_dl.bundle import read_bundle
from qad_dl.card import card
from qad_dl.cli import main as qad
from qad_dl.doubts import DOUBT_LEARNED
from qad_dl.history import normalise_jobs
from qad_dl.nn.lightning_module import AutoencoderModule
from qad_dl.schema import Tick
from qad_dl.scorer import Scorer
from qad_dl.signatures import SHIPPED_LINEAR, shipped_signatures
from qad_dl.store import Store
from tests.apps.conftest import START, TRAINED, doubts_are_read, start_in_process
from training.fit import fit_network
from training.period import load_period
from training.settings import read_settings
from training.start import CONFIGS
from training.suspects import leave_out_suspects

if TYPE_CHECKING:
    from pathlib import Path

    from qad_dl.nn.modules import MaskedAutoencoder
    from tests.apps.conftest import Train, World
    from tests.services.s3 import S3

SMALL = "model.settings={channels: 8, levels: 2, kernel: 3, dropout: 0.0}"
SMALL_LSTM = ("model=lstm", "model.settings={hidden: 8, layers: 1, dropout: 0.0}")


@pytest.fixture(scope="module")
def hourly(world: World) -> Path:
    """The world at a tick of an hour: windows of 42 ticks, of which an LSTM is exported quickly."""
    store, whole = Store.create(world.path / "hourly", Tick(60)), Store.open(world.store)
    store.put(normalise_jobs(pq.read_table(world.jobs), store.tick, "history"))
    store.add_metadata(dict(whole.metadata().dumps[0]), np.datetime64(START, "s"))
    store.add_downtimes(whole.downtimes())
    return store.path


def fitted(world: World, *overrides: str) -> MaskedAutoencoder:
    """A network, without export."""
    period = (f"store={world.store}", f"data.start={START}", f"data.end={TRAINED}", "trainer=smoke")
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = hydra.compose("train", [*period, SMALL, "trainer.limit_batches=2", *overrides])
    settings = read_settings(config)
    return fit_network(settings, leave_out_suspects(settings, load_period(settings)))


def weights(network: MaskedAutoencoder) -> np.ndarray:
    return np.concatenate([p.detach().numpy().ravel() for p in network.parameters()])


class TestBundle:
    def test_the_manifest_says_what_it_was_trained_on(self, bundle: Path) -> None:
        manifest = read_bundle(bundle).manifest
        assert manifest["training"]["start"] == f"{START}T00:00:00Z"
        assert manifest["training"]["end"] == f"{TRAINED}T00:00:00Z"
        assert manifest["training"]["held_out"] < manifest["training"]["calibration"] < manifest["training"]["end"]
        assert 0 < manifest["training"]["suspects"] < 0.3
        share = f"{100 * manifest['training']['suspects']:.1f} % of the ticks that it learned from"
        assert f"| left out, since it looks like an incident | {share} |" in card("it", read_bundle(bundle))
        doubts = (
            f"the signatures of errors and of how unsure the network is (which differs by {manifest['doubts']:.2g}, ln)"
        )
        assert f"| incidents are told by | {doubts} |" in card("it", read_bundle(bundle))
        assert manifest["lookback_ticks"] == 7 * 144
        assert manifest["config"]["seed"] == 1
        assert set(manifest["versions"]) >= {"qad-dl", "torch", "onnxruntime"}
        assert manifest["parity"] < 2e-4

    def test_a_network_that_has_not_learned_what_to_doubt_is_told_by_errors_alone(
        self, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        period = (f"store={world.store}", f"data.start={START}", f"data.end={TRAINED}", "trainer=smoke")
        assert start_in_process(*period, f"bundle={tmp_path / 'bundle'}", SMALL, "trainer.limit_batches=2") == 0
        read = read_bundle(tmp_path / "bundle")
        assert 0 <= read.manifest["doubts"] < DOUBT_LEARNED
        assert read.calibration.signatures is not None
        assert read.calibration.signatures.to_json() == shipped_signatures(SHIPPED_LINEAR).to_json()
        assert read.manifest["horizons"] == [1, 6, 18]
        said = f"differ by {read.manifest['doubts']:.2g}"
        assert said in capsys.readouterr().err
        assert "incidents are told by | the signatures of errors of the linear part: " in card("it", read)

    def test_checkpoints_load_without_running_code(self, bundle: Path) -> None:
        for name in ("best.ckpt", "last.ckpt"):
            saved = torch.load(bundle.with_name("bundle.run") / name, weights_only=True)
            module = AutoencoderModule(**saved["hyper_parameters"])
            module.load_state_dict(saved["state_dict"])

    def test_the_losses_are_logged(self, bundle: Path) -> None:
        header = (bundle.with_name("bundle.run") / "metrics.csv").read_text().splitlines()[0]
        assert {"train_loss", "val_loss"} <= set(header.split(","))

    def test_every_epoch_is_validated_however_many_batches_it_has(self, world: World, tmp_path: Path) -> None:
        sizes = (
            f"bundle={tmp_path / 'bundle'}",
            "trainer.epochs=5",
            "trainer.limit_batches=null",
            "trainer.outputs=120",
        )
        fitted(world, *sizes, "trainer.batch_size=4", "seed=2")
        with (tmp_path / "bundle.run" / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        ends = [int(r["step"]) for r in rows if r["train_loss"]]
        assert len({b - a for a, b in itertools.pairwise([-1, *ends])}) > 1  # else this shows nothing
        assert [r["epoch"] for r in rows if r["val_loss"]] == ["0", "1", "2", "3", "4"]

    def test_an_lstm_and_another_tick_length(self, world: World, hourly: Path) -> None:
        path = world.path / "lstm"
        period = (f"store={hourly}", f"data.start={START}", f"data.end={TRAINED}", "trainer=smoke")
        assert start_in_process(*period, f"bundle={path}", "model=lstm") == 0
        scorer = Scorer.load(path)
        assert scorer.bundle.preprocess.tick == Tick(60)
        end = np.datetime64(TRAINED, "s")
        results = run_backtest(Store.open(hourly), scorer, end, end + np.timedelta64(6, "h"))
        assert results.score.shape[1] == 6
        assert np.isfinite(results.score[[s[0] in world.queues for s in results.series]]).mean() > 0.9


class TestSeed:
    def test_the_same_seed_gives_the_same_bundle(self, world: World, train: Train, bundle: Path) -> None:
        again = world.path / "again"
        assert train(f"bundle={again}", "model=tcn") == 0
        for name in ("model.onnx", "preprocess.json", "calibration.json", "detection.json"):
            assert (again / name).read_bytes() == (bundle / name).read_bytes(), name

    def test_a_history_on_s3_gives_the_same_bundle(self, world: World, bundle: Path, s3: S3, tmp_path: Path) -> None:
        address = f"{s3.bucket()}/history"
        words = ["--jobs", str(world.jobs), "--cric", str(world.path / "cric.json")]
        assert qad(["import", address, *words, "--downtimes", str(world.path / "downtimes.csv")]) == 0
        period = (f"store={address}", f"data.start={START}", f"data.end={TRAINED}", "trainer=smoke")
        with doubts_are_read():
            assert start_in_process(*period, f"bundle={tmp_path / 'bundle'}", "model=tcn") == 0
        for name in ("model.onnx", "preprocess.json", "calibration.json", "detection.json"):
            assert (tmp_path / "bundle" / name).read_bytes() == (bundle / name).read_bytes(), name

    @pytest.mark.parametrize("address", ["s3://a-bucket/some/where", "influxdb://me@127.0.0.1:8086/monit", "store"])
    def test_any_address_is_a_setting(self, address: str) -> None:
        with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
            settings = read_settings(hydra.compose("train", [f"store={address}", "bundle=bundle", "trainer=smoke"]))
        assert settings.store == address

    def test_the_seed_fixes_the_weights_and_another_gives_others(self, world: World, tmp_path: Path) -> None:
        one, two, other = (
            weights(fitted(world, f"bundle={tmp_path / str(i)}", f"seed={seed}")) for i, seed in enumerate((3, 3, 4))
        )
        assert np.array_equal(one, two)
        assert not np.allclose(one, other)


class TestResume:
    def test_it_goes_on_from_the_checkpoint(
        self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options = (f"bundle={tmp_path / 'bundle'}", "trainer.epochs=3")
        epochs: list[int] = []
        whole = AutoencoderModule.on_train_epoch_start

        def watched(self: AutoencoderModule) -> None:
            epochs.append(self.current_epoch)
            if epochs == [0, 1]:
                raise RuntimeError("the host goes down")
            whole(self)

        monkeypatch.setattr(AutoencoderModule, "on_train_epoch_start", watched)
        with pytest.raises(RuntimeError, match="goes down"):
            fitted(world, *options)
        path = tmp_path / "bundle.run" / "metrics.csv"
        before = [row for row in csv.DictReader(path.read_text().splitlines()) if row["epoch"] == "0"]
        fitted(world, *options, "resume=true")
        assert epochs == [0, 1, 1, 2]
        rows = list(csv.DictReader(path.read_text().splitlines()))
        assert [row["epoch"] for row in rows if row["val_loss"]] == ["0", "1", "2"]
        steps = [int(row["step"]) for row in rows if row["train_loss"]]
        assert steps == sorted(set(steps)), "an epoch that is done again is there once"
        assert [{k: row[k] for k in before[0]} for row in rows[: len(before)]] == before

    def test_another_configuration_is_refused(self, world: World, tmp_path: Path, train: Train, capsys) -> None:
        options = (f"bundle={tmp_path / 'bundle'}", SMALL, "trainer.limit_batches=2")
        fitted(world, *options)
        assert train(*options, "resume=true", "model.latent=7") == 2
        assert "another configuration" in capsys.readouterr().err

    def test_without_a_checkpoint_it_begins(self, world: World, tmp_path: Path) -> None:
        assert fitted(world, f"bundle={tmp_path / 'bundle'}", "resume=true") is not None


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["seeed=1"], "seeed"),
        (["model=transformer"], "transformer"),
        (["trainer.epochs=0"], "trainer.epochs"),
        (["trainer.epochs=many"], "trainer.epochs"),
        (["trainer.learning_rate=fast"], "trainer.learning_rate"),
        (["trainer.limit_batches=0"], "trainer.limit_batches"),
        (["model.encoder=rnn"], "model.encoder"),
        (["model.latent=wide"], "model.latent"),
        (["model.horizons=6"], "model.horizons"),
        (["calibration.combine=median"], "give max or mean"),
        (["calibration.whiten=true"], "signatures read evidence as it is"),
        (["model.horizons=[1,200]", "calibration.channels=[[1,0.3]]", "calibration.signatures=false"], "further than"),
        (["model.masking.ids=1.5"], "model.masking.ids"),
        (["calibration.channels=[[2,0.3]]"], "calibration.channels"),
        (["calibration.channels=[0.3]"], "calibration.channels"),
        (["calibration.channels=[[1,0.3,mine]]"], "and after them own"),
        (["calibration.channels=[[1,0.3,doubt]]", "calibration.signatures=false"], "give it the weight 1"),
        (["calibration.shared=[site]"], "calibration.shared: no field 'site'"),
        (["calibration.shared=[prod_source]"], "there are: atlas_site, "),
        (["model.spread=linear"], "one spread for all errors"),
        (["model.identity=maybe"], "model.identity"),
        (["model.identity=false", "data.metadata=[]"], "metadata that a series is known by"),
        (["data.held_out=1.5"], "data.held_out"),
        (["data.start=yesterday"], "data.start"),
        (["data.start=2026-01-12", "data.end=2026-01-11"], "data.start"),
        (["data.start=2027-01-01", "data.end=2027-02-01"], "the store holds"),
        (["data.end=2026-01-07"], "too few"),
        (["data.entity=panda_queue"], "data.entity"),
        (["data.entity=[]"], "data.entity"),
        (["data.entity=[atlas_sight]"], "atlas_sight"),
        (["data.select={clout: DE}"], "clout"),
        (["data.select={cloud: MARS}"], "no series"),
        (["data.select=DE"], "data.select"),
        (["store=nowhere"], "nowhere"),
        (["seed=5000000000"], "seed"),
        (["seed=-1"], "seed"),
        (["data.learn_suspects=maybe"], "data.learn_suspects"),
        (["trainer.precision=tiny"], "trainer.precision"),
        (["model.settings=tiny"], "model.settings"),
        (["model.settings={colour: 8}"], "colour"),
        (["model.settings.levels=none"], "model.settings.levels"),
        (["trainer=gpu"], "trainer.accelerator"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_makes_no_sense_is_one_line_and_exit_code_2(
    train: Train, tmp_path: Path, capsys, overrides: list[str], said: str
) -> None:
    if overrides == ["trainer=gpu"] and torch.cuda.is_available():
        pytest.skip("there is a GPU, so trainer=gpu makes sense")
    assert train(f"bundle={tmp_path / 'bundle'}", *overrides) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("training.train: ")
    assert said in lines[0]
    assert not (tmp_path / "bundle").exists()


def test_store_and_bundle_must_be_given(capsys) -> None:
    for options, missing in ((["trainer=smoke"], "bundle"), (["bundle=x"], "store"), (["store=x"], "bundle")):
        assert start_in_process(*options) == 2
        assert f"{missing} is missing" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["a file", "a folder of somebody"])
def test_a_bundle_never_takes_the_place_of_something_else(train: Train, tmp_path: Path, capsys, what: str) -> None:
    path = tmp_path / "thesis"
    if what == "a file":
        path.write_text("years of work")
    else:
        path.mkdir()
        (path / "chapter1").write_text("years of work")
    assert train(f"bundle={path}") == 2
    assert "something else" in capsys.readouterr().err
    assert (path if path.is_file() else path / "chapter1").read_text() == "years of work"


def test_a_short_period_has_parts_for_all(world: World, tmp_path: Path) -> None:
    """Four days: 1.2 of them held out, of which less than one window of the model stops the training."""
    options = [f"bundle={tmp_path / 'bundle'}", "data.end=2026-01-08T12:00", SMALL]
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = hydra.compose("train", [f"store={world.store}", f"data.start={START}", "trainer=smoke", *options])
    settings = read_settings(config)
    period = load_period(settings)
    assert period.validation[1] - period.validation[0] < period.preprocess.plan.stride
    fit_network(settings, period)


def test_no_bundle_without_parity(train: Train, world: World, bundle: Path, monkeypatch, capsys) -> None:
    before = read_bundle(bundle).name
    export = training.freeze.export_network

    def differs(network: MaskedAutoencoder, *rest: object) -> None:
        export(network, *rest)
        with torch.no_grad():
            network.decoders[0].net[-1].bias += 0.01

    monkeypatch.setattr(training.freeze, "export_network", differs)
    assert train(f"bundle={bundle}", f"run_dir={world.path / 'other.run'}", SMALL, "seed=8") == 2
    assert "no bundle was written" in capsys.readouterr().err
    assert read_bundle(bundle).name == before


@pytest.mark.parametrize(
    ("name", "overrides", "columns"),
    [
        ("site", ["data.entity=[atlas_site]"], ["atlas_site"]),
        ("cloud", ["data.entity=[cloud]"], ["cloud"]),
        ("full", ["data.entity=[panda_queue,prod_source,resource]"], ["panda_queue", "prod_source", "resource"]),
        ("select", ["data.select={cloud: CLOUD}"], ["panda_queue"]),
    ],
)
def test_other_series_and_selections(
    world: World, hourly: Path, train: Train, tmp_path: Path, name: str, overrides: list[str], columns: list[str]
) -> None:
    records = json.loads((world.path / "cric.json").read_text())
    cloud = next(iter(records.values()))["cloud"]
    path, out = tmp_path / name, tmp_path / "scores.parquet"
    options = [o.replace("CLOUD", cloud) for o in overrides]
    assert train(f"store={hourly}", f"bundle={path}", *SMALL_LSTM, "trainer.limit_batches=2", *options) == 0
    period = ["--start", TRAINED, "--end", "2026-01-11T06:00"]
    assert qad(["backtest", str(hourly), "--bundle", str(path), *period, "--out", str(out)]) == 0
    table = pq.read_table(out)
    assert table.column_names[1 : 1 + len(columns)] == columns
    assert table["score"].null_count < table.num_rows / 4
    if name == "select":
        wanted = {q for q, r in records.items() if r["cloud"] == cloud}
        assert set(table["panda_queue"].to_pylist()) - {"GONE", "NEW"} == wanted & set(world.queues)
    if name in ("site", "cloud"):
        values = {r.get(columns[0], "") or "" for r in records.values()}
        assert set(table[columns[0]].to_pylist()) <= values | {""}
