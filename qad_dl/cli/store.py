"""`STORE`: the history that a command is about, by its address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse

STORE_HELP: Final = "the history: a folder, s3://BUCKET/PREFIX or influxdb://HOST:PORT/DATABASE (docs/storage.md)"


def add_store_argument(parser: argparse.ArgumentParser, name: str = "store") -> None:
    """Declare the history, as an argument or as the option that `name` says."""
    if name.startswith("-"):
        parser.add_argument(name, required=True, metavar="STORE", help=STORE_HELP)
    else:
        parser.add_argument(name, metavar="STORE", help=STORE_HELP)
