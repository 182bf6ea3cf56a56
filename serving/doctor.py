"""Check every system that the config names, and say what is wrong. Nothing is changed, and nobody is told anything.

    python -m serving.doctor --config /etc/qad/collector.toml

Start it as the user that the ticks run as. Exit codes: 0 all is well, or a sink is down (ticks go on, and tell it
later); 2 something is wrong that only people can mend; 3 source unreachable; 4 bundle invalid.
"""

from __future__ import annotations

import argparse
import getpass
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from qad_dl.bundles import label_of
from qad_dl.cli import guarded
from qad_dl.errors import BundleError, QadError, SinkAccessError, SinkDownError, SourceError
from serving.checkup import (
    SOURCES,
    bundle_check,
    look_at_clock,
    look_at_cric,
    look_at_influxdb,
    look_at_labels,
    look_at_metrics,
    look_at_program,
    look_at_state,
    look_at_store,
    sink_check,
)
from serving.config import read_config
from serving.visit import DOWN, GOES_ON, WELL, WRONG, Finding, Visit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Read the arguments, look at everything, give the exit code."""
    parser = argparse.ArgumentParser(
        prog="serving.doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the collector's config, TOML")
    args = parser.parse_args(argv)
    return guarded(lambda: examine(args.config), "serving.doctor")


def examine(path: Path) -> int:
    """Look at everything, a line for each finding as it comes; the exit code."""
    config = read_config(path)
    print(Finding("config", WELL, f"{path} is valid; this is {getpass.getuser()}'s look at it").line(), flush=True)
    findings = []
    with tempfile.TemporaryDirectory(prefix="qad-doctor-") as folder:
        for finding in look(Visit(config, time.time(), Path(folder))):
            findings.append(finding)
            print(finding.line(), flush=True)
    wrong = [finding for finding in findings if finding.level == WRONG]
    down = sum(finding.level == DOWN for finding in findings)
    print(f"{len(wrong)} wrong, {down} down" if wrong or down else "all is well")
    return wrong[0].code if wrong else 0


def look(visit: Visit) -> Iterator[Finding]:
    """All findings, system by system; what one check cannot do never keeps the next one from its work."""
    sinks = visit.config.sink
    told = [name for name in ("alertmanager", "mail", "mattermost", "apprise", "jsonl") if getattr(sinks, name)]
    checks: list[tuple[str, Callable[[Visit], Iterator[Finding]]]] = [
        ("program", look_at_program),
        ("store", look_at_store),
        ("state", look_at_state),
        *((f"bundle {label_of(path)}", bundle_check(path)) for path in visit.config.bundles),
        ("source", SOURCES[visit.config.source.kind]),
        ("cric", look_at_cric),
        ("sink.influxdb", look_at_influxdb),
        *((f"sink.{name}", sink_check(name)) for name in told),
        ("review", look_at_labels),
        ("metrics", look_at_metrics),
        ("clock", look_at_clock),
    ]
    for system, check in checks:
        try:
            yield from check(visit)
        except SinkAccessError as error:
            yield Finding(system, WRONG, str(error), error.exit_code)
        except SinkDownError as error:
            yield Finding(system, DOWN, f"{error}; {GOES_ON}")
        except QadError as error:
            yield Finding(system, WRONG, str(error), _code(system, error))
        except OSError as error:
            yield Finding(system, WRONG, f"{error.filename}: {error.strerror}", 2)


def _code(system: str, error: QadError) -> int:
    if isinstance(error, BundleError):
        return 4
    if system == "source" or isinstance(error, SourceError):
        return SourceError.exit_code
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
