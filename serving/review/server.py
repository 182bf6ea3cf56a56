"""The HTTP server: waitress, with a limit to how long a request may take to come in."""

from __future__ import annotations

import errno
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from waitress.channel import HTTPChannel
from waitress.server import create_server

from qad_dl.errors import ConfigError
from serving.review.app import LARGEST_BODY

if TYPE_CHECKING:
    from serving.config import ReviewConfig

THREADS: Final = 8
REQUEST_S: Final = 30.0
"""A request that has not come in whole after this long is given up, however steadily it trickles."""

LARGEST_HEADER: Final = 32 << 10


class Channel(HTTPChannel):  # type: ignore[misc]  # waitress carries no types
    """A connection that gives up slow requests; waitress itself only gives up silent ones."""

    _coming: Any = None
    _since: float = 0.0

    def received(self, data: bytes) -> bool:
        """Take in some of a request."""
        if self.request is not None and self.request is self._coming and time.monotonic() - self._since > REQUEST_S:
            self.will_close = True
            return False
        taken = bool(super().received(data))
        if self.request is not self._coming:
            self._coming, self._since = self.request, time.monotonic()
        return taken


def build_server(app: Any, review: ReviewConfig) -> Any:
    """A server that listens, and answers once it is run.

    Raises:
        ConfigError: it cannot listen there.
    """
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # that requests wait is no news
    host = "127.0.0.1" if review.host == "localhost" else review.host
    try:
        server = create_server(
            app,
            host=host,
            port=review.port,
            threads=THREADS,
            ident=None,
            channel_timeout=int(REQUEST_S),
            cleanup_interval=5,
            connection_limit=200,
            max_request_header_size=LARGEST_HEADER,
            max_request_body_size=LARGEST_BODY,
        )
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        what = "is another server at work there?" if taken else "is it an address of this machine?"
        msg = f"review.host, review.port: cannot listen on {review.host}:{review.port} ({error.strerror}); {what}"
        raise ConfigError(msg) from error
    server.channel_class = Channel
    return server
