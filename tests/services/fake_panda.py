"""PanDA and CRIC over HTTP, as they really answer (panda.md): a simulated grid, and every trap switched at will."""

from __future__ import annotations

import json
import threading
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

    from qad_dl.simulator.run import Run

FLOW = np.array([is_flow(state) for state in REPORTED])
PANDA_TRAPS = (
    *("down", "hang", "unsuccessful", "forbidden", "error", "repr", "half_body", "trickle", "empty"),
    *("all_zero", "partial", "frozen", "text_count", "null_keys"),
)
CRIC_TRAPS = ("down", "hang", "error", "half_body", "empty", "list")


@dataclass
class Grid:
    """What the servers know, and how they misbehave.

    Attributes:
        run: the simulated grid.
        tick: the tick of now, an index into the run.
        panda: a trap of `PANDA_TRAPS`, or '' for none.
        cric: a trap of `CRIC_TRAPS`, or ''.
        asked: paths with their queries, in their order.
        frozen_at: the tick whose stocks are told while frozen.
    """

    run: Run
    tick: int = 0
    panda: str = ""
    cric: str = ""
    asked: list[str] = field(default_factory=list)
    frozen_at: int | None = None
    wait: threading.Event = field(default_factory=threading.Event)

    def counts(self, minutes: int) -> dict[str, Any]:
        """The statistics API's data."""
        now = self.run.counts[self.tick].copy()
        first = max(0, self.tick + 1 - max(1, minutes // 10))
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
        """CRIC's downtimes: those that have been declared by now, and one that is only at risk."""
        world, out = self.run.world, {}
        for i, window in enumerate(w for w in self.run.life.downtimes if w.begin <= self.tick + 144):
            site = world.facts[window.queue].get("atlas_site", "")
            start, end = (self.run.params.start + t * np.timedelta64(600, "s") for t in (window.begin, window.end))
            out[str(i)] = {"site": site, "severity": "OUTAGE", "start_time": str(start), "end_time": str(end)}
        out["risk"] = {
            "site": world.facts[0].get("atlas_site", ""),
            "severity": "WARNING",
            "start_time": str(self.run.params.start),
            "end_time": str(self.run.params.start + np.timedelta64(100, "D")),
        }
        return out

    def _nested(self, now: Any) -> dict[str, Any]:
        world = self.run.world
        shown = now.any(axis=1)
        data: dict[str, Any] = {}
        for g in range(len(now)):
            name = world.names[world.layout.queue[g]]
            if self.panda == "partial" and hash(name[::-1][:3]) % 2 == 0 and world.layout.queue[g] % 3:
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


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        grid, parts = self.server.grid, urlsplit(self.path)
        grid.asked.append(self.path)
        if parts.path == PATH:
            self._panda(grid, parse_qs(parts.query))
        elif parts.path == "/api/atlas/pandaqueue/query/":
            self._cric(grid, grid.queues())
        elif parts.path == "/api/core/downtime/query/":
            self._cric(grid, grid.downtimes())
        else:
            self._send(404, b"not found", "text/plain")

    def _panda(self, grid: Grid, query: dict[str, list[str]]) -> None:
        trap = grid.panda
        if self._broken(grid, trap):
            return
        plain = {"forbidden": (403, b"403 Forbidden: method is not defined"), "error": (500, b"Internal Server Error")}
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
        body = json.dumps({} if trap == "empty" else [1] if trap == "list" else document, sort_keys=True).encode()
        tag = f'"{hash(body)}"'
        if not trap and self.headers.get("If-None-Match") == tag:
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

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    grid: Grid

    def handle_error(self, *_: Any) -> None:
        """A client that went away is what some tests are about."""


@contextmanager
def serve(grid: Grid) -> Iterator[str]:
    """Serve the grid on a free loopback port; gives the address."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.grid = grid
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        grid.wait.set()
        server.shutdown()
        server.server_close()
        thread.join()
