"""Six hours of ticks on real parts; `make tick-demo` plays a whole day."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import absent
from tests.services.panda_world import make_small_day
from tests.services.tick_day_judged import judge, report
from tests.services.tick_day_played import SMALL, START, play


@pytest.mark.program("influxd")
@pytest.mark.program("prometheus-alertmanager")
def test_six_hours_of_ticks(tmp_path: Path) -> None:
    trained = os.environ.get("QAD_TEST_BUNDLE")
    if not trained:
        absent("no trained bundle: QAD_TEST_BUNDLE names none; `make test` trains one first")
    bundle = Path(trained or "") / "bundle"
    played = play(tmp_path / "day", make_small_day(START), bundle, 36, SMALL, lambda _: None)
    assert judge(played, bundle) == [], report(played, bundle)
