"""A snapshot is judged before it counts: what the source says may be old, half, or nothing at all.

| verdict | what it is | does it count |
|---|---|---|
| ok | as usual | yes |
| failed | the source did not answer, or not with counts | no |
| missing | the source has nothing for this tick | no |
| all_zero | no job anywhere | no |
| partial | half of the queues that had jobs are not there | no |
| frozen | every stock count is that of the tick before: the source's table hangs | no |
| late | the last good fetch was longer ago than a tick: flows are of the true window, scaled | yes |
| early | the last good fetch was just now: flows are of a window that overlaps with its | yes |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from qad_dl.arrow import codes_of, one_chunk, to_numpy
from qad_dl.schema import is_flow

if TYPE_CHECKING:
    import pyarrow as pa

OK: Final = "ok"
FAILED: Final = "failed"
MISSING: Final = "missing"
ALL_ZERO: Final = "all_zero"
PARTIAL: Final = "partial"
FROZEN: Final = "frozen"
LATE: Final = "late"
EARLY: Final = "early"

COUNTS: Final = frozenset({OK, LATE, EARLY})
"""Verdicts with which counts are stored."""

LEAST_QUEUES: Final = 4
"""Where fewer queues had jobs before, their absence says nothing of the source."""

LEAST_SHARE: Final = 0.6
"""Share of the queues with jobs that must still have some, of those whose site did not say farewell by its status."""

LATE_S: Final = 750.0
EARLY_S: Final = 300.0


class Verdict(NamedTuple):
    """What a snapshot is.

    Attributes:
        name: one of the table above.
        text: one line for people; '' where all is well.
    """

    name: str
    text: str = ""

    @property
    def counts(self) -> bool:
        """Whether the counts may be stored."""
        return self.name in COUNTS


def judge_snapshot(now: pa.Table, last: pa.Table | None, passed_s: float | None) -> Verdict:
    """Judge what was fetched for a tick.

    Args:
        now: its rows, canonical.
        last: the rows of the newest tick that counted; None where that is too long ago to compare with.
        passed_s: seconds since the last fetch that counted; None where there was none.
    """
    with_jobs = _with_jobs(now)
    if not with_jobs:
        return Verdict(ALL_ZERO, "the source counts no job anywhere; nothing of it was stored")
    if last is not None and last.num_rows:
        before = _with_jobs(last)
        there = len(before & with_jobs)
        if len(before) >= LEAST_QUEUES and there < LEAST_SHARE * len(before):
            return Verdict(
                PARTIAL, f"only {there} of {len(before)} queues that had jobs have any; nothing of it was stored"
            )
        if (stocks := _stocks(now)) and stocks == _stocks(last):
            return Verdict(FROZEN, "every stock count is that of the tick before; nothing of it was stored")
    if passed_s is not None and passed_s > LATE_S:
        return Verdict(LATE, f"the last good fetch was {passed_s / 60:.0f} minutes ago; flows were scaled to a tick")
    if passed_s is not None and passed_s < EARLY_S:
        return Verdict(EARLY, f"the last good fetch was {passed_s:.0f} s ago; flows overlap with its")
    return Verdict(OK)


def _with_jobs(rows: pa.Table) -> set[str]:
    """Queues with any job."""
    if rows.num_rows == 0:
        return set()
    queues = one_chunk(rows.column("panda_queue"))
    some = to_numpy(one_chunk(rows.column("jobs"))) > 0
    names = queues.dictionary.to_pylist()
    return {names[code] for code in np.unique(codes_of(queues)[some]).tolist()}


def _stocks(rows: pa.Table) -> dict[tuple[str, ...], float]:
    """(queue, source, resource, state) -> jobs, of the stock states with any."""
    names = ("panda_queue", "prod_source", "resource", "job_status")
    columns = [one_chunk(rows.column(name)) for name in names]
    words = [column.dictionary.to_pylist() for column in columns]
    codes = [codes_of(column).tolist() for column in columns]
    jobs = to_numpy(one_chunk(rows.column("jobs"))).tolist()
    flows = {code for code, state in enumerate(words[3]) if is_flow(state)}
    return {
        tuple(w[c] for w, c in zip(words, key, strict=True)): count
        for *key, count in zip(*codes, jobs, strict=True)
        if count > 0 and key[3] not in flows
    }
