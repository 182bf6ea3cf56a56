"""Labels on disk: a file to which a line is added for each event, and never changed otherwise.

```
labels.jsonl       {"format": "qad-labels-log", "version": 1}, then one event a line
labels.jsonl.torn  ends of lines that a kill cut off: nobody was told that they are kept
```
Several processes may read and add at once: `flock` on the file itself. An event is acknowledged when its whole line is
on the disk. A line without its end is what a kill left in the middle of writing; who writes next puts it aside.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.errors import InputError, StoreError
from qad_dl.labels.book import ConflictError, Label, Labels, after, age_of, by_label, judge, label_of, labels_of
from qad_dl.labels.event import Event, event_of
from qad_dl.labels.exchange import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

HEADER: Final = {"format": "qad-labels-log", "version": 1}

AHEAD: Final = np.timedelta64(24 * 3600 * 1000, "ms")
"""An event from the future is refused from this on: it would be the newest word for ever."""


@dataclass(frozen=True)
class Merged:
    """How a merge went.

    Attributes:
        added: events that were new.
        known: events that were there already.
        version: of the labels afterwards.
    """

    added: int
    known: int
    version: int


@dataclass
class _Seen:
    """What was read of a file.

    Attributes:
        file: which one (device and inode).
        offset: up to where, the end of a line.
        lines: how many.
        events: by id.
        labels: the events of each label.
        folded: what they come to, once somebody has asked.
    """

    file: tuple[int, int] = (0, 0)
    offset: int = 0
    lines: int = 0
    events: dict[str, Event] = field(default_factory=dict)
    labels: dict[str, list[Event]] = field(default_factory=dict)
    folded: Labels | None = None


class LabelLog:
    """The file. One object may be used by several threads.

    Attributes:
        path: there is none before the first label; its folder is made with it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = _Seen()
        self._mutex = threading.Lock()

    def read(self) -> Labels:
        """The labels of now.

        Raises:
            StoreError: the file is damaged or cannot be read.
        """
        with self._mutex:
            self._catch_up()
            if self._seen.folded is None:
                self._seen.folded = labels_of(self._seen.events.values())
            return self._seen.folded

    def events(self) -> tuple[Event, ...]:
        """All events, oldest first; raises as `read`."""
        with self._mutex:
            self._catch_up()
            return tuple(sorted(self._seen.events.values(), key=age_of))

    def add(self, event: Event) -> tuple[int, Label]:
        """Let an event happen, at its time or right after the newest of its label; once, however often it is sent.

        Returns:
            The version, and the label afterwards. They are on the disk.

        Raises:
            ConflictError: see `judge`.
            StoreError: the file is damaged, or cannot be written.
        """
        with self._mutex, self._writing() as descriptor:
            seen = self._seen
            mine = seen.labels.get(event.label, [])
            if judge(event, seen.events, mine) is None:
                self._append(descriptor, [after(event, mine)])
            else:
                os.fsync(descriptor)  # whoever wrote it may have been killed before it did
            return len(seen.events), label_of(seen.labels[event.label])

    def merge(self, events: Sequence[Event], now: np.datetime64, where: str) -> Merged:
        """Add the events that are not there yet: all of them or, where one is refused, none.

        Args:
            events: from an exported file.
            now: UTC `datetime64[ms]`.
            where: names them in an error.

        Raises:
            ConflictError: an id was used for something else, a label is another's, or there is none to take back.
            InputError: an event is from the future.
            StoreError: the file is damaged, or cannot be written.
        """
        late = next((event for event in events if event.time > now + AHEAD), None)
        if late is not None:
            msg = f"{where}: event {late.id} is of {late.time}Z, which is in the future; see to that machine's clock"
            raise InputError(msg)
        with self._mutex, self._writing() as descriptor:
            new = self._new_of(events, where)
            if new:
                self._append(descriptor, new)
            else:
                os.fsync(descriptor)
            return Merged(len(new), len({e.id for e in events}) - len(new), len(self._seen.events))

    def _new_of(self, events: Sequence[Event], where: str) -> list[Event]:
        """Those that are not there yet, oldest first; all are checked against what there will be."""
        known, new = dict(self._seen.events), {}
        for event in sorted(events, key=age_of):
            before = known.setdefault(event.id, event)
            if before.content != event.content:
                msg = f"{where}: event {event.id}: the id was used for something else"
                raise ConflictError(msg)
            if event.id not in self._seen.events:
                new[event.id] = event
        touched = {event.label for event in new.values()}
        for name, mine in by_label(e for e in known.values() if e.label in touched).items():
            if not any(event.target is not None for event in mine):
                msg = f"{where}: label {name} is taken back, and neither it nor {self.path} has it"
                raise ConflictError(msg)
            owner = min(mine, key=lambda e: (e.id not in self._seen.events, *age_of(e))).author
            other = next((event.author for event in mine if event.author != owner), None)
            if other is not None:
                msg = f"{where}: label {name} is {owner}'s, which {other} cannot change"
                raise ConflictError(msg)
        return list(new.values())

    @contextlib.contextmanager
    def _writing(self) -> Iterator[int]:
        """The file, caught up with and without a torn end, while nobody else reads or writes."""
        try:
            descriptor = self._locked()
        except OSError as error:
            raise self._cannot("written", error) from error
        try:
            self._catch_up_from(descriptor)
            self._mend(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)

    def _locked(self) -> int:
        """Open the file, made if there is none, and lock it; again, where another took its name in the meantime."""
        while True:
            if not self.path.parent.is_dir():
                self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _is(self.path, descriptor):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _mend(self, descriptor: int) -> None:
        """Put a torn end aside, and begin a new file with its first line."""
        size = os.fstat(descriptor).st_size
        try:
            if size > self._seen.offset:
                torn = os.pread(descriptor, size - self._seen.offset, self._seen.offset)
                with self.path.with_name(f"{self.path.name}.torn").open("ab") as file:
                    file.write(torn + b"\n")
                os.ftruncate(descriptor, self._seen.offset)
            if self._seen.offset == 0:
                line = json.dumps(HEADER).encode() + b"\n"
                self._write(descriptor, line)
                _flush_folder(self.path.parent)
                self._seen.offset, self._seen.lines = len(line), 1
        except OSError as error:
            raise self._cannot("written", error) from error

    def _append(self, descriptor: int, events: Sequence[Event]) -> None:
        """Add the lines of events, and wait until they are on the disk."""
        lines = [json.dumps(e.to_json(), ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for e in events]
        try:
            self._write(descriptor, b"".join(lines))
        except OSError as error:
            raise self._cannot("written", error) from error
        self._seen.offset += sum(map(len, lines))
        self._keep(events)

    def _write(self, descriptor: int, content: bytes) -> None:
        """Write at the end, all or nothing: what could not be kept whole is cut off again."""
        begin = os.fstat(descriptor).st_size
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        except BaseException:
            os.ftruncate(descriptor, begin)
            raise

    def _keep(self, events: Iterable[Event]) -> None:
        self._seen.folded = None
        for event in events:
            self._seen.lines += 1
            if event.id not in self._seen.events:
                self._seen.events[event.id] = event
                self._seen.labels.setdefault(event.label, []).append(event)

    def _catch_up(self) -> None:
        """Read what others have added; what they are adding just now is waited for."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._seen = _Seen()
            return
        except OSError as error:
            raise self._cannot("read", error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            self._catch_up_from(descriptor)
        finally:
            os.close(descriptor)

    def _catch_up_from(self, descriptor: int) -> None:
        about = os.fstat(descriptor)
        file = (about.st_dev, about.st_ino)
        if file != self._seen.file or about.st_size < self._seen.offset:
            self._seen = _Seen(file)
        try:
            self._read(descriptor, about.st_size)
        except BaseException:
            self._seen = _Seen()
            raise

    def _read(self, descriptor: int, size: int) -> None:
        """Take in the whole lines after those that were read."""
        seen = self._seen
        content = b""
        while seen.offset + len(content) < size:
            piece = os.pread(descriptor, size - seen.offset - len(content), seen.offset + len(content))
            if not piece:
                break
            content += piece
        whole = content[: content.rfind(b"\n") + 1]
        for line in whole.split(b"\n")[:-1]:
            where = f"{self.path}, line {seen.lines + 1}"
            if seen.lines == 0:
                self._check_header(line, where)
                seen.lines = 1
            else:
                self._keep([self._event(line, where)])
        seen.offset += len(whole)

    def _event(self, line: bytes, where: str) -> Event:
        try:
            return event_of(decode(line, where), where)
        except InputError as error:
            msg = f"{error}; the file was damaged or changed by hand: mend that line, or put a copy back"
            raise StoreError(msg) from error

    def _check_header(self, line: bytes, where: str) -> None:
        try:
            found = decode(line, where)
        except InputError as error:
            found = str(error)
        if found != HEADER:
            msg = f"{where}: must be {json.dumps(HEADER)}; this is no log of labels, or one of another version"
            raise StoreError(msg)

    def _cannot(self, what: str, error: OSError) -> StoreError:
        return StoreError(f"{self.path}: cannot be {what} ({error.strerror or error})")


def revised(event: Event, author: str, now: np.datetime64) -> Event:
    """The event as said by somebody whom a server knows, at its time."""
    return replace(event, author=author, time=now.astype("datetime64[ms]"))


def _is(path: Path, descriptor: int) -> bool:
    """Whether the open file still has its name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _flush_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
