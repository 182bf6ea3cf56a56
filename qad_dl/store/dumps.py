"""The history of the metadata in the store: which dump holds from when.

`cric/dumps/HASH.json.gz` is a dump, named by its content: the dump that CRIC gives at a hundred ticks is kept once.
`cric/TIME.json` says which dump holds from TIME; it is written last, and replaced when another dump is given for TIME.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.atomic import create_file, replace_file
from qad_dl.errors import StoreError
from qad_dl.metadata import Metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qad_dl.metadata import Record
    from qad_dl.objects import Place

_POINTER: Final = re.compile(r"(\d{4}-\d\d-\d\dT)(\d\d)(\d\d)(\d\d)Z\.json")


def add_dump(folder: Place, queues: Mapping[str, Record], time: np.datetime64) -> bool:
    """Let `queues` hold from `time` on; returns whether that changed anything."""
    canonical = {queue: dict(record) for queue, record in queues.items()}
    content = json.dumps(canonical, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    digest = hashlib.sha256(content).hexdigest()
    pointer = folder / f"{str(time.astype('datetime64[s]')).replace(':', '')}Z.json"
    wanted = json.dumps({"dump": digest}).encode()
    with contextlib.suppress(FileNotFoundError):
        if pointer.read_bytes() == wanted:
            return False
    (folder / "dumps").mkdir(parents=True, exist_ok=True)
    create_file(_dump(folder, digest), gzip.compress(content, mtime=0))
    replace_file(pointer, wanted)
    return True


def read_dumps(folder: Place, start: np.datetime64 | None = None) -> Metadata:
    """All dumps and the times from which they hold; with `start` those that hold at `start` or later.

    Raises:
        StoreError: a file is damaged.
    """
    loaded: dict[str, Mapping[str, Record]] = {}
    times: list[np.datetime64] = []
    dumps: list[Mapping[str, Record]] = []
    for time, pointer in pointers(folder, start):
        digest = _read_pointer(pointer)
        if digest not in loaded:
            loaded[digest] = _read_dump(_dump(folder, digest))
        times.append(time)
        dumps.append(loaded[digest])
    return Metadata(np.array(times, "datetime64[s]"), tuple(dumps))


def pointers(folder: Place, start: np.datetime64 | None = None) -> list[tuple[np.datetime64, Place]]:
    """From when which dump holds, ascending; with `start` from the one that holds then."""
    found: list[tuple[np.datetime64, Place]] = []
    for path in _files(folder):
        match = _POINTER.fullmatch(path.name)
        if match is not None:
            day, hour, minute, second = match.groups()
            found.append((np.datetime64(f"{day}{hour}:{minute}:{second}", "s"), path))
    begun = 0 if start is None else sum(time <= start for time, _ in found)
    return found[max(begun - 1, 0) :]


def dump_versions(folder: Place, start: np.datetime64, end: np.datetime64) -> tuple[str, ...]:
    """'TIME HASH' of each dump that holds in [start, end), the first of all where none has begun by then."""
    found = pointers(folder, start)
    held = [found[0], *(item for item in found[1:] if item[0] < end)] if found else []
    return tuple(f"{time} {_read_pointer(path)}" for time, path in held)


def _files(folder: Place) -> list[Place]:
    """What is in the folder, in the order of the names; of objects those below its own folders too."""
    if not isinstance(folder, Path):
        return list(folder.listed().values())
    return [*sorted(folder.iterdir())] if folder.is_dir() else []


def _content(path: Place) -> bytes:
    """All of a file; an object that was read before is remembered."""
    return path.read_bytes() if isinstance(path, Path) else path.read_kept()


def _dump(folder: Place, digest: str) -> Place:
    """Where the dump of a hash is."""
    path = folder / "dumps" / f"{digest}.json.gz"
    return path if isinstance(path, Path) else replace(path, version=digest)  # it never has another content


def _read_pointer(path: Place) -> str:
    """The hash of the dump that holds from a time."""
    try:
        return str(json.loads(_content(path))["dump"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _read_dump(path: Place) -> Mapping[str, Record]:
    """Queue -> record, checked against the hash in the name."""
    try:
        content = gzip.decompress(_content(path))
        if hashlib.sha256(content).hexdigest() != path.name.partition(".")[0]:
            msg = "its content does not match its name"
            raise ValueError(msg)
        queues: dict[str, dict[str, str]] = json.loads(content)
    except (OSError, EOFError, ValueError) as error:
        raise _damaged(path, error) from error
    return queues


def _damaged(path: Place, error: Exception) -> StoreError:
    """The error for a file that cannot be read."""
    return StoreError(f"{path}: is damaged ({' '.join(str(error).split())[:120]}); import the dump of its time again")
