"""Starting a Hydra program with the house's manners: one line and exit code 2 for what the user can mend."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qad_dl.errors import ConfigError, QadError
from training.sweeps import FLAGS, claim_sweep, note_outcome, own_folder, runs_of, sweep_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from omegaconf import DictConfig

CONFIGS: Final = Path(__file__).resolve().parent.parent / "configs"

SWEEPS: Final = "training.train"
"""The program that makes several runs of one command line."""


def start(task: Callable[[DictConfig], None], config_name: str, program: str) -> None:
    """Run `task` with the configuration that the command line asks for.

    The configuration is composed once before Hydra does it, since Hydra answers a misspelt override with exit code 1.

    Args:
        task: the work.
        config_name: file of `configs/`, without its ending.
        program: name in front of an error.
    """

    def guarded(config: DictConfig) -> None:
        try:
            folder = own_folder(config)
        except QadError as error:
            sys.exit(_said(program, error))
        try:
            task(config)
        except QadError as error:
            code = _said(program, error)
            if folder is None:
                sys.exit(code)
            note_outcome(folder, error)  # the other runs of the sweep go on
        else:
            if folder is not None:
                note_outcome(folder, None)

    overrides = [a for a in sys.argv[1:] if not a.startswith("-")]
    try:
        runs = runs_of(overrides) if FLAGS & set(sys.argv) else []
        whole = bool(runs) or overrides == sys.argv[1:]
        configs = [check_overrides(config_name, run, whole=whole) for run in runs or [overrides]]
        folder = _sweep_folder(program, configs) if runs else None
    except QadError as error:
        sys.exit(_said(program, error))
    if runs:  # Hydra's parser wants overrides in one piece
        sys.argv[1:] = ["--multirun", *(a for a in sys.argv[1:] if a not in FLAGS)]
    hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)(guarded)()
    if folder is not None:
        table, well = sweep_table(folder, runs)
        sys.stderr.write(f"{table}\n")
        sys.exit(0 if well else 1)


def check_overrides(config_name: str, overrides: list[str], *, whole: bool = True) -> DictConfig:
    """Compose the configuration.

    Args:
        config_name: file of `configs/`, without its ending.
        overrides: `key=value`.
        whole: whether all values that are needed must be there; `--help` needs none.

    Returns:
        The configuration.

    Raises:
        ConfigError: an override that is misspelt, or a value that is needed and missing.
    """
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = hydra.compose(config_name, overrides)
        missing = sorted(str(key) for key in config if OmegaConf.is_missing(config, key)) if whole else []
    except (HydraException, OmegaConfBaseException) as error:
        msg = f"{' '.join(str(error).split())} (configs/{config_name}.yaml lists what there is; --help shows it)"
        raise ConfigError(msg) from error
    finally:
        GlobalHydra.instance().clear()
    if missing:
        msg = f"{missing[0]} is missing: give it as {missing[0]}=... (configs/{config_name}.yaml says what it is)"
        raise ConfigError(msg)
    return config


def _sweep_folder(program: str, configs: list[DictConfig]) -> Path:
    """Make the folder of a sweep."""
    if program != SWEEPS:
        msg = f"{program} makes one run: --multirun is for {SWEEPS}"
        raise ConfigError(msg)
    if "sweep=slurm" in sys.argv and shutil.which("sbatch") is None:
        msg = "sweep=slurm: there is no sbatch here: start it where Slurm is, or use sweep=local"
        raise ConfigError(msg)
    bundles = sorted({str(config.bundle) for config in configs})
    if len(bundles) > 1:
        msg = f"bundle={','.join(bundles)}: give one; each run of a sweep gets its own folder in {bundles[0]}.sweep"
        raise ConfigError(msg)
    return claim_sweep(bundles[0])


def _said(program: str, error: QadError) -> int:
    sys.stderr.write(f"{program}: {' '.join(str(error).split())}\n")
    return error.exit_code
