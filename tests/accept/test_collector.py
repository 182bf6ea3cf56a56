"""The collector's first row: a day of ticks on real parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.services.panda_world import PER_DAY, make_day
from tests.services.tick_day_judged import judge, report
from tests.services.tick_day_played import FULL, START, play

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.program("influxd")
@pytest.mark.program("prometheus-alertmanager")
def test_a_day_of_ticks(tmp_path: Path, root: Path) -> None:
    bundle = root / "checkpoints" / "demo" / "bundle"
    played = play(tmp_path / "day", make_day(START), bundle, PER_DAY, FULL, lambda _: None)
    print(f"\n{report(played, bundle)}")
    assert judge(played, bundle) == []
