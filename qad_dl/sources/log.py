"""What every tick's snapshot was: one line a tick, one file a day, kept for months.

A tick without counts says only that they are missing; here stands why. A tick that is done twice has one line, the
newer one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from qad_dl.atomic import replace_file
from qad_dl.timeparse import format_time, parse_time

if TYPE_CHECKING:
    from pathlib import Path

KEPT: Final = np.timedelta64(90, "D")


class Fetched(NamedTuple):
    """What was fetched for a tick.

    Attributes:
        tick: the tick, `datetime64[s]`.
        verdict: its name (see `qad_dl.sources.snapshot`).
        text: what was said of it, one line.
        rows: counts that were stored.
        at: when it was fetched, seconds since the epoch.
        metadata_age_s: how old the metadata were; None where there were none.
    """

    tick: np.datetime64
    verdict: str
    text: str
    rows: int
    at: float
    metadata_age_s: float | None = None


class SourceLog(NamedTuple):
    """The folder of these files."""

    folder: Path

    def add(self, fetched: Fetched) -> None:
        """Add a tick, in place of what was said of it before; days older than `KEPT` go."""
        day = _day(fetched.tick)
        known = {entry.tick: entry for entry in self._read(day)} | {fetched.tick: fetched}
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [_line(known[tick]) for tick in sorted(known)]
        replace_file(self._path(day), "".join(lines).encode())
        oldest = f"{_day(fetched.tick - KEPT)}.jsonl"
        for path in self.folder.glob("*.jsonl"):
            if path.name < oldest:
                path.unlink(missing_ok=True)

    def read(self, start: np.datetime64, end: np.datetime64) -> list[Fetched]:
        """The ticks of [start, end), in their order."""
        days = np.arange(_day(start), _day(end) + np.timedelta64(1, "D"))
        return [entry for day in days for entry in self._read(day) if start <= entry.tick < end]

    def _read(self, day: np.datetime64) -> list[Fetched]:
        try:
            lines = self._path(day).read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            return []
        return [entry for line in lines if (entry := _entry(line)) is not None]

    def _path(self, day: np.datetime64) -> Path:
        return self.folder / f"{day}.jsonl"


def _day(tick: np.datetime64) -> np.datetime64:
    day: np.datetime64 = tick.astype("datetime64[D]")
    return day


def _line(fetched: Fetched) -> str:
    return json.dumps(fetched._asdict() | {"tick": format_time(fetched.tick)}, ensure_ascii=False) + "\n"


def _entry(line: str) -> Fetched | None:
    """One line; None where it is damaged: what a snapshot was long ago is not worth stopping for."""
    try:
        found = json.loads(line)
        return Fetched(**(found | {"tick": parse_time(found["tick"])}))
    except (ValueError, KeyError, TypeError):
        return None
