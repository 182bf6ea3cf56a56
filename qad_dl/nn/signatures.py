"""Learning what incidents look like: a causal classifier of evidence into kinds and normal life.

First of the evidence alone; then, with all of that kept as it is, what the metadata of a queue change in it. So a queue
of which nothing is known is told as if metadata had never been learned from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch
from torch import nn

from qad_dl.progress import progress
from qad_dl.signatures import Convolution, Signatures

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
        said: [N, M] float32, 1 where the metadata of the series say one of the `words`.
    """

    evidence: NDArray[np.float16]
    kind: NDArray[np.int64]
    weight: NDArray[np.float32]
    normal: NDArray[np.bool_]
    said: NDArray[np.float32]


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
        metadata_steps, metadata_rate: batches and learning rate of what metadata change.
    """

    hidden: int
    dilations: tuple[int, ...]
    steps: int
    batch: int
    learning_rate: float
    weight_decay: float
    dropout: float
    seed: int
    metadata_steps: int
    metadata_rate: float


class Network(nn.Module):
    """The formula of `qad_dl.signatures`, with normal life as a last class; metadata change nothing at first."""

    def __init__(self, inputs: int, classes: int, words: int, plan: Plan) -> None:
        super().__init__()
        self.dilations = plan.dilations
        self.enter = nn.Linear(inputs, plan.hidden)
        self.course = nn.ModuleList(nn.Conv1d(plan.hidden, plan.hidden, 3, dilation=d) for d in plan.dilations)
        self.drop = nn.Dropout(plan.dropout)
        self.leave = nn.Linear(plan.hidden, classes)
        self.about = nn.Parameter(torch.zeros(words, plan.hidden))

    def forward(self, f: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        """Logits [B, T, C] of evidence [B, T, P S] and what metadata say [B, M]."""
        entered = self.enter(f) + (said @ self.about).unsqueeze(1)
        h = nn.functional.silu(entered).transpose(1, 2)  # [B, D, T]
        for convolution, d in zip(self.course, self.dilations, strict=True):
            h = h + self.drop(nn.functional.silu(convolution(nn.functional.pad(h, (2 * d, 0)))))
        logits: torch.Tensor = self.leave(h.transpose(1, 2))
        return logits


def fit_signatures(
    worlds: Sequence[Course],
    states: Sequence[str],
    channels: Sequence[ChannelName],
    kinds: Sequence[str],
    words: Sequence[tuple[str, str]],
    plan: Plan,
) -> Signatures:
    """Fit by cross-entropy, all incidents together weighted like all normal life.

    With equal weights, logit(kind) - logit(normal life) is ln p(f | kind) / p(f | normal life) plus the kind's share.
    """
    torch.manual_seed(plan.seed)
    network = Network(worlds[0].evidence.shape[2], len(kinds) + 1, len(words), plan)
    _learn(network, _batches(worlds, len(kinds), plan, metadata=False), plan.steps, plan.learning_rate, plan)
    if words:
        learn_metadata(network, worlds, len(kinds), plan)
    return _frozen(network.eval(), states, channels, kinds, words)


def learn_metadata(network: Network, worlds: Sequence[Course], n_kinds: int, plan: Plan) -> None:
    """Learn what metadata change in a network that has learned from evidence; all else stays as it is."""
    network.eval().requires_grad_(requires_grad=False)
    network.about.requires_grad_()
    _learn(network, _batches(worlds, n_kinds, plan, metadata=True), plan.metadata_steps, plan.metadata_rate, plan)


def _learn(network: Network, batches: Iterator[Batch], steps: int, rate: float, plan: Plan) -> None:
    """So many steps of all that is to be learned."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, rate, weight_decay=plan.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    for _ in progress(range(steps), "signatures", unit="batch"):
        loss = _loss(network, next(batches))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation here
        nn.utils.clip_grad_norm_(parameters, GRADIENT)
        optimizer.step()
        schedule.step()


def _loss(network: Network, batch: Batch) -> torch.Tensor:
    """Cross-entropy under the weights."""
    each = nn.functional.cross_entropy(network(batch.f, batch.said).transpose(1, 2), batch.kind, reduction="none")
    return (each * batch.weight).sum()


class Batch(NamedTuple):
    """Crops of series.

    Attributes:
        f: evidence [B, T, P S].
        said: what metadata say [B, M].
        kind: class [B, T].
        weight: [B, T]; incidents and normal life weigh 1 each.
    """

    f: torch.Tensor
    said: torch.Tensor
    kind: torch.Tensor
    weight: torch.Tensor


def _batches(worlds: Sequence[Course], n_kinds: int, plan: Plan, metadata: bool) -> Iterator[Batch]:
    """Crops, half of them of incidents; with what metadata say, or as if nothing were known."""
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
        said = np.stack([one.said[i] for one, i, _ in (*hit, *quiet)]) * np.float32(metadata)
        yield Batch(*map(torch.from_numpy, (f, said, np.stack(kind), weight)))


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
    network: Network,
    states: Sequence[str],
    channels: Sequence[ChannelName],
    kinds: Sequence[str],
    words: Sequence[tuple[str, str]],
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
        words=tuple(words),
        about=array(network.about) if words else None,
    )
