"""That ticks have stopped is told once, and once that they go on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from serving.deadman import PATIENCE_S, look
from serving.state import State
from tests.services.collector import FIRST, make_collector

if TYPE_CHECKING:
    from pathlib import Path


def test_stopped_ticks_are_told_once_and_that_they_go_on_too(tmp_path: Path, capsys) -> None:
    collector = make_collector(tmp_path / "collector")
    assert look(collector.config, time.time()) == 0
    assert "no tick has ended well yet" in capsys.readouterr().out
    collector.drop(FIRST)
    collector.run(FIRST)
    now = time.time()
    assert look(collector.config, now) == 0
    assert "a tick ended well" in capsys.readouterr().out
    assert collector.told == []
    for later in (PATIENCE_S + 60, PATIENCE_S + 660):
        assert look(collector.config, now + later) == 0
    assert [(t["action"], t["value"]) for t in collector.told] == [("opened", "ticks_stopped")]
    assert "see systemctl status" in collector.told[0]["text"]
    collector.drop(FIRST + 1)
    collector.run(FIRST + 1)
    assert [(t["action"], t["value"]) for t in collector.told][1:] == [("closed", "ticks_stopped")]
    assert State(collector.folder / "state").stopped() is None
    assert collector.told[0]["incident"] == collector.told[1]["incident"]
