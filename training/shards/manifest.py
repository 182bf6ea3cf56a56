"""What shards are of: everything that makes a difference to a number in them, so that no stale one is ever read."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import sys
from typing import TYPE_CHECKING, Any, Final

from qad_dl.atomic import TEMPORARY, clock, replace_file, sweep
from qad_dl.downtimes import format_downtimes
from qad_dl.errors import ShardError
from qad_dl.timeparse import format_time
from training.quality.sources import source_digest
from training.shards.files import read_json, writing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from training.reviewed import Source
    from training.settings import Settings
    from training.shards.days import History

FORMAT: Final = 1
"""Version of what lies in the folder."""

KIND: Final = "qad shards"
MANIFEST: Final = "manifest.json"
LOCK: Final = "lock"

CODE: Final = ("qad_dl.grid", "qad_dl.preprocess", "qad_dl.store", "training.shards.days", "training.shards.build")
"""Modules that, with all that they import, make the numbers in the shards."""

SAID: Final = {
    "format": "the format",
    "code": "the code that prepares a history",
    "metadata": "the metadata of the store",
    "downtimes": "the downtimes of the store",
    "labels": "the labels",
}
"""Parts of a manifest, in words."""


def manifest_of(settings: Settings, history: History, labels: Source | None) -> dict[str, Any]:
    """What shards of this history with these settings are made from, as plain JSON values.

    Raises:
        StoreError: the store is damaged.
    """
    store, data = history.store, settings.data
    start, end = history.times[0], history.times[-1] + store.tick.delta
    return {
        "kind": KIND,
        "format": FORMAT,
        "code": source_digest(CODE),
        "data.start": format_time(start),
        "data.end": format_time(end),
        "tick_minutes": store.tick.minutes,
        **{f"data.{name}": data[name] for name in ("entity", "select", "metadata", "held_out")},
        "data.shard_series": settings.shard_series,
        "labels": None if labels is None else labels.sha256,
        "metadata": list(store.metadata_versions(start, end)),
        "downtimes": hashlib.sha256(format_downtimes(history.downtimes).encode()).hexdigest(),
        "days": store.digests(start, end),
    }


def claim(folder: Path, wanted: Mapping[str, Any]) -> None:
    """Let a folder be for shards of `wanted`, unless it is so already.

    Raises:
        ShardError: it is for shards of something else, holds something else, or cannot be written.
    """
    path = folder / MANIFEST
    if path.exists():
        _compare(folder, read_json(path), wanted)
        return
    with writing(folder):
        if any(item.name != LOCK and not item.name.startswith(TEMPORARY) for item in folder.iterdir()):
            msg = f"data.shards={folder}: there is something else; give a folder that is empty or not there yet"
            raise ShardError(msg)
        replace_file(path, json.dumps(wanted, indent=1).encode() + b"\n")


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time: of several that want the same shards the first makes them, and the others find them.

    Raises:
        ShardError: the folder cannot be made or written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write(f"data.shards={folder}: another process prepares them; waiting for it\n")
            fcntl.flock(lock, fcntl.LOCK_EX)
        with writing(folder):
            for part in (folder, folder / "days", folder / "shards"):
                if part.is_dir():  # what was killed left something: nobody else is at work here
                    sweep(part, clock(folder) + 1, age_s=0)
        yield


def _compare(folder: Path, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse shards of anything else."""
    different = [name for name in wanted if there.get(name) != wanted[name]]
    if not different:
        return
    if there.get("kind") != KIND or there.get("format") != FORMAT:
        what = f"is of format {there.get('format')}, this program reads {FORMAT}"
    else:
        what = "is of another history or of other settings: " + ", ".join(
            _difference(name, there.get(name), wanted[name]) for name in different
        )
    msg = f"data.shards={folder}: {what}; give another folder, or remove this one"
    raise ShardError(msg)


def _difference(name: str, there: Any, wanted: Any) -> str:
    if name == "days":
        days = sorted(day for day in {*there, *wanted} if there.get(day) != wanted.get(day))
        return f"the rows of {days[0]}" + (f" and {len(days) - 1} more days" if len(days) > 1 else "") + " changed"
    if name in SAID:
        return f"{SAID[name]} changed"
    return f"{name} is {there} there, here {wanted}"
