"""What one channel has been told: kept after each message, so that whatever kills us nothing is told twice or lost."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.atomic import replace_file
from qad_dl.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from qad_dl.sinks.news import News

KEPT_S: Final = 14 * 86400.0
"""What was told is remembered for so long after the incident is over."""

HOUR_S: Final = 3600.0


@dataclass(frozen=True)
class Told:
    """What a channel was told of an incident last.

    Attributes:
        at: when, seconds since the epoch.
        open: that it goes on.
        field, value, group: by what name, and whether that is of a group.
        queues: which.
        reopened: how often it had come back.
        labels: its identity for sinks that have one.
    """

    at: float
    open: bool
    field: str
    value: str
    group: bool
    queues: Sequence[str]
    reopened: int
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, news: News, at: float, labels: Mapping[str, str] | None = None) -> Told:
        """What this news says."""
        i = news.incident
        return cls(at, i.open, i.field, i.value, i.group, i.queues, i.reopened, labels or {})


@dataclass(frozen=True)
class Ledger:
    """What one channel has been told.

    Attributes:
        keys: of the news that it has had, or will never have, to when.
        incidents: what it was told last, by name.
        sent: when messages were sent in the last hour.
        held: incidents of which something had to wait.
    """

    keys: Mapping[str, float] = dataclasses.field(default_factory=dict)
    incidents: Mapping[str, Told] = dataclasses.field(default_factory=dict)
    sent: tuple[float, ...] = ()
    held: frozenset[str] = frozenset()

    def has(self, news: News) -> bool:
        """Whether nothing is to be done about the news any more."""
        return news.key in self.keys

    def covers(self, news: News) -> bool:
        """Whether the channel was told of the same queues by another bundle, in the time of this incident."""
        queues, start = set(news.incident.queues), float(news.incident.start.astype(np.int64))
        return bool(queues) and any(
            name.rpartition("/")[0] != news.label and queues <= set(told.queues) and (told.open or told.at >= start)
            for name, told in self.incidents.items()
        )

    def done(self, news: Iterable[News], now: float) -> Ledger:
        """After news that needs, or got, no message of its own."""
        return replace(self, keys={**self.keys, **{n.key: now for n in news}})

    def told(self, name: str, told: Told) -> Ledger:
        """After the channel was told of an incident."""
        return replace(self, incidents={**self.incidents, name: told}, held=self.held - {name})

    def counted(self, now: float) -> Ledger:
        """After a message."""
        return replace(self, sent=(*self.recent(now), now))

    def recent(self, now: float) -> tuple[float, ...]:
        """When messages were sent in the last hour; a clock that was set back knows of none in the future."""
        return tuple(at for at in self.sent if now - HOUR_S < at <= now)

    def without_old(self, waiting: Collection[str], now: float) -> Ledger:
        """What is still of use.

        Args:
            waiting: keys of the news in the outbox.
            now: seconds since the epoch.
        """
        keys = {key: at for key, at in self.keys.items() if key in waiting or now - at < KEPT_S}
        incidents = {name: told for name, told in self.incidents.items() if told.open or now - told.at < KEPT_S}
        return replace(self, keys=keys, incidents=incidents)

    def write(self, path: Path) -> None:
        """Keep it, whole or not at all."""
        data = {
            "keys": dict(self.keys),
            "incidents": {name: asdict(told) for name, told in self.incidents.items()},
            "sent": list(self.sent),
            "held": sorted(self.held),
        }
        replace_file(path, json.dumps(data, ensure_ascii=False).encode(errors="surrogatepass"))

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """What was kept; nothing where there is nothing.

        Raises:
            StoreError: the file is damaged.
        """
        try:
            data: dict[str, Any] = json.loads(path.read_bytes())
            incidents = {name: Told(**told) for name, told in data["incidents"].items()}
            return cls(data["keys"], incidents, tuple(data["sent"]), frozenset(data["held"]))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = f"{path}: is damaged ({' '.join(str(error).split())[:120]}); remove it: open incidents are told again"
            raise StoreError(msg) from error
