"""What came of a day of ticks: each incident and fault as it was told, what is not as it should be, and a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qad_dl.backtest import run_backtest
from qad_dl.scorer import Scorer
from serving.follow import load_results
from tests.services.panda_world import HOUR
from tests.services.tick_day_played import position_of, time_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from qad_dl.results import Results
    from tests.services.tick_day_played import Play

CLOSES = 4 * HOUR
"""An incident is closed this long after its end at the latest, unless the day ends before."""


@dataclass(frozen=True)
class Outcome:
    """What became of an incident.

    Attributes:
        kind, field, value: what really happened.
        told: `field=value` as it was told.
        kind_told: likeliest kind.
        started, ended: ticks of the day.
        flagged, opened, closed: ticks of the day; None where it did not come to that.
        times: how often it was told as something new, but for parts that were folded into it.
        folded: parts that were told before they were known to be parts.
        again: how often it came back after it was closed.
    """

    kind: str
    field: str
    value: str
    told: str
    kind_told: str
    started: int
    ended: int
    flagged: int | None
    opened: int | None
    closed: int | None
    times: int
    folded: int
    again: int


def outcomes(played: Play, bundle: Path) -> tuple[list[Outcome], list[dict[str, Any]]]:
    """What became of each incident, and what was told beside them."""
    made = run_backtest(played.store, Scorer.load(bundle), played.first, played.at(played.ticks))
    opened = [line for line in played.told_of(monitor=False) if line["action"] == "opened"]
    results, mine = [], []
    for real in played.day.incidents:
        began = real.begin - played.day.first
        span = (played.at(began), played.at(real.end - played.day.first + 12))
        hits = [o for o in opened if set(o["queues"]) & set(real.queues) and span[0] <= time_of(o["tick"]) < span[1]]
        mine += hits
        results.append(_outcome(played, made, real, began, hits))
    return results, [line for line in opened if line not in mine]


def _outcome(played: Play, made: Results, real: Any, began: int, hits: Sequence[Mapping[str, Any]]) -> Outcome:
    names = [key[0] for key in made.series]
    flagged = made.flagged[[names.index(queue) for queue in real.queues], began:].any(axis=0)
    last = [line for line in played.told if hits and line["incident"] == hits[0]["incident"]]
    parts = {line["incident"] for line in played.told if hits and line["folded"] == hits[0]["incident"]}
    closed = [line for line in last if line["action"] == "closed"]
    return Outcome(
        kind=real.kind,
        field=real.field,
        value=real.value,
        told=f"{last[-1]['field']}={last[-1]['value']}" if last else "",
        kind_told=str(last[-1]["kind"]) if last else "",
        started=began,
        ended=real.end - played.day.first,
        flagged=began + int(flagged.argmax()) if flagged.any() else None,
        opened=position_of(played, hits[0]["tick"]) if hits else None,
        closed=position_of(played, closed[-1]["tick"]) if closed else None,
        times=sum(line["incident"] not in parts for line in hits),
        folded=sum(line["incident"] in parts for line in hits),
        again=sum(line["action"] == "reopened" for line in last),
    )


def judge(played: Play, bundle: Path) -> list[str]:
    """What is not as it should be, one line each; and the same scores as a backtest."""
    wrong = list(played.wrong)
    found, others = outcomes(played, bundle)
    for one in found:
        name = f"{one.kind} {one.field}={one.value}"
        stops = one.kind == "site_down"
        if one.times != 1:
            wrong.append(f"{name}: told {one.times} times")
            continue
        assert one.opened is not None
        if one.flagged is not None and one.opened > one.flagged + 2:
            wrong.append(f"{name}: told {one.opened - one.flagged} ticks after its first flag")
        if stops and one.opened > one.started + 3:
            wrong.append(f"{name}: told {one.opened - one.started} ticks after it stopped the queues")
        if one.told != f"{one.field}={one.value}":
            wrong.append(f"{name}: told as {one.told}")
        if one.closed is None and one.ended + CLOSES <= played.ticks:
            wrong.append(f"{name}: never closed")
    world, site = played.day.run.world, played.day.outage.site
    down = {n for n, fact in zip(world.names, world.facts, strict=True) if fact.get("atlas_site") == site}
    wrong += [f"alarm for the downtime: {o['value']}" for o in others if set(o["queues"]) <= down]
    wrong += _faults(played, others)
    keys = [line["key"] for line in played.told]
    wrong += [f"told twice: {key}" for key in sorted({k for k in keys if keys.count(k) > 1})]
    kept = load_results(played.folder / "state" / "results" / f"{bundle.name}.npz")
    made = run_backtest(played.store, Scorer.load(bundle), played.first, played.at(played.ticks))
    assert kept is not None
    np.testing.assert_allclose(kept.score, made.score, atol=1e-5)
    np.testing.assert_array_equal(kept.flagged, made.flagged)
    return wrong


def _faults(played: Play, others: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each fault of an outside system leads to its own self-alert, once, that is over after it; and to nothing else."""
    wrong = []
    monitor = played.told_of(monitor=True)
    for fault in played.faults:
        began = [
            line
            for line in monitor
            if line["value"] == fault.trouble and fault.begin <= position_of(played, line["tick"]) < fault.end
        ]
        if [line["action"] for line in began] not in (["opened"], ["reopened"]):
            wrong.append(f"{fault.system} {fault.trap}: self-alerts {[line['action'] for line in began]}")
        source = fault.system in ("panda", "cric")
        wrong += [
            f"{fault.system} {fault.trap}: queue alert {line['value']}"
            for line in others
            if source and fault.begin <= position_of(played, line["tick"]) <= fault.end + 1
        ]
    left = [line for line in monitor if line["action"] in ("opened", "reopened")]
    closed = [line for line in monitor if line["action"] == "closed"]
    if len(left) != len(closed):
        wrong.append(f"{len(left)} self-alerts, {len(closed)} of them over")
    return wrong


def report(played: Play, bundle: Path) -> str:
    """A table for people."""
    found, others = outcomes(played, bundle)
    rows = [("what happened", "began", "first flag", "told", "as", "closed", "folded in", "came back")]
    rows += [
        (
            f"{o.kind} {o.field}={o.value}",
            _clock(o.started),
            _clock(o.flagged),
            _clock(o.opened),
            f"{o.kind_told} {o.told}",
            _clock(o.closed),
            str(o.folded),
            str(o.again),
        )
        for o in found
    ]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    text = "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
    monitor = [f"{line['action']} {line['value']}" for line in played.told_of(monitor=True)]
    seconds = [sum(line["seconds"].values()) for line in played.lines]
    beside = [f"{line['value']} ({line['kind']}, score {line['score']})" for line in others]
    return (
        f"{text}\n\nbeside these: {', '.join(beside) or 'nothing'}\nself-alerts: {', '.join(monitor)}\n"
        f"{played.ticks} ticks, median {np.median(seconds):.2f} s, slowest {max(seconds):.2f} s (without the start)"
    )


def _clock(position: int | None) -> str:
    return "-" if position is None else f"{position // HOUR:02d}:{position % HOUR * 60 // HOUR:02d}"
