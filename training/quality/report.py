"""The page: what is needed and whether it is reached, then all tables, each with the command that makes it again."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.atomic import replace_file
from training.quality.pictures import PICTURES
from training.quality.reader import DEFAULT, complete
from training.quality.tables import TABLES, Table, by_kind, by_size, incidents, number
from training.quality.verdicts import LESS, Verdict, ahead, share, verdicts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from training.quality.reader import Reader


def write_report(out: Path, data: Path, reader: Reader, scale: str) -> None:
    """Write the page and its pictures, which go to the folder named like it.

    Args:
        out: the page, Markdown.
        data: what is needed and whether it is reached, for programs, JSON.
        reader: the figures; what has not been made is said to be not measured.
        scale: as in `scale=...`.
    """
    pictures = out.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    drawn = [name for name, draw in PICTURES.items() if draw(reader, pictures / f"{name}.svg")]
    found = verdicts(reader)
    replace_file(data, (json.dumps([asdict(v) for v in found], indent=1) + "\n").encode())
    tables = [markdown(table(reader), scale) for table in TABLES]
    shown = [f"![{name.replace('-', ' ')}]({pictures.name}/{name}.svg)" for name in drawn]
    parts = [
        HEAD.format(scale=scale),
        summary(found),
        verdict_table(found),
        held_back(reader),
        *tables,
        "## Pictures",
        *shown,
    ]
    replace_file(out, ("\n\n".join(parts) + "\n").encode())


HEAD = """# How good the alarms are

Written by `python -m training.quality scale={scale}`; no number here was put in by hand. Worlds, variants and what is
needed are in `configs/quality.yaml`. The measures are those of [interfaces.md](interfaces.md), section 8. Models learn
from the first days of a world, with training seed 1 unless said otherwise, and are scored on the others."""


def summary(found: Sequence[Verdict]) -> str:
    """In words which rows hold."""
    rows = sorted({v.row for v in found})
    by = {row: [v.holds for v in found if v.row == row] for row in rows}
    no = [row for row, holds in by.items() if any(h is False for h in holds)]
    yes = [row for row, holds in by.items() if all(holds)]
    open_ = [row for row in rows if row not in no and row not in yes]
    said = [("hold", yes), ("do not hold", no), ("are not, or not wholly, measured here", open_)]
    return "\n".join(f"- Rows that {what}: {', '.join(map(str, which)) or 'none'}." for what, which in said)


def verdict_table(found: Sequence[Verdict]) -> str:
    """Every figure that is needed."""
    said = {True: "yes", False: "**no**", None: "not measured"}
    rows = [[str(v.row), v.figure, v.needed, v.measured, said[v.holds]] for v in found]
    return "## What is needed, and what is reached\n\n" + grid(["row", "figure", "needed", "measured", "holds"], rows)


def held_back(reader: Reader) -> str:
    """In words what is not seen that hindsight sees, and where the whole is no better than without a part of it."""
    lines = [*_missed(reader), *_no_better(reader)]
    return "## What holds it back\n\n" + "\n".join(f"- {line}" for line in lines)


def _no_better(reader: Reader) -> list[str]:
    """Row 11 where it does not hold."""
    more = [(variant, world, by) for variant in LESS for world, by in ahead(reader, variant).items()]
    return [_by_seed(reader, world, variant) for variant, world, by in more if by is not None and by <= 0]


def _by_seed(reader: Reader, world: str, variant: str) -> str:
    """What the whole is ahead by, training seed by training seed, beside what a seed is worth."""
    whole, less = (
        np.array([[made[key] for key in ("auc_pr", "vus_pr")] for made in complete(reader.by_seed(world, v))])
        for v in (DEFAULT, variant)
    )
    seeds = min(len(whole), len(less))
    auc, vus = (", ".join(f"{x:.4f}" for x in each) for each in (whole[:seeds] - less[:seeds]).T)
    return (
        f"AUC-PR over {LESS[variant]}, {world}: by training seed {auc}, and {vus} of VUS-PR; the seeds of the whole "
        f"are {np.ptp(whole[:, 0]):.4f} of AUC-PR apart. What was tried: decisions 0005 and 0007."
    )


def _missed(reader: Reader) -> list[str]:
    """What is not seen that hindsight sees: by kind and by size, most first."""
    missed = [c for c in incidents(reader) if c["hindsight"] and not c["model"]]
    beyond = sum(bool(c["model"]) and not c["hindsight"] for c in incidents(reader))
    if not missed:
        return ["Nothing that hindsight sees at 0.01 is missed, or nothing has been measured."]
    lines = [f"At 0.01 hindsight sees {len(missed)} incidents that the model does not; the model {beyond} others."]
    for what, table in (("kind", by_kind(reader)), ("jobs", by_size(reader))):
        worst = sorted((row for row in table.rows if row[0] != "all" and row[5] != "-"), key=lambda row: float(row[5]))[
            :4
        ]
        said = ", ".join(f"{row[0]} ({row[3]} of {row[2]}, {row[1]} incidents)" for row in worst)
        lines.append(f"By {what}, least of what hindsight sees first: {said}.")
    alone = share([c["queues"] == 1 for c in missed])
    lines.append(f"Of those missed, {number(alone)} hit one queue alone.")
    return lines


def markdown(table: Table, scale: str) -> str:
    """A table with its heading and the command that makes it again."""
    command = f"`python -m training.quality scale={scale} part='{table.part}'`, then `part=report`"
    return f"## {table.title}\n\n{table.text}\n\n{grid(table.head, table.rows)}\n\n{command}"


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The cells in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
