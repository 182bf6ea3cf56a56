"""All peers by name, and one function that runs any of them over a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.baseline.ridge import ridge_scores
from qad_dl.baseline.rule import rule_scores
from qad_dl.errors import ConfigError
from qad_dl.progress import progress
from training.peers.autoencoder import fit_autoencoder
from training.peers.averages import fit_averages
from training.peers.forest import fit_forest
from training.peers.kmeans import fit_kmeans
from training.peers.pca import fit_pca, fit_pca_windows
from training.peers.protocol import Fit, Setting, score_series
from training.peers.rule import fit_rule
from training.peers.seasonal import fit_seasonal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from qad_dl.grid import Grid

RULE: Final = "rule"
RIDGE: Final = "ridge"

PEERS: Final[Mapping[str, Fit]] = {
    "rule_per_queue": fit_rule,
    "averages": fit_averages,
    "pca": fit_pca,
    "pca_windows": fit_pca_windows,
    "kmeans_windows": fit_kmeans,
    "isolation_forest": fit_forest,
    "autoencoder": fit_autoencoder,
    "seasonal": fit_seasonal,
}
"""name -> what learns from one series. QMonit's rule and the ridge autoregression are in `qad_dl.baseline`."""


def peer_names(counts: bool = True) -> tuple[str, ...]:
    """Names that `peer_scores` knows; QMonit's rule is for counts alone."""
    return (*([RULE] if counts else []), RIDGE, *PEERS)


def peer_scores(
    name: str, grid: Grid, train: NDArray[np.bool_], counts: bool = True, seed: int = 1
) -> NDArray[np.float64]:
    """Let a peer learn from some ticks of a grid and score all of it.

    Args:
        name: one of `peer_names(counts)`.
        grid: the history, training time included.
        train: [T] bool, the ticks to learn from; the newest 30 % of them calibrate.
        counts: the values are counts, judged as ln(1 + count); otherwise they are judged as they are.
        seed: of whatever is random.

    Returns:
        [N, T] float64, higher is more anomalous, causal. NaN where the tick did not arrive, and all along a series that
        has less than a day to learn from or to calibrate on (QMonit's rule learns nothing).

    Raises:
        ConfigError: no such peer.
    """
    if name not in peer_names(counts):
        msg = f"peer {name!r}: give one of {', '.join(peer_names(counts))}"
        raise ConfigError(msg)
    if name == RULE:
        return rule_scores(grid)
    if name == RIDGE:
        return ridge_scores(grid, train, counts)
    setting, out = Setting(grid.tick.per_day, seed), np.full(grid.counts.shape[:2], np.nan)
    for n in progress(range(len(grid.series)), name, unit="series"):
        x = grid.counts[n].astype(np.float64)
        out[n] = score_series(PEERS[name], np.log1p(x) if counts else x, train, setting)
    return out
