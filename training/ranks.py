"""Several processes that train one network: how they are started, find each other, and end together.

On one machine they are started here: each is given its share of every batch, and only the first writes. They meet over
a file and talk over the loopback, so that nothing of it can be reached from outside. Under `torchrun` or Slurm's `srun`
every process runs the whole program, and they meet as their starter says.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import tempfile
import warnings
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch import distributed
from torch._C._distributed_c10d import FileStore
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from qad_dl.errors import ConfigError, StoppedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pytorch_lightning as pl
    from pytorch_lightning.strategies import Strategy

LOOPBACK: Final = ("lo", "lo0")
"""What the loopback is called on Linux and elsewhere."""


class OneMachine(DDPStrategy):
    """Processes of one machine, started by the one that asks."""

    def __init__(self, meeting: Path, timeout: timedelta) -> None:
        """Say where they meet, a file that is not there yet, and how long they wait for each other."""
        # What each has of the highway is the same from the start: nothing of it is sent at every step.
        super().__init__(start_method="spawn", timeout=timeout, forward_sync_buffers=False)
        self.meeting = meeting

    def setup_distributed(self) -> None:
        """Meet: called in each process, before anything else of the training."""
        quiet()
        for name in LOOPBACK:
            if name in {interface for _, interface in socket.if_nameindex()}:
                os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = name
        self.set_world_ranks()
        distributed.init_process_group(
            self._get_process_group_backend(),
            store=FileStore(str(self.meeting), self.world_size),
            rank=self.global_rank,
            world_size=self.world_size,
            timeout=self._timeout,
        )
        super().setup_distributed()
        if self.global_rank:
            _fall_silent()

    def on_train_start(self) -> None:
        """Be ended at once when another is lost: Lightning would have it talk to the lost one first."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def check_accelerator(config: Mapping[str, Any]) -> None:
    """Refuse at once what would be refused when the history has been read.

    Raises:
        ConfigError: this machine has no such accelerator, or fewer than asked for.
    """
    asked, wanted = config["accelerator"], config["devices"]
    if asked in ("gpu", "cuda"):
        there = torch.cuda.device_count()
        if there == 0:
            msg = f"trainer.accelerator={asked}: torch {torch.__version__} finds no GPU here; use trainer=cpu"
            raise ConfigError(msg)
        if isinstance(wanted, int) and wanted > there:
            msg = f"trainer.devices={wanted}: there are {there} GPUs; give at most so many, or -1 for all"
            raise ConfigError(msg)


def is_first() -> bool:
    """Whether this process writes: alone, or the first of those that were started together."""
    return int(os.environ.get("SLURM_PROCID" if _slurm() else "RANK", "0")) == 0


def started_together() -> bool:
    """Whether `torchrun` or `srun` started several of this program."""
    return TorchElasticEnvironment.detect() or _slurm()


def placement(config: Mapping[str, Any]) -> dict[str, Any]:
    """`devices` of a machine and `num_nodes`, for Lightning."""
    if TorchElasticEnvironment.detect():
        here, everywhere = (int(os.environ[name]) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
        return {"devices": here, "num_nodes": everywhere // here}
    if _slurm():
        machines, tasks = (int(os.environ[name]) for name in ("SLURM_NNODES", "SLURM_NTASKS"))
        return {"devices": tasks // machines, "num_nodes": machines}
    return {"devices": config["devices"]}


@contextlib.contextmanager
def many(config: Mapping[str, Any]) -> Iterator[Strategy | str]:
    """The strategy that the configuration asks for; what it needs on the disk is gone afterwards."""
    timeout = timedelta(seconds=float(config["timeout_s"]))
    if started_together():
        yield DDPStrategy(timeout=timeout, forward_sync_buffers=False)
    elif _processes(config) == 1:
        yield "auto"
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield OneMachine(Path(folder) / "meeting", timeout)


@contextlib.contextmanager
def told(trainer: pl.Trainer, checkpoint: Path) -> Iterator[None]:
    """End all processes where one ends early, and say in one line what happened.

    Args:
        trainer: about to fit.
        checkpoint: what a later run may go on from.

    Raises:
        StoppedError: interrupted, or a process was lost.
    """
    heard: list[int] = []

    def interrupt(number: int, _frame: Any) -> None:
        heard.append(number)
        _end(trainer)  # at once: whatever this process waits for then comes to an end too
        raise KeyboardInterrupt

    # Set here, since what a shell starts in the background ignores interrupts.
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except (ProcessExitedException, ProcessRaisedException) as error:
        how = _lost(error, trainer.world_size) if not heard else "interrupted"
        raise StoppedError(how + _go_on(checkpoint)) from error
    except (SystemExit, KeyboardInterrupt) as stop:  # Lightning turns an interrupt into the first, without a word
        raise StoppedError("interrupted" + _go_on(checkpoint)) from stop
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
        _end(trainer)


def _lost(error: ProcessExitedException | ProcessRaisedException, processes: int) -> str:
    """Which process was lost, and how."""
    if isinstance(error, ProcessExitedException):
        how = f"was killed by {error.signal_name}" if error.signal_name else f"ended with code {error.exit_code}"
    else:
        how = f"failed ({str(error).strip().splitlines()[-1]})"
    return f"process {error.error_index} of {processes} {how}; the others were ended"


def _end(trainer: pl.Trainer) -> None:
    """End the processes that this one started."""
    for process in getattr(trainer.strategy.launcher, "procs", []):
        if process.is_alive():
            process.kill()
            process.join()


def quiet() -> None:
    """Leave out what Lightning says to people who are not there: users of ours can do nothing about it."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)  # `told` says which process was lost
    warnings.filterwarnings("ignore", ".*does not have many workers.*")  # batches are cut in memory
    warnings.filterwarnings("ignore", ".*(Checkpoint|logs) directory .* exists and is not empty.*")  # run_dir is both
    warnings.filterwarnings("ignore", ".*treespec, LeafSpec.*is deprecated.*")  # Lightning's own use of torch


def _fall_silent() -> None:
    """Nothing more of this process on the terminal: how it ends is told by the one that started it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _go_on(checkpoint: Path) -> str:
    return f"; resume=true goes on from {checkpoint}" if checkpoint.exists() else ""


def _processes(config: Mapping[str, Any]) -> int:
    devices = config["devices"]
    if isinstance(devices, list):
        return len(devices)
    return torch.cuda.device_count() if devices in (-1, "auto") else int(devices)


def _slurm() -> bool:
    """Whether `srun` started several of this; one task of Slurm is a process like any other."""
    return SLURMEnvironment.detect() and int(os.environ.get("SLURM_NTASKS", "1")) > 1
