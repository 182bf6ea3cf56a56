"""Two reviewers in two browsers, a server that is killed: no label lost, none doubled. In full: tests/accept."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.services.test_review_live import make_server
from tests.services.two_reviewers import AWAY_LABELS, add_queues, review

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Playwright

    from qad_dl.labels import Labels
    from tests.services.two_reviewers import Reviewer


def check(labels: Labels, both: list[Reviewer], queues: int) -> None:
    """All that was said is there, once, and some of it was said while the server was away."""
    assert [len(reviewer.said) for reviewer in both] == [2 * queues, 2 * queues]
    wanted = Counter((reviewer.name, *said) for reviewer in both for said in reviewer.said)
    targets = [(item, item.target.to_json()) for item in labels.in_force]
    found = Counter((item.author, on["panda_queue"], on["start"], item.word) for item, on in targets)
    assert found == wanted
    assert set(found.values()) == {1}
    assert labels.version == 4 * queues  # one event for each: nothing was sent twice and done twice
    assert max(n for reviewer in both for n in reviewer.waiting) >= AWAY_LABELS


@pytest.mark.program("chromium")
def test_no_label_is_lost_and_none_doubled(playwright: Playwright, tmp_path: Path) -> None:
    server = make_server(tmp_path)
    add_queues(server, 15)
    server.start()
    try:
        both, killed = review(playwright, server, 15, 2)
    finally:
        server.stop()
    assert killed == 2
    check(server.log.read(), both, 15)
