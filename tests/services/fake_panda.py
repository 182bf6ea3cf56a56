"""PanDA and CRIC over HTTP, as they really answer (panda.md): a simulated grid, and every trap switched at will."""

from __future__ import annotations

import json
import ssl
import threading
import time
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from qad_dl.schema import STATUSES, is_flow
from qad_dl.simulator.collector import ZERO_FILLED
from qad_dl.simulator.mechanism import REPORTED
from qad_dl.sources.panda import PATH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qad_dl.simulator.run import Run

FLOW = np.array([is_flow(state) for state in REPORTED])
PANDA_TRAPS = (
    *("down", "hang", "unsuccessful", "forbidden", "error", "busy", "repr", "half_body", "trickle", "slow_headers"),
    *("empty", "all_zero", "partial", "frozen", "text_count", "null_keys"),
)
CRIC_TRAPS = ("down", "hang", "error", "half_body", "empty", "list", "login", "few")
MINUTE_TICKS = 10


@dataclass
class Grid:
    """What the servers know, and how they misbehave.

    Attributes:
        run: the simulated grid.
        tick: the tick of now, an index into the run.
        panda: a trap of `PANDA_TRAPS`, or '' for none.
        cric: a trap of `CRIC_TRAPS`, or ''.
        token: the one that PanDA takes; any other one, but not none at all, is refused.
        asked: paths with their queries, in their order.
        ahead_s: how far the servers' clock is ahead of ours.
        unchanged: how often CRIC answered that nothing has changed.
        frozen_at: the tick whose stocks are told while frozen.
    """

    run: Run
    tick: int = 0
    panda: str = ""
    cric: str = ""
    token: str = ""
    ahead_s: float = 0.0
    unchanged: int = 0
    asked: list[str] = field(default_factory=list)
    frozen_at: int | None = None
    wait: threading.Event = field(default_factory=threading.Event)

    def counts(self, minutes: int) -> dict[str, Any]:
        """The statistics API's data."""
        now = self.run.counts[self.tick].copy()
        first = max(0, self.tick + 1 - max(1, round(minutes / MINUTE_TICKS)))
        now[:, FLOW] = self.run.counts[first : self.tick + 1][:, :, FLOW].sum(axis=0)
        if self.panda == "frozen":
            now[:, ~FLOW] = self.run.counts[self.tick - 1 if self.frozen_at is None else self.frozen_at][:, ~FLOW]
        if self.panda == "all_zero":
            now[:] = 0
        return self._nested(now)

    def queues(self) -> dict[str, Any]:
        """CRIC's pandaqueue document: the records, with their status of now."""
        world, status = self.run.world, self.run.life.status[min(self.tick, len(self.run.life.status) - 1)]
        names = {name: q for q, name in enumerate(world.names)}
        return {
            key: {**record, "status": STATUSES[status[names[record.get("panda_resource") or key]]]}
            for key, record in world.records.items()
        }

    def downtimes(self) -> dict[str, Any]:
        """CRIC's downtimes, by site: those that have been declared by now, and one that is only at risk."""
        world, out = self.run.world, {}
        for i, window in enumerate(w for w in self.run.life.downtimes if w.begin <= self.tick + 144):
            site = world.facts[window.queue].get("atlas_site", "")
            start, end = (self.run.params.start + t * np.timedelta64(600, "s") for t in (window.begin, window.end))
            out.setdefault(site, {})[str(i)] = _declared("OUTAGE", start, end, "CE, SRM")
        start, end = self.run.params.start, self.run.params.start + np.timedelta64(100, "D")
        first = out.setdefault(world.facts[0].get("atlas_site", ""), {})
        first["risk"] = _declared("WARNING", start, end, "CE")
        first["aside"] = _declared("OUTAGE", start, end, "net.perfSONAR.Latency")
        return out

    def sites(self) -> dict[str, Any]:
        """CRIC's site document; every third site is a nucleus, every fifth has no Frontier server."""
        return {
            site: {
                "name": site,
                "fsconf": {"frontier": [[f"http://frontier{i % 3}.example:8000/atlr", 3128]] if i % 5 else []},
                "datapolicies": ["Nucleus", "T2D"] if i % 3 == 0 else None,
            }
            for i, site in enumerate(self._sites())
        }

    def endpoints(self) -> dict[str, Any]:
        """CRIC's ddmendpoint document: two endpoints for each site."""
        return {
            f"{site}_{kind}": {
                "site": site,
                "servedrestfts": {"MASTER": [f"https://fts{i % 2}.example:8446"], "SLAVE": []} if kind else {},
            }
            for i, site in enumerate(self._sites())
            for kind in ("DATADISK", "SCRATCHDISK")
        }

    def federations(self) -> dict[str, Any]:
        """The WLCG's federations, of three sites each, with what they pledge."""
        sites = self._sites()
        year = {f"Q{q}": {"atlas": {"CPU": 1000 * q, "Disk": 50}, "cms": {"CPU": 7}} for q in range(1, 5)}
        return {
            f"F{i}": {"name": f"F{i}", "accounting_name": f"ZZ-F{i}", "rcsites": sites[i : i + 3], "pledges": {}}
            | ({"pledges": {str(y): year for y in range(2025, 2028)}} if i % 2 == 0 else {})
            for i in range(0, len(sites), 3)
        }

    def _sites(self) -> list[str]:
        return sorted({fact.get("atlas_site", "") for fact in self.run.world.facts} - {""})

    def _nested(self, now: Any) -> dict[str, Any]:
        world = self.run.world
        shown = now.any(axis=1)
        data: dict[str, Any] = {}
        for g in range(len(now)):
            name = world.names[world.layout.queue[g]]
            if self.panda == "partial" and zlib.crc32(name.encode()) % 5 < 3:
                continue
            if not shown[g] and self.panda != "all_zero":
                continue
            label = "null" if self.panda == "null_keys" and g == 0 else world.source[g]
            states = data.setdefault(name, {}).setdefault(label, {}).setdefault(world.resource[g], {})
            for s, state in enumerate(REPORTED):
                if now[g, s] > 0 or ZERO_FILLED[s]:
                    states[state] = int(now[g, s])
        if self.panda == "text_count":
            next(iter(next(iter(next(iter(data.values())).values())).values()))["running"] = "many"
        return data


def _declared(severity: str, start: Any, end: Any, services: str) -> dict[str, Any]:
    return {"severity": severity, "start_time": str(start), "end_time": str(end), "affected_services": services}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        grid, parts = self.server.grid, urlsplit(self.path)
        grid.asked.append(self.path)
        documents = {
            "/api/atlas/pandaqueue/query/": grid.queues,
            "/api/atlas/site/query/": grid.sites,
            "/api/atlas/ddmendpoint/query/": grid.endpoints,
            "/api/core/federation/query/": grid.federations,
            "/api/core/downtime/query/": grid.downtimes,
        }
        if parts.path == PATH:
            self._panda(grid, parse_qs(parts.query))
        elif parts.path in documents:
            self._cric(grid, documents[parts.path]())
        else:
            self._send(404, b"not found", "text/plain")

    def _panda(self, grid: Grid, query: dict[str, list[str]]) -> None:
        trap = grid.panda
        if self._broken(grid, trap):
            return
        plain = {
            "forbidden": (403, b"403 Forbidden: method is not defined"),
            "error": (500, b"Internal Server Error"),
            "busy": (503, b"Service Unavailable"),
        }
        sent = self.headers.get("Authorization", "")
        if sent and sent != f"Bearer {grid.token}":
            self._send(403, b"403 Forbidden: token is not valid", "text/plain")
            return
        if trap == "busy":
            grid.panda = ""  # at the next try it is not
        if trap in plain:
            self._send(plain[trap][0], plain[trap][1], "text/plain")
            return
        if trap == "unsuccessful":
            document: Any = {"success": False, "message": "ORA-01034: ORACLE not available", "data": {}}
        else:
            data = {} if trap == "empty" else grid.counts(int(query.get("time_window", ["720"])[0]))
            document = {"success": True, "message": "", "data": data}
        asked_json = self.headers.get("Accept") == "application/json"
        body = json.dumps(document) if asked_json and trap != "repr" else repr(document)
        self._whole(trap, body.encode(), grid)

    def _cric(self, grid: Grid, document: Any) -> None:
        trap = grid.cric
        if self._broken(grid, trap):
            return
        if trap == "error":
            self._send(500, b"Internal Server Error", "text/plain")
            return
        if trap == "login":
            self._send(200, b"<html><title>CERN Single Sign-On</title></html>", "text/html")
            return
        few = dict(list(document.items())[: max(1, len(document) // 4)])
        said = {"empty": {}, "list": [1], "few": few}.get(trap, document)
        body = json.dumps(said, sort_keys=True).encode()
        tag = f'"{zlib.crc32(body):08x}"'
        if not trap and self.headers.get("If-None-Match") == tag:
            grid.unchanged += 1
            self.send_response(304)
            self.send_header("ETag", tag)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._whole(trap, body, grid, tag)

    def _broken(self, grid: Grid, trap: str) -> bool:
        """Whether there is no answer at all."""
        if trap == "down":
            self.close_connection = True
            self.connection.close()
            return True
        if trap == "hang":
            grid.wait.wait(120)
            self.close_connection = True
            return True
        return False

    def _whole(self, trap: str, body: bytes, grid: Grid, tag: str = "") -> None:
        if trap == "half_body":
            self._head(200, len(body), "application/json", tag)
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif trap == "slow_headers":
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000:
                if grid.wait.wait(0.05):
                    break
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
            self.close_connection = True
        elif trap == "trickle":
            self._head(200, len(body), "application/json", tag)
            for byte in body:
                if grid.wait.wait(0.05):
                    break
                self.wfile.write(bytes([byte]))
            self.close_connection = True
        else:
            self._send(200, body, "application/json", tag)

    def _head(self, status: int, length: int, kind: str, tag: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        if tag:
            self.send_header("ETag", tag)
        self.end_headers()

    def _send(self, status: int, body: bytes, kind: str, tag: str = "") -> None:
        self._head(status, len(body), kind, tag)
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) + self.server.grid.ahead_s)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    grid: Grid

    def handle_error(self, *_: Any) -> None:
        """A client that went away is what some tests are about."""


@contextmanager
def serve(grid: Grid, certificate: tuple[Path, Path] | None = None) -> Iterator[str]:
    """Serve the grid on a free loopback port; gives the address.

    Args:
        grid: what to serve.
        certificate: files with it and its key, for HTTPS.
    """
    server = _Server(("127.0.0.1", 0), _Handler)
    server.grid = grid
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_address[1]}"
    finally:
        grid.wait.set()
        server.shutdown()
        server.server_close()
        thread.join()
