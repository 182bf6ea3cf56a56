"""Progress for people: a bar on a terminal once the work has taken two seconds, nothing in a log file."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")

DELAY_S = 2.0
"""Shorter work shows no bar."""


@contextlib.contextmanager
def counting(total: int, what: str, unit: str = "") -> Iterator[Callable[[int], object]]:
    """Give a function to call with how many more are done, of `total`; drawn as by `progress`."""
    if not _watched():
        yield lambda _more: None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=what, unit=unit or "it", delay=DELAY_S, leave=False) as bar:
        yield bar.update


def progress(items: Iterable[T], what: str, total: int | None = None, unit: str = "") -> Iterator[T]:
    """Iterate over `items`, drawing a bar on standard error when it is a terminal.

    Args:
        items: what to iterate over.
        what: a word or two in front of the bar.
        total: number of items, where `items` has no length.
        unit: the name of one item.
    """
    if not _watched():
        yield from items
        return
    from tqdm import tqdm

    yield from tqdm(items, desc=what, total=total, unit=unit or "it", delay=DELAY_S, leave=False)


def _watched() -> bool:
    """Whether somebody sees it: what draws is loaded for them alone, and is part of no tick of a collector."""
    return sys.stderr.isatty()
