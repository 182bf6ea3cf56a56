"""What the documentation names is there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def test_the_tests_that_the_review_page_is_held_to_exist(root: Path) -> None:
    text = (root / "docs" / "review.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_[a-z_0-9]+)`", text))
    written = {
        name
        for path in (root / "tests" / "services").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 40
    assert named <= written, named - written


def test_the_pictures_of_the_documentation_exist(root: Path) -> None:
    for page in (root / "docs").glob("*.md"):
        for picture in re.findall(r"!\[[^\]]*\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / picture).is_file(), f"{page.name}: {picture}"
