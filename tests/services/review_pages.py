"""Pages of made-up results for the tests of the review page: metadata, downtimes, incidents and a week before."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.downtimes import Downtime
from qad_dl.incidents_file import Incident
from qad_dl.review.page import Content, gather, load_uplot, static_page
from qad_dl.review.past import hourly

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from playwright.sync_api import Page

    from qad_dl.results import Results

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\n'&"

GROUP = "DE"
"""The cloud whose flagged queues are one incident."""

CENSUS = """
([selector, from, to]) => {
  const canvas = document.querySelector(selector), { style } = canvas.parentElement.querySelector('.u-over');
  const sides = ['left', 'top', 'width', 'height'].map((name) => parseFloat(style[name]) * devicePixelRatio);
  const [left, top, wide, tall] = sides;
  const box = [left + from * wide, top, (to - from) * wide, tall];
  const copy = Object.assign(document.createElement('canvas'), { width: canvas.width, height: canvas.height });
  const pen = copy.getContext('2d', { willReadFrequently: true });
  pen.drawImage(canvas, 0, 0);
  const { data } = pen.getImageData(...box.map(Math.round));
  let ink = 0, chalk = 0, any = 0;
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] === 0) continue;
    any++;
    if (data[i + 3] > 200 && Math.max(data[i], data[i + 1], data[i + 2]) < 60) ink++;
    if (data[i + 3] > 200 && Math.min(data[i], data[i + 1], data[i + 2]) > 200) chalk++;
  }
  return { ink, chalk, any };
}
"""
"""Counts, in a part of a plot, the pixels as dark or as light as observed lines are, and those with any colour."""


def metadata_of(results: Results) -> dict[str, dict[str, str]]:
    """Clouds in turn, two harvesters, seven more fields with few values, and one with a value for each queue."""
    names = [name for (name,) in results.series]
    few = {f"field_{k}": k + 2 for k in range(7)}
    return {
        name: {
            "cloud": ("DE", "FR", "UK", "CERN")[i % 4],
            "harvester": f"harvester-{i % 2}",
            "nickname": f"one-{i}",
            **{field: f"v{i % n}" for field, n in few.items()},
        }
        for i, name in enumerate(names)
    }


def downtimes_of(results: Results) -> list[Downtime]:
    """A declared downtime wherever a fall is expected."""
    found = []
    for i in np.flatnonzero(results.expected.any(axis=1)):
        ticks = results.times[results.expected[i]]
        found.append(Downtime(results.series[i][0], ticks[0], ticks[-1], "offline"))
    return found


def incidents_of(results: Results) -> list[Incident]:
    """The flagged queues of one cloud together, and every other flagged queue alone."""
    metadata = metadata_of(results)
    flagged = [i for i in range(len(results.series)) if results.flagged[i].any()]
    group = [i for i in flagged if metadata[results.series[i][0]]["cloud"] == GROUP]
    found = [incident_of(results, group, "I-group", "cloud", GROUP)] if len(group) > 1 else []
    alone = [i for i in flagged if i not in group]
    return found + [incident_of(results, [i], f"I-{i}", "panda_queue", results.series[i][0]) for i in alone]


def incident_of(results: Results, rows: list[int], name: str, field: str, value: str) -> Incident:
    """An incident from the first flagged tick of some queues to their last."""
    ticks = np.flatnonzero(results.flagged[rows].any(axis=0))
    return Incident(
        incident=name,
        kind="black_hole" if len(rows) == 1 else "bad_task",
        field=field,
        value=value,
        start=results.times[ticks[0]],
        end=results.times[ticks[-1]] + np.timedelta64(600, "s"),
        severity=round(float(np.nanmax(results.score[rows])), 2),
        queues=tuple(sorted(results.series[i][0] for i in rows)),
    )


def past_of(results: Results) -> NDArray[np.float32]:
    """A week before that was like this one, and ended a day later."""
    assert results.details is not None
    return hourly(np.roll(results.details.observed, 144, axis=1), 6)


def content_of(results: Results, title: str = "test page", *, incidents: bool = True) -> Content:
    """What the page of some results shows."""
    more = (incidents_of(results), past_of(results)) if incidents else ()
    return gather(results, metadata_of(results), downtimes_of(results), title, *more)


def write_page(path: Path, results: Results, title: str = "test page", *, incidents: bool = False) -> Path:
    """Build the page as `qad review` does; without incidents it opens with the queues."""
    page = static_page(content_of(results, title, incidents=incidents), *load_uplot())
    path.write_text(page.html, encoding="utf-8", newline="\n")
    return path


def drawn(page: Page, view: int | str) -> None:
    """Wait until the plots of a queue, by its row, or an incident, by its name, are on screen."""
    page.wait_for_selector(f'#plots[data-drawn="{view}"]', state="attached")


def reload_kept(page: Page) -> None:
    """Load a page again and wait for its plots, with the storage that it had.

    A busy Chromium 156 may hand a file that is loaded again its storage as it was some seconds before; what is missing
    is there the next time.
    """
    stored = "() => JSON.stringify(Object.entries(localStorage).sort())"
    kept, until = page.evaluate(stored), time.monotonic() + 30
    while True:
        page.reload()
        page.wait_for_selector("#plots[data-drawn]", state="attached")
        found = page.evaluate(stored)
        if found == kept:
            return
        assert time.monotonic() < until, f"kept {kept}, found {found}"


def names(page: Page, listed: str = "list") -> list[str]:
    """The names in a list, as shown."""
    return page.eval_on_selector_all(f"#{listed} li:not([hidden]) .name", "all => all.map((e) => e.textContent)")


def row_of(results: Results, content: Content, queue: int) -> int:
    """The row in the page of a queue of the results."""
    return [line["n"] for line in content.index["series"]].index(results.series[queue][0])


def census(page: Page, panel: int, part: tuple[float, float] = (0.0, 1.0)) -> dict[str, int]:
    """Pixels in a part (fractions of the time range) of plot number `panel`."""
    page.eval_on_selector_all("#plots canvas", "(all) => all.forEach((c, k) => { c.id = `canvas${k}`; })")
    found: dict[str, int] = page.evaluate(CENSUS, [f"#canvas{panel}", *part])
    return found
