"""`--scheduler`: let the workers of a Dask scheduler do the work."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from qad_dl.cluster import Workers


def add_scheduler_argument(parser: argparse.ArgumentParser) -> None:
    """Declare `--scheduler`."""
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="let the workers of a Dask scheduler do it: tcp://HOST:PORT or its scheduler file; all files are where "
        "workers see them under the same names (docs/scaling.md). The result is the same to the last bit",
    )


@contextlib.contextmanager
def workers_of(scheduler: str | None) -> Iterator[Workers | None]:
    """The workers that were asked for, None where the work is to be done here; raises as `cluster.connect`."""
    if scheduler is None:
        yield None
        return
    from qad_dl.cluster import connect

    with connect(scheduler) as workers:
        if workers.waiting:
            print(f"{scheduler}: has no worker yet; the work begins with the first", file=sys.stderr)
        yield workers
