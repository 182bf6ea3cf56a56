"""The steps of a benchmark."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.metadata import Metadata
from qad_dl.scaling import Quantity
from qad_dl.scorer import Scorer
from training.benchmark.dataset import LABEL, read_labels
from training.benchmark.scores import figures, model_scores, rows_of, table, write_json, write_scores
from training.period import make_period

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from training.benchmark.dataset import Dataset
    from training.benchmark.settings import Benchmark

SUMMARY = "summary.json"
PEERS = "peers.json"


def train_model(settings: Benchmark, data: Dataset) -> None:
    """Train on the train parts as on any history; the bundle is there when this returns."""
    training = settings.training
    period = make_period(data.train(), Metadata.empty(), training.data, Quantity.MEASUREMENTS)

    # Torch takes seconds to import: what is wrong with the configuration or the data has been said by now.
    from training.fit import fit_network
    from training.freeze import freeze
    from training.suspects import leave_out_suspects

    period = leave_out_suspects(training, period)
    freeze(training, period, fit_network(training, period))


def score_model(settings: Benchmark, data: Dataset) -> NDArray[np.float64]:
    """Scores of the bundle as it was written, [N, T]."""
    return model_scores(Scorer.load(settings.training.bundle), data)


def score_peers(settings: Benchmark, data: Dataset) -> dict[str, NDArray[np.float64]]:
    """Scores of the peers, [N, T] each."""
    if not settings.peers:
        return {}
    from training.peers import peer_scores

    train = np.arange(len(data.grid.times)) < data.split
    return {
        name: peer_scores(name, data.grid, train, counts=False, seed=settings.training.seed)[:, data.split :]
        for name in settings.peers
    }


def judge(settings: Benchmark, data: Dataset, scores: Mapping[str, NDArray[np.float64]]) -> str:
    """Write scores and figures; give the table, empty where there are no labels."""
    rows = {name: rows_of(s, data) for name, s in scores.items()}
    settings.out.mkdir(parents=True, exist_ok=True)
    _tell_unscored(scores[settings.model], data)
    write_scores(settings.out, rows[settings.model])
    labels = read_labels(settings.dataset, data)
    if labels is None:
        for name in (SUMMARY, PEERS):  # those of another run would be taken for this one's
            (settings.out / name).unlink(missing_ok=True)
        sys.stderr.write(f"{settings.dataset / LABEL}: there are no labels, so there are no figures\n")
        return ""
    found = {name: figures(s, labels) for name, s in rows.items()}
    write_json(settings.out / SUMMARY, found[settings.model])
    if settings.peers:
        write_json(settings.out / PEERS, {name: f for name, f in found.items() if name != settings.model})
    return table(found, settings.model)


def _tell_unscored(scores: NDArray[np.float64], data: Dataset) -> None:
    missing = sum(int(np.isnan(scores[n, :rows]).sum()) for n, rows in enumerate(data.samples))
    if missing:
        sys.stderr.write(f"{missing} of {sum(data.samples)} rows could not be scored (missing values) and count as 0\n")
