"""The tables of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from training.bench.verdicts import reached

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Results = Mapping[str, Mapping[str, Any] | None]


def tables(results: Results) -> list[str]:
    """All of them that there are figures for, in Markdown, each with the command that makes it again."""
    made = [
        _steps(results),
        _first(results),
        _parts("Where the time of a tick from the store alone goes", ["row/1/tick"], results, "row=1"),
        _parts("Where the time of a tick of many series goes", ["row/2/11200", "row/3/100000"], results, "row=2"),
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
    for result in found.values():
        size = f"{result['number']:,} " if "number" in result else ""
        bare = result.get("python")
        if bare is not None:
            rows.append(
                [size, "start of Python", number(bare["wall_s"]), number(bare["cpu_s"]), number(bare["peak_mb"])]
            )
        for part, spent in result["parts"].items():
            rows.append([size, part, *(number(spent[n]) for n in ("wall_s", "cpu_s", "grown_mb"))])
        whole = result.get("whole")
        if whole is not None:
            rows.append(
                [size, "**the command as a whole**", *(number(whole[n]) for n in ("wall_s", "cpu_s", "peak_mb"))]
            )
    if not rows:
        return ""
    head = ["size", "part", "s", "processor s", "MB more at the peak"]
    return _section(
        title, "Each part without those within it; the parts are of one run more, with a clock.", head, rows, command
    )


def _steps(results: Results) -> str:
    """What the collector's ticks cost, and by its own clock its steps."""
    result = results.get("row/1/collector")
    if result is None:
        return ""
    rows = [[name, number(seconds), "", ""] for name, seconds in result["steps"].items()]
    rows.append(["retention where an hour is over", number(result["hour_over_s"]), "", ""])
    cost = result["whole"]
    rows.append(["**a tick, whole process**", *(number(cost[n]) for n in ("wall_s", "cpu_s", "peak_mb"))])
    words = (
        "`python -m serving.tick` with a file of the tick's rows, a store with 7 days, one bundle and no sink. "
        "Steps are medians of several ticks; what is missing to the whole is the start of Python and its modules."
    )
    return _section(
        "Where the time of the collector's tick goes", words, ["step", "s", "processor s", "MB"], rows, "row=1"
    )


def _growth(results: Results) -> str:
    rows = []
    for result in reached(results):
        n, whole = int(result["number"]), result["whole"]
        per = (whole["wall_s"] / n * 1e3, whole["peak_mb"] / n * 1e3)
        rows.append([f"{n:,}", *(number(whole[k]) for k in ("wall_s", "cpu_s", "peak_mb")), *map(number, per)])
    head = ["series", "s", "processor s", "MB", "ms a series", "kB a series"]
    words = (
        "`qad score --state`, whole processes, each of which finds what the one before it kept. What the first keeps "
        "of some series is repeated under other names until there are so many (every copy gets the same score). "
        "Each tick is measured at all sizes before the next one is."
    )
    return _section("How a tick grows with its series", words, head, rows, "row=3") if rows else ""


def _first(results: Results) -> str:
    """What a tick costs where nothing is kept of the one before."""
    collector, tick, many = (results.get(name) for name in ("row/1/collector", "row/1/tick", "row/2/11200"))
    found = {
        "a collector's first tick, 600 queues, with the hours and days of a week": collector and collector["first"],
        "`qad backtest` of one tick, 600 queues": tick and tick["whole"],
        "the first `qad score --state`, 11,200 series": many and many.get("first"),
    }
    rows = [[what, *(number(cost[n]) for n in ("wall_s", "cpu_s", "peak_mb"))] for what, cost in found.items() if cost]
    words = "Where a tick finds nothing kept it reads a week and reconstructs half a day of every series."
    head = ["what", "s", "processor s", "MB"]
    return _section("What a first tick costs", words, head, rows, "row=1") if rows else ""


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
                    number(per),
                    number(per * net["stride"]),
                    f"{100 * one['share']:.0f} %",
                    number(one["memory_mb"]),
                ]
            )
        for key, what in (
            ("range", "scoring a range"),
            ("newest", "scoring the newest tick"),
            ("remembered", "the same, earlier ones remembered"),
        ):
            rows.append([name, what, "", number(scoring[key]["per_s"]), "", ""])
    if not rows:
        return ""
    head = ["model", "what", "windows/s", "queue-ticks/s", "of the matrix product's speed", "MB of the network"]
    text = (
        "On one thread. A window of the network reconstructs several ticks at once when a range is scored; of the "
        "newest window one tick is used. The batch that scoring uses is fixed, so that a score does not "
        "depend on who else is scored."
    )
    return _section("How many queue-ticks a core scores in a second", text, head, rows, "row=4")


def _training(results: Results) -> str:
    rows = []
    for name in ("tcn", "lstm"):
        result = results.get(f"bundle/{name}")
        if result is not None:
            whole = "as configured" if result["whole"] else "cut short"
            spent = [number(result["parts"][p]["wall_s"]) for p in ("history", "learning", "loading", "freezing")]
            rows.append(
                [
                    name,
                    whole,
                    number(result["process"]["wall_s"]),
                    *spent,
                    number(result["samples_per_s"]),
                    f"{100 * result['loading_share']:.1f} %",
                    "" if result["accelerator_busy"] is None else f"{100 * result['accelerator_busy']:.0f} %",
                    number(result["process"]["peak_mb"]),
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
        "GPU busy",
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
    lines = [*_averages(results.get("row/8/averages")), *_pyod(results.get("row/8/pyod"))]
    eager = results.get("row/8/eager")
    if eager is not None:
        best = [number(eager[name]) for name in ("eager_per_s", "onnxruntime_per_s", "times")]
        lines.append(["PyTorch eager, the same network, windows/s at the best batch", *best])
    text = (
        "Processor time on one thread, on the same data in the same run. The averages are checked to be the same "
        "numbers, and the networks to say the same."
    )
    return _section("Against others", text, ["what", "theirs", "ours", "times faster"], lines, "row=8") if lines else ""


def _averages(result: Mapping[str, Any] | None) -> list[list[str]]:
    return [
        [
            f"QMonit's averages, {one['series']} series, {one['averages']} keys",
            f"{number(one['qmonit_s'])} s",
            f"{number(one['ours_s'])} s",
            number(one["times"]),
        ]
        for one in (result["sizes"] if result is not None else ())
    ]


def _pyod(result: Mapping[str, Any] | None) -> list[list[str]]:
    if result is None:
        return []
    lines, trained, ours = [], result["trained"], result["ours_score_s"]
    for one in result["windows"]:
        theirs, size, tick = one["score_s"], f"windows of {one['length']} ticks", result["ours_tick_s"]
        words = [f"{number(1e3 * one['tick_s'])} ms", f"{number(1e3 * tick)} ms", number(one["tick_s"] / tick)]
        lines.append([f"PyOD, {size}, scoring a tick of a queue", *words])
        what = f"PyOD, {size}, scoring {result['ticks']} ticks of a queue"
        lines.append([what, f"{number(theirs)} s", f"{number(ours)} s", number(theirs / ours)])
        if trained is not None:
            learned, learns = one["learn_s"], trained["process"]["cpu_s"] / result["all_series"]
            cut = "" if trained["whole"] else " (training cut short)"
            what = f"PyOD, {size}, learning a queue"
            lines.append([what, f"{number(learned)} s", f"{number(learns)} s{cut}", number(learned / learns)])
    return lines


def _section(title: str, text: str, head: Sequence[str], rows: Sequence[Sequence[str]], command: str) -> str:
    return f"## {title}\n\n{text}\n\n{grid(head, rows)}\n\n`python -m training.bench {command} again=true`"


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The cells in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def number(value: float) -> str:
    """Three digits that count."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.01 else f"{value:.2g}"
