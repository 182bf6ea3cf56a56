"""The peers: other ways to score the same history, each learning from the same days as the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.baseline.ridge import ridge_scores
from qad_dl.baseline.rule import rule_scores
from training.quality.known import load_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.grid import Grid
    from training.quality.parts import Made

FILE: Final = "peer.npz"


PEERS: Final[dict[str, Callable[[Grid, NDArray[np.bool_]], NDArray[np.float64]]]] = {
    "rule": lambda grid, _train: rule_scores(grid),
    "ridge": ridge_scores,
}
"""name -> (grid, ticks to train on [T]) -> scores [N, T]; higher is more anomalous, NaN where there is none."""


def make_peer(place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """Scores of one peer: `inputs` has its name and the end of the training, `made` the world."""
    (world,) = made.values()
    grid = load_grid(world.place)
    train = np.asarray(grid.times < np.datetime64(inputs["trained"]), np.bool_)
    score = PEERS[inputs["peer"]](grid, train)
    series = np.array([key[0] for key in grid.series])
    np.savez_compressed(place / FILE, score=score.astype(np.float32), times=grid.times, series=series)
    return {"scored": int(np.isfinite(score).sum())}


def peer_series(place: Path) -> tuple[tuple[str, ...], ...]:
    """Keys of the series that a peer has scored, [N]."""
    with np.load(place / FILE) as file:
        return tuple((str(name),) for name in file["series"])


def load_peer(place: Path, series: tuple[tuple[str, ...], ...], times: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """Scores of a peer for some series and ticks, [N, T]; NaN where it has none."""
    with np.load(place / FILE) as file:
        score, names, all_times = file["score"].astype(np.float64), file["series"].tolist(), file["times"]
    row = {name: i for i, name in enumerate(names)}
    first = int(np.searchsorted(all_times, times[0]))
    out = np.full((len(series), len(times)), np.nan)
    for n, key in enumerate(series):
        if key[0] in row:
            out[n] = score[row[key[0]], first : first + len(times)]
    return out
