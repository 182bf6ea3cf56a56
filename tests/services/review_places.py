"""The page of incidents as a file and as a server gives it, and what tests read from it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.services.review_live import LiveServer
from tests.services.review_pages import write_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from qad_dl.results import Results
    from qad_dl.review.page import Content

QUEUES, TICKS = 40, 1008


@contextmanager
def placed(how: str, results: Results, content: Content, folder: Path) -> Iterator[Path | str]:
    """The page as a `file`, or as a `server` gives it."""
    if how == "file":
        yield write_page(folder / "review.html", results, incidents=True)
        return
    server = LiveServer(content, folder).start()
    yield server.url
    server.stop()


def params(page: Page) -> dict[str, str]:
    page.wait_for_timeout(250)
    found: dict[str, str] = page.evaluate("Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")
    return found


def shown_incidents(page: Page) -> list[str]:
    found: list[str] = page.eval_on_selector_all(
        "#incidents li:not([hidden]) a", "all => all.map((e) => e.dataset.incident)"
    )
    return found


def heading(page: Page) -> str:
    return page.text_content("#name") or ""
