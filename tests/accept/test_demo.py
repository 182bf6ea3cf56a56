"""Row 1: the demo is quick, its figures beat the rule by the margins asked for, and its page shows plots."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_S = 600


@pytest.fixture(scope="module")
def figures(demo: Path) -> dict[str, Any]:
    return json.loads((demo / "evaluation.json").read_text(encoding="utf-8"))


def test_it_ends_in_time(demo: Path) -> None:
    times = [line.split() for line in (demo / "times.txt").read_text(encoding="utf-8").splitlines()]
    assert [row[0] for row in times] == ["simulate", "import", "train", "backtest", "evaluate", "review"]
    seconds = sum(int(row[1]) for row in times)
    print(f"all steps: {seconds} s")
    assert seconds <= LIMIT_S


@pytest.mark.parametrize("budget", ["0.1", "0.01"])
def test_it_sees_twice_what_the_rule_sees(figures: dict[str, Any], budget: str) -> None:
    model, rule = (figures[who]["budgets"][budget]["seen"] for who in ("model", "rule"))
    print(f"seen at {budget}: model {model:.0%}, rule {rule:.0%}")
    assert model >= 2 * rule
    assert model >= 0.40


def test_it_sees_no_less_at_the_smallest_budget(figures: dict[str, Any]) -> None:
    model, rule = (figures[who]["budgets"]["0.001"]["seen"] for who in ("model", "rule"))
    print(f"seen at 0.001: model {model:.0%}, rule {rule:.0%}")
    assert model >= rule


@pytest.mark.parametrize("area", ["auc_pr", "vus_pr"])
def test_its_areas_are_half_again_the_rules(figures: dict[str, Any], area: str) -> None:
    model, rule = figures["model"][area], figures["rule"][area]
    print(f"{area}: model {model:.3f}, rule {rule:.3f}")
    assert model >= 1.5 * rule


def test_delays_are_told(figures: dict[str, Any]) -> None:
    for budget in ("0.1", "0.01"):
        delay = figures["model"]["budgets"][budget]["median_delay_min"]
        print(f"median delay at {budget}: {delay} min")
        assert delay is not None


@pytest.mark.program("chromium")
def test_the_page_shows_plots(demo: Path, work: Path) -> None:
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    requests: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1800})
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto((demo / "review.html").as_uri())
        page.wait_for_selector(".uplot canvas", timeout=30_000)
        inked = page.eval_on_selector_all(".uplot canvas", INKED)
        page.screenshot(path=work / "review.png")
        browser.close()
    print(f"{sum(inked)} of {len(inked)} plots drawn; picture: {work / 'review.png'}")
    assert len(inked) >= 3
    assert all(inked)
    assert not complaints
    assert not [url for url in requests if not url.startswith(("file:", "data:", "blob:"))]


INKED = """canvases => canvases.map(canvas => {
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let inked = 0;
  for (let i = 3; i < pixels.length; i += 4) inked += pixels[i] > 0;
  return inked > 500;
})"""
