"""The page: tables first, each with the command that makes its numbers again, and in words which rows hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qad_dl.atomic import replace_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from training.quality.parts import Workshop
    from training.quality.plan import Plan


def write_report(out: Path, plan: Plan, workshop: Workshop) -> None:
    """Write the page from the parts that are there; what is not there is said to be missing."""
    rows = [
        [name, *(number(_result(workshop, f"measure/{name}/{v}/1").get("auc_pr")) for v in plan.config["variants"])]
        for name in plan.reporting
    ]
    text = table(["world", *plan.config["variants"]], rows)
    replace_file(out, ("# Quality\n\n" + text).encode())


def _result(workshop: Workshop, name: str) -> Any:
    made = workshop.found(name)
    return {} if made is None else made.result


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def number(value: float | None, digits: int = 2) -> str:
    """A number for people; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"
