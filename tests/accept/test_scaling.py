"""Two workers of Dask over one, and over one core: 63 days of 300 queues, the same bytes, one of two killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "training.scaling", "--bundle", "checkpoints/demo/bundle", "--days", "63")
GAIN = 1.5


class Measured(NamedTuple):
    """A row of the table that the program prints: seconds, and how many times quicker two workers are than one."""

    one_worker: float
    two_workers: float
    killed: float
    gain: float
    same: str


@pytest.fixture(scope="module")
def measured() -> dict[str, Measured]:
    done = subprocess.run(
        COMMAND, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True, check=True
    )
    print(done.stdout)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if "| the " in line]
    return {
        step: Measured(*(float(s.removesuffix(" s")) for s in (one, two, killed)), float(gain), same)
        for step, _, _, one, two, killed, _, gain, _, same in cells
    }


@pytest.mark.parametrize("step", ["import", "backtest", "evaluate"])
def test_two_workers_are_quicker_and_a_killed_one_costs_its_part(measured: dict[str, Measured], step: str) -> None:
    found = measured[step]
    assert found.same == "the same bytes"
    assert found.gain >= GAIN
    assert found.two_workers < found.killed < found.one_worker
