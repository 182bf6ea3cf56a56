"""Small networks and windows, made by hand."""

from __future__ import annotations

import numpy as np
import torch

from qad_dl.nn.modules import MaskedAutoencoder, Shape
from qad_dl.windows import Windows

SHAPE = Shape(states=3, calendar=6, vocabulary=(4, 3), context=20, day=16, horizons=(1, 4), lags=5)
OUTPUTS = 8
ENCODERS = {
    "tcn": {"channels": 6, "levels": 3, "kernel": 3, "dropout": 0.0},
    "lstm": {"hidden": 6, "layers": 1, "dropout": 0.0},
}


def network(encoder: str, trained: bool = True, **options: bool) -> MaskedAutoencoder:
    """A network; `trained` gives random weights to what starts at zero."""
    torch.manual_seed(3)
    made = MaskedAutoencoder(SHAPE, encoder, latent=4, hidden=8, embedding=4, settings=ENCODERS[encoder], **options)
    made.highway.table.normal_(0, 0.1)
    made.highway.spread.uniform_(0.5, 1.5)
    if trained:
        with torch.no_grad():
            for decoder in made.decoders:
                decoder.net[-1].weight.normal_(0, 0.5)
                decoder.net[-1].bias.normal_(0, 0.5)
    return made.eval()


def windows(n: int = 5, outputs: int = OUTPUTS, seed: int = 1) -> Windows:
    """Random windows."""
    rng = np.random.default_rng(seed)
    length = SHAPE.context + outputs
    return Windows(
        values=rng.standard_normal((n, length, SHAPE.states)).astype(np.float32),
        observed=(rng.random((n, length, SHAPE.states)) < 0.9).astype(np.float32),
        calendar=rng.standard_normal((n, length, SHAPE.calendar)).astype(np.float32),
        static_cat=np.stack([rng.integers(0, v, n) for v in SHAPE.vocabulary], axis=1),
        static_num=rng.standard_normal((n, 2 * SHAPE.states)).astype(np.float32),
    )


def run(net: MaskedAutoencoder, batch: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Reconstruction and spread as numpy arrays."""
    with torch.no_grad():
        location, spread = net(**{k: torch.from_numpy(v) for k, v in batch.feeds().items()})
    return location.numpy(), spread.numpy()
