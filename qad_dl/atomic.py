"""Files and folders that appear whole or not at all, whatever kills the writer.

Everything is written under a temporary name in the folder of its target (so that the last step is a rename or a link
within one file system), flushed to the disk, and only then given its name. Temporary names begin with `TEMPORARY`;
no reader of this project looks at them, and `sweep` removes those that a killed process left behind. On object storage
(`qad_dl.objects`) a put is all of that, and nothing is left behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qad_dl.objects import Place

TEMPORARY: Final = ".tmp-"
"""Prefix of the names of files and folders that are still being written."""

STALE_S: Final = 3600.0
"""A temporary file older than this belongs to a process that was killed: none of ours writes one file for an hour."""

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2


def temporary_name(target: Path) -> Path:
    """A name in the folder of `target` that no other process uses and no reader looks at."""
    return target.with_name(f"{TEMPORARY}{os.getpid()}-{uuid.uuid4().hex}")


def replace_file(path: Place, content: bytes) -> None:
    """Write `content` as `path`, in place of what may be there."""
    if not isinstance(path, Path):
        path.replace(content)
        return
    with replacing_file(path) as file:
        file.write(content)


@contextlib.contextmanager
def replacing_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write; if the block ends without an exception it becomes `path`, in place of what may be there."""
    temporary = temporary_name(path)
    try:
        with _flushed(temporary) as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _flush(path.parent)


def create_file(path: Place, content: bytes) -> bool:
    """Write `content` as `path` unless something has that name already; of several processes one succeeds.

    A hard link and not a rename, since a rename would replace the file of another writer; of an object a put that asks
    for there being none.

    Returns:
        Whether this call made the file.
    """
    if not isinstance(path, Path):
        return path.create(content)
    temporary = _write_temporary(path, content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        # On NFS the answer to a link that was made can get lost, and its repetition then says "exists".
        if not _same(temporary, path):
            return False
    finally:
        temporary.unlink(missing_ok=True)
    _flush(path.parent)
    return True


@contextlib.contextmanager
def replace_directory(path: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; if the block ends without an exception the folder becomes `path`.

    A folder that is already there stays as it was until the new one is whole, and is then removed. Where the file
    system can exchange two names in one step (Linux, local file systems) `path` exists at every moment; elsewhere it is
    missing between two renames.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    temporary.mkdir()
    try:
        yield temporary
        for item in sorted(temporary.rglob("*")):
            _flush(item)
        _flush(temporary)
        _swap_directory(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _flush(path.parent)


def clock(folder: Path) -> float:
    """What time it is by the clock that stamps the files of `folder`, seconds since the epoch.

    On a network file system that is the server's clock, which may differ from ours by more than `STALE_S`.
    """
    probe = _write_temporary(folder / "clock", b"")
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def sweep(folder: Path, now: float, age_s: float = STALE_S) -> int:
    """Remove the temporary files in `folder` that killed processes left, and return how many there were.

    Args:
        folder: where to look (not below it).
        now: seconds since the epoch by the clock that stamps the files.
        age_s: younger files are left alone; their writer may be alive.
    """
    removed = 0
    for entry in os.scandir(folder):
        if not entry.name.startswith(TEMPORARY):
            continue
        with contextlib.suppress(FileNotFoundError):
            if entry.stat(follow_symlinks=False).st_mtime < now - age_s:
                _remove(Path(entry.path))
                removed += 1
    return removed


@contextlib.contextmanager
def _flushed(path: Path) -> Iterator[BinaryIO]:
    """A new file to write, which is on the disk when the block ends."""
    with path.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _write_temporary(target: Path, content: bytes) -> Path:
    """Write and flush `content` under a temporary name beside `target`."""
    temporary = temporary_name(target)
    try:
        with _flushed(temporary) as file:
            file.write(content)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _flush(path: Path) -> None:
    """Make a file or the names in a folder survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _same(one: Path, other: Path) -> bool:
    """Whether two names are one file; no, if one of them has gone meanwhile."""
    try:
        return one.samefile(other)
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _swap_directory(new: Path, path: Path) -> None:
    """Make `new` take the name `path`; what had it, if anything, has the name `new` afterwards."""
    if not path.exists():
        new.rename(path)
        return
    if _exchange(new, path):
        return
    old = temporary_name(path)
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise
    old.rename(new)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step (Linux `renameat2`); False where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    names = os.fsencode(one), os.fsencode(other)
    return int(renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)) == 0
