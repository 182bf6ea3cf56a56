"""The database and its retention policies, made where they are missing and left alone where they are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qad_dl.downsampling import DAYS, HOURS
from qad_dl.errors import InfluxDownError, InfluxError
from qad_dl.influx.client import identifier
from qad_dl.influx.qmonit import TICK_POLICY

if TYPE_CHECKING:
    from qad_dl.influx.client import Influx

FOREVER: Final = 0

_UNMADE: Final = "database not found"
_OURS: Final = "autogen"
"""The policy that a database begins with; any other default was chosen by somebody."""


@dataclass(frozen=True)
class Policies:
    """Days for which InfluxDB keeps points of ticks, hours and days; 0 is for ever.

    A policy that exists already stays as it is: it may be QMonit's.
    """

    ticks: int = 7
    hours: int = 730
    days: int = FOREVER

    def by_name(self) -> dict[str, int]:
        """Policy -> days."""
        return {TICK_POLICY: self.ticks, HOURS.name: self.hours, DAYS.name: self.days}


def prepare(influx: Influx, policies: Policies) -> None:
    """Make the database and the policies that are missing; any number of times, by any number of processes.

    Raises:
        InfluxError: the user may not, or the server does not answer.
    """
    there = _policies(influx)
    for name, days in policies.by_name().items():
        if name not in there:
            first = name == TICK_POLICY and there.get(_OURS, False)
            influx.query(
                f"CREATE RETENTION POLICY {identifier(name)} ON {identifier(influx.database)} "
                f"DURATION {f'{days}d' if days else 'INF'} REPLICATION 1{' DEFAULT' if first else ''}"
            )


def _policies(influx: Influx) -> dict[str, bool]:
    """Policy -> whether it is the default; the database is made if there is none."""
    asked = f"SHOW RETENTION POLICIES ON {identifier(influx.database)}"
    try:
        found = influx.query(asked)
    except InfluxDownError:
        raise
    except InfluxError as error:
        if _UNMADE not in str(error):
            raise
        influx.query(f"CREATE DATABASE {identifier(influx.database)}")
        found = influx.query(asked)
    rows = [dict(zip(series.columns, row, strict=True)) for series in found for row in series.values]
    return {str(row["name"]): bool(row["default"]) for row in rows}
