"""What a tick leaves for the next one: how far everything is done, and what it had fetched when it was killed.

```
STATE/progress.json     the newest tick that is done, and the clocks at its fetch
      troubles.json     troubles that a tick had no time left to tell
      snapshot.arrow    what was fetched for the tick in work; gone when that tick is done
      source/DAY.jsonl  what every tick's snapshot was, and why (see `qad_dl.sources.log`)
      grids/NAME.*      the newest ticks for each bundle, carried on (see `qad_dl.rolling`)
```
A snapshot is written before anything is made of it: a tick that is killed later is finished from the file, with the
very counts that it had, and nobody asks the source twice for one tick.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from qad_dl.atomic import replace_file
from qad_dl.downtimes import Downtime, format_downtimes, parse_downtimes
from qad_dl.errors import ConfigError, StoreError
from qad_dl.rows import JOBS_SCHEMA, conforming, seconds_of
from qad_dl.sources.log import Fetched, SourceLog
from qad_dl.timeparse import format_time, parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from qad_dl.metadata import Record

JUMP_S: Final = 120.0
"""Clocks that differ by less have only been set right."""


class Clocks(NamedTuple):
    """What time it is by two clocks.

    Attributes:
        wall: seconds since the epoch; may be set to anything.
        since_boot: seconds since the boot, which nobody can set.
        boot: the boot that they count from.
    """

    wall: float
    since_boot: float
    boot: str

    def passed(self, since: Clocks) -> float:
        """Seconds that have really passed: by the clock that nobody can set, unless the machine was started again."""
        if self.boot == since.boot:
            return self.since_boot - since.since_boot
        return self.wall - since.wall

    def jumped(self, since: Clocks) -> float:
        """Seconds by which the wall clock was set forward (or back, below 0) meanwhile; 0 for small corrections."""
        ahead = (self.wall - since.wall) - self.passed(since)
        return ahead if abs(ahead) >= JUMP_S else 0.0


class Progress(NamedTuple):
    """How far ticks are done.

    Attributes:
        done: the newest tick of which everything is kept and queued to be told.
        good: the newest tick whose counts were stored; None before the first.
        clocks: at the fetch of `done`.
        fetched: clocks at the fetch of `good`.
    """

    done: np.datetime64
    good: np.datetime64 | None
    clocks: Clocks
    fetched: Clocks | None


@dataclass(frozen=True)
class Collected:
    """What was fetched for one tick, judged.

    Attributes:
        tick: the tick.
        clocks: when it was fetched.
        verdict: its name, `ok` where it counts.
        text: what is to be said of it, one line; '' where all is well.
        rows: counts to be stored, a table of `JOBS_SCHEMA`; empty where the verdict does not let them count.
        queues: metadata that are new with this tick; None where they are as before.
        downtimes: those known by now; None where they could not be had.
        metadata_age_s: how old the metadata are; None where there are none.
        taken, refused: files to be put away once the tick is done.
        troubles: of what else was fetched, name to one line.
    """

    tick: np.datetime64
    clocks: Clocks
    verdict: str
    text: str
    rows: pa.Table
    queues: Mapping[str, Record] | None = None
    downtimes: tuple[Downtime, ...] | None = None
    metadata_age_s: float | None = None
    taken: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    troubles: Mapping[str, str] = field(default_factory=dict)

    @property
    def counted(self) -> bool:
        """Whether its own tick is among the rows."""
        return bool((seconds_of(self.rows) == self.tick.astype("datetime64[s]").astype(np.int64)).any())

    def logged(self) -> Fetched:
        """What is kept of it for months."""
        rows = self.rows.num_rows
        return Fetched(self.tick, self.verdict, self.text, rows, self.clocks.wall, self.metadata_age_s)


class State(NamedTuple):
    """The folder of the state."""

    path: Path

    @property
    def lock(self) -> Path:
        """The lock's file."""
        return self.path / "lock"

    def grid(self, bundle: str) -> Path:
        """What is carried on for a bundle, by its name: the path of its files less their suffixes."""
        return self.grids / bundle

    @property
    def grids(self) -> Path:
        """The folder of the grids."""
        return self.path / "grids"

    def results(self, label: str) -> Path:
        """The scores of the last week, by a bundle's label."""
        return self.path / "results" / f"{label}.npz"

    @property
    def incidents(self) -> Path:
        """The incidents after the newest tick."""
        return self.path / "incidents.json"

    @property
    def silences(self) -> Path:
        """What people do not want to be told for a while."""
        return self.path / "silences.json"

    @property
    def outbox(self) -> Path:
        """The folder of what is still to be told."""
        return self.path / "outbox"

    @property
    def news_waits(self) -> bool:
        """Whether anything lies in the outbox."""
        return any((self.outbox / "news").glob("*"))

    @property
    def source_log(self) -> SourceLog:
        """What every tick's snapshot was."""
        return SourceLog(self.path / "source")

    @property
    def influxdb(self) -> Path:
        """What the InfluxDB sink remembers."""
        return self.path / "influxdb"

    def forget_grids(self, bundles: set[str]) -> None:
        """Remove the grids of all bundles but these."""
        for path in self.grids.iterdir():
            if path.name.partition(".")[0] not in bundles:
                path.unlink(missing_ok=True)

    def progress(self) -> Progress | None:
        """How far it is done; None before the first tick.

        Raises:
            StoreError: the file is damaged.
        """
        path = self.path / "progress.json"
        try:
            found = json.loads(path.read_bytes())
            return Progress(
                done=parse_time(found["done"]),
                good=None if found["good"] is None else parse_time(found["good"]),
                clocks=Clocks(**found["clocks"]),
                fetched=None if found["fetched"] is None else Clocks(**found["fetched"]),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(path, error) from error

    def set_progress(self, progress: Progress) -> None:
        """Keep it, and with it say that the tick in work is done."""
        content = {
            "done": format_time(progress.done),
            "good": None if progress.good is None else format_time(progress.good),
            "clocks": progress.clocks._asdict(),
            "fetched": None if progress.fetched is None else progress.fetched._asdict(),
        }
        self.path.mkdir(parents=True, exist_ok=True)
        replace_file(self.path / "progress.json", json.dumps(content, indent=1).encode())

    def keep(self, collected: Collected) -> None:
        """Keep what was fetched until the tick is done."""
        about = {
            "tick": format_time(collected.tick),
            "clocks": collected.clocks._asdict(),
            "verdict": collected.verdict,
            "text": collected.text,
            "queues": collected.queues,
            "downtimes": None if collected.downtimes is None else format_downtimes(collected.downtimes),
            "metadata_age_s": collected.metadata_age_s,
            "taken": collected.taken,
            "refused": collected.refused,
            "troubles": dict(collected.troubles),
        }
        sink = pa.BufferOutputStream()
        schema = JOBS_SCHEMA.with_metadata({"qad.tick": json.dumps(about)})
        with pa.ipc.new_file(sink, schema) as writer:
            writer.write_table(conforming(collected.rows).replace_schema_metadata(schema.metadata))
        self.path.mkdir(parents=True, exist_ok=True)
        replace_file(self._snapshot, sink.getvalue().to_pybytes())

    def kept(self) -> Collected | None:
        """What was fetched for a tick that was not finished; None where there is none.

        Raises:
            StoreError: the file is damaged.
        """
        try:
            with pa.ipc.open_file(pa.py_buffer(self._snapshot.read_bytes())) as reader:
                rows = reader.read_all()
            about: dict[str, Any] = json.loads((rows.schema.metadata or {})[b"qad.tick"])
            downtimes = about.pop("downtimes")
            return Collected(
                tick=parse_time(about.pop("tick")),
                clocks=Clocks(**about.pop("clocks")),
                rows=rows.replace_schema_metadata(None),
                downtimes=None if downtimes is None else tuple(parse_downtimes(downtimes, str(self._snapshot))),
                taken=tuple(about.pop("taken")),
                refused=tuple(about.pop("refused")),
                **about,
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise _damaged(self._snapshot, error) from error

    def drop(self) -> None:
        """The tick in work is done."""
        self._snapshot.unlink(missing_ok=True)

    def leave(self, troubles: Mapping[str, str]) -> None:
        """Leave troubles for the next tick to tell, since this one cannot."""
        if troubles:
            replace_file(self.path / "troubles.json", json.dumps({**self.left(), **troubles}).encode())

    def left(self) -> dict[str, str]:
        """Troubles that ticks before could not tell, name to one line."""
        try:
            left: dict[str, str] = json.loads((self.path / "troubles.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return left

    def told(self) -> None:
        """What was left has been told."""
        (self.path / "troubles.json").unlink(missing_ok=True)

    def stopped(self) -> np.datetime64 | None:
        """Since when ticks have stopped, where that was told; None where it was not."""
        try:
            return parse_time((self.path / "stopped").read_text(encoding="ascii").strip())
        except (OSError, UnicodeDecodeError, ConfigError):
            return None

    def set_stopped(self, since: np.datetime64 | None) -> None:
        """Keep that it was told, or, with None, that it is over."""
        if since is None:
            (self.path / "stopped").unlink(missing_ok=True)
        else:
            replace_file(self.path / "stopped", f"{format_time(since)}\n".encode())

    def succeeded(self, now: float | None) -> float:
        """When a tick last ended well, seconds since the epoch, 0 before the first; `now` where this one does."""
        path = self.path / "succeeded"
        if now is not None:
            replace_file(path, f"{now:.0f}\n".encode())
        try:
            return float(path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0.0

    @property
    def _snapshot(self) -> Path:
        return self.path / "snapshot.arrow"


def _damaged(path: Path, error: Exception) -> StoreError:
    return StoreError(f"{path}: is damaged ({' '.join(str(error).split())[:120]}); remove it, the next tick goes on")
