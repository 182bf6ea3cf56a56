"""A simulated grid: queues whose jobs flow by PanDA's mechanism, with normal life and labelled incidents.

`simulate(WorldParams(...), out)` writes jobs.parquet, cric.json, incidents.csv and downtimes.csv in the formats of
interfaces, sections 1 to 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qad_dl.simulator.params import WorldParams

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["WorldParams", "simulate"]


def simulate(params: WorldParams, out: Path) -> dict[str, int]:
    """Simulate a world and write its four files into the directory `out`, which is created.

    Args:
        params: the world.
        out: a directory; files of the four names in it are replaced, others stay.

    Returns:
        Numbers for the log: queues, ticks, rows, incidents, downtimes.

    Raises:
        ConfigError: parameters that no world can have, or more queues than the dump has.
        InputError: a CRIC dump that cannot be read.
    """
    from qad_dl.simulator.output import write
    from qad_dl.simulator.run import run

    return write(run(params), out)
