"""Bundles of the evaluation, trained as anybody trains them: by `python -m training.train` in a process of its own."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from training.quality.sources import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from training.quality.parts import Made


def make_bundle(place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """Train on [start, end) of a world.

    Args:
        place: the bundle goes to its folder `bundle`, what training leaves to `run`.
        inputs: `start`, `end`, `seed`, and `overrides` of configs/train.yaml.
        made: the world.
    """
    (world,) = made.values()
    before, began = _cpu_s(), time.monotonic()
    run_command(sys.executable, "-m", "training.train", *overrides_of(place, inputs, world.place))
    return {"wall_s": time.monotonic() - began, "cpu_s": _cpu_s() - before}


def overrides_of(place: Path, inputs: Mapping[str, Any], world: Path) -> list[str]:
    """The overrides of configs/train.yaml with which a bundle is trained into `place`."""
    folders = [f"store={world / 'store'}", f"bundle={place / 'bundle'}", f"run_dir={place / 'run'}"]
    period = [f"data.start={inputs['start']}", f"data.end={inputs['end']}"]
    return [*folders, *period, f"seed={inputs['seed']}", *inputs["overrides"]]


def run_command(*command: str) -> str:
    """Run a program from the top of the checkout; returns what it printed.

    Raises:
        RuntimeError: it failed.
    """
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"exit code {done.returncode} of {' '.join(command)}\n{done.stderr[-3000:]}"
        raise RuntimeError(msg)
    return done.stdout


def _cpu_s() -> float:
    """Processor seconds of the processes that have been waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
