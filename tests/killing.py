"""Killing a program at moments of its work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.conftest import ROOT

if TYPE_CHECKING:
    import numpy as np


def kill_often(program: str, words: list[object], rng: np.random.Generator, low: float, high: float) -> int:
    """Start a program eight times, and kill it between `low` and `high` seconds after it said go; how often it was hit.

    Args:
        program: Python that prints `go` when it begins its work.
        words: its arguments.
        rng: chooses the moments.
        low: seconds.
        high: seconds.
    """
    killed = 0
    for _ in range(8):
        command = [sys.executable, "-c", program, *map(str, words)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"go\n"
            try:
                process.wait(float(rng.uniform(low, high)))
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                killed += 1
    return killed
