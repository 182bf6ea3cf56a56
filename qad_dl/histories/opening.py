"""One opener for all histories: which kind it is, its address says."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from qad_dl.histories.protocol import History


def open_history(address: str | Path) -> History:
    """Open a history to read it.

    Args:
        address: a folder; an address that fsspec knows, like `s3://BUCKET/PREFIX`; or
            `influxdb://HOST:PORT/DATABASE` as `qad_dl.influx.direct` has it.

    Raises:
        StoreError: there is no store, or it cannot be read.
        ConfigError: an address that says nothing.
        InfluxError: the database does not answer, or refuses.
    """
    if str(address).startswith("influxdb"):
        from qad_dl.influx.direct import SCHEMES, open_influx  # which loads an HTTP client

        if str(address).startswith(SCHEMES):
            return open_influx(str(address))
    from qad_dl.store import Store

    return Store.open(address)
