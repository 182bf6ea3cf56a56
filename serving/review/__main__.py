"""The page, live: the last days as the collector scored them, and what reviewers say of them.

    python -m serving.review --config /etc/qad/collector.toml

It listens on this machine only, unless a proxy names the users (`[review] user_header`). The data are made anew after
each tick; labels are on the disk before they are acknowledged. Exit codes: 0 ended by a signal, 2 config.
"""

from __future__ import annotations

import argparse
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from qad_dl.cli import guarded
from qad_dl.errors import ConfigError
from serving.config import read_config

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from serving.config import Config


def main(argv: Sequence[str] | None = None) -> int:
    """Read the arguments, serve until a signal ends it, give the exit code."""
    parser = argparse.ArgumentParser(
        prog="serving.review", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the collector's config, TOML")
    args = parser.parse_args(argv)
    return guarded(lambda: serve(read_config(args.config)), "serving.review")


def serve(config: Config) -> int:
    """Serve until a signal ends it."""
    try:
        from serving.review.app import Doors, build_app, build_page
        from serving.review.server import build_server
    except ModuleNotFoundError as error:
        msg = f"the live page needs the package {error.name}; install it with pip install 'qad-dl[review]'"
        raise ConfigError(msg) from error
    from qad_dl.labels import LabelLog
    from qad_dl.review.page import load_uplot
    from serving.review.data import Keeper, Maker
    from serving.review.guard import Guard, read_secret

    review, log = config.review, LabelLog(config.review.labels)
    labels = log.read()  # a damaged file is told now, and not to the first reviewer
    secret = read_secret(review.labels.with_name(f"{review.labels.name}.secret"))
    maker = Maker(config)
    keeper = Keeper(maker.cause, maker.make)
    page = build_page(f"qad review · {maker.bundle.name}", load_uplot())
    doors = Doors(Guard.of(config, secret), log, keeper, page, now, say)
    server = build_server(build_app(doors), review)
    signal.signal(signal.SIGTERM, _end)
    keeper.start(say)
    say(f"listens on http://{review.host}:{review.port}/, {len(labels.in_force)} labels in {review.labels}")
    server.run()  # returns when a signal ends it, after the requests that are at work
    keeper.stop()
    return 0


def now() -> np.datetime64:
    """The time, UTC `datetime64[ms]`."""
    return np.datetime64(datetime.now(UTC).replace(tzinfo=None), "ms")


def say(line: str) -> None:
    """A line of the log; systemd's journal knows the time."""
    print(f"serving.review: {line}", flush=True)


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
