"""Starting a Hydra program with the house's manners: one line and exit code 2 for what the user can mend."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qad_dl.errors import ConfigError, QadError

if TYPE_CHECKING:
    from collections.abc import Callable

    from omegaconf import DictConfig

CONFIGS: Final = Path(__file__).resolve().parent.parent / "configs"


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
            task(config)
        except QadError as error:
            sys.exit(_said(program, error))

    try:
        overrides = [a for a in sys.argv[1:] if not a.startswith("-")]
        check_overrides(config_name, overrides, whole=overrides == sys.argv[1:])
    except QadError as error:
        sys.exit(_said(program, error))
    hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)(guarded)()


def check_overrides(config_name: str, overrides: list[str], *, whole: bool = True) -> None:
    """Compose the configuration.

    Args:
        config_name: file of `configs/`, without its ending.
        overrides: `key=value`.
        whole: whether all values that are needed must be there; `--help` needs none.

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


def _said(program: str, error: QadError) -> int:
    sys.stderr.write(f"{program}: {' '.join(str(error).split())}\n")
    return error.exit_code
