"""The page: what is needed and reached, and the tables behind it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from qad_dl.atomic import replace_file
from qad_dl.store import Store
from training.bench.million import section
from training.bench.verdicts import reached, verdicts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from training.bench.verdicts import Verdict
    from training.quality.parts import Workshop

    Results = Mapping[str, Mapping[str, Any] | None]

SAID: Final = {True: "yes", False: "**no**", None: "not measured"}
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
    return out


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
    parts = [HEAD, _machine(results), _summary(found), _verdicts(found), *_tables(results), section(results, config)]
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
        f" The machine was busy with other work (load {min(loads):.1f} to {max(loads):.1f}): wall times are longer than they "
        "would be on a quiet one."
        if max(loads) > seen[0]["cores"] + BUSY
        else ""
    )
    return (
        f"Measured on {seen[0]['cores']} cores of {seen[0]['processor']} with {seen[0]['memory_gb']} GB; the matrix product ran at "
        f"{min(units):.0f} to {max(units):.0f} GFLOP/s.{busy}"
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
        value = "" if v.value is None else f"{'about ' if v.inferred else ''}{_number(v.value)} {v.need.unit}"
        products = "" if v.products is None else _number(v.products)
        said = f"{SAID[v.holds]}{' (by the growth of smaller ones)' if v.inferred else ''}"
        rows.append([str(v.need.row), v.need.what, v.need.wanted, value, products, said])
    head = ["row", "what", "needed", "measured", "matrix products", "holds"]
    return "## What is needed, and what is reached\n\n" + grid(head, rows)


def _tables(results: Results) -> list[str]:
    made = [
        _parts("Where the time of a cold tick goes", ["row/1/tick", "row/2/11200"], results, "row=1"),
        _growth(results),
        _rates(results),
        _parts("Where the time of a backtest goes", ["row/5/backtest"], results, "row=5"),
        _training(results),
        _parts("Where the time of an import goes", ["row/7/import"], results, "row=7"),
        _parts("Where the time of reading a grid goes", ["row/7/read"], results, "row=7"),
        _others(results),
    ]
    return [table for table in made if table]


def _parts(title: str, names: Sequence[str], results: Results, command: str) -> str:
    """Parts of processes: seconds, processor seconds, and by how much the peak of memory grew in each."""
    found = {name: r for name in names if (r := results.get(name)) is not None and "parts" in r}
    rows = []
    for name, result in found.items():
        size = f"{result['number']:,} " if "number" in result else ""
        bare = result.get("python")
        if bare is not None:
            rows.append(
                [size, "start of Python", _number(bare["wall_s"]), _number(bare["cpu_s"]), _number(bare["peak_mb"])]
            )
        for part, spent in result["parts"].items():
            rows.append([size, part, *(_number(spent[n]) for n in ("wall_s", "cpu_s", "grown_mb"))])
        whole = result.get("whole")
        if whole is not None:
            rows.append(
                [size, "**the command as a whole**", *(_number(whole[n]) for n in ("wall_s", "cpu_s", "peak_mb"))]
            )
        if name.startswith("row/"):
            rows[-1][0] = size
    if not rows:
        return ""
    head = ["size", "part", "s", "processor s", "MB more at the peak"]
    return _section(
        title, "Each part without those within it; the parts are of one run more, with a clock.", head, rows, command
    )


def _growth(results: Results) -> str:
    rows = []
    for result in reached(results):
        n, whole = int(result["number"]), result["whole"]
        per = (whole["wall_s"] / n * 1e3, whole["peak_mb"] / n * 1e3)
        rows.append([f"{n:,}", *(_number(whole[k]) for k in ("wall_s", "cpu_s", "peak_mb")), *map(_number, per)])
    for name, tried in results.items():
        if name.startswith("row/3/") and tried is not None and not tried["reached"]:
            n, e = int(tried["number"]), tried["expected"]
            rows.append(
                [f"{n:,}", *(f"about {_number(e[k])}" for k in ("wall_s", "cpu_s", "peak_mb")), "not tried", ""]
            )
    head = ["series", "s", "processor s", "MB", "ms a series", "kB a series"]
    return _section("How a tick grows with its series", "Whole processes.", head, rows, "row=3") if rows else ""


def _rates(results: Results) -> str:
    rows = []
    for name in ("tcn", "lstm"):
        result = results.get(f"row/4/{name}")
        if result is None:
            continue
        net, scoring = result["network"], result["scoring"]
        for one in net["batches"]:
            per = one["windows_per_s"]
            rows.append(
                [
                    name,
                    f"network, batch {one['batch']}",
                    _number(per),
                    _number(per * net["stride"]),
                    f"{100 * one['share']:.0f} %",
                    _number(one["peak_mb"]),
                ]
            )
        for key, what in (
            ("range", "scoring a range"),
            ("newest", "scoring the newest tick"),
            ("remembered", "the same, earlier ones remembered"),
        ):
            rows.append([name, what, "", _number(scoring[key]["per_s"]), "", ""])
    if not rows:
        return ""
    head = ["model", "what", "windows/s", "queue-ticks/s", "of the matrix product's speed", "MB so far"]
    text = (
        "On one thread. A window of the network reconstructs several ticks at once when a range is scored; of the newest window one tick is used. "
        "The batch that scoring uses is fixed, so that a score does not depend on who else is scored."
    )
    return _section("How many queue-ticks a core scores in a second", text, head, rows, "row=4")


def _training(results: Results) -> str:
    rows = []
    for name in ("tcn", "lstm"):
        result = results.get(f"bundle/{name}")
        if result is not None:
            whole = "as configured" if result["whole"] else "cut short"
            spent = [_number(result["parts"][p]["wall_s"]) for p in ("history", "learning", "loading", "freezing")]
            rows.append(
                [
                    name,
                    whole,
                    _number(result["process"]["wall_s"]),
                    *spent,
                    _number(result["samples_per_s"]),
                    f"{100 * result['loading_share']:.1f} %",
                    _number(result["process"]["peak_mb"]),
                ]
            )
    head = [
        "model",
        "training",
        "s",
        "history s",
        "learning s",
        "cutting batches s",
        "freezing s",
        "windows/s",
        "of it cutting batches",
        "MB",
    ]
    return (
        _section(
            "Training", "A window is 26 hours of context and 24 hours that are reconstructed.", head, rows, "row=6"
        )
        if rows
        else ""
    )


def _others(results: Results) -> str:
    rows = []
    averages, pyod, eager = (results.get(f"row/8/{n}") for n in ("averages", "pyod", "eager"))
    for one in averages["sizes"] if averages is not None else ():
        rows.append(
            [
                f"QMonit's averages, {one['series']} series, {one['averages']} keys",
                f"{_number(one['qmonit_s'])} s",
                f"{_number(one['ours_s'])} s",
                _number(one["times"]),
            ]
        )
    if pyod is not None:
        trained = pyod["trained"]
        ours = trained["process"]["cpu_s"] / pyod["all_series"] if trained is not None else None
        cut = " (training cut short)" if trained is not None and not trained["whole"] else ""
        rows.append(
            [
                "PyOD, learning, a queue",
                f"{_number(pyod['pyod_learn_s'])} s",
                "" if ours is None else f"{_number(ours)} s{cut}",
                "" if ours is None else _number(pyod["pyod_learn_s"] / ours),
            ]
        )
        times = pyod["pyod_score_s"] / pyod["ours_score_s"]
        rows.append(
            [
                f"PyOD, scoring {pyod['ticks']} ticks of a queue",
                f"{_number(pyod['pyod_score_s'])} s",
                f"{_number(pyod['ours_score_s'])} s",
                _number(times),
            ]
        )
    if eager is not None:
        rows.append(
            [
                "PyTorch eager, the same network, windows/s at the best batch",
                _number(eager["eager_per_s"]),
                _number(eager["onnxruntime_per_s"]),
                _number(eager["times"]),
            ]
        )
    text = "Processor time on one thread, on the same data in the same run; averages are checked to be the same numbers, and the network to say the same."
    return _section("Against others", text, ["what", "theirs", "ours", "times faster"], rows, "row=8") if rows else ""


def _section(title: str, text: str, head: Sequence[str], rows: Sequence[Sequence[str]], command: str) -> str:
    return f"## {title}\n\n{text}\n\n{grid(head, rows)}\n\n`python -m training.bench {command} again=true`"


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The cells in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _number(value: float) -> str:
    """Three digits that count."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.01 else f"{value:.2g}"
