"""What a million series every ten minutes take, worked out from the measured figures, and where it breaks first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from training.bench.verdicts import reached

if TYPE_CHECKING:
    from collections.abc import Mapping

MONTH_H: Final = 730.0
ROW_BYTES: Final = 36
"""Of a row in memory: time, count and five codes (`qad_dl.rows.JOBS_SCHEMA`)."""


@dataclass(frozen=True)
class PerSeries:
    """What one further series costs at each tick.

    Attributes:
        name: of the way to score.
        cpu_s: processor seconds.
        memory_mb: resident.
    """

    name: str
    cpu_s: float
    memory_mb: float


def per_series(results: Mapping[str, Mapping[str, Any] | None]) -> list[PerSeries]:
    """A tick that finds what the one before it kept, and the same in a process that stays; only what was measured."""
    ways, sizes, rates = [], reached(results), results.get("row/4/tcn")
    if len(sizes) >= 2:
        small, large = sizes[0], sizes[-1]
        number = large["number"] - small["number"]
        cpu = (large["whole"]["least_cpu_s"] - small["whole"]["least_cpu_s"]) / number
        memory = (large["whole"]["peak_mb"] - small["whole"]["peak_mb"]) / number
        ways.append(PerSeries("a tick as a process of its own", cpu, memory))
        if rates is not None:
            remembered = 1 / rates["scoring"]["remembered"]["per_s"]
            ways.append(PerSeries("scoring alone, in a process that stays", remembered, memory))
    return ways


def section(results: Mapping[str, Mapping[str, Any] | None], config: Mapping[str, Any]) -> str:
    """The section of the page."""
    ways, asked, price = per_series(results), config["million"], config["price"]
    if not ways:
        return "## A million series\n\nNot worked out: rows 3 and 4 have not been measured."
    n, host = int(asked["series"]), config["host"]
    text = [
        "## A million series",
        f"What {n:,} series every {asked['tick_minutes']} minutes would take with the code as it is, worked out from "
        "rows 3 and 4 above (the cost of a further series times their number) and from the store that rows 5 to 7 are "
        f"measured on. A tick may take {asked['deadline_s']} s, half of its time; a host has {host['cores']} cores and "
        f"{host['memory_gb']} GB. Prices are assumptions of `configs/bench.yaml`: {price['core_hour']} EUR for a core "
        f"and hour, {price['gb_month']} EUR for a GB and month in an object store.",
    ]
    head = ["way", "processor s a tick", "memory GB", "hosts by time", "hosts by memory", "hosts", "EUR a month"]
    lines = [head, ["---"] * len(head), *(_line(way, n, asked, host, price) for way in ways)]
    text.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
    text += [_bytes(results, n, asked, price), _first(ways, asked, host)]
    return "\n\n".join(t for t in text if t)


def _line(
    way: PerSeries, n: int, asked: Mapping[str, Any], host: Mapping[str, Any], price: Mapping[str, Any]
) -> list[str]:
    cpu, memory = way.cpu_s * n, way.memory_mb * n / 1e3
    by_time = math.ceil(cpu / (asked["deadline_s"] * host["cores"]))
    by_memory = math.ceil(memory / host["memory_gb"])
    hosts = max(by_time, by_memory)
    money = hosts * host["cores"] * price["core_hour"] * MONTH_H
    return [way.name, f"{cpu:,.0f}", f"{memory:,.0f}", f"{by_time:,}", f"{by_memory:,}", f"{hosts:,}", f"{money:,.0f}"]


def _bytes(
    results: Mapping[str, Mapping[str, Any] | None], n: int, asked: Mapping[str, Any], price: Mapping[str, Any]
) -> str:
    """What is kept, and what is written at each tick."""
    world = results.get("world/history")
    if world is None or "store_bytes" not in world:
        return ""
    days, series = int(world["ticks"]) / 144, int(world["series"])
    of_day = world["store_bytes"] / days / series
    kept = of_day * n * asked["history_days"] / 1e9
    rows = int(world["rows"]) / int(world["ticks"]) / series * n
    money = kept * price["gb_month"]
    state = _kept_bytes(results)
    return (
        f"Bytes: a series takes {of_day:,.0f} bytes a day in days that are over "
        f"({world['store_bytes'] / world['rows']:.2f} bytes a row), so {asked['history_days']} days of {n:,} series "
        f"are {kept:,.0f} GB and {money:,.0f} EUR a month. A tick brings {rows / 1e6:,.1f} million rows, which is "
        f"{rows * ROW_BYTES / 1e9:,.2f} GB in memory before they are a grid."
        + (
            f" What is kept from tick to tick is {state * n / 1e9:,.0f} GB, of which each reads a part."
            if state
            else ""
        )
    )


def _kept_bytes(results: Mapping[str, Mapping[str, Any] | None]) -> float | None:
    """Bytes that are kept of a series from tick to tick; None where that was not measured."""
    sizes = reached(results)
    return None if not sizes or "kept_bytes" not in sizes[-1] else sizes[-1]["kept_bytes"] / sizes[-1]["number"]


def _first(ways: list[PerSeries], asked: Mapping[str, Any], host: Mapping[str, Any]) -> str:
    """Which limit of one host each way meets first, and with how many series."""
    lines = []
    for way in ways:
        limits = {
            "memory": host["memory_gb"] * 1e3 / way.memory_mb,
            f"one core's time in {asked['deadline_s']} s": asked["deadline_s"] / way.cpu_s,
        }
        what, where = min(limits.items(), key=lambda item: item[1])
        other = ", ".join(f"{name} with {number:,.0f}" for name, number in limits.items() if name != what)
        lines.append(f"- {way.name}: {what} is the first to end, with {where:,.0f} series on one host ({other}).")
    return "Where it breaks first:\n\n" + "\n".join(lines)
