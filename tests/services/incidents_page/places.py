"""How large the page of incidents is that is opened here, and what tests read from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page


QUEUES, TICKS = 40, 1008


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
