"""Train one model over all entities of a benchmark, score their test parts, hold the scores against the labels.

python -m training.benchmark dataset=DIR out=DIR [model=tcn|lstm] [peers=all|none|'[ridge,pca,...]'] [seed=1]
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from training.start import start

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    """The story of a benchmark."""
    from training.benchmark.dataset import read_dataset
    from training.benchmark.settings import read_benchmark
    from training.benchmark.steps import judge, score_model, score_peers, train_model

    settings = read_benchmark(config)
    data = read_dataset(settings.dataset, settings.tick)
    train_model(settings, data)
    scores = {settings.model: score_model(settings, data), **score_peers(settings, data)}
    summary = judge(settings, data, scores)
    sys.stderr.write(f"scores of {len(data.names)} entities written to {settings.out}\n")
    if summary:
        print(summary)


if __name__ == "__main__":
    start(main, "benchmark", "training.benchmark")
