"""What is said of a tick: one structured line in the log, and metrics for Prometheus."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.schema import REASONS
from qad_dl.timeparse import format_time
from serving.metrics import Gauge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving.evaluate import Evaluation
    from serving.state import Collected


@dataclass
class Report:
    """What is said of a tick.

    Attributes:
        tick: the tick.
        verdict: name of what was fetched; `done` where the tick was done already, `clock` where it lies before one
            that is.
        text: more of it, one line.
        troubles: the collector's own, name to one line.
        queues: series by bundle and by reason, '' for those that have a score.
        flagged: series by bundle.
        incidents: open ones by bundle.
        pending: what is still to be told or written, by sink.
        rows: counts that were stored.
        metadata_age_s: how old the metadata are.
        seconds: what each step took.
        code: exit code.
        simulated: the tick was asked for.
    """

    tick: np.datetime64
    verdict: str = ""
    text: str = ""
    troubles: dict[str, str] = field(default_factory=dict)
    queues: dict[str, dict[str, int]] = field(default_factory=dict)
    flagged: dict[str, int] = field(default_factory=dict)
    incidents: dict[str, int] = field(default_factory=dict)
    pending: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    metadata_age_s: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    code: int = 0
    simulated: bool = False

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Take the time of a step."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began

    def trouble(self, name: str, text: str, code: int = 0) -> None:
        """Note a trouble of the collector's own; of several exit codes the first counts."""
        self.troubles[name] = text
        self.code = self.code or code

    def add_collected(self, collected: Collected) -> None:
        """What was fetched."""
        self.verdict, self.text = collected.verdict, collected.text
        self.rows, self.metadata_age_s = collected.rows.num_rows, collected.metadata_age_s

    def add_evaluation(self, evaluation: Evaluation) -> None:
        """What the newest tick looks like."""
        for scored in evaluation.scored:
            results = scored.results
            known = results.known[:, -1]
            counted = np.bincount(results.reason[known, -1], minlength=len(REASONS))
            self.queues[scored.label] = {reason: int(n) for reason, n in zip(REASONS, counted, strict=True)}
            self.flagged[scored.label] = int(results.flagged[known, -1].sum())

    def line(self) -> str:
        """One JSON object on one line."""
        told = {
            "tick": format_time(self.tick),
            "verdict": self.verdict,
            "text": self.text,
            "rows": self.rows,
            "metadata_age_s": self.metadata_age_s,
            "queues": {label: {k or "scored": n for k, n in by.items() if n} for label, by in self.queues.items()},
            "flagged": self.flagged,
            "incidents": self.incidents,
            "pending": self.pending,
            "troubles": self.troubles,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "exit": self.code,
        }
        return json.dumps(told, ensure_ascii=False, separators=(", ", ": "))

    def gauges(self, now: float, succeeded: float) -> list[Gauge]:
        """The metrics.

        Args:
            now: seconds since the epoch.
            succeeded: when a tick last ended with exit code 0, seconds since the epoch.
        """
        single, by = Gauge.single, Gauge.by
        queues: dict[tuple[tuple[str, str], ...], float] = {
            (("bundle", label), ("reason", reason or "scored")): float(n)
            for label, counted in self.queues.items()
            for reason, n in counted.items()
        }
        gauges = [
            single(
                "qad_tick_timestamp_seconds", "The tick that was worked on last.", float(self.tick.astype(np.int64))
            ),
            single("qad_tick_end_timestamp_seconds", "When the last tick ended.", now),
            single("qad_tick_success_timestamp_seconds", "When a tick last ended with exit code 0.", succeeded),
            single("qad_tick_exit_code", "Exit code of the last tick.", float(self.code)),
            by("qad_tick_duration_seconds", "What each step of the last tick took.", "step", self.seconds),
            by("qad_source_verdict", "1 for the verdict on what was fetched last.", "verdict", {self.verdict: 1.0}),
            single("qad_source_rows", "Counts that the last tick stored.", float(self.rows)),
            Gauge("qad_queues", "Series at the last tick, scored or with the reason why not.", queues),
            by("qad_flagged", "Series flagged at the last tick.", "bundle", _floats(self.flagged)),
            by("qad_incidents_open", "Open incidents.", "bundle", _floats(self.incidents)),
            by("qad_sink_pending", "What is still to be told or written.", "sink", _floats(self.pending)),
            by("qad_trouble", "1 for each trouble of the collector's own.", "name", dict.fromkeys(self.troubles, 1.0)),
        ]
        if self.metadata_age_s is not None:
            gauges.append(single("qad_metadata_age_seconds", "How old the metadata are.", self.metadata_age_s))
        return gauges


def _floats(values: dict[str, int]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}
