"""Queue metadata and declared downtimes from CRIC: asked only for what has changed, and the last known where it fails.

```
FOLDER/NAME.body   what CRIC said last that could be understood, whole
       NAME.json   where that came from, its ETag and Last-Modified, and when it was last known to hold
```
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar
from urllib.parse import urlsplit

import numpy as np

from qad_dl.atomic import replace_file
from qad_dl.downtimes import DOWN, Downtime
from qad_dl.errors import ConfigError, InputError, SourceError
from qad_dl.metadata import parse_cric, spelling
from qad_dl.sources.http import TryAgainError, read_json
from qad_dl.timeparse import parse_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
    from pathlib import Path

    from qad_dl.metadata import Record
    from qad_dl.sources.http import Answer, Client

QUEUES_PATH: Final = "/api/atlas/pandaqueue/query/?json"
SITES_PATH: Final = "/api/atlas/site/query/?json"
ENDPOINTS_PATH: Final = "/api/atlas/ddmendpoint/query/?json"
DOWNTIMES_PATH: Final = "/api/core/downtime/query/?json"
FEDERATIONS_PATH: Final = "/api/core/federation/query/?json"

SLOW_S: Final = 3300.0
"""Sites, endpoints and federations are large and change once in weeks: they are asked for about every hour."""

LEAST_SHARE: Final = 0.5
"""A list of queues with less of them than this share of the last one is not believed..."""

LEAST_OUTAGES: Final = 0.25
"""... nor one of outages with less than this: they come and go, but not all at once..."""

DOUBTED_S: Final = 86400.0
"""... until the last one is older than this."""

ASIDE: Final = ("perfsonar", "bdii", "apel", "accounting")
"""Services without which jobs run all the same: an outage of these alone takes no queue down."""

VO: Final = "atlas"
MASTER: Final = "MASTER"
NUCLEUS: Final = "Nucleus"

D = TypeVar("D", bound="Sized")


@dataclass(frozen=True)
class Document(Generic[D]):
    """What CRIC said.

    Attributes:
        value: what it was understood as.
        age_s: how long ago it was last known to hold.
        trouble: why it is not of now, one line; '' where it is.
    """

    value: D
    age_s: float
    trouble: str = ""


@dataclass(frozen=True)
class Cache:
    """Where documents are kept.

    Attributes:
        folder: made when it is first needed.
        now: seconds since the epoch.
    """

    folder: Path
    now: float

    def fetch(
        self,
        client: Client,
        url: str,
        name: str,
        read: Callable[[Any], D],
        *,
        fresh_s: float = 0.0,
        least_share: float = 0.0,
    ) -> Document[D]:
        """Ask for a document unless it is unchanged; the last known one where CRIC does not answer with one.

        Args:
            client: with its deadline.
            url: of the document.
            name: of its files.
            read: understands the decoded JSON; raises `InputError` where it is not what it should be.
            fresh_s: one that is younger is not asked for.
            least_share: a document with less than this share of the last one's entries is not believed, unless that is
                older than `DOUBTED_S`.

        Raises:
            SourceError: there is none, and never was.
        """
        about = self._about(name, url)
        kept = self._kept(name, read) if about else None
        age = max(0.0, self.now - about["held"]) if about else 0.0
        if kept is not None and age < fresh_s:
            return Document(kept, age)
        before = len(kept) if kept is not None and age < DOUBTED_S else 0
        least = int(least_share * before)

        def understand(answer: Answer) -> tuple[Answer, D]:
            if answer.status == 304 and kept is not None:
                return answer, kept
            return answer, _understood(answer, read, least, before)

        asked = {"Accept": "application/json", **(_validators(about) if kept is not None else {})}
        try:
            answer, value = client.get(url, understand, headers=asked)
        except SourceError as error:
            if kept is None:
                raise
            return Document(kept, age, str(error))
        self._keep(name, answer, {"url": url, **_tags(answer, about), "held": self.now})
        return Document(value, 0.0)

    def _about(self, name: str, url: str) -> dict[str, Any]:
        """What is known of a document that is kept; empty where none is, or one of another address."""
        try:
            about: dict[str, Any] = json.loads((self.folder / f"{name}.json").read_bytes())
            return about if about["url"] == url and float(about["held"]) >= 0 else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _kept(self, name: str, read: Callable[[Any], D]) -> D | None:
        try:
            return read(json.loads((self.folder / f"{name}.body").read_bytes()))
        except (OSError, ValueError, InputError):
            return None

    def _keep(self, name: str, answer: Answer, about: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        meta = self.folder / f"{name}.json"
        if answer.status != 304:
            # The old validators go first: with them and a new body, a kill here would keep an old document for ever.
            meta.unlink(missing_ok=True)
            replace_file(self.folder / f"{name}.body", answer.body)
        replace_file(meta, json.dumps(about, indent=1).encode())


def _understood(answer: Answer, read: Callable[[Any], D], least: int, before: int) -> D:
    try:
        value = read(read_json(answer))
    except InputError as error:
        raise TryAgainError(str(error)) from None
    if len(value) < least:
        msg = f"holds only {len(value)} entries after {before}; that is believed if it is still so in a day"
        raise TryAgainError(msg)
    return value


def _validators(about: Mapping[str, Any]) -> dict[str, str]:
    headers = {"If-None-Match": about.get("etag"), "If-Modified-Since": about.get("modified")}
    return {name: str(value) for name, value in headers.items() if value}


def _tags(answer: Answer, about: Mapping[str, Any]) -> dict[str, Any]:
    """The validators to send next time; an answer that says "unchanged" may leave them out."""
    if answer.status == 304:
        return {"etag": about.get("etag"), "modified": about.get("modified")}
    return {"etag": answer.headers.get("ETag"), "modified": answer.headers.get("Last-Modified")}


# --- what is in the documents ---


def read_queues(document: Any) -> dict[str, dict[str, str]]:
    """Queue -> record of CRIC's pandaqueue document; `InputError` where it is none."""
    return parse_cric(document, "pandaqueue")


Entries: TypeAlias = dict[str, dict[str, Any]]


def read_entries(document: Any) -> Entries:
    """Name -> entry of a document of sites, endpoints or federations; entries that are no objects are left out.

    Raises:
        InputError: it is no object, or holds no entry.
    """
    if not isinstance(document, dict):
        msg = f"is a JSON {type(document).__name__}, and not an object keyed by name"
        raise InputError(msg)
    entries = {str(name): entry for name, entry in document.items() if isinstance(entry, dict)}
    if not entries:
        raise InputError("holds no entry")
    return entries


def site_fields(sites: Entries) -> dict[str, dict[str, str]]:
    """Site -> `frontier`, the host of its first Frontier server, and `nucleus`, its own name where it is one."""
    found: dict[str, dict[str, str]] = {}
    for key, entry in sites.items():
        name = spelling(entry.get("name")) or key
        settings = entry.get("fsconf")
        servers = _texts(settings.get("frontier") if isinstance(settings, dict) else None)
        fields = {"frontier": _host(next(servers, ""))}
        if NUCLEUS in _texts(entry.get("datapolicies")):
            fields["nucleus"] = name
        found[name] = {field: value for field, value in fields.items() if value}
    return found


def endpoint_fields(endpoints: Entries) -> dict[str, dict[str, str]]:
    """Site -> `fts_server`, the host of the FTS server that most of its endpoints name first."""
    hosts: dict[str, Counter[str]] = {}
    for _, entry in sorted(endpoints.items()):
        site, served = spelling(entry.get("site")), entry.get("servedrestfts")
        host = _host(next(_texts(served.get(MASTER) if isinstance(served, dict) else None), ""))
        if site and host:
            hosts.setdefault(site, Counter())[host] += 1
    return {site: {"fts_server": counted.most_common(1)[0][0]} for site, counted in hosts.items()}


def federation_fields(federations: Entries, now: np.datetime64) -> dict[str, dict[str, str]]:
    """Resource centre -> `federation`, `pledge_type` and `federation_HS06_pledge`, as QMonit names and writes them.

    Args:
        federations: by any key.
        now: pledges are of its quarter.
    """
    found: dict[str, dict[str, str]] = {}
    for key, entry in federations.items():
        name = spelling(entry.get("accounting_name")) or spelling(entry.get("name")) or key
        pledges = _pledges(entry.get("pledges"), now)
        fields = {"federation": name}
        if pledges:
            fields["pledge_type"] = ";".join(f"{amount} ({kind})" for kind, amount in pledges.items())
        if pledges.get("CPU"):
            fields["federation_HS06_pledge"] = pledges["CPU"]
        found |= dict.fromkeys(_texts(entry.get("rcsites")), fields)
    return found


def quarter(now: np.datetime64) -> tuple[str, str]:
    """Year and quarter of the pledges that hold at a time: a year of the WLCG's begins on the first of April."""
    months = int(now.astype("datetime64[M]").astype(np.int64)) - 3
    return str(1970 + months // 12), f"Q{months % 12 // 3 + 1}"


def _pledges(pledges: Any, now: np.datetime64) -> dict[str, str]:
    """What is pledged to ATLAS, resource -> amount."""
    for key in (*quarter(now), VO):
        pledges = pledges.get(key) if isinstance(pledges, dict) else None
    if not isinstance(pledges, dict):
        return {}
    spelt = {str(kind): spelling(amount) for kind, amount in sorted(pledges.items())}
    return {kind: amount for kind, amount in spelt.items() if amount is not None}


def with_fields(queues: Mapping[str, Record], by_site: Iterable[Mapping[str, Record]]) -> dict[str, dict[str, str]]:
    """The records of queues with what is known of their site, by `atlas_site` or else by `rc_site`.

    A field that a queue has itself stays. A queue without a federation of its own gets its `rc`, which is the same.
    """
    tables = list(by_site)
    found = {}
    for name, record in queues.items():
        sites = [site for site in (record.get("atlas_site"), record.get("rc_site")) if site]
        joined: dict[str, str] = {"federation": record["rc"]} if "rc" in record else {}
        for table in tables:
            joined |= next((table[site] for site in sites if site in table), {})
        found[name] = {**joined, **record}
    return found


def read_downtimes(document: Any) -> list[dict[str, str]]:
    """The outages of CRIC's downtime document: `site`, `start`, `end`.

    CRIC groups them by site or lists them, and calls their site by several names; one that is not an outage, or of
    services alone without which jobs run, is left out. Raises `InputError` where the document is no such thing.
    """
    if not isinstance(document, (dict, list)):
        msg = f"is a JSON {type(document).__name__}, and no list of downtimes"
        raise InputError(msg)
    return [outage for site, entry in _declared(document, "") if (outage := _outage(site, entry)) is not None]


def downtimes_of(outages: Iterable[Mapping[str, str]], queues: Mapping[str, Record]) -> list[Downtime]:
    """Outages for every queue of their sites; one whose times cannot be read, or that does not last, is left out."""
    hit: dict[str, list[str]] = {}
    for queue, record in queues.items():
        for site in {record.get("atlas_site"), record.get("rc_site")} - {None}:
            hit.setdefault(str(site), []).append(queue)
    found = set()
    for outage in outages:
        try:
            start, end = (parse_time(outage[key], key) for key in ("start", "end"))
        except (ConfigError, OverflowError):
            continue
        if start < end:
            found |= {Downtime(queue, start, end, DOWN) for queue in hit.get(outage["site"], ())}
    return sorted(found)


def _declared(value: Any, outer: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """All downtimes in a document, with the outermost key that they are under."""
    if isinstance(value, dict) and "severity" in value:
        yield outer, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _declared(inner, outer or key)
    elif isinstance(value, list):
        for inner in value:
            yield from _declared(inner, outer)


def _outage(outer: str, entry: Mapping[str, Any]) -> dict[str, str] | None:
    services = list(_texts(entry.get("affected_services") or entry.get("services")))
    aside = services and all(any(word in service.lower() for word in ASIDE) for service in services)
    if str(entry.get("severity")).upper() != DOWN or aside:
        return None
    names = (spelling(entry.get(key)) for key in ("site", "rc_site", "rcsite"))
    site = next((name for name in names if name), outer)
    start, end = (str(entry.get(key) or "") for key in ("start_time", "end_time"))
    return {"site": site, "start": start, "end": end}


def _texts(value: Any) -> Iterator[str]:
    """The texts in a text, or in lists of lists; a text may list several with commas or semicolons."""
    if isinstance(value, str):
        yield from (text for part in value.replace(";", ",").split(",") if (text := part.strip()))
    elif isinstance(value, dict):
        yield from _texts(value.get("name"))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _host(address: str) -> str:
    """The host of an address, with or without a scheme; '' where there is none."""
    try:
        return urlsplit(address if "//" in address else f"//{address}").hostname or ""
    except ValueError:
        return ""
