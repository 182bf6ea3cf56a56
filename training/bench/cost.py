"""What a process costs: wall time, processor time, peak memory, as the kernel counts them."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from training.quality.sources import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""Numerical libraries read these as they are loaded."""


SAID: Final = 70
"""Exit code of a child that has said in one line what is wrong."""

LAUNCH: Final = Path(__file__).with_name("launch.py")


@dataclass(frozen=True)
class Cost:
    """Of one process.

    Attributes:
        wall_s: from before it was started until it had ended.
        cpu_s: of all its threads, in user and kernel mode.
        peak_mb: largest resident set, MB of 10^6 bytes.
        said: its standard output.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    said: str = ""

    def figures(self) -> dict[str, float]:
        """The numbers by name."""
        return {name: value for name, value in asdict(self).items() if name != "said"}


def cost_of(*command: str) -> Cost:
    """Run a program from the top of the checkout to its end.

    Raises:
        RuntimeError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures"
        launch = [sys.executable, "-I", "-S", str(LAUNCH), str(figures), *command]
        done = subprocess.run(
            launch, cwd=ROOT, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True, check=False
        )
        if done.returncode == SAID:
            raise RuntimeError(done.stderr.strip())
        if done.returncode:
            msg = f"exit code {done.returncode} of {' '.join(command)}\n{done.stderr[-3000:]}"
            raise RuntimeError(msg)
        wall, cpu, peak = map(float, figures.read_text(encoding="utf-8").split())
    return Cost(wall, cpu, peak / 1e6, done.stdout)


def middle(costs: Sequence[Cost]) -> dict[str, float]:
    """Median of each figure over several runs, and the least processor time, which others disturb least."""
    figures = [cost.figures() for cost in costs]
    medians = {name: statistics.median(f[name] for f in figures) for name in figures[0]}
    return {**medians, "least_cpu_s": min(f["cpu_s"] for f in figures), "runs": len(costs)}


def in_child(work: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Do a piece of work (`child.WORK`) in a process of its own.

    Returns:
        What it returned, and under `process` what the whole process cost.

    Raises:
        RuntimeError: it failed.
    """
    cost = cost_of(sys.executable, "-m", "training.bench.child", work, json.dumps(inputs))
    result: dict[str, Any] = json.loads(cost.said.splitlines()[-1])
    return {**result, "process": cost.figures()}


def machine() -> dict[str, Any]:
    """What this ran on: processor, cores, memory, and how busy it was."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(pages / 1e9, 1),
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    """What the first processor says that it is: many of one name differ in their caches and their arithmetic."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    name = told.get("model name") or told.get("CPU part") or "unknown"
    more = [f"{key.removeprefix('cpu ')} {told[key]}" for key in ("cpu family", "model", "stepping") if key in told]
    return ", ".join([name, *more, *([f"{told['cache size']} of cache"] if "cache size" in told else [])])
