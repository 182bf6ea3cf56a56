"""Measure what it costs, and write the page that says so.

python -m training.bench [row=1|...|8|report|list] [scale=full|smoke] [again=true] [out=FILE.md] [work=DIR]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.start import start

if TYPE_CHECKING:
    from omegaconf import DictConfig


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
    if row != "report":
        chosen = workshop.chosen([f"row/{'*' if row is None else row}/*"])
        if plain["again"]:
            forget(workshop, [name for name in chosen if name.startswith("row/")])
        failed = workshop.run(chosen)
    results = results_of(workshop)
    if scale != "smoke":
        write_page(Path(plain["out"]), workshop.work / "results.json", results, plain)
        sys.stderr.write(f"{plain['out']} written\n")
    else:
        from training.bench.baseline import hold_against

        failed += hold_against(Path(plain["baseline"]), results, keep=plain["keep"])
    if failed:
        sys.stderr.write(f"training.bench: failed: {', '.join(failed)}\n")
        sys.exit(1)


def forget(workshop: Any, names: list[str]) -> None:
    """Let parts be made again."""
    import shutil

    for name in names:
        shutil.rmtree(workshop.place(name), ignore_errors=True)


if __name__ == "__main__":
    start(main, "bench", "training.bench")
