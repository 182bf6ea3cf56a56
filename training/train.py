"""Train a bundle: history in, a verified and calibrated artefact out.

python -m training.train store=STORE bundle=DIR [model=tcn|lstm] [trainer=cpu|gpu|ddp|smoke] [data.start=T data.end=T]
                         [labels=FILE] [data.shards=FOLDER]
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from training.start import start

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    """The story of a training run."""
    from training.period import load_period
    from training.reviewed import spoken
    from training.settings import read_settings

    settings = read_settings(config)
    if settings.trainer["accelerator"] != "cpu":
        from training.ranks import check_accelerator

        check_accelerator(settings.trainer)
    period = load_period(settings)
    if period.labels is not None:
        sys.stderr.write(f"{spoken(period.labels)}\n")

    # Torch takes seconds to import: what is wrong with the configuration or the history has been said by now.
    from training.fit import fit_network
    from training.freeze import freeze
    from training.ranks import is_first
    from training.suspects import leave_out_suspects

    period = leave_out_suspects(settings, period)
    network = fit_network(settings, period)
    if not is_first():
        return  # the first of the processes that were started together writes the bundle
    name = freeze(settings, period, network)
    sys.stderr.write(f"bundle {name} written to {settings.bundle}\n")


if __name__ == "__main__":
    start(main, "train", "training.train")
