"""A line of JSON for each piece of news: for programs, and as the record of all that was told."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from qad_dl.errors import SinkDownError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qad_dl.sinks.news import News

TAIL: Final = 4 << 20
"""Bytes at the end of the file among which a line that we wrote just before we were killed is looked for."""


@dataclass(frozen=True)
class JsonlSink:
    """A file.

    Attributes:
        path: it is made with its folder if there is none.
    """

    path: Path

    def write(self, news: Sequence[News]) -> None:
        """Add a line for each that is not there already.

        Raises:
            SinkDownError: it cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - TAIL))
                tail = file.read()
                there = _keys(tail)
                lines = [json.dumps(as_line(n), ensure_ascii=False) + "\n" for n in news if n.key not in there]
                if lines and tail and not tail.endswith(b"\n"):
                    lines.insert(0, "\n")  # after half a line of somebody who was killed
                file.write("".join(lines).encode(errors="backslashreplace"))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            msg = f"{self.path}: cannot be written ({error.strerror or error})"
            raise SinkDownError(msg) from error

    def check(self) -> None:
        """See whether it can be written, as it is; raises as `write`."""
        there = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        if not os.access(there, os.W_OK) or (there == self.path) != self.path.is_file():
            msg = f"{self.path}: cannot be written by this user, or is no file"
            raise SinkDownError(msg)


def as_line(news: News) -> dict[str, Any]:
    """What a line says: the key, the action, and all that is known of the incident."""
    told = news.to_json()
    incident = told.pop("incident")
    told.pop("records")
    return {"key": news.key, **told, **{"incident" if name == "id" else name: v for name, v in incident.items()}}


def _keys(tail: bytes) -> set[str]:
    found = set()
    for line in tail.splitlines():
        try:
            found.add(json.loads(line)["key"])
        except (ValueError, KeyError, TypeError):  # half a line, or somebody else's
            continue
    return found
