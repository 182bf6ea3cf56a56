"""Tell when ticks have stopped: another process than the tick, started by another timer.

    python -m serving.deadman --config /etc/qad/collector.toml

Ticks have stopped when none has ended well for `PATIENCE_S`. That is told once, through the same sinks; the next tick
that ends well says that it is over. Exit code 0 whether they have or not, 2 where the config is bad.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.cli import guarded
from qad_dl.timeparse import format_time
from serving.config import read_config
from serving.follow import Book, stopped_news
from serving.state import State
from serving.telling import Telling, queue

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE_S: Final = 2100.0
"""Three ticks, and the time that a slow one may take."""

TELL_S: Final = 60.0


def main(argv: Sequence[str] | None = None) -> int:
    """Read the arguments, look, give the exit code."""
    parser = argparse.ArgumentParser(
        prog="serving.deadman", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the collector's config, TOML")
    args = parser.parse_args(argv)
    return guarded(lambda: look(args.config, time.time()), "serving.deadman")


def look(config_path: Path, now: float) -> int:
    """Look when a tick last ended well, and tell if that is too long ago."""
    config = read_config(config_path)
    state = State(config.state.path)
    succeeded = state.succeeded(None)
    if not succeeded:
        print("serving.deadman: no tick has ended well yet")
        return 0
    since = np.datetime64(int(succeeded), "s")
    silent = now - succeeded
    if silent <= PATIENCE_S:
        print(f"serving.deadman: a tick ended well {silent:.0f} s ago")
        return 0
    text = f"no tick has ended well since {format_time(since)}: see systemctl status qad-tick, the disk, the log"
    print(f"serving.deadman: {text}")
    news = stopped_news(since, text)
    if state.stopped() != since:
        queue(state, [news])
        state.set_stopped(since)
    told = Telling(config, state, now).deliver(Book.read(state.incidents).with_news(news), time.monotonic() + TELL_S)
    for sink, trouble in told.troubles.items():
        print(f"serving.deadman: {sink}: {trouble}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
