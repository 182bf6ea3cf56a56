"""From labels to a proposal: thresholds of groups, an order of incidents, and what both would change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.backtest import run_backtest
from qad_dl.errors import ConfigError, InputError
from qad_dl.incidents import find_incidents, values_of
from qad_dl.incidents_file import QUEUE_FIELD
from qad_dl.label_evaluation import judged_things
from qad_dl.labels import EXPECTED, PROBLEM
from qad_dl.proposal.marked import marked, weak_runs
from qad_dl.proposal.offsets import Aim, Groups, Labelling
from qad_dl.proposal.ranking import known_incidents, propose_order
from qad_dl.proposal.thresholds import propose_thresholds
from qad_dl.proposal.trade import Line, Trade, trade
from qad_dl.timeparse import format_time
from qad_dl.tuning.file import Thresholds, Tune, tuned, values_of_field

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qad_dl.histories import History
    from qad_dl.incidents import Values
    from qad_dl.labels import Label
    from qad_dl.metadata import Metadata
    from qad_dl.proposal.ranking import ProposedOrder
    from qad_dl.proposal.thresholds import Proposed
    from qad_dl.results import Results
    from qad_dl.scorer import Scorer

FIELDS: Final = (
    QUEUE_FIELD,
    "atlas_site",
    "cloud",
    "country",
    "tier",
    "type",
    "resource_type",
    "capability",
    "harvester",
    "write_storage",
    "container_type",
    "workflow",
)
"""Fields that groups may go by where nobody names one."""

FEWEST: Final = 2
"""Values that a field must have to divide anything."""


@dataclass(frozen=True)
class Proposal:
    """What labels say should change, before anything is.

    Attributes:
        tune: what would be applied; without thresholds and order where nothing is proposed.
        thresholds, order: each with its reasons.
        trade: what would have been flagged.
        things: labelled things of the range, by verdict.
    """

    tune: Tune
    thresholds: Proposed
    order: ProposedOrder
    trade: Trade
    things: dict[str, int]

    @property
    def empty(self) -> bool:
        """Whether nothing is proposed."""
        return self.tune.thresholds is None and self.tune.order is None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        t, o = self.thresholds, self.order
        held_out = None if t.checked is None else vars(t.checked)
        return {
            "things": self.things,
            "thresholds": {
                "field": t.field or None,
                "offsets": dict(t.offsets),
                "why": t.why,
                "held_out_from": _time(t.split),
                "held_out": held_out,
            },
            "order": {
                "proposed": o.order is not None,
                "why": o.why,
                "problems": o.problems,
                "expected": o.expected,
                "held_out_from": _time(o.split),
                "area": o.new,
                "area_by_score": o.old,
                "coefficients": [
                    {"what": what, "weight": weight, "usual": usual, "spread": spread}
                    for what, weight, usual, spread in o.coefficients
                ],
            },
            "trade": _trade_json(self.trade),
        }


def propose(
    store: History,
    scorer: Scorer,
    labels: Iterable[Label],
    start: np.datetime64,
    end: np.datetime64,
    budget: float | None = None,
    fields: Sequence[str] = (),
    aim: Aim | None = None,
) -> Proposal:
    """Score a range and see what labels of it say should change.

    Args:
        store: history and metadata.
        scorer: the bundle; what may be tuned for it is left aside.
        labels: those in force.
        start: first tick.
        end: one past the last.
        budget: false alarm episodes per series and day; 0.01 if not given.
        fields: that groups may go by; `FIELDS` if none is given.
        aim: what is wanted.

    Raises:
        InputError: the store has no tick in the range, the bundle is not of queues, or a label names an unknown field.
        ConfigError: the range is empty, or a field divides nothing.
    """
    if QUEUE_FIELD not in scorer.bundle.preprocess.entity:
        scored = "/".join(scorer.bundle.preprocess.entity)
        msg = f"--bundle: it scores {scored}; labels are of queues, give a bundle of queues"
        raise InputError(msg)
    results = run_backtest(store, scorer, start, end, budget)
    return propose_from(results, values_of(results, store), labels, store.metadata(), scorer.bundle.name, fields, aim)


def propose_from(
    results: Results,
    values: Values,
    labels: Iterable[Label],
    metadata: Metadata,
    bundle: str,
    fields: Sequence[str] = (),
    aim: Aim | None = None,
) -> Proposal:
    """As `propose`, of results that are there.

    Args:
        results: of queues, not tuned.
        values: what the series share.
        labels: those in force.
        metadata: of the store.
        bundle: name of the bundle.
        fields: that groups may go by.
        aim: what is wanted.
    """
    aim = aim or Aim()
    things = judged_things(labels, results, metadata)
    labelling = Labelling(tuple(marked(things, results)), weak_runs(things, results))
    divided = _groups(results, metadata, fields)
    proposed = propose_thresholds(labelling, divided, aim)
    own = Thresholds(proposed.field, proposed.offsets) if proposed.offsets else None
    draft = Tune(bundle, thresholds=own)
    then = tuned(results, draft, metadata)
    before = find_incidents(results, values)
    after = before if own is None else find_incidents(then, values)
    order = propose_order(known_incidents(after, things, then))
    chosen = next((groups for groups in divided if groups.field == proposed.field), None)
    changes = trade(results, then, (len(before), len(after)), labelling.marked, chosen, proposed)
    verdicts = (*dict.fromkeys((PROBLEM, EXPECTED, *(thing.verdict for thing in things))),)
    counted = {verdict: sum(thing.verdict == verdict for thing in things) for verdict in verdicts}
    made = Proposal(draft, proposed, order, changes, counted)
    step = results.times[-1] - results.times[-2] if len(results.times) > 1 else np.timedelta64(600, "s")
    tune = replace(
        draft,
        start=format_time(results.times[0]),
        end=format_time(results.times[-1] + step),
        budget=results.budget,
        order=order.order,
        report=made.as_json(),
    )
    return replace(made, tune=tune)


def _groups(results: Results, metadata: Metadata, fields: Sequence[str]) -> list[Groups]:
    """How each field divides the series, of those that do.

    Raises:
        ConfigError: one that was asked for does not.
    """
    records = metadata.at(results.times[-1])
    made = [Groups.by(name, values_of_field(results, records, name)) for name in fields or FIELDS]
    useless = [groups.field for groups in made if len(groups.values) < FEWEST]
    if fields and useless:
        msg = (
            f"--field {useless[0]!r}: the queues have fewer than {FEWEST} values of it; name a field as CRIC spells it"
        )
        raise ConfigError(msg)
    kept: list[Groups] = []
    for groups in made:  # fields that divide the queues alike are one; the first names it
        alike = any(np.array_equal(groups.of, other.of) for other in kept)
        if len(groups.values) >= FEWEST and not alike:
            kept.append(groups)
    return kept


def _trade_json(found: Trade) -> dict[str, Any]:
    return {
        "days": found.days,
        "incidents": _pair(found.incidents),
        "all": _line_json(found.all),
        "groups": [_line_json(line) for line in found.groups],
        "lost": list(found.lost),
        "caught": list(found.caught),
        "silenced": list(found.silenced),
    }


def _line_json(line: Line) -> dict[str, Any]:
    pairs = {name: _pair(getattr(line, name)) for name in ("threshold", "episodes", "problems", "expected")}
    return {
        "value": line.value,
        "series": line.series,
        **pairs,
        "problems_of": line.problems_of,
        "expected_of": line.expected_of,
    }


def _pair(both: tuple[float, float]) -> dict[str, float]:
    return {"now": both[0], "then": both[1]}


def _time(time: np.datetime64 | None) -> str | None:
    return None if time is None else format_time(time)
