"""Scores from a network that goes tick by tick are those of the whole network, whatever happens in between."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from qad_dl import reconstruction as reconstruction_module
from qad_dl.arrow import from_numpy
from qad_dl.backtest import read_grid
from qad_dl.carrying import roll
from qad_dl.grid import build_grid, times_of
from qad_dl.nn.export import export_network, export_stream
from qad_dl.nn.modules import MaskedAutoencoder, Shape
from qad_dl.reconstruction import reconstruct_newest
from qad_dl.scorer import Scorer
from qad_dl.store import Store
from tests.light.made import START, TICK
from tests.light.made_bundle import HORIZONS, METADATA, QUEUES, STATES, fitted, made_history, write_made_bundle

if TYPE_CHECKING:
    from pathlib import Path

PREPROCESS = fitted()
PLAN = PREPROCESS.plan


def network() -> MaskedAutoencoder:
    """One with random weights, that all of its inputs have a say in."""
    torch.manual_seed(5)
    vocabulary = tuple(len(v) for v in PREPROCESS.vocabularies)
    shape = Shape(len(STATES), 6, vocabulary, PLAN.context, PLAN.day, HORIZONS, 12)
    settings = {"channels": 8, "levels": 6, "kernel": 3, "dropout": 0.0}
    made = MaskedAutoencoder(shape, "tcn", latent=6, hidden=8, embedding=4, settings=settings)
    made.highway.table.normal_(0, 0.05)
    with torch.no_grad():
        for decoder in made.decoders:
            decoder.net[-1].weight.normal_(0, 0.5)
    return made.eval()


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    folder, net = tmp_path_factory.mktemp("bundle"), network()
    grid = build_grid(made_history(4), TICK.range(START, START + 4 * TICK.per_day * TICK.delta), TICK, METADATA)
    prepared, series = PREPROCESS.prepare(grid, METADATA), np.arange(len(QUEUES))
    example = PREPROCESS.cut(prepared, series, np.full(len(series), 2 * PLAN.day), PLAN.stride)
    export_network(net, example, folder / "model.onnx")
    stream, _ = export_stream(net, example, folder)
    assert stream is not None
    write_made_bundle(folder / "made", network=((folder / "model.onnx").read_bytes(), stream))
    return Scorer.load(folder / "made", 1)


class Counted:
    """How many series each network for one tick was shown, by tick."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.ticks: list[dict[str, int]] = []

    def __call__(self, model: Any, preprocess: Any, prepared: Any, series: Any, before: Any = None) -> Any:
        which = "step" if model is self.scorer.judge.networks.step else "prime"
        self.ticks[-1][which] = self.ticks[-1].get(which, 0) + len(series)
        return reconstruct_newest(model, preprocess, prepared, series, before)


HAPPENS = "nothing", "other metadata", "a gap where the window begins", "a missed tick", "every tick is killed once"


@pytest.mark.parametrize("happens", HAPPENS)
def test_over_the_end_of_a_window(
    scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, happens: str
) -> None:
    midnight = 4 * TICK.per_day
    counted = Counted(scorer)
    monkeypatch.setattr(reconstruction_module, "reconstruct_newest", counted)
    rows, store = made_history(4.1), Store.create(tmp_path / "store")
    position = (times_of(rows) - START) // TICK.delta
    gap = midnight - PLAN.context + np.arange(-2, 3) if happens.startswith("a gap") else []
    rows = rows.filter(from_numpy(~np.isin(position, gap), pa.bool_()))
    position = (times_of(rows) - START) // TICK.delta
    first = midnight - 4
    store.put(rows.filter(from_numpy(position < first, pa.bool_())))
    store.add_metadata(METADATA.dumps[0], START)
    if happens == "other metadata":
        moved = {**METADATA.dumps[0], "Q2": {**METADATA.dumps[0]["Q2"], "cloud": "DE"}}
        store.add_metadata(moved, START + (midnight - 20) * TICK.delta)
    for tick in range(first, midnight + 3):
        now = START + tick * TICK.delta
        store.append(rows.filter(from_numpy(position == tick, pa.bool_())))
        if happens == "a missed tick" and tick == midnight - 2:
            continue
        if happens == "every tick is killed once":
            counted.ticks.append({})
            kept, metadata = roll(tmp_path / "kept", store, scorer.bundle, now)
            with closing(kept):
                scorer.score_last(kept, metadata)
            counted.ticks.pop()
        counted.ticks.append({})
        kept, metadata = roll(tmp_path / "kept", store, scorer.bundle, now)
        with closing(kept):
            results = scorer.score_last(kept, metadata)
            kept.save()
        grid = read_grid(store, PREPROCESS, now, now + TICK.delta, metadata)
        wanted = scorer.score_grid(grid, metadata, len(grid.times) - 1, details=True)
        assert wanted.series == results.series
        np.testing.assert_allclose(results.score, wanted.score, atol=1e-5)
        np.testing.assert_allclose(results.details.reconstruction, wanted.details.reconstruction, rtol=1e-5)
    every, steps = {"prime": len(QUEUES)}, {"step": len(QUEUES)}
    expected = {
        "nothing": [every, *[steps] * 6],
        "other metadata": [every, *[steps] * 3, {"step": len(QUEUES) - 1, "prime": 1}, *[steps] * 2],
        "a gap where the window begins": [every, *[steps] * 3, every, *[steps] * 2],
        "every tick is killed once": [every, *[steps] * 6],
        "a missed tick": [every, steps, every, *[steps] * 3],
    }
    assert counted.ticks == expected[happens]
