"""A piece of news: what happened to one incident at one tick, with what is needed to tell it later."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from qad_dl.followed import Followed, Transition
from qad_dl.incident_log import series_names
from qad_dl.incidents_file import QUEUE_FIELD
from qad_dl.timeparse import format_time, parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from qad_dl.metadata import Record
    from qad_dl.results import Results
    from qad_dl.tuning.order import Placing

MONITOR: Final = "monitor"
"""Kind, and label in place of a bundle's, of what is told of the collector itself."""


@dataclass(frozen=True)
class News:
    """Something to be told.

    Attributes:
        label: of the bundle, or `MONITOR`.
        tick: at which it happened.
        transition: what happened to which incident; a trouble is an incident of kind `MONITOR`.
        text: what the trouble is, one line; '' for incidents.
        records: metadata of the incident's queues.
        place: of the incident in the order that reviewers taught; None where none was.
    """

    label: str
    tick: np.datetime64
    transition: Transition
    text: str = ""
    records: Mapping[str, Record] = field(default_factory=dict)
    place: Placing | None = None

    @property
    def key(self) -> str:
        """The same for the same news, however often a tick says it."""
        return f"{self.name}/{self.transition.action}/{format_time(self.tick)}"

    @property
    def name(self) -> str:
        """Of the incident, unique over all bundles."""
        return f"{self.label}/{self.incident.id}"

    @property
    def incident(self) -> Followed:
        """As it was after that tick."""
        return self.transition.incident

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "bundle": self.label,
            "tick": format_time(self.tick),
            "action": self.transition.action,
            "text": self.text,
            "incident": self.incident.to_json(),
            "records": {queue: dict(record) for queue, record in self.records.items()},
            **({} if self.place is None else {"place": asdict(self.place)}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> News:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, QadError: not what `to_json` wrote.
        """
        return cls(
            label=data["bundle"],
            tick=parse_time(data["tick"]),
            transition=Transition(data["action"], Followed.from_json(data["incident"])),
            text=data["text"],
            records=data["records"],
            place=_placing(data["place"]) if "place" in data else None,
        )


def _placing(data: Mapping[str, Any]) -> Placing:
    from qad_dl.tuning.order import Placing  # where reviewers taught an order

    return Placing(**data)


def records_of(transition: Transition, results: Results, records: Mapping[str, Record]) -> dict[str, Record]:
    """What routes and silences are matched with; with another entity than queues, its own fields.

    Args:
        transition: what happened to an incident.
        results: that show it.
        records: metadata by queue.
    """
    if QUEUE_FIELD not in results.entity:
        keys = (dict(zip(results.entity, key, strict=True)) for key in results.series)
        records = dict(zip(series_names(results), keys, strict=True))
    return {queue: records.get(queue, {}) for queue in transition.incident.queues}
