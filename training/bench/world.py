"""The history to measure on: a simulated world as a store, with its long table beside it to be imported again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from training.quality.worlds import simulated

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from training.quality.parts import Made


def make_world(place: Path, inputs: Mapping[str, Any], _made: Mapping[str, Made]) -> dict[str, Any]:
    """The world of `inputs`, which are `WorldParams`."""
    return simulated(place, inputs)
