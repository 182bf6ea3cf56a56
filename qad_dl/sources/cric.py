"""Queue metadata and declared downtimes from CRIC: asked only for what has changed, and the last known where it fails.

```
FOLDER/NAME.body   what CRIC said last, whole
       NAME.json   its ETag and Last-Modified, and when it was last known to hold
```
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.atomic import replace_file
from qad_dl.downtimes import Downtime
from qad_dl.errors import ConfigError, InputError, SourceError
from qad_dl.metadata import parse_cric
from qad_dl.sources.http import shown
from qad_dl.timeparse import parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from qad_dl.metadata import Record
    from qad_dl.sources.http import Client

QUEUES_PATH: Final = "/api/atlas/pandaqueue/query/?json"
DOWNTIMES_PATH: Final = "/api/core/downtime/query/?json"
DOWN: Final = "OUTAGE"
"""The one severity that is down; the others are at risk."""


@dataclass(frozen=True)
class Document:
    """What CRIC said.

    Attributes:
        value: the decoded JSON.
        age_s: how long ago it was last known to hold.
        trouble: why it is not of now, one line; '' where it is.
    """

    value: Any
    age_s: float
    trouble: str = ""


def fetch_document(client: Client, url: str, name: str, folder: Path, now: float) -> Document:
    """Ask for a document unless it is unchanged; the last known one where CRIC does not answer.

    Args:
        client: with its deadline.
        url: of the document.
        name: of its files.
        folder: where they are.
        now: seconds since the epoch.

    Raises:
        SourceError: CRIC does not answer, and never did.
    """
    body, meta = folder / f"{name}.body", folder / f"{name}.json"
    kept = _kept(meta) if body.exists() else {}
    headers = {"Accept": "application/json"}
    for header, key in (("If-None-Match", "etag"), ("If-Modified-Since", "modified")):
        if kept.get(key) and kept.get("url") == url:
            headers[header] = str(kept[key])
    try:
        answer = client.get(url, headers=headers)
        content = body.read_bytes() if answer.status == 304 else answer.body
        value = _decoded(content, url)
    except (SourceError, OSError) as error:
        if not kept:
            raise SourceError(str(error)) from error
        return Document(_decoded(body.read_bytes(), url), max(0.0, now - kept["held"]), str(error))
    folder.mkdir(parents=True, exist_ok=True)
    if answer.status == 200:
        kept = {"url": url, "etag": answer.headers.get("ETag"), "modified": answer.headers.get("Last-Modified")}
        # The old validators go first: with them and a new body a kill here would keep an old one for ever.
        meta.unlink(missing_ok=True)
        replace_file(body, content)
    replace_file(meta, json.dumps({**kept, "held": now}).encode())
    return Document(value, 0.0)


def queues_of(document: Document, url: str) -> dict[str, dict[str, str]]:
    """Queue -> record of CRIC's pandaqueue document.

    Raises:
        SourceError: it is none.
    """
    try:
        return parse_cric(document.value, shown(url))
    except InputError as error:
        raise SourceError(str(error)) from error


def downtimes_of(document: Document, queues: Mapping[str, Record]) -> list[Downtime]:
    """The outages of CRIC's downtime document, for every queue of their sites.

    A downtime names a site as CRIC's `atlas_site` or `rc_site` of a queue; one without times or of another severity is
    left out, and one that does not end after it begins too.
    """
    found = []
    entries = document.value.values() if isinstance(document.value, dict) else document.value
    for entry in entries if isinstance(entries, list) else list(entries):
        if not isinstance(entry, dict) or str(entry.get("severity", "")).upper() != DOWN:
            continue
        try:
            start, end = (parse_time(str(entry[key]), key) for key in ("start_time", "end_time"))
        except (ConfigError, KeyError):
            continue
        site = str(entry.get("site") or entry.get("rcsite") or "")
        hit = [q for q, r in queues.items() if site and site in (r.get("atlas_site"), r.get("rc_site"))]
        found += [Downtime(queue, start, end, DOWN) for queue in hit if end > start]
    return sorted(set(found))


def _kept(path: Path) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = json.loads(path.read_bytes())
        float(kept["held"])
    except (OSError, ValueError, KeyError, TypeError):
        return {"held": 0.0}
    return kept


def _decoded(content: bytes, url: str) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        msg = f"{shown(url)}: answered something else than JSON ({str(error)[:80]})"
        raise SourceError(msg) from error


def now_of(tick: np.datetime64) -> float:
    """A tick as seconds since the epoch."""
    return float(tick.astype("datetime64[s]").astype(np.int64))
