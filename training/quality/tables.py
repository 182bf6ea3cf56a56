"""The tables of the page, from the figures that have been made."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from qad_dl.schema import Tick
from training.quality.no_ids import WITHOUT_IDS
from training.quality.reader import ablation_name, ablations, ratio, seeds_of
from training.quality.told import confusion
from training.quality.verdicts import MIDDLE, over_budget, rate, share, stop_delay

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from training.quality.reader import Reader

BUDGETS: Final = ("0.1", MIDDLE, "0.001")
SIZES: Final = (0, 200, 1000, 5000)
"""Jobs of the largest queue hit, at which sizes begin."""

MINUTES: Final = Tick().minutes
ABSENT: Final = "-"


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        title: heading.
        text: what it shows, in words.
        head: names of the columns.
        rows: cells.
        part: pattern of the parts that it is made from; the command that makes them again is written below it.
    """

    title: str
    text: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    part: str


def worlds(reader: Reader) -> Table:
    """Whether the worlds count for reporting."""
    known = {name: params for kind in reader.config["worlds"].values() for name, params in kind.items()}
    rows = []
    for world in reader.worlds:
        values = {
            "rule_seen": reader.seen(reader.peer(world, "rule"), MIDDLE),
            "hindsight_seen": reader.hindsight(world, MIDDLE),
            "ridge_auc_pr": (reader.peer(world, "ridge") or {}).get("auc_pr"),
        }
        facts = reader.facts(world)
        params = ", ".join(f"{k}={v}" for k, v in known[world].items())
        counts = qualifies(values, reader.config["qualification"])
        said = ABSENT if counts is None else "yes" if counts else "NO"
        rows.append(
            [world, params, str(len(facts["incidents"])) if facts else ABSENT, *map(number, values.values()), said]
        )
    wanted = [f"{low:g} to {high:g}" for low, high in reader.config["qualification"].values()]
    head = ["world", "parameters", "incidents", "rule sees at 0.01", "hindsight sees at 0.01", "ridge AUC-PR", "counts"]
    text = "A world counts for reporting where all three are in their ranges."
    return Table("The worlds", text, head, [["wanted", "", "", *wanted, ""], *rows], "peer-figures/*")


def qualifies(values: Mapping[str, float | None], ranges: Mapping[str, Sequence[float]]) -> bool | None:
    """Whether all figures of a world are in their ranges; None where one is not known."""
    known = [v for v in values.values() if v is not None]
    if len(known) < len(values):
        return None
    return all(ranges[k][0] <= v <= ranges[k][1] for k, v in values.items() if v is not None)


def seen(reader: Reader) -> Table:
    """What is seen at the budgets, by whom."""
    rows = []
    for world in reader.worlds:
        rows.append([world, "hindsight", *(number(reader.hindsight(world, b)) for b in BUDGETS), "", ""])
        for name, figures in scorers(reader, world).items():
            of = [reader.seen(figures, b) for b in BUDGETS]
            shares = [ratio(s, reader.hindsight(world, b)) for s, b in zip(of[1:], BUDGETS[1:], strict=True)]
            rows.append([world, name, *map(number, of), *map(number, shares)])
    head = ["world", "score", *(f"at {b}" for b in BUDGETS), "of hindsight at 0.01", "of hindsight at 0.001"]
    text = "Share of the incidents seen at a budget of false episodes per healthy queue-day."
    return Table("Seen", text, head, rows, "*figures/*")


def scorers(reader: Reader, world: str) -> dict[str, Mapping[str, Any] | None]:
    """Figures on a world of every variant and every peer, by name."""
    models = {v: reader.model(world, v) for v in [*reader.config["variants"], *WITHOUT_IDS]}
    return models | {f"peer {p}": reader.peer(world, p) for p in reader.peers}


def areas(reader: Reader) -> Table:
    """AUC-PR and VUS-PR by world."""
    names = list(scorers(reader, reader.worlds[0]))
    by_world = {w: scorers(reader, w) for w in reader.worlds}
    rows = [
        [name, *(number((by_world[w][name] or {}).get(k), 3) for k in ("auc_pr", "vus_pr") for w in reader.worlds)]
        for name in names
    ]
    head = ["score", *(f"{k} {w}" for k in ("AUC-PR", "VUS-PR") for w in reader.worlds)]
    return Table(
        "Areas",
        "Over all pairs of queue and tick. no_ids: all metadata ids are 0, unknown: the network has no use of them, "
        "and each queue is judged by itself. no_embeddings: the network has no use of them; who shares what is known.",
        head,
        rows,
        "*figures/*",
    )


def delays(reader: Reader) -> Table:
    """Median delays."""
    rows = [
        [world, name, *(_delay(figures, b) for b in BUDGETS), number(stop_delay(figures, reader.facts(world)), 0)]
        for world in reader.worlds
        for name, figures in scorers(reader, world).items()
    ]
    head = ["world", "score", *(f"at {b}" for b in BUDGETS), "stops a queue, at 0.01"]
    text = (
        "Median over the incidents seen, minutes. An incident stops a queue if in its first hour the queue finishes "
        "less than a tenth of its usual jobs."
    )
    return Table("Delays", text, head, rows, "*figures/*")


def _delay(figures: Mapping[str, Any] | None, budget: str) -> str:
    return ABSENT if figures is None else number(figures["budgets"][budget]["median_delay_min"], 0)


def rates(reader: Reader) -> Table:
    """Realised rate of the decision over its budget."""
    named = {w: reader.model(w) for w in reader.worlds}
    named |= {"no incidents": reader.model("quiet"), "RICC": reader.result("measure/ricc/default/1")}
    rows = [[name, *_rate_row(figures)] for name, figures in named.items() if figures is not None]
    over = [f"over budget {b}" for b in BUDGETS]
    head = ["world", "healthy queue-days", *over, "rate at 0.01", "in downtimes at 0.01", "seen at 0.01"]
    text = (
        "False episodes of `flagged` per queue-day over the budget that it was set to: 1 is right. Seen: the share of "
        "the incidents that `flagged` sees, whose threshold nobody has chosen by the incidents."
    )
    return Table("Realised rates", text, head, rows, "measure/*/default/1")


def _rate_row(figures: Mapping[str, Any]) -> list[str]:
    down = rate([figures], MIDDLE, "downtime") if "downtime_days" in figures else None
    over = [number(over_budget([figures], b)) for b in BUDGETS]
    shares = [number(rate([figures], MIDDLE), 4), number(down, 4), number(figures["realised"][MIDDLE].get("seen"))]
    return [number(figures["healthy_days"], 0), *over, *shares]


def groups(reader: Reader) -> Table:
    """Group incidents by the field that the queues share."""
    cases = [g for w in reader.worlds for g in (reader.model(w) or {"groups": []})["groups"]]
    fields = sorted({g["field"] for g in cases})
    rows = [_group_row(f, [g for g in cases if g["field"] == f]) for f in fields]
    told = [g for w in reader.worlds for g in (reader.model(w) or {"told": []})["told"]]
    text = (
        "Incidents that hit several queues, all reporting worlds together. Right: an incident told names the value, or "
        "another that the very same queues have; as one: nothing else is told of its queues while it lasts; named: by "
        "what is known at that time, median of those named within 12 hours. "
        f"Told were {len(told)} groups, {sum(not g['true'] for g in told)} with a value that no incident has."
    )
    head = ["shared", "incidents", "a queue is flagged", "told", "right value", "right and as one", "named after, min"]
    return Table("Groups", text, head, [*rows, _group_row("all", cases)], "measure/*/default/1")


def _group_row(field: str, cases: Sequence[Mapping[str, Any]]) -> list[str]:
    shares = [share([bool(g[what]) for g in cases]) for what in ("seen", "told", "right", "one")]
    named = [g["named_ticks"] * MINUTES for g in cases if g["named_ticks"] is not None]
    return [field, str(len(cases)), *map(number, shares), number(statistics.median(named), 0) if named else ABSENT]


def kinds(reader: Reader) -> Table:
    """The confusion matrix of the kinds."""
    matrix = kind_matrix(reader)
    told = sorted({k for row in matrix.values() for k in row})
    rows = [[kind, *(str(row.get(k, "")) for k in told), _right(kind, row)] for kind, row in matrix.items()]
    text = (
        "Incidents seen by `flagged` at 0.01, all reporting worlds together: what they are, and what they are told as."
    )
    return Table("Kinds", text, ["is", *told, "right"], rows, "measure/*/default/1")


def kind_matrix(reader: Reader) -> dict[str, dict[str, int]]:
    """Counts by true and told kind over the reporting worlds."""
    return confusion([c for w in reader.worlds for c in (reader.model(w) or {"kinds": []})["kinds"]])


def _right(kind: str, row: Mapping[str, int]) -> str:
    return number(row.get(kind, 0) / sum(row.values()))


def by_kind(reader: Reader) -> Table:
    """Seen by kind, beside hindsight and the ridge autoregression."""
    cases = incidents(reader)
    rows = [_part_row(k, [c for c in cases if c["kind"] == k]) for k in sorted({c["kind"] for c in cases})]
    text = "Share seen at 0.01 and median delay by kind, all reporting worlds together."
    return Table("By kind", text, ["kind", *PART_HEAD], [*rows, _part_row("all", cases)], "*figures/*")


def by_size(reader: Reader) -> Table:
    """Seen by the size of the largest queue hit."""
    cases = incidents(reader)
    rows = []
    for low, high in zip(SIZES, [*SIZES[1:], None], strict=True):
        name = f"{low} to {high}" if high else f"{low} and more"
        rows.append(_part_row(name, [c for c in cases if c["jobs"] >= low and (high is None or c["jobs"] < high)]))
    text = "The same by the jobs, in all stock states, of the largest queue hit, on the day before."
    return Table("By size", text, ["jobs", *PART_HEAD], rows, "*figures/*")


PART_HEAD: Final = ("incidents", "hindsight", "model", "ridge", "model of hindsight", "delay, min")


def incidents(reader: Reader) -> list[dict[str, Any]]:
    """Every incident of the reporting worlds with what sees it at 0.01; worlds that are not whole are left out."""
    out = []
    for world in reader.worlds:
        facts, model, ridge = reader.facts(world), reader.model(world), reader.peer(world, "ridge")
        if facts is None or model is None or ridge is None:
            continue
        for name, fact in facts["incidents"].items():
            delay = model["delays_min"].get(name)
            by = {"model": delay is not None, "ridge": ridge["delays_min"].get(name) is not None}
            out.append(
                {**fact, **by, "name": name, "world": world, "delay": delay, "hindsight": fact["hindsight"][MIDDLE]}
            )
    return out


def _part_row(name: str, cases: Sequence[Mapping[str, Any]]) -> list[str]:
    of = {by: share([bool(c[by]) for c in cases]) for by in ("hindsight", "model", "ridge")}
    waits = [c["delay"] for c in cases if c["delay"] is not None]
    delay = number(statistics.median(waits), 0) if waits else ABSENT
    return [name, str(len(cases)), *map(number, of.values()), number(ratio(of["model"], of["hindsight"])), delay]


def life(reader: Reader) -> Table:
    """New queues, old ones that come back, missing ticks, new states, polluted and short training."""
    world = reader.config["closer"]
    rows = []
    for case, name in LIFE.items():
        figures = reader.result(f"life-figures/{world}/{case}")
        for part, said in (("happened", name), ("ordinary", "- the same queues and ticks without it")):
            rows.append(_life_row(said, (figures or {}).get(part)))
    days, week = reader.config["scale"]["trained_days"], reader.config["scale"]["week_days"]
    rows.append(_life_row(f"trained on {days} days", reader.model(world)))
    rows.append(_life_row(f"trained on {week} days", reader.model(world, "week")))
    times = reader.config["pollution"]
    rows.append(_life_row(f"trained where {times:g} times the incidents happen", reader.model(world, "polluted")))
    head = ["what", "incidents", "seen at 0.01", "delay, min", "AUC-PR", "unscored", "rate over budget 0.01"]
    text = f"On {world}: what queues, collectors and training times go through."
    return Table("Life", text, head, rows, "life-figures/*")


LIFE: Final = {
    "day_old": "new queues with one day of history",
    "week_old": "new queues with a week of history",
    "back": "queues back after a month away",
    "missing": "30 % of the ticks missing",
    "new_state": "half of the activated in a new state",
}


def _life_row(name: str, figures: Mapping[str, Any] | None) -> list[str]:
    if figures is None:
        return [name, *[ABSENT] * 6]
    others = [figures["auc_pr"], figures["unscored"], over_budget([figures], MIDDLE)]
    seen_ = number(figures["budgets"][MIDDLE]["seen"])
    return [name, str(len(figures["delays_min"])), seen_, _delay(figures, MIDDLE), *map(number, others)]


def training(reader: Reader) -> Table:
    """How long training takes."""
    rows = []
    for world in [*reader.worlds, "quiet"]:
        for variant in reader.config["variants"]:
            said = reader.bundle(world, variant)
            if said is not None:
                rows.append([world, variant, number(said["wall_s"] / 60, 1), number(said["cpu_s"] / 60, 1)])
    head = ["world", "model", "minutes", "processor minutes"]
    return Table("Training", "`python -m training.train` from start to end.", head, rows, "bundle/*")


def ablation(reader: Reader) -> Table:
    """The default without something, or with it, at a quarter of the training."""
    config = reader.config["ablation"]
    names = ["all", *ablations(reader.config)]
    of = {name: reader.model(config["world"], ablation_name(name)) for name in names}
    rows = [[name, *short_row(figures)] for name, figures in of.items()]
    text = (
        f"On the tuning world {config['world']}, at a quarter of the training: the default, and without a part each, "
        "or with one that it does without."
    )
    return Table("Ablation", text, ["model", *SHORT_HEAD], rows, f"measure/{config['world']}/*")


def seeds(reader: Reader) -> Table:
    """What is held against each other, with every training seed."""
    scale = reader.config["scale"]
    rows = [
        [world, variant, str(seed), *short_row(reader.model(world, variant, seed))]
        for variant in scale["seeded"]
        for world in reader.worlds
        for seed in seeds_of(scale, variant)
    ]
    text = "What is held against each other (rows 8 and 11: of AUC-PR the mean of the seeds), with every training seed."
    return Table("Training seeds", text, ["world", "model", "seed", *SHORT_HEAD], rows, "measure/*/*/*")


def costs(reader: Reader) -> Table:
    """What the evaluation itself takes, by kind of part."""
    made: dict[str, list[float | None]] = {}
    for name in reader.parts:
        found = reader.find(name)
        made.setdefault(name.split("/")[0], []).append(None if found is None else found.seconds / 60)
    rows = [_cost_row(kind, minutes) for kind, minutes in made.items()]
    every = [m for minutes in made.values() for m in minutes]
    head = ["part", "number", "not made", "minutes", "the longest"]
    text = "Minutes, on the machine that made them; each part may take 25, and all of them 240."
    return Table("What measuring takes", text, head, [*rows, _cost_row("all", every)], "*")


def _cost_row(kind: str, minutes: Sequence[float | None]) -> list[str]:
    known = [m for m in minutes if m is not None]
    longest = number(max(known), 1) if known else ABSENT
    return [kind, str(len(minutes)), str(len(minutes) - len(known)), number(sum(known), 1), longest]


SHORT_HEAD: Final = ("AUC-PR", "VUS-PR", *(f"seen at {b}" for b in BUDGETS), "delay at 0.01, min")


def short_row(figures: Mapping[str, Any] | None) -> list[str]:
    """The figures that sum one score up."""
    if figures is None:
        return [ABSENT] * len(SHORT_HEAD)
    of = [figures["budgets"][b]["seen"] for b in BUDGETS]
    return [number(figures["auc_pr"], 3), number(figures["vus_pr"], 3), *map(number, of), _delay(figures, MIDDLE)]


def plain_text(table: Table) -> str:
    """A table for the terminal."""
    lines = [table.head, *table.rows]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def number(value: float | None, digits: int = 2) -> str:
    """A number for people; a dash where there is none."""
    return ABSENT if value is None else f"{value:.{digits}f}"


TABLES: Final = (
    worlds,
    seen,
    areas,
    delays,
    rates,
    groups,
    kinds,
    by_kind,
    by_size,
    life,
    training,
    ablation,
    seeds,
    costs,
)
