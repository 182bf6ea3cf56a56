"""Silences: what somebody does not want to be told for a while, with the reason and the end."""

from __future__ import annotations

import fcntl
import json
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qad_dl.atomic import replace_file
from qad_dl.errors import ConfigError, QadError, StoreError
from qad_dl.sinks.routing import fits
from qad_dl.timeparse import format_time, parse_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy as np

    from qad_dl.sinks.news import News

KEPT_DAYS: Final = 30
"""Silences that are over are listed for so long: who silenced what, and why."""


class Silence(NamedTuple):
    """One silence.

    Attributes:
        id: its name.
        match: what all queues of an incident must have, see `routing.fits`.
        reason: why.
        author: whose it is.
        start, end: it holds in [start, end), UTC `datetime64[s]`.
    """

    id: str
    match: Mapping[str, str]
    reason: str
    author: str
    start: np.datetime64
    end: np.datetime64

    def covers(self, news: News, now: np.datetime64) -> bool:
        """Whether the news is silenced. A group of which only some queues match is not."""
        return bool(self.start <= now < self.end) and fits(self.match, news, every=True)


def silenced(silences: Iterable[Silence], news: News, now: np.datetime64) -> bool:
    """Whether any of them covers the news."""
    return any(silence.covers(news, now) for silence in silences)


@dataclass(frozen=True)
class Silences:
    """The file of silences; several people may change it at once.

    Attributes:
        path: the file; there is none before the first silence.
    """

    path: Path

    def read(self) -> tuple[Silence, ...]:
        """All of them, by their end.

        Raises:
            StoreError: the file is damaged.
        """
        try:
            found = [_of_json(data) for data in json.loads(self.path.read_bytes())]
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, KeyError, TypeError, QadError) as error:
            msg = f"{self.path}: is damaged ({' '.join(str(error).split())[:120]}); remove it, and silence again"
            raise StoreError(msg) from error
        return tuple(sorted(found, key=lambda s: (s.end, s.id)))

    def add(
        self, match: Mapping[str, str], reason: str, author: str, now: np.datetime64, end: np.datetime64
    ) -> Silence:
        """A new one.

        Raises:
            ConfigError: it matches everything, has no reason, or is over already.
            StoreError: the file is damaged.
        """
        if not match:
            raise ConfigError("a silence must name what it is for, like cloud=DE; it would silence everything")
        if not reason.strip():
            raise ConfigError("a silence needs a reason: whoever finds it later asks for it")
        if end <= now:
            msg = f"the end {format_time(end)} is not after now, {format_time(now)}"
            raise ConfigError(msg)
        silence = Silence(secrets.token_hex(3), dict(match), reason.strip(), author, now, end)
        with self._changing() as silences:
            recent = [s for s in silences if now - s.end < KEPT_DAYS * 86400]
            self._write([*recent, silence])
        return silence

    def expire(self, name: str, now: np.datetime64) -> Silence:
        """End one now.

        Raises:
            ConfigError: there is none of that name, or it is over.
            StoreError: the file is damaged.
        """
        with self._changing() as silences:
            found = next((s for s in silences if s.id == name and s.end > now), None)
            if found is None:
                going = ", ".join(s.id for s in silences if s.end > now) or "none"
                msg = f"no silence {name!r} is in force (in force: {going})"
                raise ConfigError(msg)
            ended = found._replace(end=now)
            self._write([ended if s.id == name else s for s in silences])
        return ended

    @contextmanager
    def _changing(self) -> Iterator[tuple[Silence, ...]]:
        """What is there, while nobody else changes it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self.read()

    def _write(self, silences: Iterable[Silence]) -> None:
        replace_file(self.path, json.dumps([_to_json(s) for s in silences], indent=1, ensure_ascii=False).encode())


def _to_json(silence: Silence) -> dict[str, Any]:
    return {**silence._asdict(), "start": format_time(silence.start), "end": format_time(silence.end)}


def _of_json(data: Mapping[str, Any]) -> Silence:
    return Silence(**{**data, "start": parse_time(data["start"]), "end": parse_time(data["end"])})
