"""Where messages arrive in tests: a mail server (aiosmtpd) and an HTTP server that takes webhooks."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from aiosmtpd.controller import Controller

if TYPE_CHECKING:
    from email.message import EmailMessage


class _Letters:
    """aiosmtpd's handler: keeps what it gets, and refuses whom it is told to refuse."""

    def __init__(self, box: MailBox) -> None:
        self.box = box

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802  its name
        if address in self.box.unknown:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  its name
        if self.box.refuses:
            return "554 refused"
        message = message_from_bytes(envelope.content, policy=policy.default)
        self.box.letters.append((tuple(envelope.rcpt_tos), message))
        return "250 OK"


@dataclass
class MailBox:
    """A mail server. It keeps its port when it is stopped and started again.

    Attributes:
        port: where it listens.
        letters: recipients and mails, in the order in which they came.
        unknown: recipients that it refuses.
        refuses: it refuses everything.
        options: more arguments of aiosmtpd's `Controller`.
    """

    port: int
    letters: list[tuple[tuple[str, ...], EmailMessage]] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    refuses: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    controller: Controller | None = None

    def start(self) -> MailBox:
        self.controller = Controller(_Letters(self), hostname="127.0.0.1", port=self.port, **self.options)
        self.controller.start()
        return self

    def stop(self) -> None:
        if self.controller is not None:
            self.controller.stop()
            self.controller = None

    @property
    def subjects(self) -> list[str]:
        return [letter["Subject"] for _, letter in self.letters]


@dataclass
class WebhookServer:
    """An HTTP server that takes every POST. It keeps its port when it is stopped and started again.

    Attributes:
        port: where it listens.
        posts: path and JSON of each that it took.
        status, answer: what it answers; only 200 takes.
    """

    port: int
    posts: list[tuple[str, Any]] = field(default_factory=list)
    status: int = 200
    answer: str = "ok"
    server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> WebhookServer:
        box = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if box.status == 200:
                    box.posts.append((self.path, body))
                self.send_response(box.status)
                self.end_headers()
                self.wfile.write(box.answer.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    @property
    def texts(self) -> list[str]:
        return [post["text"] for _, post in self.posts]

    def texts_of(self, path: str) -> list[str]:
        return [post["text"] for at, post in self.posts if at == path]
