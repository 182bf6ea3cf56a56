"""The page of incidents that the tests of this folder open, as a file and live."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.services.incidents_page.places import QUEUES, TICKS
from tests.services.review_live import LiveServer
from tests.services.review_pages import content_of, write_page
from tests.services.synthetic_results import make_results

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qad_dl.results import Results
    from qad_dl.review.page import Content


@pytest.fixture(scope="session")
def results() -> Results:
    return make_results(QUEUES, TICKS)


@pytest.fixture(scope="session")
def content(results: Results) -> Content:
    return content_of(results)


@pytest.fixture(scope="module", params=["file", "server"])
def place(
    request: pytest.FixtureRequest, results: Results, content: Content, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path | str]:
    """The page as a file, and as a server gives it: everything works in both."""
    folder = tmp_path_factory.mktemp("page")
    if request.param == "file":
        yield write_page(folder / "review.html", results, incidents=True)
        return
    server = LiveServer(content, folder).start()
    yield server.url
    server.stop()
