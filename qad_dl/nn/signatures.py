"""Learning what incidents look like: a classifier of evidence into kinds and normal life, as log-likelihood ratios."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from qad_dl.progress import progress
from qad_dl.signatures import Signatures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BATCH = 2048
DROPOUT = 0.1
CLIP = 8.0


@dataclass(frozen=True)
class Examples:
    """Evidence to learn from.

    Attributes:
        evidence: [n, P S] float32, scaled.
        kind: [n] int64, index of the kind; K for normal life.
        weight: [n] float64; those of the incidents and those of normal life each sum to 1.
    """

    evidence: NDArray[np.float32]
    kind: NDArray[np.int64]
    weight: NDArray[np.float64]


def fit_signatures(
    examples: Examples,
    states: Sequence[str],
    channels: Sequence[tuple[int, float]],
    kinds: Sequence[str],
    hidden: int,
    epochs: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
) -> Signatures:
    """Fit one hidden layer by cross-entropy, kinds and normal life weighted alike.

    With equal weights, logit(kind) - logit(normal life) is ln p(f | kind) / p(f | normal life) plus the kind's share.
    """
    torch.manual_seed(seed)
    k = len(kinds)
    enter, leave = nn.Linear(examples.evidence.shape[1], hidden), nn.Linear(hidden, k + 1)
    net = nn.Sequential(enter, nn.SiLU(), nn.Dropout(DROPOUT), leave)
    x = torch.from_numpy(np.clip(examples.evidence, -CLIP, CLIP))
    y, w = torch.from_numpy(examples.kind), torch.from_numpy((examples.weight * len(x) / 2).astype(np.float32))
    steps = epochs * (len(x) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, steps)
    for _ in progress(range(epochs), "signatures", unit="epoch"):
        order = torch.randperm(len(x))
        for i in range(len(x) // BATCH):
            at = order[i * BATCH : (i + 1) * BATCH]
            loss = (nn.functional.cross_entropy(net(x[at]), y[at], reduction="none") * w[at]).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation here
            optimizer.step()
            schedule.step()
    v, c = leave.weight.detach().numpy(), leave.bias.detach().numpy()
    return Signatures(
        states=tuple(states),
        channels=tuple(channels),
        kinds=tuple(kinds),
        clip=CLIP,
        enter=np.ascontiguousarray(enter.weight.detach().numpy().T),
        enter_bias=enter.bias.detach().numpy(),
        leave=np.ascontiguousarray((v[:k] - v[k:]).T),
        leave_bias=c[:k] - c[k],
    )
