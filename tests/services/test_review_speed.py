"""How large a review page of two thousand queues is, and how fast in a real browser."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.results import BY_TICK, Details
from qad_dl.review.page import load_uplot, static_page
from tests.services.review_live import LiveServer
from tests.services.review_pages import content_of
from tests.services.synthetic_results import DETAILS, make_results

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

    from qad_dl.results import Results
    from qad_dl.review.page import Content
    from tests.services.conftest import Visit

pytestmark = pytest.mark.program("chromium")

LOG = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def large() -> Content:
    """Two thousand queues over seven days, with incidents and the week before."""
    return content_of(repeat(make_results(250, 1008), 8))


@pytest.mark.alone
@pytest.mark.parametrize("live", [False, True], ids=["file", "server"])
def test_two_thousand_queues_are_small_and_quick(visit: Visit, large: Content, tmp_path: Path, live: bool) -> None:
    path = tmp_path / "large.html"
    path.write_text(static_page(large, *load_uplot()).html, encoding="utf-8", newline="\n")
    assert path.stat().st_size < 30e6
    server = LiveServer(large, tmp_path).start() if live else None
    quiet = [slowdown(visit.page)]
    page = visit.open(server.url if server else path)
    taken = {"first plot": [page.evaluate("performance.getEntriesByName('first-plot')[0].startTime")]}
    page.wait_for_function("() => document.querySelectorAll('#list li').length === 2000")
    for listed in ("incidents", "queues"):
        page.click(f"#tab-{listed}")
        taken[listed] = [page.evaluate(NEXT) for _ in range(9)]
        quiet.append(slowdown(page))
    alone = {what: float(np.median(times)) / float(np.mean(quiet)) for what, times in taken.items()}
    told = f"{path.stat().st_size / 1e6:.1f} MB, ms: {taken}, slowed down {quiet}, alone: {alone}"
    LOG.info(told)
    assert alone["first plot"] < 2000, told
    assert max(alone["incidents"], alone["queues"]) < 300, told
    assert visit.requests == []
    assert visit.complaints == []
    if server:
        server.stop()


def slowdown(page: Page) -> float:
    """How many times slower the browser is at this moment for what else the machine does; 1 where it is alone.

    Short pieces of the same work: the quickest ones were not interrupted.
    """
    pieces: list[float] = page.evaluate(PIECES)
    return float(np.mean(pieces) / np.quantile(pieces, 0.05))


PIECES = """
() => Array.from({ length: 400 }, () => {
  const start = performance.now();
  let sum = 0;
  for (let k = 0; k < 400000; k++) sum += Math.sqrt(k);
  return performance.now() - start + (sum < 0 ? 1 : 0);
}).slice(100)
"""

NEXT = """
() => new Promise((done, fail) => {
  setTimeout(() => fail(new Error('the next one did not come')), 5000);
  const start = performance.now();
  new MutationObserver((_, observer) => {
    observer.disconnect();
    done(performance.now() - start);
  }).observe(document.getElementById('plots'), { attributes: true });
  document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'j', bubbles: true }));
})
"""
"""Goes to the next queue and gives the time until its plots are on screen, in ms."""


def repeat(made: Results, times: int) -> Results:
    """The same queues several times under other names: as much to read and draw, much quicker to make."""

    def tile(array: np.ndarray) -> np.ndarray:
        return np.tile(array, (times, *[1] * (array.ndim - 1)))

    arrays = {name: tile(getattr(made, name)) for name in BY_TICK}
    tiled = Details(**{name: tile(getattr(made.details, name)) for name in DETAILS})
    series = tuple((f"COPY-{k}-{key[0]}",) for k in range(times) for key in made.series)
    return replace(made, series=series, details=tiled, **arrays)
