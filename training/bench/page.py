"""The page: what is needed and reached, and the tables behind it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from qad_dl.atomic import replace_file
from qad_dl.store import Store
from training.bench.million import section
from training.bench.tables import grid, number, tables
from training.bench.verdicts import verdicts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from training.bench.verdicts import Verdict
    from training.quality.parts import Workshop

    Results = Mapping[str, Mapping[str, Any] | None]

SAID: Final = {True: "yes", False: "**no**", None: "not measured"}
SIZES: Final = "sizes"
"""The last word of the name of a part that measures several sizes, and where its result has them."""

BUSY: Final = 1.0
"""Load beside the measurement from which on its times are said to be those of a busy machine."""

HEAD: Final = """# What it costs

Written by `make bench` (`python -m training.bench`); no number here was put in by hand. Every measurement runs in a
process of its own; times are medians over several, rates per core are of one thread's processor time, memory is the
largest resident set, MB are 10^6 bytes. The unit beside the seconds is a product of two 1024 x 1024 matrices in single
precision on one thread, measured beside each row: it makes machines comparable, and a machine that is busy."""


def results_of(workshop: Workshop) -> dict[str, Mapping[str, Any] | None]:
    """What has been measured, by part; None for what has not."""
    out: dict[str, Mapping[str, Any] | None] = {}
    for name in workshop.parts:
        made = workshop.find(name)
        out[name] = None if made is None else made.result
        if made is not None and name == "world/history":
            out[name] = {**made.result, **_kept(made.place / "store")}
    return {**out, **_by_size(out)}


def _by_size(results: Results) -> dict[str, Mapping[str, Any]]:
    """What was measured of several sizes in turns, each under its number."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, result in results.items():
        if result is not None and name.endswith(SIZES):
            beside = {key: value for key, value in result.items() if key != "sizes"}
            found |= {name.removesuffix(SIZES) + str(one["number"]): {**one, **beside} for one in result["sizes"]}
    return found


def _kept(path: Path) -> dict[str, int]:
    """Bytes of a store on the disk, and its series."""
    store = Store.open(path)
    newest = (store.span() or (None, None))[1]
    series = store.known_series(newest) if newest is not None else set()
    files = (file for file in (path / "jobs").rglob("*") if file.is_file())
    return {"store_bytes": sum(file.stat().st_size for file in files), "series": len(series)}


def write_page(out: Path, data: Path, results: Results, config: Mapping[str, Any]) -> None:
    """Write the figures as JSON and the page in Markdown."""
    found = verdicts(results)
    said = [
        {"row": v.need.row, "what": v.need.what, "needed": v.need.wanted, "value": v.value, "holds": v.holds}
        for v in found
    ]
    data.parent.mkdir(parents=True, exist_ok=True)
    replace_file(data, (json.dumps({"verdicts": said, "results": results}, indent=1) + "\n").encode())
    parts = [HEAD, _machine(results), _summary(found), _verdicts(found), *tables(results), section(results, config)]
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out, ("\n\n".join(p for p in parts if p) + "\n").encode())


def _machine(results: Results) -> str:
    """What it was measured on."""
    seen = [r["machine"] for r in results.values() if r is not None and "machine" in r]
    units = [r["product"]["gflops"] for r in results.values() if r is not None and "product" in r]
    if not seen or not units:
        return ""
    loads = [float(m["load"]) for m in seen]
    busy = (
        f" The machine was busy with other work (load {min(loads):.1f} to {max(loads):.1f}): wall times are longer "
        "than they would be on a quiet one."
        if max(loads) > seen[0]["cores"] + BUSY
        else ""
    )
    return (
        f"Measured on {seen[0]['cores']} cores of {seen[0]['processor']} with {seen[0]['memory_gb']} GB; "
        f"the matrix product ran at {min(units):.0f} to {max(units):.0f} GFLOP/s.{busy}"
    )


def _summary(found: Sequence[Verdict]) -> str:
    by = {row: [v.holds for v in found if v.need.row == row] for row in sorted({v.need.row for v in found})}
    no = [row for row, holds in by.items() if False in holds]
    yes = [row for row, holds in by.items() if all(holds)]
    left = [row for row in by if row not in no and row not in yes]
    said = [("hold", yes), ("do not hold", no), ("are not, or not wholly, measured here", left)]
    return "\n".join(f"- Rows that {what}: {', '.join(map(str, which)) or 'none'}." for what, which in said)


def _verdicts(found: Sequence[Verdict]) -> str:
    rows = []
    for v in sorted(found, key=lambda v: v.need.row):
        value = "" if v.value is None else f"{number(v.value)} {v.need.unit}"
        products = "" if v.products is None else number(v.products)
        said = f"{SAID[v.holds]}"
        rows.append([str(v.need.row), v.need.what, v.need.wanted, value, products, said])
    head = ["row", "what", "needed", "measured", "matrix products", "holds"]
    return "## What is needed, and what is reached\n\n" + grid(head, rows)
