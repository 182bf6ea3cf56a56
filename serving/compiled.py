"""Which modules Python compiles anew at every start: those that whoever starts it may not keep compiled."""

from __future__ import annotations

import os
import struct
import sys
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD: Final = struct.Struct("<4sIII")
"""How a compiled module begins (PEP 552): Python's version, how it is checked, the source's time and size."""


def uncompiled(folder: Path) -> Iterator[Path]:
    """Modules under a folder that are not compiled as they are now, and that this process would not keep compiled."""
    for path in sorted(folder.rglob("*.py")):
        cached = Path(cache_from_source(str(path)))
        if not _is_of(cached, path) and (sys.dont_write_bytecode or not _may_make(cached)):
            yield path


def _is_of(cached: Path, path: Path) -> bool:
    try:
        with cached.open("rb") as file:
            magic, flags, seconds, size = _HEAD.unpack(file.read(_HEAD.size))
    except (OSError, struct.error):
        return False
    if magic != MAGIC_NUMBER or flags:  # with flags it is checked in another way, as whoever compiled it chose
        return bool(magic == MAGIC_NUMBER)
    now = path.stat()
    return bool(seconds == int(now.st_mtime) & 0xFFFFFFFF and size == now.st_size & 0xFFFFFFFF)


def _may_make(cached: Path) -> bool:
    folder = cached.parent if cached.parent.exists() else cached.parent.parent
    return os.access(folder, os.W_OK | os.X_OK)
