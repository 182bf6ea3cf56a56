"""A piece of work in a process of its own: `python -m training.bench.child NAME JSON`; its figures are the last line.

Modules are imported when their work is asked for: what one piece needs must not weigh on another.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Final

from training.bench.clock import HookGoneError
from training.bench.cost import SAID

WORK: Final = {
    "product": "training.bench.product:measure_product",
    "growing": "training.bench.grown:grow",
    "growing kept": "training.bench.kept:grow_kept",
    "tick": "training.bench.tick:score_in_parts",
    "same ticks": "training.bench.kept:compare_ticks",
    "kept tick": "training.bench.kept:score_in_parts",
    "network": "training.bench.network:network_rates",
    "scoring": "training.bench.network:scoring_rates",
    "training": "training.bench.training_rate:train",
    "reading": "training.bench.history:read_as_grid",
    "rows": "training.bench.history:write_rows",
    "storing": "training.bench.history:import_in_parts",
    "averages": "training.bench.averages:compare_averages",
    "pyod": "training.bench.peer:compare_pyod",
    "eager": "training.bench.eager:compare_eager",
}
"""name -> module:function; the function takes the inputs and returns figures."""


def main() -> None:
    """Do what is asked for."""
    name, inputs = sys.argv[1], json.loads(sys.argv[2])
    module, _, function = WORK[name].partition(":")
    try:
        figures = getattr(importlib.import_module(module), function)(inputs)
    except HookGoneError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(SAID)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
