"""From the config to CRIC: metadata of the queues, what is known of their sites, and declared downtimes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from qad_dl.errors import SourceError
from qad_dl.sources.cric import (
    DOWNTIMES_PATH,
    ENDPOINTS_PATH,
    FEDERATIONS_PATH,
    LEAST_OUTAGES,
    LEAST_SHARE,
    QUEUES_PATH,
    SITES_PATH,
    SLOW_S,
    downtimes_of,
    endpoint_fields,
    federation_fields,
    read_downtimes,
    read_entries,
    read_queues,
    site_fields,
    with_fields,
)
from qad_dl.sources.http import open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sized

    import numpy as np
    import requests

    from qad_dl.downtimes import Downtime
    from qad_dl.metadata import Record
    from qad_dl.sources.cric import Cache, Document, Entries
    from qad_dl.sources.http import Client
    from serving.config import CricConfig, DowntimesConfig

HOUR_S: Final = 3600.0

D = TypeVar("D", bound="Sized")


@dataclass(frozen=True)
class Said:
    """What CRIC says, or said last.

    Attributes:
        queues: queue -> record; None where nobody knows.
        downtimes: those declared; None where nobody knows.
        age_s: how long ago the queues were last known to be so; None where nobody knows.
        troubles: what could not be had, name to one line.
    """

    queues: Mapping[str, Record] | None = None
    downtimes: tuple[Downtime, ...] | None = None
    age_s: float | None = None
    troubles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cric:
    """CRIC, asked for one tick.

    Attributes:
        config: where it is.
        downtimes: where downtimes are, if elsewhere.
        client: with the deadline.
        cache: what it said before.
    """

    config: CricConfig
    downtimes: DowntimesConfig | None
    client: Client
    cache: Cache

    def ask(self, tick: np.datetime64) -> Said:
        """Everything; what cannot be had is a trouble and never an error, and the last known takes its place."""
        troubles: dict[str, str] = {}
        url = self.config.url.rstrip("/")
        found = self._fetch("cric", url + QUEUES_PATH, "pandaqueue", read_queues, troubles, least_share=LEAST_SHARE)
        if found is None:
            return Said(troubles=troubles)
        queues = with_fields(found.value, self._sites(tick, troubles))
        where = self.downtimes.url if self.downtimes and self.downtimes.url else url
        address = where.rstrip("/") + DOWNTIMES_PATH
        declared = self._fetch("downtimes", address, "downtimes", read_downtimes, troubles, least_share=LEAST_OUTAGES)
        downtimes = None if declared is None else tuple(downtimes_of(declared.value, queues))
        return Said(queues, downtimes, found.age_s, troubles)

    def _sites(self, tick: np.datetime64, troubles: dict[str, str]) -> list[Mapping[str, Record]]:
        """What is known of sites, from the documents that can be had."""

        def pledged(federations: Entries) -> Mapping[str, Record]:
            return federation_fields(federations, tick)

        url, centres = (text.rstrip("/") for text in (self.config.url, self.config.federations_url))
        wanted: list[tuple[str, str, Callable[[Entries], Mapping[str, Record]]]] = [
            ("site", url + SITES_PATH, site_fields),
            ("ddmendpoint", url + ENDPOINTS_PATH, endpoint_fields),
            *([("federation", centres + FEDERATIONS_PATH, pledged)] if centres else []),
        ]
        tables = []
        for name, address, fields in wanted:
            found = self._fetch(f"cric {name}", address, name, read_entries, troubles, fresh_s=SLOW_S)
            if found is not None:
                tables.append(fields(found.value))
        return tables

    def _fetch(
        self,
        trouble: str,
        url: str,
        name: str,
        read: Callable[[Any], D],
        troubles: dict[str, str],
        **more: float,
    ) -> Document[D] | None:
        """One document; None where there never was one."""
        try:
            found = self.cache.fetch(self.client, url, name, read, **more)
        except SourceError as error:
            troubles[trouble] = str(error)
            return None
        if found.trouble:
            troubles[trouble] = f"{found.trouble}; what is known is {found.age_s / HOUR_S:.1f} h old"
        return found


def cric_session(config: CricConfig) -> requests.Session:
    """A session with the certificates of `[cric]`."""
    return open_session(config.ca_file, config.client_cert, config.client_key)
