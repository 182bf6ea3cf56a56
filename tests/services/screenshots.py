"""Pictures of the review page for the documentation, taken in the Chromium of the tests.

python -m tests.services.screenshots review.html docs/review
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.services.conftest import FLAGS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDE = {"viewport": {"width": 1360, "height": 900}}
TALL = {"viewport": {"width": 1360, "height": 1320}}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
NIGHT = {"color_scheme": "dark"}


def main(page_file: Path, out: Path) -> int:
    """Take them all."""
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        index = index_of(browser, page_file)
        views = views_of(index)
        for name, (view, look) in views.items():
            take(browser, page_file.resolve().as_uri() + view, look, out / f"{name}.webp")
        browser.close()
    return 0


def index_of(browser: Browser, page_file: Path) -> dict[str, Any]:
    """What the page holds."""
    page = browser.new_page()
    page.goto(page_file.resolve().as_uri())
    found: dict[str, Any] = page.evaluate("JSON.parse(document.getElementById('index').textContent)")
    page.close()
    return found


def views_of(index: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Picture -> address and look: chosen by what they are, so that another simulation has them too."""
    groups = [line for line in index["incidents"] if len(line["q"]) > 1]
    largest = max(groups, key=lambda line: len(line["q"]))
    worst = groups[0]
    queue = index["series"][worst["q"][0]]["n"]
    return {
        "list": ("", WIDE),
        "queue": (f"#incident={worst['id']}&queue={queue}&show=errors,6h,week", TALL),
        "group": (f"#incident={largest['id']}&show=", TALL),
        "compare": (f"#tab=queues&queue={queue}&compare=cloud&cell=running&show=", WIDE),
        "teach": ("#sort=teach", WIDE),
        "dark": (f"#incident={worst['id']}", WIDE | NIGHT),
        "phone": (f"#incident={worst['id']}", PHONE | NIGHT),
        "phone-list": ("", PHONE),
    }


def take(browser: Browser, address: str, look: dict[str, Any], path: Path) -> None:
    """Open a view as a reviewer has it who has labelled something, and keep a picture of it."""
    context = browser.new_context(**look)
    page = context.new_page()
    page.goto(address)
    narrow_list = path.stem == "phone-list"
    page.wait_for_selector("#incidents li" if narrow_list else "#plots[data-drawn]", state="attached")
    if not narrow_list:
        prepare(page, path.stem)
    page.wait_for_timeout(500)
    image = Image.open(io.BytesIO(page.screenshot()))
    image.save(path, "WEBP", lossless=True, quality=100, method=6)
    print(f"{path}: {image.width} x {image.height}, {path.stat().st_size / 1e3:.0f} kB")
    context.close()


def prepare(page: Page, name: str) -> None:
    """What somebody has done in the picture of this name."""
    page.evaluate("localStorage.setItem('qad-author', 'ada')")
    page.reload()
    page.wait_for_selector("#plots[data-drawn]", state="attached")
    if name in {"list", "group", "dark"}:
        page.keyboard.press("p")
    for key in ("p", "x", "p") if name == "teach" else ():  # each of what is asked for next
        page.keyboard.press(key)
        page.keyboard.press("t")
        page.wait_for_timeout(500)
    if name == "queue":
        page.keyboard.press("x")
    if name == "compare":
        page.wait_for_selector("#others[data-drawn]")
        page.locator("#others").scroll_into_view_if_needed()
    page.evaluate("document.getElementById('said').textContent = ''")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
