"""Measure how good the alarms are, and write the page that says so.

python -m training.quality [scale=full|smoke] [part=NAME|list|worlds|report] [jobs=N] [out=FILE.md] [work=DIR]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.start import start

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    """Make the parts that are asked for; with all of them, write the page."""
    from omegaconf import OmegaConf

    from training.quality.parts import Workshop, table_of
    from training.quality.plan import Plan
    from training.quality.reader import Reader
    from training.quality.report import write_report
    from training.quality.tables import plain_text, worlds

    plain: Any = OmegaConf.to_container(config, resolve=True)
    part, plan = plain["part"], Plan(plain)
    workshop = Workshop(table_of(plan.parts()), Path(plain["work"]))
    reader = Reader(workshop.find, plan.reporting, plan.peers, plain, tuple(workshop.parts))
    if part == "list":
        for name in workshop.parts:
            print(f"{'made' if workshop.find(name) else '    '}  {name}")
        return
    patterns = {"worlds": plan.qualifying(), "report": []}.get(part, [part])
    failed = workshop.run(workshop.chosen(patterns), int(plain["jobs"])) if patterns else []
    if part in (None, "report"):
        write_report(Path(plain["out"]), workshop.work / "verdicts.json", reader, plain["scale"]["name"])
        sys.stderr.write(f"{plain['out']} written\n")
    if part in (None, "report", "worlds"):
        print(plain_text(worlds(reader)))
    if failed:
        sys.stderr.write(f"training.quality: could not be made: {', '.join(failed)}\n")
        sys.exit(1)


if __name__ == "__main__":
    start(main, "quality", "training.quality")
