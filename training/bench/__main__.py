"""Measure what it costs, and write the page that says so.

python -m training.bench [row=1|...|8|report|list] [scale=full|smoke] [again=true] [out=FILE.md] [work=DIR]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.start import start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omegaconf import DictConfig

    from training.bench.baseline import Results


def main(config: DictConfig) -> None:
    """Measure the rows that are asked for, then write the page; in the small form, hold them against the baseline."""
    from omegaconf import OmegaConf

    from training.bench.page import results_of, write_page
    from training.bench.plan import Plan
    from training.quality.parts import Workshop, table_of

    plain: Any = OmegaConf.to_container(config, resolve=True)
    row, scale, plan = plain["row"], plain["scale"]["name"], Plan(plain)
    workshop = Workshop(table_of(plan.parts()), Path(plain["work"]) / scale)
    if row == "list":
        for name in workshop.parts:
            print(f"{'made' if workshop.find(name) else '    '}  {name}")
        return
    failed: list[str] = []

    def measure(names: Sequence[str], *, again: bool = True) -> Results:
        if again:
            forget(workshop, [name for name in names if name.startswith("row/")])
        failed.extend(workshop.run(names))
        return results_of(workshop)

    chosen = [] if row == "report" else workshop.chosen([f"row/{'*' if row is None else row}/*"])
    results = measure(chosen, again=plain["again"])
    if scale != "smoke":
        write_page(Path(plain["out"]), workshop.work / "results.json", results, plain)
        sys.stderr.write(f"{plain['out']} written\n")
    elif not failed:
        from training.bench import baseline

        path, attempts = Path(plain["baseline"]), int(plain["attempts"])
        if plain["keep"]:
            baseline.keep(path, [results, *(measure(chosen) for _ in range(attempts - 1))], made_by())
            sys.stderr.write(f"{path} written\n")
        else:
            failed += baseline.hold_against(path, results, measure, attempts)
    if failed:
        sys.stderr.write(f"training.bench: failed: {', '.join(failed)}\n")
        sys.exit(1)


def made_by() -> dict[str, str]:
    """How a baseline was made: the command, the day, the commit, the releases that the figures hang on."""
    import subprocess
    from datetime import UTC, datetime
    from importlib.metadata import version

    from training.quality.sources import ROOT

    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    releases = {name: version(name) for name in ("numpy", "onnxruntime", "pyarrow")}
    python = ".".join(map(str, sys.version_info[:3]))
    return {
        "command": "make bench-baseline",
        "day": datetime.now(UTC).date().isoformat(),
        "commit": commit.stdout.strip() or "unknown",
        "python": python,
        **releases,
    }


def forget(workshop: Any, names: list[str]) -> None:
    """Let parts be made again."""
    import shutil

    for name in names:
        shutil.rmtree(workshop.place(name), ignore_errors=True)


if __name__ == "__main__":
    start(main, "bench", "training.bench")
