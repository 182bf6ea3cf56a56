"""A copy of the store and of the state on which a dry run does all that a tick does, and nothing of it stays."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qad_dl.atomic import temporary_name
from qad_dl.store import Store
from serving.state import State

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def scratch(store: Store, state: State) -> Iterator[tuple[Store, State]]:
    """Copies for the block. The store's files never change once they are there, so that links to them are a copy."""
    folder = temporary_name(store.folder)
    try:
        shutil.copytree(store.folder, folder / "store", copy_function=os.link)
        shutil.copytree(state.path, folder / "state", ignore=shutil.ignore_patterns("lock"), dirs_exist_ok=True)
        yield Store.open(folder / "store"), State(folder / "state")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
