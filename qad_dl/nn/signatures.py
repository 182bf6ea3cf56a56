"""Learning what incidents look like: a causal classifier of evidence into kinds and normal life."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import nn

from qad_dl.layers import Convolution
from qad_dl.progress import progress
from qad_dl.signatures import Signatures

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from qad_dl.signatures import ChannelName

CLIP: Final = 8.0
CROP: Final = 264
"""Ticks of a series that are learned from at once, after as many as the network reads before each."""

BEGUN: Final = 120
"""An incident begins up to this many ticks inside its crop."""

GRADIENT: Final = 1.0


@dataclass(frozen=True)
class Course:
    """Evidence of one world in its course, and what happened.

    Attributes:
        evidence: [N, T, P S] float16, scaled.
        kind: [N, T] int64, index of the kind where an incident is.
        weight: [N, T] float32, how much a tick of an incident counts; 0 elsewhere. Each incident sums to 1.
        normal: [N, T] bool, known to be normal life.
    """

    evidence: NDArray[np.float16]
    kind: NDArray[np.int64]
    weight: NDArray[np.float32]
    normal: NDArray[np.bool_]


@dataclass(frozen=True)
class Plan:
    """How to learn.

    Attributes:
        hidden: width D.
        dilations: of the convolutions, in order.
        steps: batches.
        batch: crops in a batch, half of them of incidents.
        learning_rate, weight_decay, dropout: of AdamW with one cycle, and after each convolution.
        seed: fixes everything.
    """

    hidden: int
    dilations: tuple[int, ...]
    steps: int
    batch: int
    learning_rate: float
    weight_decay: float
    dropout: float
    seed: int


class Network(nn.Module):
    """The formula of `qad_dl.signatures`, with normal life as a last class."""

    def __init__(self, inputs: int, classes: int, plan: Plan) -> None:
        super().__init__()
        self.dilations = plan.dilations
        self.enter = nn.Linear(inputs, plan.hidden)
        self.course = nn.ModuleList(nn.Conv1d(plan.hidden, plan.hidden, 3, dilation=d) for d in plan.dilations)
        self.drop = nn.Dropout(plan.dropout)
        self.leave = nn.Linear(plan.hidden, classes)

    def forward(self, f: torch.Tensor) -> torch.Tensor:
        """Logits [B, T, C] of evidence [B, T, P S]."""
        h = nn.functional.silu(self.enter(f)).transpose(1, 2)  # [B, D, T]
        for convolution, d in zip(self.course, self.dilations, strict=True):
            h = h + self.drop(nn.functional.silu(convolution(nn.functional.pad(h, (2 * d, 0)))))
        logits: torch.Tensor = self.leave(h.transpose(1, 2))
        return logits


def fit_signatures(
    worlds: Sequence[Course],
    states: Sequence[str],
    channels: Sequence[ChannelName],
    kinds: Sequence[str],
    plan: Plan,
) -> Signatures:
    """Fit by cross-entropy, all incidents together weighted like all normal life.

    With equal weights, logit(kind) - logit(normal life) is ln p(f | kind) / p(f | normal life) plus the kind's share.
    """
    torch.manual_seed(plan.seed)
    network = Network(worlds[0].evidence.shape[2], len(kinds) + 1, plan)
    optimizer = torch.optim.AdamW(network.parameters(), plan.learning_rate, weight_decay=plan.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.learning_rate, plan.steps)
    batches = _batches(worlds, len(kinds), plan)
    for _ in progress(range(plan.steps), "signatures", unit="batch"):
        loss = _loss(network, *next(batches))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation here
        nn.utils.clip_grad_norm_(network.parameters(), GRADIENT)
        optimizer.step()
        schedule.step()
    return _frozen(network.eval(), states, channels, kinds)


def _loss(network: Network, f: torch.Tensor, kind: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Cross-entropy under the weights."""
    each = nn.functional.cross_entropy(network(f).transpose(1, 2), kind, reduction="none")
    return (each * weight).sum()


def _batches(
    worlds: Sequence[Course], n_kinds: int, plan: Plan
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Evidence [B, T, P S], class [B, T] and weight [B, T]; incidents and normal life weigh 1 each."""
    rng = np.random.default_rng(plan.seed)
    warm = 2 * sum(plan.dilations)
    begun = [(w, int(i), int(t)) for w, one in enumerate(worlds) for i, t in _onsets(one.weight)]
    while True:
        hit = [_crop(worlds, begun[rng.integers(len(begun))], rng, warm) for _ in range(plan.batch // 2)]
        quiet = [_crop(worlds, _anywhere(worlds, rng), rng, warm) for _ in range(plan.batch - len(hit))]
        weights = [one.weight[i, at].copy() for one, i, at in hit]
        normal = [one.normal[i, at].astype(np.float32) for one, i, at in quiet]
        for each in (*weights, *normal):
            each[:warm] = 0  # read, not judged: what lies before is cut off
        f = np.stack([np.clip(one.evidence[i, at].astype(np.float32), -CLIP, CLIP) for one, i, at in (*hit, *quiet)])
        kind = [one.kind[i, at] for one, i, at in hit] + [np.full(warm + CROP, n_kinds)] * len(quiet)
        weight = np.concatenate([_shares(weights), _shares(normal)])
        yield torch.from_numpy(f), torch.from_numpy(np.stack(kind)), torch.from_numpy(weight)


def _crop(
    worlds: Sequence[Course], place: tuple[int, int, int], rng: np.random.Generator, warm: int
) -> tuple[Course, int, slice]:
    """A crop of a series in which the tick of `place` is judged, if the world is long enough."""
    world, row, tick = place
    one = worlds[world]
    first = tick - warm - int(rng.integers(0, BEGUN))
    first = min(max(first, 0), one.evidence.shape[1] - warm - CROP)
    return one, row, slice(first, first + warm + CROP)


def _anywhere(worlds: Sequence[Course], rng: np.random.Generator) -> tuple[int, int, int]:
    world = int(rng.integers(len(worlds)))
    rows, ticks = worlds[world].normal.shape
    return world, int(rng.integers(rows)), int(rng.integers(ticks))


def _onsets(weight: NDArray[np.float32]) -> NDArray[np.int64]:
    """(row, tick) at which ticks that count begin."""
    counts = np.pad(weight > 0, ((0, 0), (1, 0)))
    return np.argwhere(counts[:, 1:] & ~counts[:, :-1])


def _shares(weights: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    stacked = np.stack(weights)
    shares: NDArray[np.float32] = stacked / max(float(stacked.sum()), 1e-6)
    return shares


def _frozen(
    network: Network, states: Sequence[str], channels: Sequence[ChannelName], kinds: Sequence[str]
) -> Signatures:
    """As arrays, the logits as ratios to normal life."""
    k = len(kinds)

    def array(parameter: Any) -> NDArray[np.float32]:
        return np.ascontiguousarray(parameter.detach().numpy(), np.float32)

    v, c = array(network.leave.weight), array(network.leave.bias)
    course = tuple(
        Convolution(np.ascontiguousarray(array(conv.weight).transpose(2, 1, 0)), array(conv.bias), d)
        for conv, d in zip(network.course, network.dilations, strict=True)
    )
    return Signatures(
        states=tuple(states),
        channels=tuple(channels),
        kinds=tuple(kinds),
        clip=CLIP,
        enter=np.ascontiguousarray(array(network.enter.weight).T),
        enter_bias=array(network.enter.bias),
        course=course,
        leave=np.ascontiguousarray((v[:k] - v[k:]).T),
        leave_bias=c[:k] - c[k],
    )
