"""An incident as it is followed from tick to tick, what can happen to it, and the rules by which it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qad_dl.incidents import FLAP_TICKS
from qad_dl.timeparse import format_time, parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

OPENED, UPDATED, CLOSED, FOLDED, REOPENED = "opened", "updated", "closed", "folded", "reopened"


class Rules(NamedTuple):
    """When an incident is told, and when it is over; lengths in ticks.

    Attributes:
        n, m: it is told once the last `m` ticks hold `n` signs of it: ticks of its queues with evidence.
        sure: a score that is higher than the threshold by this is told at its first tick; one is ten times less likely.
        least_jobs: jobs, seen or expected, in the largest state of its queues together; what is smaller is not told.
        recovery: it is over after so long without a sign of it; ticks without scores do not count.
        longest: a queue that comes back again and again is given more time to recover, up to this.
        memory: what is closed is kept for so long, to know it when it comes back.
    """

    n: int = 2
    m: int = 3
    sure: float = 1.0
    least_jobs: float = 10.0
    recovery: int = 12
    longest: int = FLAP_TICKS
    memory: int = 1008

    def recovery_of(self, reopened: int) -> int:
        """Ticks without a sign after which it is over: twice as many each time that it has come back."""
        return int(min(self.recovery * 2**reopened, self.longest))


class Figure(NamedTuple):
    """One state of an incident's queues together.

    Attributes:
        state: name of the job state.
        observed: jobs counted.
        expected: jobs that the model expected.
    """

    state: str
    observed: float
    expected: float

    @property
    def direction(self) -> str:
        """`high` or `low`."""
        return "high" if self.observed > self.expected else "low"


class Followed(NamedTuple):
    """One incident.

    Attributes:
        id: its name for ever.
        field: what its queues share; the field of the entity, mostly `panda_queue`, where it is one queue.
        value: the value of that field.
        queues: those hit so far by name, sorted; with another entity than queues, what is scored in their place.
        start: first tick that shows it, `datetime64[s]`.
        last: newest tick that shows it.
        told: the tick at which it was told first.
        closed: the tick at which it was over; None while it is open.
        folded: id of the incident that it turned out to be a part of; ''.
        reopened: how often it came back after it was closed.
        kind: likeliest kind.
        score: highest score so far.
        state: the state that shows it most, '' where it is not known.
        direction: `high` or `low`.
        of: queues that have the value; 0 where it is one queue.
        worst: some of the queues, those that showed the most by themselves at `last` first.
        figures: of its queues together at the newest tick that shows it and was scored with details.
        expected: at that tick all its queues were expected to fall: offline or in a downtime.
        unknown_queues: those of its queues that the bundle did not know then: scored as their group is.
        unknown_states: states of its queues that the bundle did not know then: they have no say.
    """

    id: str
    field: str
    value: str
    queues: tuple[str, ...]
    start: np.datetime64
    last: np.datetime64
    told: np.datetime64
    closed: np.datetime64 | None = None
    folded: str = ""
    reopened: int = 0
    kind: str = ""
    score: float = 0.0
    state: str = ""
    direction: str = ""
    of: int = 0
    worst: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    expected: bool = False
    unknown_queues: tuple[str, ...] = ()
    unknown_states: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        """Whether it goes on."""
        return self.closed is None

    @property
    def group(self) -> bool:
        """Whether it is told by what its queues share."""
        return self.of > 0

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        times = {name: format_time(getattr(self, name)) for name in ("start", "last", "told")}
        closed = None if self.closed is None else format_time(self.closed)
        lists: dict[str, Any] = {name: list(getattr(self, name)) for name in _NAMES}
        lists["figures"] = [figure._asdict() for figure in self.figures]
        return {**self._asdict(), **times, **lists, "closed": closed}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Followed:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, QadError: not what `to_json` wrote.
        """
        made: dict[str, Any] = {name: parse_time(data[name]) for name in ("start", "last", "told")}
        made["closed"] = None if data["closed"] is None else parse_time(data["closed"])
        made["figures"] = tuple(Figure(**figure) for figure in data["figures"])
        made |= {name: tuple(data.get(name, ())) for name in _NAMES}  # of before a name was written: nothing
        return cls(**{**data, **made})


_NAMES: Final = ("queues", "worst", "unknown_queues", "unknown_states")


class Transition(NamedTuple):
    """What happened to an incident at a tick.

    Attributes:
        action: `opened`, `updated` (other queues, value or kind), `closed`, `reopened`, or `folded` into another.
        incident: as it is now.
    """

    action: str
    incident: Followed
