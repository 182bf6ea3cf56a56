"""What is needed on measurements of other systems: what `make benchmark` found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

FOUND = Path(__file__).resolve().parents[2] / "checkpoints" / "benchmark"
OF_BEST_PEER = 1.15
RIDGE_AUC_PR = 0.36
"""With less the linear peer is broken, and being better than it says nothing."""


@pytest.mark.parametrize("figure", ["vus_pr", "auc_pr"])
def test_better_than_the_best_peer(figure: str) -> None:
    peers = {name: found["mean"][figure] for name, found in _read("peers.json").items()}
    ours = _read("summary.json")["mean"][figure]
    best = max(peers, key=lambda name: peers[name])
    print(f"{figure}: {ours:.3f}, {ours / peers[best]:.2f} times {best} ({peers[best]:.3f}); needed: {OF_BEST_PEER}")
    assert ours >= OF_BEST_PEER * peers[best]


def test_the_linear_peer_is_whole() -> None:
    ridge = _read("peers.json")["ridge"]["mean"]["auc_pr"]
    print(f"AUC-PR of the ridge autoregression: {ridge:.3f}; needed: {RIDGE_AUC_PR}")
    assert ridge >= RIDGE_AUC_PR


def _read(name: str) -> dict[str, dict[str, float]]:
    path = FOUND / name
    assert path.exists(), "run `make benchmark` first"
    found: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))
    return found
