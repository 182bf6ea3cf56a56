"""Columns of many series in one file: a tick's is written in place, the newest ticks of some series are read at once.

The file is a sequence of groups of `GROUP` series; a group is a sequence of fields, a field of slots; a slot holds what
the group's series have in one tick. Tick number t has slot t modulo their number: a new tick takes the place of the
oldest. Who never reads that oldest one can be killed while a new one is written, and finds all as it was. That a tick
is done is said elsewhere, by whoever keeps the file.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

GROUP: Final = 128
"""Series that are read together: a few MB of the newest days, and few calls even for a hundred thousand of them."""


class Field(NamedTuple):
    """One kind of number.

    Attributes:
        name: its name.
        dtype: numpy's name of its type.
        width: numbers per series and tick.
        slots: ticks that are there.
        blank: what a series has where nobody wrote anything.
    """

    name: str
    dtype: str
    width: int
    slots: int
    blank: float

    @property
    def slot_bytes(self) -> int:
        """Bytes of a tick of a group."""
        return GROUP * self.width * np.dtype(self.dtype).itemsize


class Ring:
    """An open file of groups; several threads may read and write different groups."""

    def __init__(self, path: Path, fields: Sequence[Field], flags: int) -> None:
        """Open the file with `os.open`'s flags."""
        self.path, self.fields = path, {field.name: field for field in fields}
        sizes = np.cumsum([0, *(field.slots * field.slot_bytes for field in fields)])
        self._begin = dict(zip(self.fields, sizes[:-1].tolist(), strict=True))
        self._bytes = int(sizes[-1])
        self._file = os.open(path, flags | os.O_CLOEXEC, 0o644)
        self._flusher = ThreadPoolExecutor(1)
        self._begun: list[Future[None]] = []

    @classmethod
    def create(cls, path: Path, fields: Sequence[Field]) -> Ring:
        """A new file without any group."""
        return cls(path, fields, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    @classmethod
    def open(cls, path: Path, fields: Sequence[Field], groups: int) -> Ring | None:
        """A file that is there with at least so many groups; None where it is not."""
        try:
            ring = cls(path, fields, os.O_RDWR)
        except OSError:
            return None
        if os.fstat(ring._file).st_size >= groups * ring._bytes:
            return ring
        ring.close()
        return None

    def add_group(self, group: int) -> None:
        """Write a blank group."""
        for field in self.fields.values():
            blank = np.full((GROUP, field.slots, field.width), field.blank, field.dtype)
            self.write(field.name, group, field.slots - 1, blank)

    def read(self, name: str, group: int, last: int, ticks: int) -> NDArray[Any]:
        """What a group has in so many ticks up to number `last`, [GROUP, ticks, width]."""
        field = self.fields[name]
        out = np.empty((ticks, GROUP, field.width), field.dtype)
        content = _bytes(out)
        for begin, end, offset in self._pieces(field, group, last, ticks):
            _read(self._file, content[begin:end], offset, self.path)
        return out.swapaxes(0, 1)

    def read_at(self, name: str, group: int, numbers: Sequence[int]) -> NDArray[Any]:
        """What a group has in some ticks, [GROUP, |numbers|, width]."""
        field = self.fields[name]
        out = np.empty((len(numbers), GROUP, field.width), field.dtype)
        for content, number in zip(out, numbers, strict=True):
            ((_, _, offset),) = self._pieces(field, group, number, 1)
            _read(self._file, _bytes(content), offset, self.path)
        return out.swapaxes(0, 1)

    def write(self, name: str, group: int, last: int, values: NDArray[Any]) -> None:
        """Write what a group has in the ticks up to number `last`, [GROUP, ticks, width]."""
        field = self.fields[name]
        content = _bytes(np.ascontiguousarray(values.swapaxes(0, 1), field.dtype))
        for begin, end, offset in self._pieces(field, group, last, values.shape[1]):
            _write(self._file, content[begin:end], offset)

    def begin_flush(self) -> None:
        """Begin to bring to the disk what was written so far; the disk works while others compute."""
        self._begun.append(self._flusher.submit(os.fdatasync, self._file))

    def flush(self) -> None:
        """Make what was written survive a loss of power."""
        self.begin_flush()
        for begun in self._begun:
            begun.result()  # what could not be written is told once, to whoever asked first
        self._begun.clear()

    def close(self) -> None:
        """Let the file go."""
        self._flusher.shutdown()
        os.close(self._file)

    def _pieces(self, field: Field, group: int, last: int, ticks: int) -> list[tuple[int, int, int]]:
        """Bytes [begin, end) of the ticks up to `last` and where they are in the file; two where the ring closes."""
        if not 0 < ticks <= field.slots:
            msg = f"{ticks} ticks of {field.name}: there are {field.slots}"
            raise ValueError(msg)
        place, size = group * self._bytes + self._begin[field.name], field.slot_bytes
        first = (last - ticks + 1) % field.slots
        until = min(ticks, field.slots - first)
        pieces = [(0, until * size, place + first * size), (until * size, ticks * size, place)]
        return [piece for piece in pieces if piece[1] > piece[0]]


def _bytes(array: NDArray[Any]) -> memoryview:
    """The memory of a contiguous array; of a history without any state there is none."""
    return array.reshape(-1).view(np.uint8).data


def _read(file: int, into: memoryview, offset: int, path: Path) -> None:
    done = 0
    while done < len(into):
        got = os.preadv(file, [into[done:]], offset + done)
        if got == 0:
            msg = f"{path}: ends at byte {offset + done}"
            raise OSError(msg)
        done += got


def _write(file: int, content: memoryview, offset: int) -> None:
    done = 0
    while done < len(content):
        done += os.pwrite(file, content[done:], offset + done)
