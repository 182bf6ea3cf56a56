"""The vocabulary of the data: columns, job states, queue statuses, the tick.

Times inside the library are whole ticks on a UTC grid, held as `datetime64[s]`; see `floor_tick`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Times: TypeAlias = NDArray[np.datetime64]
"""A `datetime64[s]` array of UTC times."""

TICK_MINUTES: Final = 10
"""Minutes between two snapshots unless the store says otherwise (QMonit's cron interval)."""

FLOW_STATES: Final = frozenset({"finished", "failed", "cancelled", "closed"})
"""States counted over the tick (T - 10 min, T]; every other state, known or not, is a stock counted at T."""

KNOWN_STATES: Final = (
    "pending",
    "defined",
    "waiting",
    "assigned",
    "throttled",
    "activated",
    "sent",
    "starting",
    "running",
    "holding",
    "merging",
    "transferring",
    "finished",
    "failed",
    "cancelled",
    "closed",
)
"""PanDA's job states in the order in which a job passes them: the order of every table and plot. The set is open."""

FAILURE_STATES: Final = frozenset({"failed"})
"""States whose rise is bad news even while a queue is expected to drain."""

ENDED_BY_OTHERS: Final = frozenset({"cancelled", "closed"})
"""Flow states of jobs that a user killed or the brokerage took back: daily life of tasks, no fault of a queue."""

GOOD_STATES: Final = frozenset({"starting", "running", "finished"})
"""States of which more than expected is no fault: the queue does its work."""

STATUSES: Final = ("online", "offline", "test", "brokeroff", "paused")
"""CRIC's `status`; only `online` queues get work from the brokerage. An unknown value counts as not online."""

JOBS_COLUMNS: Final = ("time", "panda_queue", "prod_source", "resource", "job_status", "jobs", "site_state")
"""Columns of the long job history (interfaces, section 1), in the order in which the store keeps them."""

INCIDENT_KINDS: Final = (
    "site_down",
    "pilots_starve",
    "harvester_down",
    "black_hole",
    "bad_task",
    "storage_writes",
    "transfer_backlog",
    "input_stuck",
    "frontier",
    "brokerage_stop",
    "slots_lost",
    "central",
    "rollout",
    "other",
)

REASONS: Final = ("", "too_short", "gap", "missing_tick", "frozen", "retired", "invalid")
"""Why a tick of a queue has no score; the empty string where it has one. The index is the code inside the library."""

RETIRED_AFTER_DAYS: Final = 7
"""A queue without a row for this long is retired; it is the longest lookback of any score."""


STATUS_CARRIED_DAYS: Final = 5
"""A queue's status holds from the row that carried it for this long at most. A score looks at the status of up to two
days before its tick (its evidence, and a day before that), and must not depend on rows before its lookback."""


def is_flow(state: str) -> bool:
    """Whether `state` counts events over the tick rather than jobs at its end."""
    return state in FLOW_STATES


def state_order(states: set[str] | frozenset[str]) -> tuple[str, ...]:
    """Sort state names: the known ones as a job passes them, then the unknown ones by name."""
    rank = {name: i for i, name in enumerate(KNOWN_STATES)}
    return tuple(sorted(states, key=lambda s: (rank.get(s, len(rank)), s)))


@dataclass(frozen=True)
class Tick:
    """The length of a tick, and the arithmetic on it.

    Attributes:
        minutes: length of a tick in minutes; must divide a day.
    """

    minutes: int = TICK_MINUTES

    def __post_init__(self) -> None:
        """Refuse a length that does not divide a day (`ValueError`), since daily lags would not be whole ticks."""
        if self.minutes <= 0 or 1440 % self.minutes:
            msg = f"a tick of {self.minutes} minutes does not divide a day"
            raise ValueError(msg)

    @property
    def seconds(self) -> int:
        """Length in seconds."""
        return self.minutes * 60

    @property
    def delta(self) -> np.timedelta64:
        """Length as `timedelta64[s]`."""
        return np.timedelta64(self.seconds, "s")

    @property
    def per_day(self) -> int:
        """Ticks in a day."""
        return 1440 // self.minutes

    def index(self, times: Times) -> NDArray[np.int64]:
        """Number of the tick since the epoch, floored; same shape as `times`."""
        return times.astype("datetime64[s]").astype(np.int64) // self.seconds

    def time(self, index: NDArray[np.int64]) -> Times:
        """Inverse of `index`."""
        return (np.asarray(index, dtype=np.int64) * self.seconds).astype("datetime64[s]")

    def floor(self, time: np.datetime64) -> np.datetime64:
        """The tick that `time` belongs to."""
        return np.datetime64(int(time.astype("datetime64[s]").astype(np.int64)) // self.seconds * self.seconds, "s")

    def ceil(self, time: np.datetime64) -> np.datetime64:
        """The first tick at or after `time`."""
        seconds = int(time.astype("datetime64[s]").astype(np.int64))
        return np.datetime64(-(-seconds // self.seconds) * self.seconds, "s")

    def range(self, start: np.datetime64, end: np.datetime64) -> Times:
        """All ticks of [start, end), `datetime64[s]`."""
        return np.arange(self.ceil(start), self.ceil(end), self.delta)
