"""A folder of bundles, of which one is in use: listed, promoted, rolled back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

CURRENT: Final = "current"
"""The link to the bundle in use, which the collector's config names."""


def label_of(path: Path) -> str:
    """What people call a bundle: the name of its folder; of the one in use, that of the folder of bundles."""
    return path.absolute().parent.name if path.name == CURRENT else path.name
