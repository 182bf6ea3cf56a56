"""Two reviewers in two browsers, 200 labels, the server killed in the middle, six times: none lost, none doubled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.services.test_review_live import make_server
from tests.services.test_two_reviewers import check
from tests.services.two_reviewers import add_queues, review

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Playwright

QUEUES, KILLS = 50, 6


@pytest.mark.program("chromium")
def test_two_hundred_labels(playwright: Playwright, tmp_path: Path) -> None:
    server = make_server(tmp_path)
    add_queues(server, QUEUES)
    server.start()
    try:
        both, killed = review(playwright, server, QUEUES, KILLS)
    finally:
        server.stop()
    labels = server.log.read()
    said = {reviewer.name: len(reviewer.said) for reviewer in both}
    waited = {reviewer.name: max(reviewer.waiting) for reviewer in both}
    print(f"\nlabelled {said}; the server was killed {killed} times; most that waited for it at once: {waited}")
    print(f"in the log: {labels.version} events, {len(labels.in_force)} labels in force")
    assert killed == KILLS
    check(labels, both, QUEUES)
