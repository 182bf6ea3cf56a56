"""The world's parameters: everything that may differ between two simulated grids, with its unit."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.errors import ConfigError
from qad_dl.schema import INCIDENT_KINDS, Tick

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_START = np.datetime64("2026-01-05T00:00:00", "s")
"""A Monday, so that weeks are easy to find in plots."""

SINGLE_KINDS = {
    "pilots_starve": 0.20,
    "black_hole": 0.16,
    "slots_lost": 0.14,
    "storage_writes": 0.13,
    "input_stuck": 0.10,
    "site_down": 0.09,
    "transfer_backlog": 0.07,
    "brokerage_stop": 0.06,
    "rollout": 0.03,
    "frontier": 0.02,
}
"""Share of each kind among incidents that hit one queue."""

GROUP_KINDS = {
    "site_down": 0.16,
    "storage_writes": 0.14,
    "bad_task": 0.14,
    "input_stuck": 0.10,
    "transfer_backlog": 0.10,
    "frontier": 0.08,
    "pilots_starve": 0.08,
    "slots_lost": 0.06,
    "rollout": 0.05,
    "harvester_down": 0.04,
    "brokerage_stop": 0.02,
    "central": 0.01,
}
"""Share of each kind among incidents that hit all queues with one metadata value; the wide ones are rare."""


@dataclass(frozen=True)
class WorldParams:
    """Parameters of a simulated grid; rates are per day, times in hours, unless said otherwise.

    Attributes:
        days: length in days.
        queues: number of queues.
        seed: fixes everything.
        start: first tick, UTC.
        cric: a CRIC pandaqueue dump to take queues from, or None for made-up ones.
        incidents: whether incidents happen; without them the normal life is the same, draw by draw.
        median_jobs, size_sigma: log-normal distribution of the jobs that a queue can run.
        noise: scales all slow random walks of normal life (demand, slots, job lengths, transfers, failures).
        burstiness: spread of the job arrivals of a queue within a tick (log-normal sigma).
        demand: mean work offered relative to the slots; above 1 queues are mostly full.
        campaign_gaps: times per day and activity at which the work of all queues runs low at once.
        campaign_depth: share of the work that is left in such a gap (mean).
        daily, weekly: relative amplitude of the users' day, and the share of work left on week-ends.
        user_kills: user task kills per day over all queues (per 100 queues).
        task_failures: ordinary failing tasks per day over all queues (per 100 queues).
        hiccups: short stalls of pilots or transfers per queue and day.
        failure_median: median base share of failed jobs of a queue.
        downtimes: declared downtimes per queue and day.
        exclusions: HammerCloud exclusions (status test) per queue and day.
        late_queues, retired_queues: shares of queues that begin late and that leave for good.
        missed: share of single ticks missed; `holes` per day are longer ones.
        frozen: freezes of the source's stock counts per day.
        late_sum: chance that the tick after a hole holds the flow of the whole hole, not only of its 10 minutes.
        out_of_order: share of ticks whose rows stand behind those of the next tick in the file.
        zero_fill: write zeros for assigned, activated, running, finished, failed in groups that exist, as PanDA does.
        incident_rate: incidents per day in a world of 300 queues.
        incident_exponent: the rate goes with (queues / 300) to this power: groups do not grow in number with queues.
        incident_cap: most incidents per queue and day (small worlds).
        group_share: share of incidents that hit a group.
        duration_median, duration_sigma: log-normal duration in hours, kept within 1 h and `duration_max`.
        severity_low, severity_high: range of the severity.
        strength: scales what a given severity does, 1 is as described in `faults`.
        quiet_days: no incident starts in the first days.
        pollution: rate of incidents during the first 60 % of the time, relative to the rest.
        min_jobs: a queue with fewer running jobs at that moment is not hit.
        single_kinds, group_kinds: shares of the kinds.
    """

    days: int = 35
    queues: int = 300
    seed: int = 1
    start: np.datetime64 = DEFAULT_START
    cric: Path | None = None
    incidents: bool = True
    median_jobs: float = 220.0
    size_sigma: float = 1.35
    noise: float = 1.0
    burstiness: float = 0.15
    demand: float = 1.7
    campaign_gaps: float = 0.15
    campaign_depth: float = 0.45
    daily: float = 0.30
    weekly: float = 0.65
    user_kills: float = 2.0
    task_failures: float = 1.0
    hiccups: float = 0.05
    failure_median: float = 0.04
    downtimes: float = 0.006
    exclusions: float = 0.003
    late_queues: float = 0.03
    retired_queues: float = 0.01
    missed: float = 0.002
    holes: float = 0.10
    frozen: float = 0.06
    late_sum: float = 0.5
    out_of_order: float = 0.01
    zero_fill: bool = True
    incident_rate: float = 3.6
    incident_exponent: float = 0.18
    incident_cap: float = 0.035
    group_share: float = 0.33
    duration_median: float = 5.0
    duration_sigma: float = 0.75
    duration_max: float = 24.0
    severity_low: float = 0.5
    severity_high: float = 1.0
    strength: float = 1.0
    quiet_days: float = 2.0
    pollution: float = 1.0
    min_jobs: float = 25.0
    single_kinds: dict[str, float] = field(default_factory=lambda: dict(SINGLE_KINDS))
    group_kinds: dict[str, float] = field(default_factory=lambda: dict(GROUP_KINDS))

    def __post_init__(self) -> None:
        """Refuse values that no world can have.

        Raises:
            ConfigError: a length, number, share or rate is out of range, or a kind is not one of the schema's.
        """
        for name, low in (("days", 1), ("queues", 1), ("seed", 0)):
            if getattr(self, name) < low:
                msg = f"simulate: {name} is {getattr(self, name)}; give {low} or more"
                raise ConfigError(msg)
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, float) and not (np.isfinite(value) and value >= 0):
                msg = f"simulate: {item.name} is {value}; give a finite number of 0 or more"
                raise ConfigError(msg)
        for kind in (*self.single_kinds, *self.group_kinds):
            if kind not in INCIDENT_KINDS or kind == "other":
                msg = (
                    f"simulate: no incident of kind {kind!r} can be made; choose from {', '.join(INCIDENT_KINDS[:-1])}"
                )
                raise ConfigError(msg)
        if Tick().floor(self.start) != self.start:
            msg = f"simulate: start {self.start}Z is not on a tick of {Tick().minutes} minutes; give a whole one"
            raise ConfigError(msg)

    @property
    def ticks(self) -> int:
        """Number of ticks."""
        return self.days * Tick().per_day

    @property
    def incidents_per_day(self) -> float:
        """Mean number of incidents that begin in a day."""
        scaled: float = self.incident_rate * (self.queues / 300.0) ** self.incident_exponent
        return min(scaled, self.incident_cap * self.queues)
