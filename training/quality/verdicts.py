"""Which of the figures that are needed are reached: computed, never written by hand."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from training.quality.reader import complete, mean, ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from training.quality.reader import Reader

RIDGE: Final = "ridge"
MIDDLE: Final = "0.01"

LESS: Final = {
    "linear": "the linear part alone",
    "no_ids": "all metadata ids 0",
    "no_embeddings": "the network's metadata ids 0, who shares what known",
}
"""Variants that the whole model has to be better than, in words."""


@dataclass(frozen=True)
class Verdict:
    """One figure that is needed.

    Attributes:
        row: of the table of what is needed.
        figure: what it is.
        needed: in words.
        measured: in words; of all worlds the worst, where it says so.
        holds: None where it has not been measured.
    """

    row: int
    figure: str
    needed: str
    measured: str
    holds: bool | None


def verdicts(reader: Reader) -> list[Verdict]:
    """All rows, in their order."""
    return [v for row in ROWS for v in row(reader, reader.config["needed"])]


def at_least(row: int, figure: str, values: Mapping[str, float | None], least: float, unit: str = "") -> Verdict:
    """A figure of which the worst must be at least so much; values by world, or by what they are of."""
    known = complete(list(values.values()))
    holds = min(known) >= least if known else None
    return Verdict(row, figure, f"at least {least:g}{unit}", listed(values, unit), holds)


def at_most(row: int, figure: str, values: Mapping[str, float | None], most: float, unit: str = "") -> Verdict:
    """A figure of which the worst must be at most so much."""
    known = complete(list(values.values()))
    holds = max(known) <= most if known else None
    return Verdict(row, figure, f"at most {most:g}{unit}", listed(values, unit), holds)


def listed(values: Mapping[str, float | None], unit: str = "") -> str:
    """Values by name, in words."""
    said = {k: "not measured" if v is None else f"{v:.3g}{unit}" for k, v in values.items()}
    return ", ".join(f"{k} {v}" if k else v for k, v in said.items())


def _seen(reader: Reader, needed: Mapping[str, Any]) -> list[Verdict]:
    def of(budget: str) -> dict[str, float | None]:
        models = {w: reader.seen(reader.model(w), budget) for w in reader.worlds}
        return {w: ratio(seen, reader.hindsight(w, budget)) for w, seen in models.items()}

    return [at_least(1, f"seen at {b}, of what hindsight sees", of(b), least) for b, least in needed["seen"].items()]


def _delay(reader: Reader, needed: Mapping[str, Any]) -> list[Verdict]:
    medians = {w: (reader.model(w) or _NOTHING)["budgets"][MIDDLE]["median_delay_min"] for w in reader.worlds}
    stops = {w: stop_delay(reader.model(w), reader.facts(w)) for w in reader.worlds}
    return [
        at_most(2, "median delay at 0.01", medians, needed["delay_min"], " min"),
        at_most(2, "median delay at 0.01 of incidents that stop a queue", stops, needed["delay_stop_min"], " min"),
    ]


def stop_delay(model: Mapping[str, Any] | None, facts: Mapping[str, Any] | None) -> float | None:
    """Median delay, minutes, of the incidents seen at 0.01 that stop a queue."""
    if model is None or facts is None:
        return None
    delays = [d for name, d in model["delays_min"].items() if d is not None and stops(facts, name)]
    return statistics.median(delays) if delays else None


def stops(facts: Mapping[str, Any], incident: str) -> bool:
    """Whether an incident stops a queue."""
    return bool(facts["incidents"].get(incident, {}).get("stops"))


def _areas(reader: Reader, needed: Mapping[str, Any]) -> list[Verdict]:
    out = []
    for key, name in (("auc_pr", "AUC-PR"), ("vus_pr", "VUS-PR")):
        margins = {w: _margin(reader, w, key) for w in reader.worlds}
        known = complete(list(margins.values()))
        holds = min(known) > 0 if known else None
        out.append(Verdict(3, f"{name} above the best peer", "above it on every world", listed(margins), holds))
    gone = {"": missing_area_gone(reader)}
    return [*out, at_least(3, "missing area of the ridge autoregression that is gone", gone, needed["missing_area"])]


def _margin(reader: Reader, world: str, key: str) -> float | None:
    peers = complete([(reader.peer(world, p) or _NOTHING)[key] for p in reader.peers])
    own = (reader.model(world) or _NOTHING)[key]
    return None if own is None or not peers else own - max(peers)


def missing_area_gone(reader: Reader) -> float | None:
    """Share of the ridge autoregression's mean 1 - AUC-PR that the model does not miss."""
    ours = mean([(reader.model(w) or _NOTHING)["auc_pr"] for w in reader.worlds])
    ridge = mean([(reader.peer(w, RIDGE) or _NOTHING)["auc_pr"] for w in reader.worlds])
    return None if ours is None or ridge is None or ridge >= 1 else 1 - (1 - ours) / (1 - ridge)


def _rates(reader: Reader, needed: Mapping[str, Any]) -> list[Verdict]:
    factor = float(needed["rate_factor"])
    out = []
    for budget in ("0.1", MIDDLE):
        of = {w: over_budget(complete([reader.model(w)]), budget) for w in reader.worlds}
        if "ricc" in reader.config:
            of["RICC"] = over_budget(complete([reader.result("measure/ricc/default/1")]), budget)
        out.append(_within(f"realised rate over the budget {budget}", of, factor))
    every = complete([*(reader.model(w) for w in reader.worlds), reader.model("quiet")])
    out.append(_within("realised rate over the budget 0.001, all worlds", {"": over_budget(every, "0.001")}, factor))
    healthy, down = (rate(reader.all_models(), MIDDLE, where) for where in ("healthy", "downtime"))
    holds = None if healthy is None or down is None else down <= healthy
    said = listed({"downtimes": down, "healthy time": healthy})
    return [*out, Verdict(4, "rate in downtimes at 0.01, all worlds", "no more than in healthy time", said, holds)]


def _within(figure: str, values: Mapping[str, float | None], factor: float) -> Verdict:
    known = complete(list(values.values()))
    holds = all(1 / factor <= v <= factor for v in known) if known else None
    return Verdict(4, figure, f"between {1 / factor:g} and {factor:g}", listed(values), holds)


def rate(models: Sequence[Mapping[str, Any]], budget: str, where: str = "healthy") -> float | None:
    """Episodes of the decision per day of some worlds together; None without any time."""
    days = sum(m[f"{where}_days"] for m in models)
    return sum(m["realised"][budget][where] for m in models) / days if days else None


def over_budget(models: Sequence[Mapping[str, Any]], budget: str) -> float | None:
    """Realised rate over the budget."""
    realised = rate(models, budget)
    return None if realised is None else realised / float(budget)


def _groups(reader: Reader, needed: Mapping[str, Any]) -> list[Verdict]:
    models, fields = reader.all_models(), reader.config["group_fields"]
    cases = [g for m in models for g in m["groups"] if g["field"] in fields]
    right = share([g["one"] for g in cases])
    seen = share([g["one"] for g in cases if g["seen"] or g["told"]])
    wrong = share([not g["true"] for m in models for g in m["told"]])
    in_time = share([_in_time(g) for g in cases if g["seen"]])
    return [
        at_least(5, f"groups ({', '.join(fields)}) told as one, right", {"": right}, needed["groups_right"]),
        at_least(5, "the same, of those seen in any way", {"": seen}, needed["groups_right"]),
        at_most(5, "groups told with a value that no incident has", {"": wrong}, needed["groups_wrong"]),
        at_least(5, "groups told no later than the earliest of their queues is flagged", {"": in_time}, 1.0),
    ]


def _in_time(group: Mapping[str, Any]) -> bool:
    """Whether something is told of a group no later than a queue of it is flagged."""
    return group["told_ticks"] is not None and group["told_ticks"] <= group["alone_ticks"]


def share(values: Sequence[bool]) -> float | None:
    """Share that is true; None of nothing."""
    return sum(values) / len(values) if values else None


def _benchmark(_reader: Reader, _needed: Mapping[str, Any]) -> list[Verdict]:
    return [Verdict(6, "ASD", "1.15 times the best peer", "by `make benchmark`, not here", None)]


def _kinds(reader: Reader, needed: Mapping[str, Any]) -> list[Verdict]:
    cases = [case for m in reader.all_models() for case in m["kinds"]]
    right = share([case["kind"] == case["told"] for case in cases])
    return [at_least(7, "likely kind right, of the incidents seen", {"": right}, needed["kinds_right"])]


def _encoders(reader: Reader, _needed: Mapping[str, Any]) -> list[Verdict]:
    def both(variant: str) -> list[float]:
        return complete([mean([reader.area(w, variant, k) for w in reader.worlds]) for k in ("auc_pr", "vus_pr")])

    of = {variant: both(variant) for variant in ("default", "lstm")}
    holds = sum(of["default"]) >= sum(of["lstm"]) if all(of.values()) else None
    said = ", ".join(f"{v} {' and '.join(f'{a:.4f}' for a in areas) or 'not measured'}" for v, areas in of.items())
    needed = "the default is the better, both areas together"
    return [Verdict(8, "mean AUC-PR and VUS-PR of the default and of the LSTM", needed, said, holds)]


def _life(reader: Reader, needed: Mapping[str, Any]) -> list[Verdict]:
    life = reader.result(f"life-figures/{reader.config['closer']}/day_old") or {}
    seen = [reader.seen(life.get(k), MIDDLE) for k in ("happened", "ordinary")]
    return [at_least(9, "seen at 0.01 after one day, of what is seen after 24", {"": ratio(*seen)}, needed["day_old"])]


def _training(reader: Reader, needed: Mapping[str, Any]) -> list[Verdict]:
    minutes = {w: (reader.bundle(w) or {}).get("wall_s") for w in reader.worlds}
    of = {w: None if s is None else s / 60 for w, s in minutes.items()}
    return [at_most(10, "training", of, needed["training_min"], " min")]


def _parts(reader: Reader, _needed: Mapping[str, Any]) -> list[Verdict]:
    out = []
    for variant, name in LESS.items():
        more = ahead(reader, variant)
        known = complete(list(more.values()))
        holds = min(known) > 0 if known else None
        out.append(Verdict(11, f"AUC-PR over {name}", "above it on every world", listed(more), holds))
    return out


def ahead(reader: Reader, variant: str) -> dict[str, float | None]:
    """AUC-PR of the whole less that of a variant, means of the training seeds, by world."""
    return {w: _difference(reader.area(w), reader.area(w, variant)) for w in reader.worlds}


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _commands(reader: Reader, _needed: Mapping[str, Any]) -> list[Verdict]:
    told = reader.result(f"commands/{reader.config['closer']}")
    figure, wanted = "`qad incidents`", "kind, value and queues of each"
    if told is None:
        return [Verdict(12, figure, wanted, "not measured", None)]
    whole = told["incidents"] > 0 and told["incidents"] == told["with_queues"] == told["with_value"]
    said = f"{told['incidents']} incidents, {told['with_queues']} with queues, {told['with_value']} with a value"
    return [Verdict(12, figure, wanted, said, whole)]


_NOTHING: Final[Mapping[str, Any]] = {
    "auc_pr": None,
    "vus_pr": None,
    "budgets": {b: {"seen": None, "median_delay_min": None} for b in ("0.1", MIDDLE, "0.001")},
}

ROWS: Final[tuple[Callable[[Reader, Mapping[str, Any]], list[Verdict]], ...]] = (
    _seen,
    _delay,
    _areas,
    _rates,
    _groups,
    _benchmark,
    _kinds,
    _encoders,
    _life,
    _training,
    _parts,
    _commands,
)
