"""The doors of the live page: what is answered to whom."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from qad_dl.errors import InputError, StoreError
from qad_dl.labels import ConflictError, event_of
from qad_dl.labels.exchange import decode
from qad_dl.labels.log import revised
from qad_dl.review.page import attribute, live_page
from serving.review.guard import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from qad_dl.labels import LabelLog
    from qad_dl.review.page import Document
    from serving.review.data import Keeper, Shown
    from serving.review.guard import Guard

LARGEST_BODY: Final = 1 << 20
"""Bytes; an event on an incident of 5,000 queues with long names has 500,000."""

JSON: Final = "application/json"
ALONE: Final = "frame-ancestors 'none'"
NOTHING: Final = f"default-src 'none'; {ALONE}"
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
SECONDS: Final = "5"
WAITING: Final = f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta http-equiv="refresh" content="{SECONDS}"><title>qad review</title></head>
<body><p>The queues are being scored; this page loads itself again.</p></body></html>
"""
TOKEN_MARK, AUTHOR_MARK = "qad-token-goes-here", "qad-author-goes-here"


@dataclass(frozen=True)
class Doors:
    """The doors, and what is behind them.

    Attributes:
        guard: who may do what.
        log: the labels.
        keeper: the data.
        page: the live page, with marks where token and author go.
        now: the time, UTC `datetime64[ms]`.
        say: told in one line what was written and what was refused.
    """

    guard: Guard
    log: LabelLog
    keeper: Keeper
    page: Document
    now: Callable[[], np.datetime64]
    say: Callable[[str], None]

    def enter(self) -> None:
        """Before anything is done: whether the request is answered at all."""
        if not request.environ.get("REQUEST_URI", "/").startswith("/"):  # it would name a host of its own
            raise RefusedError(400, "the address must be a path")
        if request.path != "/healthz":  # says nothing that anybody could use
            self.guard.enter(request.remote_addr or "", _header("Host"))

    def show_page(self) -> Response:
        """`GET /`."""
        user = self.guard.user(_header)
        if self.keeper.newest() is None:
            return _answer(WAITING.encode(), "text/html", 503, {"Retry-After": SECONDS})
        html = self.page.html.replace(TOKEN_MARK, self.guard.token(user), 1).replace(AUTHOR_MARK, attribute(user), 1)
        headers = {"Content-Security-Policy": f"{self.page.policy}; {ALONE}", "Cache-Control": "no-store"}
        return _answer(html.encode(), "text/html", 200, headers)

    def show_index(self) -> Response:
        """`GET /index.json`."""
        shown = self._shown()
        if request.accept_encodings["gzip"]:
            answer = _answer(shown.index_gzip, JSON, 200, {"Content-Encoding": "gzip"})
        else:
            answer = _answer(shown.index, JSON)
        answer.vary.add("Accept-Encoding")
        return _unless_known(answer, shown.version)

    def show_queue(self, row: int) -> Response:
        """`GET /queue/ROW`."""
        shown = self._shown()
        if row >= len(shown.blocks):
            raise RefusedError(404, f"there are {len(shown.blocks)} queues, counted from 0")
        return _unless_known(_answer(shown.blocks[row].encode("ascii"), "text/plain"), shown.version)

    def show_labels(self) -> Response:
        """`GET /labels.json`."""
        labels = self.log.read()
        tag = f"labels-{labels.version}"
        if request.if_none_match.contains(tag):  # then there is nothing to be written out
            return _unless_known(_answer(b"", JSON), tag)
        withdrawn = [label.to_json() for label in labels.every if not label.in_force]
        return _unless_known(_json({**labels.to_json(), "withdrawn": withdrawn}), tag)

    def add_label(self) -> Response:
        """`POST /labels`: acknowledged when it is on the disk."""
        user = self.guard.user(_header)
        self.guard.write(_header, user)
        event = event_of(_with_author(_body(), user), "body")
        version, label = self.log.add(revised(event, user or event.author, self.now()))
        self.say(f"{event.op} {label.id} by {json.dumps(user or event.author)}")
        return _json({"version": version, "label": label.to_json()})

    def show_health(self) -> Response:
        """`GET /healthz`."""
        shown, trouble = self.keeper.newest(), self.keeper.trouble
        health: dict[str, Any] = {"data": None if shown is None else f"{shown.tick}Z", "trouble": trouble}
        health["labels"] = self.log.read().version
        return _json({"status": "trouble" if trouble else "ok", **health}, 503 if trouble else 200)

    def refuse(self, error: Exception) -> Response:
        """Every error is one line of JSON, with a status that says whose it is."""
        status, text = _status_of(error)
        if isinstance(error, StoreError):
            self.say(f"labels: {error}")
        if status == 500:
            logging.getLogger("serving.review").error("a fault of the program", exc_info=error)
        path = json.dumps(request.path)[:120]
        self.say(f"refused: {status} {request.method} {path} of {request.remote_addr}: {text}")
        answer = _json({"error": text}, status)
        if status == 503:
            answer.headers["Retry-After"] = SECONDS
        if isinstance(error, MethodNotAllowed):
            answer.allow.update(error.valid_methods or ())
        return answer

    def _shown(self) -> Shown:
        """The version that is asked for, the newest where none is named.

        Raises:
            RefusedError: there is none yet, or that one is not kept any more.
        """
        newest = self.keeper.newest()
        if newest is None:
            raise RefusedError(503, "the queues are being scored; ask again")
        version = request.args.get("v", "")
        shown = self.keeper.of_version(version) if version else newest
        if shown is None:
            raise RefusedError(410, "these data are not kept any more; load the page again")
        return shown


def build_app(doors: Doors) -> Flask:
    """The application."""
    app = Flask("serving.review", static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=LARGEST_BODY, PROVIDE_AUTOMATIC_OPTIONS=False)
    app.before_request(doors.enter)
    app.get("/")(doors.show_page)
    app.get("/index.json")(doors.show_index)
    app.get("/queue/<int:row>")(doors.show_queue)
    app.get("/labels.json")(doors.show_labels)
    app.post("/labels")(doors.add_label)
    app.get("/healthz")(doors.show_health)
    app.register_error_handler(Exception, doors.refuse)
    return app


def build_page(title: str, uplot: tuple[str, str]) -> Document:
    """The live page, with marks where the token and the name of its reader go.

    Args:
        title: until its index has come.
        uplot: script and style of uPlot (`load_uplot`).
    """
    return live_page(title, *uplot, csrf=TOKEN_MARK, author=AUTHOR_MARK)


def _status_of(error: Exception) -> tuple[int, str]:
    """HTTP status and one line."""
    if isinstance(error, RefusedError):
        return error.status, error.text
    if isinstance(error, HTTPException):
        return error.code or 500, error.name.lower()
    if isinstance(error, StoreError):
        return 503, "the labels cannot be read or written now; the server's log says why"
    if isinstance(error, InputError):
        return (409 if isinstance(error, ConflictError) else 400), str(error)
    return 500, "a fault of the server; its log has it"


def _header(name: str) -> str:
    return request.headers.get(name, "")


def _body() -> Any:
    """The JSON in the request's body.

    Raises:
        RefusedError: it says that it is something else, or is too large.
        InputError: it is no JSON.
    """
    if request.mimetype != JSON or request.headers.get("Content-Encoding"):
        raise RefusedError(415, "the body must be application/json, as it is")
    if request.mimetype_params.get("charset", "utf-8").lower() != "utf-8":
        raise RefusedError(415, "the body must be UTF-8")
    return decode(request.get_data(cache=False), "body")


def _with_author(data: Any, user: str) -> Any:
    """The event as said by a user that the proxy names: whatever the page says of its author and time is not asked."""
    if not user or not isinstance(data, dict):
        return data
    return {**data, "author": user, "time": "1970-01-01T00:00:00Z"}


def _answer(content: bytes, kind: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    answer = Response(content, status, content_type=f"{kind}; charset=utf-8")
    answer.headers.update(
        {"Content-Security-Policy": NOTHING, "Cache-Control": "no-cache", **HEADERS, **(headers or {})}
    )
    return answer


def _json(value: Any, status: int = 200) -> Response:
    return _answer(json.dumps(value, ensure_ascii=False, allow_nan=False).encode(), JSON, status)


def _unless_known(answer: Response, version: str) -> Response:
    """The answer under its version; without its content where whoever asks has that already."""
    answer.set_etag(version)
    answer.make_conditional(request)
    return answer
