"""The small form held against what it cost before: ratios to a matrix product of the same run, and memory.

Only what others on a shared machine hardly disturb is compared: the least processor time of several runs over the least
of the product's, and peaks of memory. Wall times are not. What seems lost is measured again before it fails.

The baseline keeps the highest of several runs, by processor, since Python and BLAS do not get faster alike from one to
the next: on a processor that it does not know nothing is compared, and that is said.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from qad_dl.atomic import replace_file
from qad_dl.errors import ConfigError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    Results = Mapping[str, Mapping[str, Any] | None]
    Measure = Callable[[Sequence[str]], Results]

LOSS: Final = 0.25
"""Loss from which on it fails."""


@dataclass(frozen=True)
class Watched:
    """A figure that is compared; smaller is better.

    Attributes:
        name: in the baseline.
        part: where it is measured.
        value: takes it out of what was measured.
    """

    name: str
    part: str
    value: Callable[[Mapping[str, Any]], float]


def _in_products(*names: str) -> Callable[[Mapping[str, Any]], float]:
    """A time in matrix products of the same row."""

    def value(result: Mapping[str, Any]) -> float:
        of: Any = result
        for name in names:
            of = of[name]
        return float(of) / float(result["product"]["least_s"])

    return value


def _network(result: Mapping[str, Any]) -> float:
    """How many times as long the network takes as a matrix product of as much arithmetic."""
    return 1 / max(float(one["share"]) for one in result["network"]["batches"])


def _least_of_size(result: Mapping[str, Any]) -> float:
    """A tick of the one size of the small form, in matrix products."""
    return float(result["sizes"][0]["whole"]["least_cpu_s"]) / float(result["product"]["least_s"])


WATCHED: Final = (
    Watched("cold tick, products", "row/1/tick", _in_products("whole", "least_cpu_s")),
    Watched("cold tick, MB", "row/1/tick", lambda r: float(r["whole"]["peak_mb"])),
    Watched("network over a product of its size", "row/4/tcn", _network),
    Watched("scoring a range, products", "row/4/tcn", _in_products("scoring", "range", "cpu_s")),
    Watched("newest tick remembered, products", "row/4/tcn", _in_products("scoring", "remembered", "cpu_s")),
    Watched("scoring, MB", "row/4/tcn", lambda r: float(r["scoring"]["process"]["peak_mb"])),
    Watched("import, products", "row/7/import", _in_products("whole", "least_cpu_s")),
    Watched("import, MB", "row/7/import", lambda r: float(r["whole"]["peak_mb"])),
    Watched("reading a grid, products", "row/7/read", _in_products("cpu_s")),
    Watched("reading a grid, MB", "row/7/read", lambda r: float(r["process"]["peak_mb"])),
    Watched("our averages over QMonit's way", "row/8/averages", lambda r: 1 / float(r["sizes"][-1]["times"])),
    Watched("tick with what was kept, products", "row/3/sizes", _least_of_size),
    Watched("tick with what was kept, MB", "row/3/sizes", lambda r: float(r["sizes"][0]["whole"]["peak_mb"])),
    Watched("collector's tick, products", "row/1/collector", _in_products("whole", "least_cpu_s")),
    Watched("collector's tick, MB", "row/1/collector", lambda r: float(r["whole"]["peak_mb"])),
)


def hold_against(path: Path, results: Results, measure: Measure, attempts: int) -> list[str]:
    """Compare with the baseline; what seems lost is measured again before it is believed, and the least counts.

    Args:
        path: the baseline.
        results: what was measured.
        measure: measures parts anew and returns all results.
        attempts: how often something is measured at most.

    Returns:
        What has become worse by more than `LOSS`; everything is printed.

    Raises:
        ConfigError: there is no baseline.
        InputError: it cannot be read.
    """
    kept = _figures(path)
    processor, now = measured(results)
    lines, lost = compared(now, kept, processor)
    for _ in range(attempts - 1):
        if not lost:
            break
        sys.stderr.write(f"seems worse, so it is measured again: {', '.join(lost)}\n")
        _, again = measured(measure(sorted({w.part for w in WATCHED if w.name in lost})))
        now = {name: min(value, again.get(name, value)) for name, value in now.items()}
        lines, lost = compared(now, kept, processor)
    print("\n".join(lines))
    if lost:
        print(f"Worse than {path} says. Where that is meant: `make bench-baseline`, and say why in the commit.")
    return lost


def keep(path: Path, runs: Sequence[Results], how: Mapping[str, str]) -> None:
    """Keep the highest of several runs as what this processor is held against.

    Args:
        path: the baseline; what it says of other processors stays.
        runs: what was measured.
        how: what is said of how it was made.

    Raises:
        InputError: what is there cannot be read.
    """
    found = [measured(run) for run in runs]
    names = [w.name for w in WATCHED if all(w.name in figures for _, figures in found)]
    figures = {name: max(figures[name] for _, figures in found) for name in names}
    kept = {**_read(path), found[0][0]: {"made": {**how, "runs": len(runs)}, "figures": figures}}
    replace_file(path, (json.dumps(kept, indent=1, sort_keys=True) + "\n").encode())


def measured(results: Results) -> tuple[str, dict[str, float]]:
    """The processor, and the figures that have been measured."""
    there = {w.name: w.value(r) for w in WATCHED if (r := results.get(w.part)) is not None}
    processors = [r["machine"]["processor"] for r in results.values() if r is not None and "machine" in r]
    return processors[0] if processors else "unknown", there


def compared(
    now: Mapping[str, float], kept: Mapping[str, Mapping[str, float]], processor: str
) -> tuple[list[str], list[str]]:
    """Each figure beside the baseline's, in words; and the names of those that are lost."""
    of = kept.get(processor, {})
    lines = [] if of else [f"the baseline does not know {processor}, so nothing is compared; `make bench-baseline`"]
    lost = []
    for name in (watched.name for watched in WATCHED):
        if name not in now or name not in of:
            lines.append(f"{name:<40} {now.get(name, float('nan')):>10.4g}  not compared")
            continue
        more = now[name] / of[name] - 1
        said = "" if more <= LOSS else f"  WORSE by more than {LOSS:.0%}"
        lines.append(f"{name:<40} {now[name]:>10.4g}  was {of[name]:.4g} ({more:+.0%}){said}")
        if said:
            lost.append(name)
    return lines, lost


def _figures(path: Path) -> dict[str, dict[str, float]]:
    """The figures by processor."""
    kept = _read(path)
    if not kept:
        msg = f"{path}: there is no baseline; `make bench-baseline` keeps one"
        raise ConfigError(msg)
    return {processor: one["figures"] for processor, one in kept.items()}


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """What is kept by processor; nothing where there is no file."""
    try:
        kept: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        if not all({"made", "figures"} <= set(one) for one in kept.values()):
            raise ValueError("it does not say how it was made")  # told with the others below
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        msg = f"{path}: is no baseline ({error}); remove it, and `make bench-baseline` makes it again"
        raise InputError(msg) from error
    return kept
