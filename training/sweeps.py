"""Many runs from one command line (`--multirun`): each in a folder of its own, and a table of how they ended.

A sweep of bundle=DIR claims the folder DIR.sweep; run N of it writes its bundle to DIR.sweep/N/bundle. A folder that is
there is never written into again.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode

from qad_dl.atomic import replace_file
from qad_dl.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omegaconf import DictConfig

FLAGS: Final = frozenset({"-m", "--multirun"})
OUTCOME: Final = "outcome.json"


def runs_of(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of each run that Hydra will make of these.

    Raises:
        ConfigError: an override that is misspelt.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        return [list(run) for batch in BasicSweeper.split_arguments(parsed, None) for run in batch]
    except HydraException as error:
        msg = f"{' '.join(str(error).split())}: give values as in seed=1,2 or seed=range(1,4) (docs/training.md)"
        raise ConfigError(msg) from error


def claim_sweep(bundle: str) -> Path:
    """The folder of a sweep, made now: of two sweeps at once one gets it.

    Raises:
        ConfigError: it is there already.
    """
    return _claim(Path(f"{bundle}.sweep"))


def own_folder(config: DictConfig) -> Path | None:
    """Let a run of a sweep write into a folder of its own, which is made now; None for a run that is no part of one.

    Raises:
        ConfigError: another run has written there.
    """
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return None
    folder = _claim(Path(f"{config.bundle}.sweep") / str(hydra.job.num))
    config.bundle, config.run_dir = str(folder / "bundle"), str(folder / "run")
    return folder


def note_outcome(folder: Path, error: Exception | None) -> None:
    """Write down how a run ended; its overrides and its best validation loss."""
    metrics, losses = folder / "run" / "metrics.csv", []
    if metrics.exists():
        losses = [float(r["val_loss"]) for r in csv.DictReader(metrics.read_text().splitlines()) if r["val_loss"]]
    said = None if error is None else " ".join(str(error).split())
    outcome = {
        "overrides": list(HydraConfig.get().overrides.task),
        "val_loss": min(losses, default=None),
        "error": said,
    }
    replace_file(folder / OUTCOME, json.dumps(outcome, indent=1).encode())


def sweep_table(folder: Path, runs: Sequence[Sequence[str]]) -> tuple[str, bool]:
    """One line per run, the best first, and whether all of them ended well. A run that was lost has no outcome."""
    lines, well = [], True
    for number, overrides in enumerate(runs):
        path = folder / str(number) / OUTCOME
        outcome: dict[str, Any] = (
            json.loads(path.read_bytes()) if path.exists() else {"error": "lost", "val_loss": None}
        )
        well &= outcome["error"] is None
        differ = [o for o in overrides if any(o not in other for other in runs)]
        loss = outcome["val_loss"] if outcome["error"] is None else None
        lines.append((float("inf") if loss is None else loss, number, outcome["error"], " ".join(differ)))
    rows = [
        f"{number:>4}  {'-' if error else f'{loss:.6f}':>10}  {differ}{f'  {error}' if error else ''}"
        for loss, number, error, differ in sorted(lines, key=lambda line: line[:2])
    ]
    return "\n".join([f"{'run':>4}  {'val_loss':>10}  {folder}", *rows]), well


def _claim(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir()
    except FileExistsError as error:
        msg = f"{folder}: another sweep has written there: give another bundle=..., or remove it"
        raise ConfigError(msg) from error
    return folder
