"""A folder as a log: files numbered 1, 2, 3, ..., each either a part or a whole.

A *part* adds to what came before; a *whole* stands for everything before it. What the log holds is its newest whole
and the parts after it. No file ever changes, and nobody locks anything:

- A writer reads the log, makes the next entry from what it read, and links it (of objects: puts it, if there is none)
  to the next number. If somebody was
  faster the number is taken: read again. If the writer was so slow that its number had been taken *and* removed again
  meanwhile, the log has a whole of a higher number: read again. So each whole is made from all that came before it.
- After a whole is in place the older entries are removed, oldest first.
- A reader walks from the newest entry down to a whole. If one is missing on the way, it was superseded since the
  reader looked: read again. A killed writer leaves temporary files and superseded entries, which no reader sees.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from qad_dl.atomic import create_file, sweep
from qad_dl.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from qad_dl.objects import ObjectPath, Place

TRIES: Final = 1000
"""Every failed try means that another writer got something done, so this many mean that the folder is damaged."""


class Entry(Protocol):
    """What an entry must tell about itself."""

    @property
    def whole(self) -> bool:
        """Whether it stands for everything before it."""


E = TypeVar("E", bound=Entry)


@dataclass(frozen=True)
class Snapshot(Generic[E]):
    """What a log held at one moment.

    Attributes:
        last: number of the newest entry, 0 for an empty log.
        entries: the newest whole, if there is one, and the parts after it, oldest first.
        older: numbers of the entries before these, which are still there and count for nothing.
        oldest: number of the first of `entries`.
    """

    last: int
    entries: tuple[E, ...]
    older: tuple[int, ...]

    @property
    def oldest(self) -> int:
        """Number of the first of `entries`."""
        return self.last - len(self.entries) + 1


@dataclass(frozen=True)
class Log:
    """The numbered files of one folder.

    Attributes:
        folder: may not exist yet.
        suffix: ending of the names, with the dot.
        listed: the objects that were in it not long ago, by name, for a first look; None to look.
    """

    folder: Place
    suffix: str
    listed: Mapping[str, ObjectPath] | None = field(default=None, compare=False)

    def numbers(self) -> list[int]:
        """Numbers of the files that are there, ascending."""
        return self._numbers(_names(self.folder))

    def path(self, number: int) -> Place:
        """Path of an entry."""
        return self.folder / f"{number:08d}{self.suffix}"

    def snapshot(self, read: Callable[[Any], E]) -> Snapshot[E]:
        """Read what the log holds now; other processes may write meanwhile.

        Raises:
            StoreError: an entry cannot be read, or is missing for good.
        """
        for attempt in range(TRIES):
            try:
                snapshot = self._look(read, self.listed if attempt == 0 else None)
            except OSError as error:
                msg = f"{error.filename or self.folder}: cannot be read ({error.strerror or error}); see to its rights"
                raise StoreError(msg) from error
            if snapshot is not None:
                return snapshot
            time.sleep(min(attempt, 10) / 1000)
        msg = f"{self.folder}: entries are missing below {self.path(self.numbers()[-1]).name}; restore the folder"
        raise StoreError(msg)

    def publish(self, number: int, content: bytes) -> bool:
        """Make entry `number`, unless it exists; also clears what killed writers left in the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(number)
        made = create_file(path, content)
        if made and isinstance(path, Path):
            with contextlib.suppress(FileNotFoundError):  # superseded already
                sweep(path.parent, path.stat().st_mtime)
        return made

    def superseded(self, number: int, read: Callable[[Any], E]) -> bool:
        """Whether a whole above `number` exists: an entry that was just made as `number` then counts for nothing."""
        return self.numbers()[-1:] != [number] and self.snapshot(read).oldest > number

    def discard(self, numbers: Iterable[int]) -> None:
        """Remove entries that a whole stands for; `numbers` ascend.

        Oldest first: a reader that misses one of them in its listing then also misses every older one.
        """
        for number in numbers:
            self.path(number).unlink(missing_ok=True)

    def publish_whole(self, number: int, content: bytes, read: Callable[[Any], E]) -> bool:
        """Publish a whole that was made from all entries below `number`; False if others were faster."""
        with writing(self.folder):
            if not self.publish(number, content):
                return False
            numbers = self.numbers()
            if numbers[-1:] != [number] and self.superseded(number, read):
                return False
            self.discard(older for older in numbers if older < number)
        return True

    def _look(self, read: Callable[[Any], E], listed: Mapping[str, ObjectPath] | None) -> Snapshot[E] | None:
        """Walk from the newest entry down to a whole; None if one is missing on the way."""
        names = _names(self.folder) if listed is None else listed
        numbers = self._numbers(names)
        if not numbers:
            return Snapshot(0, (), ())
        there = set(numbers)
        found: list[E] = []
        for number in range(numbers[-1], 0, -1):
            entry = vanishing(read, self._entry(number, names)) if number in there else None
            if entry is None:
                return None
            found.append(entry)
            if entry.whole:
                break
        return Snapshot(numbers[-1], tuple(reversed(found)), tuple(n for n in numbers if n < number))

    def _numbers(self, names: Iterable[str]) -> list[int]:
        """The numbers among names, ascending."""
        stems = (name.removesuffix(self.suffix) for name in names if name.endswith(self.suffix))
        return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())

    def _entry(self, number: int, names: Mapping[str, ObjectPath] | Sequence[str]) -> Place:
        """Path of an entry, as the listing gave it if that knows more than the name."""
        path = self.path(number)
        return names.get(path.name, path) if isinstance(names, Mapping) else path


def _names(folder: Place) -> Mapping[str, ObjectPath] | Sequence[str]:
    """What is in a folder: names, and of objects what else the listing said."""
    if not isinstance(folder, Path):
        return folder.listed()
    try:
        return os.listdir(folder)  # noqa: PTH208  names are wanted, thousands of times
    except FileNotFoundError:
        return ()


def vanishing(read: Callable[[Any], E], path: Place) -> E | None:
    """`read(path)`, or None if the file went away before or (on NFS) while it was read."""
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ESTALE:
            return None
        raise


@contextlib.contextmanager
def writing(path: Place) -> Iterator[None]:
    """Turn what the operating system says against writing into one line."""
    try:
        yield
    except OSError as error:
        msg = f"{path}: cannot be written ({error.strerror or error}); see to its rights, its space, and hard links"
        raise StoreError(msg) from error


def contended(folder: Place) -> StoreError:
    """The error after too many tries."""
    return StoreError(f"{folder}: other processes were faster {TRIES} times; write to the store from fewer at a time")
