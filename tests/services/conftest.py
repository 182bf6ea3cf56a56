"""A real browser for the tests of the page: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page, Playwright

    from tests.services.alertmanager import Alertmanager
    from tests.services.influxd import Influxd
    from tests.services.receivers import MailBox, WebhookServer

FLAGS = (
    "--no-sandbox",  # tests run as root in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Visit:
    """A page opened in the browser, and what it did that it should not have done.

    Attributes:
        page: Playwright's page.
        requests: addresses asked for, but for `data:`, `blob:` and `own`.
        own: where the page itself comes from, `file:` or a server.
        address: of the page, without what is behind the `#`.
        complaints: errors and warnings on the console, and exceptions that nobody caught.
    """

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    own: str = "file:"
    address: str = ""

    def open(self, place: Path | str, view: str = "", wait: str = "#plots[data-drawn]") -> Page:
        """Go to a file or a server and wait for the element that says that the page is there."""
        address = place if isinstance(place, str) else place.as_uri()
        self.address = f"{address}/" if isinstance(place, str) else address
        self.own = self.address if isinstance(place, str) else "file:"
        self.page.goto(self.address + view)
        self.page.wait_for_selector(wait, state="attached", timeout=30_000)
        return self.page


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Headless Chromium with a fresh profile; tests that use it are marked `program("chromium")`."""
    chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), headless=True, args=list(FLAGS))
    yield chromium
    chromium.close()


@pytest.fixture
def visit(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A page in a context of its own; `indirect` parameters go to the context (viewport, color_scheme, ...)."""
    options: dict[str, Any] = {"viewport": {"width": 1440, "height": 1000}, **getattr(request, "param", {})}
    context = browser.new_context(**options)
    context.set_default_timeout(30_000)  # of waiting: a shared machine may stand still for a while
    found = Visit(context.new_page())

    def on_request(asked: Any) -> None:
        if not asked.url.startswith((found.own, "data:", "blob:")):
            found.requests.append(asked.url)

    def on_console(message: Any) -> None:
        if message.type in {"error", "warning"}:
            found.complaints.append(message.text)

    found.page.on("request", on_request)
    found.page.on("console", on_console)
    found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
    yield found
    context.close()


@pytest.fixture(scope="session")
def influxd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    """A running InfluxDB that tests share: each uses databases of its own; they are marked `program("influxd")`."""
    from tests.services.influxd import Influxd
    from tests.services.programs import free_port

    server = Influxd(tmp_path_factory.mktemp("influxd"), free_port()).start()
    yield server
    server.stop()


@pytest.fixture
def mailbox() -> Iterator[MailBox]:
    """A mail server of the test's own."""
    from tests.services.programs import free_port
    from tests.services.receivers import MailBox

    server = MailBox(free_port()).start()
    yield server
    server.stop()


@pytest.fixture
def webhook() -> Iterator[WebhookServer]:
    """An HTTP server of the test's own that takes webhooks."""
    from tests.services.programs import free_port
    from tests.services.receivers import WebhookServer

    server = WebhookServer(free_port()).start()
    yield server
    server.stop()


@pytest.fixture
def alertmanager(tmp_path: Path, webhook: WebhookServer) -> Iterator[Alertmanager]:
    """A running Alertmanager that tells `webhook`; tests of it are marked `program("prometheus-alertmanager")`."""
    from tests.services.alertmanager import Alertmanager
    from tests.services.programs import free_port

    server = Alertmanager(tmp_path / "alertmanager", free_port(), f"{webhook.url}/alerts").start()
    yield server
    server.stop()
