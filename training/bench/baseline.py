"""The small form held against what it cost before: ratios to a matrix product of the same run, and memory.

Only what others on a shared machine hardly disturb is compared: the least processor time of several runs over the least
of the product's, and peaks of memory. Wall times are not. The baseline keeps the figures by processor, since Python and
BLAS do not get faster alike from one to the next: on a processor that it does not know, memory and the ratios of two
things that are both ours or both arithmetic are compared, and it is said that the others are not.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from qad_dl.atomic import replace_file
from qad_dl.errors import ConfigError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

LOSS: Final = 0.25
"""Loss from which on it fails."""


@dataclass(frozen=True)
class Watched:
    """A figure that is compared; smaller is better.

    Attributes:
        name: in the baseline.
        part: where it is measured.
        value: takes it out of what was measured.
        anywhere: it means the same on any processor.
    """

    name: str
    part: str
    value: Callable[[Mapping[str, Any]], float]
    anywhere: bool = False


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


WATCHED: Final = (
    Watched("cold tick, products", "row/1/tick", _in_products("whole", "least_cpu_s")),
    Watched("cold tick, MB", "row/1/tick", lambda r: float(r["whole"]["peak_mb"]), anywhere=True),
    Watched("network over a product of its size", "row/4/tcn", _network, anywhere=True),
    Watched("scoring a range, products", "row/4/tcn", _in_products("scoring", "range", "cpu_s")),
    Watched("newest tick remembered, products", "row/4/tcn", _in_products("scoring", "remembered", "cpu_s")),
    Watched("scoring, MB", "row/4/tcn", lambda r: float(r["scoring"]["process"]["peak_mb"]), anywhere=True),
    Watched("import, products", "row/7/import", _in_products("whole", "least_cpu_s")),
    Watched("import, MB", "row/7/import", lambda r: float(r["whole"]["peak_mb"]), anywhere=True),
    Watched("reading a grid, products", "row/7/read", _in_products("cpu_s")),
    Watched("reading a grid, MB", "row/7/read", lambda r: float(r["process"]["peak_mb"]), anywhere=True),
    Watched(
        "our averages over QMonit's way", "row/8/averages", lambda r: 1 / float(r["sizes"][-1]["times"]), anywhere=True
    ),
)


def hold_against(path: Path, results: Mapping[str, Mapping[str, Any] | None], *, keep: bool) -> list[str]:
    """Compare with the baseline, or keep this run as the baseline of this processor.

    Returns:
        What has become worse by more than `LOSS`; everything is printed.

    Raises:
        ConfigError: there is no baseline.
        InputError: it cannot be read.
    """
    processor, now = measured(results)
    kept = _read(path, needed=not keep)
    if keep:
        replace_file(path, (json.dumps({**kept, processor: now}, indent=1, sort_keys=True) + "\n").encode())
        sys.stderr.write(f"{path}: kept for {processor}\n")
        return []
    lines, lost = compared(now, kept, processor)
    print("\n".join(lines))
    return lost


def measured(results: Mapping[str, Mapping[str, Any] | None]) -> tuple[str, dict[str, float]]:
    """The processor, and the figures that have been measured."""
    there = {w.name: w.value(r) for w in WATCHED if (r := results.get(w.part)) is not None}
    processors = [r["machine"]["processor"] for r in results.values() if r is not None and "machine" in r]
    return processors[0] if processors else "unknown", there


def compared(
    now: Mapping[str, float], kept: Mapping[str, Mapping[str, float]], processor: str
) -> tuple[list[str], list[str]]:
    """Each figure beside the baseline's, in words; and the names of those that are lost."""
    same = processor in kept
    of = kept.get(processor) or next(iter(kept.values()), {})
    lines = [] if same else [f"the baseline does not know {processor}: only what means the same anywhere is compared"]
    lost = []
    for watched in WATCHED:
        name = watched.name
        if name not in now or name not in of or not (same or watched.anywhere):
            lines.append(f"{name:<40} {now.get(name, float('nan')):>10.4g}  not compared")
            continue
        more = now[name] / of[name] - 1
        said = "" if more <= LOSS else f"  WORSE by more than {LOSS:.0%}"
        lines.append(f"{name:<40} {now[name]:>10.4g}  was {of[name]:.4g} ({more:+.0%}){said}")
        if said:
            lost.append(name)
    return lines, lost


def _read(path: Path, *, needed: bool) -> dict[str, dict[str, float]]:
    try:
        kept: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not needed:
            return {}
        msg = f"{path}: there is no baseline; `make bench-baseline` keeps one"
        raise ConfigError(msg) from None
    except (OSError, ValueError) as error:
        msg = f"{path}: is no baseline ({error}); `make bench-baseline` makes it again"
        raise InputError(msg) from error
    return kept
