"""Batches for training, cut by the same code that serves: `Preprocess.cut`."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import CUDAAccelerator
from torch import Tensor
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from qad_dl.prepared import Rows, Windowed
    from qad_dl.preprocess import Preprocess

Batch: TypeAlias = dict[str, Tensor]
"""The inputs of the network by name, and `target` and `weight`, both [B, M, S]."""


SERIES_BLOCK: Final = 64
"""Series whose ticks are counted at a time, when an epoch's windows are placed."""

MOST_CUTTERS: Final = 4
"""Threads that cut batches ahead."""


@dataclass(frozen=True)
class Masking:
    """What is hidden from the network in training, so that it learns to do without.

    Attributes:
        ticks: share of ticks of which every state is hidden (missing ticks).
        cells: share of single (tick, state) cells.
        ids: share of ids that are turned into the unknown one.
    """

    ticks: float = 0.03
    cells: float = 0.03
    ids: float = 0.05


class WindowBatches(Dataset[Batch]):
    """All windows of a time range as ready-made batches: item i is batch i.

    In training every epoch cuts at new random places (seeded by `seed` and `epoch`); for validation `masking` is None
    and the places are fixed, end to end.

    Where several processes train together, each has its `share` of every batch.
    """

    def __init__(
        self,
        preprocess: Preprocess,
        prepared: Windowed,
        weight: Rows,
        span: tuple[int, int],
        outputs: int,
        batch_size: int,
        masking: Masking | None,
        seed: int = 0,
    ) -> None:
        """Describe the windows.

        Args:
            preprocess: how windows are cut.
            prepared: the grid.
            weight: [N, T] which ticks count in the loss.
            span: first and one past the last grid position that may be reconstructed.
            outputs: ticks reconstructed per window; all of the span where that is shorter.
            batch_size: windows per batch.
            masking: what to hide; None for validation.
            seed: of places and masks.
        """
        self.preprocess, self.prepared, self.weight = preprocess, prepared, weight
        self.span, self.outputs, self.batch_size = span, min(outputs, span[1] - span[0]), batch_size
        self.masking, self.seed = masking, seed
        self.rank, self.ranks = 0, 1
        self.set_epoch(0)

    def share(self, rank: int, ranks: int) -> WindowBatches:
        """The same batches, of each every `ranks`-th window from `rank` on: places and masks are those of the whole."""
        mine = copy(self)
        mine.rank, mine.ranks = rank, ranks
        return mine

    def set_epoch(self, epoch: int) -> None:
        """Choose the places of this epoch's windows."""
        self.epoch = epoch
        rng = np.random.default_rng([self.seed, epoch])
        start, end = self.span
        # At least one window fits after the shift, however short the span.
        shift = int(rng.integers(min(self.outputs, end - start - self.outputs + 1))) if self.masking else 0
        firsts = np.arange(start + shift, end - self.outputs + 1, self.outputs)
        counted = self._counted(firsts)
        order = rng.permutation(counted) if self.masking else counted
        self.series, place = np.divmod(order, len(firsts))
        self.first = firsts[place]

    def _counted(self, firsts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Windows with at least one tick that counts: number of the series times that of places, and the place."""
        found = []
        for low in range(0, len(self.weight), SERIES_BLOCK):
            totals = np.pad(np.cumsum(self.weight[low : low + SERIES_BLOCK], axis=1), ((0, 0), (1, 0)))
            counts = totals[:, firsts + self.outputs] > totals[:, firsts]
            found.append(low * len(firsts) + np.flatnonzero(counts))
        return np.concatenate(found)

    def __len__(self) -> int:
        """Number of batches."""
        return -(-len(self.series) // self.batch_size)

    def __getitem__(self, index: int) -> Batch:
        """Cut batch `index`, or this process's share of it.

        Where a batch has fewer windows than there are processes, one without a share gets the first window, and nothing
        in it counts: all processes must take as many steps.
        """
        if index >= len(self):
            raise IndexError(index)
        at = slice(index * self.batch_size, (index + 1) * self.batch_size)
        size = len(self.series[at])
        mine = np.arange(self.rank, size, self.ranks)
        rows = mine if mine.size else np.zeros(1, np.int64)
        series, first = self.series[at][rows], self.first[at][rows]
        hidden = self._hidden(index, size)
        windows = self.preprocess.cut(
            self.prepared, series, first, self.outputs, None if hidden is None else hidden[rows]
        )
        batch = {name: torch.from_numpy(array) for name, array in windows.feeds().items()}
        ticks = first[:, None] + np.arange(self.outputs)
        target = self.prepared.values[series[:, None], ticks]
        counts = self.weight[series[:, None], ticks][:, :, None] & np.isfinite(target) & bool(mine.size)
        batch["target"] = torch.from_numpy(np.where(counts, target, 0).astype(np.float32))
        batch["weight"] = torch.from_numpy(counts.astype(np.float32))
        return batch

    def _hidden(self, index: int, size: int) -> NDArray[np.bool_] | None:
        if self.masking is None:
            return None
        rng = np.random.default_rng([self.seed, self.epoch, index])
        length = self.preprocess.plan.context + self.outputs
        ticks = rng.random((size, length, 1), np.float32) < self.masking.ticks
        cells = rng.random((size, length, len(self.preprocess.states)), np.float32) < self.masking.cells
        return np.asarray(ticks | cells)


class BatchStream:
    """The batches of an epoch in their order, some of them cut by threads before they are asked for.

    An accelerator would wait for every batch that is cut when it is asked for. Threads and not processes: what is cut
    from is in memory once, and where it is mapped the pages are shared.
    """

    def __init__(self, dataset: WindowBatches, ahead: int, pinned: bool) -> None:
        """Describe it.

        Args:
            dataset: cuts them.
            ahead: batches that are ready or in work beside the one that is used; 0 to cut each when it is asked for.
            pinned: in memory from which an NVIDIA device copies while it computes.
        """
        self.dataset, self.ahead, self.pinned = dataset, ahead, pinned

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.dataset)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the epoch that the dataset is at when the first is asked for."""
        if not self.ahead:
            yield from (self._cut(i) for i in range(len(self)))
            return
        with ThreadPoolExecutor(min(self.ahead, MOST_CUTTERS), "cut") as pool:
            rest, coming = iter(range(len(self))), deque[Future[Batch]]()
            try:
                coming.extend(pool.submit(self._cut, i) for i in islice(rest, self.ahead))
                while coming:
                    batch = coming.popleft().result()
                    coming.extend(pool.submit(self._cut, i) for i in islice(rest, 1))
                    yield batch
            finally:
                for one in coming:  # who stops early does not wait for what was still to be cut
                    one.cancel()

    def _cut(self, index: int) -> Batch:
        batch = self.dataset[index]
        return {name: tensor.pin_memory() for name, tensor in batch.items()} if self.pinned else batch


class WindowLoaders(pl.LightningDataModule):
    """The windows of a training and those that stop it, split between the processes that train together."""

    def __init__(self, train: WindowBatches, validation: WindowBatches, ahead: int = 0) -> None:
        """Take both, and how many batches to cut before they are asked for (`BatchStream`)."""
        super().__init__()
        self.train, self.validation, self.ahead = train, validation, ahead

    def train_dataloader(self) -> BatchStream:
        """What is learned from: asked for in every epoch, with new places of its windows."""
        if self.trainer is not None:
            self.train.set_epoch(self.trainer.current_epoch)
        return self._stream(self.train)

    def val_dataloader(self) -> BatchStream:
        """What stops the training."""
        return self._stream(self.validation)

    def _stream(self, batches: WindowBatches) -> BatchStream:
        if self.trainer is None:
            return BatchStream(batches.share(0, 1), self.ahead, pinned=False)
        mine = batches.share(self.trainer.global_rank, self.trainer.world_size)
        return BatchStream(mine, self.ahead, pinned=isinstance(self.trainer.accelerator, CUDAAccelerator))
