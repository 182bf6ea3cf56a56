"""The live server in this process, over made-up results: the doors of `serving.review` without store and bundle."""

from __future__ import annotations

import ipaddress
import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from qad_dl.labels import LabelLog
from qad_dl.review.page import load_uplot
from serving.config import ReviewConfig
from serving.review.app import Doors, build_app, build_page
from serving.review.data import Cause, Keeper, Shown
from serving.review.guard import LOOPBACK, Guard
from serving.review.server import build_server
from tests.services.programs import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from qad_dl.review.page import Content

TICK = np.datetime64("2026-01-11T23:50:00")


class LiveServer:
    """A server on a free loopback port.

    Attributes:
        url: where, without a slash at the end.
        log: the labels.
    """

    def __init__(self, content: Content, folder: Path, user_header: str = "") -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = LabelLog(folder / "labels.jsonl")
        self._content, self._tick = content, TICK
        self.keeper = Keeper(self._cause, lambda cause: Shown.of(self._content, cause.tick))
        self.keeper.refresh(0.0)
        proxies = tuple(map(ipaddress.ip_network, LOOPBACK))
        guard = Guard(user_header, proxies, frozenset({self.url}), frozenset({f"127.0.0.1:{port}"}), bytes(32))
        page = build_page("made-up results", load_uplot())
        doors = Doors(guard, self.log, self.keeper, page, _now, lambda _: None)
        self._server: Any = build_server(build_app(doors), ReviewConfig(port=port))
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def _cause(self) -> Cause:
        return Cause(self._tick, b"", None)

    def renew(self, content: Content) -> None:
        """Show other data from now on, as after a tick."""
        self._content, self._tick = content, self._tick + np.timedelta64(600, "s")
        assert self.keeper.refresh(0.0)

    def start(self) -> LiveServer:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Take no more connections; those that are open end when the browser goes."""
        # Its loop may be awake, and close itself and the trigger, before the trigger is pulled.
        with suppress(OSError):
            self._server.trigger.pull_trigger(self._server.close)


def _now() -> np.datetime64:
    return np.datetime64(datetime.now(UTC).replace(tzinfo=None), "ms")
