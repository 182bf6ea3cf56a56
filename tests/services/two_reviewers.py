"""Two reviewers in two browsers label the same queues at once, while the server is killed and started again."""

from __future__ import annotations

import itertools
import shutil
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import numpy as np

from qad_dl.labels import WORDS
from tests.light.made import at
from tests.light.made import history as rows_of
from tests.services.collector import FIRST
from tests.services.conftest import FLAGS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page, Playwright

    from tests.services.review_server import ReviewServer

KEYS = {"problem": "p", "expected": "x", "unsure": "u"}
UNSENT = "() => Object.keys(localStorage).filter((name) => name.startsWith('qad-unsent:')).length"


ON_SCREEN = """
([queue, start]) => {
  const at = (id) => document.getElementById(id), row = document.querySelector('#list [aria-current]')?.dataset.row;
  return at('name').textContent === queue && at('problem').hidden && at('plots').dataset.drawn === row
    && at('subject').textContent.includes(start);
}
"""
"""Whether the plots of a queue are on screen, and what a key would label begins at a time."""

AWAY_LABELS = 3
AWAY_S = 5.0
"""The server stays away until somebody has so many labels that it has not heard of, but no longer than that."""

STARTS = (f"{at(FIRST - 144)}Z", f"{at(FIRST - 72)}Z")
"""Each queue is labelled over the whole day, and over its second half."""


def shown_time(time: str) -> str:
    """As the page writes it."""
    return datetime.fromisoformat(time).strftime("%-d %b %H:%M")


def name_of(queue: int) -> str:
    return f"SITE-{queue:03d}"


def add_queues(server: ReviewServer, queues: int) -> None:
    """Some queues with a day of history beside those that the collector has."""
    rng = np.random.default_rng(3)
    ticks = range(FIRST - 144, FIRST)
    jobs = rng.poisson(50, (queues, len(ticks)))
    rows = [(t, name_of(q), "running", float(jobs[q, k])) for q in range(queues) for k, t in enumerate(ticks)]
    server.collector.store.put(rows_of(rows))
    assert server.collector.store.span() == (at(0), at(FIRST - 1))


@dataclass
class Reviewer:
    """Somebody with a browser of their own.

    Attributes:
        name: whose labels they are.
        page: the page.
        said: what was labelled: queue, first time of the range, and word.
        waiting: after each label, how many the server had not acknowledged.
    """

    name: str
    page: Page
    said: list[tuple[str, str, str]] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)

    def go(self, queue: str, start: str) -> None:
        """Look at a queue from a time on."""
        view = urlencode({"queue": queue, "from": start, "to": f"{at(FIRST)}Z"})
        self.page.evaluate("(view) => { location.hash = view; }", view)
        self.page.wait_for_function(ON_SCREEN, arg=[queue, f", {shown_time(start)}"], timeout=60_000)

    def label(self, queue: str, start: str, word: str) -> None:
        """Say a word of a queue with one key, whether the server is there or not."""
        self.go(queue, start)
        self.page.keyboard.press(KEYS[word])
        self.page.wait_for_function(
            "(said) => document.getElementById('said').textContent.startsWith(said)",
            arg=f"Labelled {word}: {queue}, {shown_time(start)}",
        )
        self.said.append((queue, start, word))
        self.waiting.append(int(self.page.evaluate(UNSENT)))


@dataclass
class Killer:
    """Kills the server again and again, and starts it again once something has been said meanwhile.

    Attributes:
        server: the server.
        times: how often.
        both: who works.
        killed: how often it has been.
    """

    server: ReviewServer
    times: int
    both: list[Reviewer]
    killed: int = 0

    def run(self) -> None:
        rng = np.random.default_rng(17)
        for _ in range(self.times):
            time.sleep(float(rng.uniform(0.5, 2.0)))
            self.server.kill()
            self.killed += 1
            time.sleep(float(rng.uniform(0.2, 2.0)))
            patience = time.monotonic() + AWAY_S
            while self._unsent() < AWAY_LABELS and time.monotonic() < patience:  # however slow the machine is
                time.sleep(0.02)
            self.server.start()

    def _unsent(self) -> int:
        return max(each.waiting[-1] if each.waiting else 0 for each in self.both)


def reviewers(
    playwright: Playwright, server: ReviewServer, names: tuple[str, ...], stack: ExitStack
) -> Iterator[Reviewer]:
    """A browser for each."""
    for name in names:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), headless=True, args=list(FLAGS))
        stack.callback(chromium.close)
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.goto(server.url)
        page.wait_for_selector("#plots[data-drawn]", state="attached", timeout=30_000)
        page.fill("#author", name)
        page.locator("#queue").focus()
        yield Reviewer(name, page)


def review(playwright: Playwright, server: ReviewServer, queues: int, kills: int) -> tuple[list[Reviewer], int]:
    """Let ada and bob label two times of all queues at once, until all is sent and seen by both.

    They have looked at the queues before, so that they go on while the server is away.

    Args:
        playwright: started; there is one in a process.
        server: with queues of `add_queues`.
        queues: how many; a page keeps 64.
        kills: how often the server is killed meanwhile.

    Returns:
        The two, and how often it was killed.
    """
    with ExitStack() as stack:
        both = list(reviewers(playwright, server, ("ada", "bob"), stack))
        killer = Killer(server, kills, both)
        for queue in range(queues):
            for reviewer in both:
                reviewer.go(name_of(queue), STARTS[0])
        thread = threading.Thread(target=killer.run)
        thread.start()
        for (part, start), queue in itertools.product(enumerate(STARTS), range(queues)):
            for number, reviewer in enumerate(both):
                reviewer.label(name_of(queue), start, WORDS[(queue + number + part) % 3])
        thread.join()
        for reviewer in both:
            reviewer.page.wait_for_function(f"() => ({UNSENT})() === 0", timeout=90_000)
        for reviewer in both:
            reviewer.page.wait_for_function(
                "(all) => document.body.textContent.includes(all)", arg=f"{4 * queues} labels", timeout=60_000
            )
    return both, killer.killed
