"""Champion against challenger on the same held-out time: which of two bundles should be in use.

Two questions are asked of each (docs/decisions/0014-champion-and-challenger.md).

calibrated    are its scores spread as it promises: the bulk of normal life, and what is flagged (`drift.calibration`)
seen          of the same incidents, how many does it see when both raise equally many alarms on the same quiet time

The incidents are known ones, where there are `LEAST_KNOWN`, else such as are put into the counts (`injection`). What
one sees and the other does not is held against chance by the exact sign test (McNemar 1947).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import comb
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.backtest import newest_tick, read_grid
from qad_dl.drift import calibration
from qad_dl.errors import ConfigError, InputError
from qad_dl.injection import TICKS, inject
from qad_dl.metrics.budget import at_budgets, delays_min
from qad_dl.metrics.hits import downtime_windows, incident_windows
from qad_dl.metrics.truth import Window, build_truth
from qad_dl.progress import progress
from qad_dl.timeparse import format_time, parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.downtimes import Downtime
    from qad_dl.drift import Sign
    from qad_dl.grid import Grid
    from qad_dl.histories import History
    from qad_dl.incidents_file import Incident
    from qad_dl.metadata import Metadata
    from qad_dl.metrics.truth import Truth
    from qad_dl.results import Results
    from qad_dl.scorer import Scorer

CHAMPION, CHALLENGER = "champion", "challenger"

RATE: Final = 0.1
"""Alarms a queue-day that both may raise. Incidents that nobody knows of are among them, about as many as this."""

RATES: Final = (0.1, 0.01)

LEAST_KNOWN: Final = 20
"""So many known incidents decide; of fewer, five would have to be seen by one alone and none by the other."""

CHANCE: Final = 0.05
"""How often one of two equals looks better."""

LEAST_DAYS: Final = 2


@dataclass(frozen=True)
class Figures:
    """What one bundle does on the time.

    Attributes:
        bundle: its name.
        trained: as in its manifest.
        series: how many it knows.
        states: names of its states.
        unknown: share of the living series that it does not know.
        signs: `bulk` and `flags`.
        thresholds: score at each of `RATES`, infinite where there is none.
        false_episodes: at each.
        injected: [I] which of the incidents that were put in it sees, at each.
        known: [K] which of the known ones, at each.
    """

    bundle: str
    trained: Mapping[str, str]
    series: int
    states: tuple[str, ...]
    unknown: float
    signs: tuple[Sign, ...]
    thresholds: tuple[float, ...]
    false_episodes: tuple[int, ...]
    injected: tuple[NDArray[np.bool_], ...]
    known: tuple[NDArray[np.bool_], ...]

    @property
    def calibrated(self) -> bool:
        """Whether its scores are spread as it promises, or nobody can tell."""
        return not any(sign.drifted for sign in self.signs)

    def as_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "bundle": self.bundle,
            "trained": dict(self.trained),
            "series": self.series,
            "states": list(self.states),
            "unknown_share": round(self.unknown, 4),
            "calibrated": self.calibrated,
            **{s.name: round(s.value, 4) if np.isfinite(s.value) else None for s in self.signs},
            "rates": {
                f"{rate:g}": {
                    "threshold": round(threshold, 4) if np.isfinite(threshold) else None,
                    "false_episodes": false,
                    "seen_injected": _share(injected),
                    "seen_known": _share(known),
                }
                for rate, threshold, false, injected, known in zip(
                    RATES, self.thresholds, self.false_episodes, self.injected, self.known, strict=True
                )
            },
        }


@dataclass(frozen=True)
class Verdict:
    """Who should be in use.

    Attributes:
        winner: `champion` or `challenger`.
        measure: what decided: `known` or `injected` incidents.
        only_champion, only_challenger: incidents that one sees alone.
        chance: how often equals would differ so far for the challenger, 0 to 1.
        why: in words.
    """

    winner: str
    measure: str
    only_champion: int
    only_challenger: int
    chance: float
    why: str


@dataclass(frozen=True)
class Comparison:
    """All of it.

    Attributes:
        start, end: the time, half open.
        queue_days: of quiet time in which both have a score.
        incidents: how many were put in, and how many are known.
        champion, challenger: their figures.
        verdict: who should be in use.
    """

    start: np.datetime64
    end: np.datetime64
    queue_days: float
    incidents: tuple[int, int]
    champion: Figures
    challenger: Figures
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        """The object of `qad bundles compare --format json`."""
        return {
            "start": format_time(self.start),
            "end": format_time(self.end),
            "queue_days": round(self.queue_days, 2),
            "injected": self.incidents[0],
            "known": self.incidents[1],
            CHAMPION: self.champion.as_json(),
            CHALLENGER: self.challenger.as_json(),
            "verdict": vars(self.verdict),
        }


def compare(
    store: History,
    champion: Scorer,
    challenger: Scorer,
    start: np.datetime64,
    end: np.datetime64,
    incidents: Sequence[Incident] = (),
    aside: Sequence[Downtime] = (),
    budget: float | None = None,
    seed: int = 1,
) -> Comparison:
    """Hold two bundles against each other on [start, end).

    Args:
        store: history and metadata.
        champion: the bundle in use.
        challenger: the one that may replace it.
        start: first tick, after both trainings.
        end: one past the last.
        incidents: known ones; none if not known.
        aside: further time of queues that counts for neither, such as what reviewers have called expected.
        budget: that flags are set to.
        seed: of the incidents that are put in.

    Raises:
        ConfigError: the range is too short, one was trained on it, or they are not for the same queues.
        InputError: the store does not have that time, or not what the incidents name.
    """
    times = store.tick.range(start, min(end, newest_tick(store) + store.tick.delta))
    _check(champion, challenger, times, store.tick.per_day)
    metadata = store.metadata()
    preprocess = champion.bundle.preprocess
    grid = read_grid(store, preprocess, times[0], times[-1] + store.tick.delta, metadata)
    first = len(grid.times) - len(times)
    changed, put = inject(grid, first, np.random.default_rng(seed))
    queues = {key[0] for key in store.known_series(times[-1] + np.timedelta64(1, "D"))}
    queues |= {name for dump in metadata.dumps for name in dump}
    span = (times[0], times[-1] + store.tick.delta)
    hits = incident_windows(incidents, grid.entity, grid.series, metadata, queues, span)
    down = downtime_windows([*store.downtimes(), *aside], grid.entity, grid.series)
    ends = [grid.times[i.start + TICKS - 1] + store.tick.delta for i in put]
    windows = [Window(grid.times[i.start], e, (i.series,), i.kind) for i, e in zip(put, ends, strict=True)]
    jobs = [(scorer, g) for scorer in (champion, challenger) for g in (grid, changed)]
    scored = [s.score_grid(g, metadata, first, budget) for s, g in progress(jobs, "compare", unit="run")]
    both = (scored[0].reason == 0) & (scored[2].reason == 0) & scored[0].known
    quiet = build_truth(times, store.tick, len(grid.series), hits, down, both)
    hit = build_truth(times, store.tick, len(grid.series), windows, [*down, *hits])
    if not quiet.healthy.any():
        msg = f"{store.name}: no queue has quiet time with a score of both from {format_time(times[0])} on"
        raise InputError(msg)
    sides = [
        _figures(scorer, scored[i], scored[i + 1], quiet, hit, grid, metadata)
        for i, scorer in ((0, champion), (2, challenger))
    ]
    days = quiet.queue_days(quiet.healthy)
    counts = (len(hit.windows), len(quiet.windows))
    return Comparison(times[0], span[1], days, counts, sides[0], sides[1], verdict(sides[0], sides[1]))


def verdict(champion: Figures, challenger: Figures) -> Verdict:
    """The rule: the challenger must be calibrated and see no less; and see more, or replace one that is not calibrated.

    "More" and "less" are what equals would show less often than `CHANCE`.
    """
    at = RATES.index(RATE)
    measure = "known" if len(champion.known[at]) >= LEAST_KNOWN else "injected"
    old, new = (getattr(side, measure)[at] for side in (champion, challenger))
    lost, won = int((old & ~new).sum()), int((new & ~old).sum())
    better, worse = sign_test(won, lost), sign_test(lost, won)
    seen = f"{_words(new)} of {len(new)} {measure} incidents seen by the challenger, {_words(old)} by the champion"
    if not challenger.calibrated:
        winner, why = CHAMPION, f"the challenger is not calibrated ({_trouble(challenger)})"
    elif worse < CHANCE:
        winner, why = CHAMPION, f"the challenger sees less: {seen}"
    elif better < CHANCE:
        winner, why = CHALLENGER, f"it sees more: {seen}"
    elif not champion.calibrated:
        winner, why = CHALLENGER, f"it is calibrated and the champion is not ({_trouble(champion)}); {seen}"
    else:
        winner, why = CHAMPION, f"what differs could be chance: {seen}"
    return Verdict(winner, measure, lost, won, round(better, 6), why)


def sign_test(more: int, less: int) -> float:
    """Chance that of `more + less` fair coins at least `more` show heads; 1 without any."""
    n = more + less
    return float(sum(comb(n, k) for k in range(more, n + 1)) / 2**n)


def _figures(
    scorer: Scorer, plain: Results, other: Results, quiet: Truth, hit: Truth, grid: Grid, metadata: Metadata
) -> Figures:
    """What one bundle does, from its scores of the time as it was and with incidents in it."""
    bundle = scorer.bundle
    scores = np.where(quiet.healthy | quiet.incident, plain.score, np.nan)
    budgets = at_budgets(scores, quiet, RATES)
    thresholds = tuple(np.inf if at.threshold is None else at.threshold for at in budgets)
    healthy = replace(plain, expected=plain.expected | ~quiet.healthy)
    living = (np.nan_to_num(grid.counts[:, -len(plain.times) :]) > 0).any(axis=(1, 2))
    ids = bundle.preprocess.prepare(grid, metadata).static_cat[-1, :, 0]
    return Figures(
        bundle=bundle.name,
        trained=bundle.manifest.get("training", {}),
        series=len(bundle.preprocess.vocabularies[0]) - 1,
        states=bundle.preprocess.states,
        unknown=float((ids[living] == 0).mean()) if living.any() else 0.0,
        signs=tuple(calibration(bundle, healthy)),
        thresholds=thresholds,
        false_episodes=tuple(at.false_episodes or 0 for at in budgets),
        injected=tuple(np.isfinite(delays_min(other.score >= t, hit)) for t in thresholds),
        known=tuple(np.isfinite(delays_min(plain.score >= t, quiet)) for t in thresholds),
    )


def _check(champion: Scorer, challenger: Scorer, times: NDArray[np.datetime64], per_day: int) -> None:
    """Both can be held against each other on these ticks."""
    if len(times) < LEAST_DAYS * per_day:
        msg = f"--start to --end: {len(times) / per_day:.1f} days are too few to tell two bundles apart; give a week"
        raise ConfigError(msg)
    old, new = champion.bundle.preprocess, challenger.bundle.preprocess
    if (old.entity, dict(old.select), old.tick, old.quantity) != (new.entity, dict(new.select), new.tick, new.quantity):
        msg = "the bundles are for other queues: their data.entity, data.select or ticks differ"
        raise ConfigError(msg)
    for name, scorer in ((CHAMPION, champion), (CHALLENGER, challenger)):
        end = scorer.bundle.manifest.get("training", {}).get("end")
        if end is not None and parse_time(end) > times[0]:
            msg = f"--start {format_time(times[0])}: the {name} was trained on time up to {end}; begin there or later"
            raise ConfigError(msg)


def _share(seen: NDArray[np.bool_]) -> float | None:
    return round(float(seen.mean()), 4) if seen.size else None


def _words(seen: NDArray[np.bool_]) -> str:
    return str(int(seen.sum()))


def _trouble(side: Figures) -> str:
    return "; ".join(sign.text for sign in side.signs if sign.drifted)
