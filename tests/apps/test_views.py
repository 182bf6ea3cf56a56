"""Which horizons a network gives in which spread, and which channel reads which of them, or which doubt."""

from __future__ import annotations

import hydra
import pytest

from training.settings import Settings, read_settings
from training.start import CONFIGS


def settings(*overrides: str) -> Settings:
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return read_settings(hydra.compose("train", ["store=S", "bundle=B", *overrides]))


def test_all_horizons_come_first_and_those_in_the_networks_own_spread_after_them() -> None:
    default = settings()
    assert default.views == [1, 6, 18, 1, 6]
    assert [channel.horizon for channel in default.evidence(72).channels] == [0, 0, 0, 1, 2, 3, 3, 3, 5, 6]


def test_doubts_stand_behind_all_that_the_network_gives_and_are_of_one_horizon_each() -> None:
    default = settings().evidence(72)
    assert default.doubts == ((0, 3), (1, 4))
    assert [channel.doubt for channel in default.channels] == [False] * 8 + [True] * 2
    asked = settings("calibration.channels=[[18,1.0,doubt],[6,0.3]]", "calibration.signatures=false")
    assert asked.views == [1, 6, 18, 18]
    assert asked.evidence(72).doubts == ((2, 3),)
    assert [channel.horizon for channel in asked.evidence(72).channels] == [4, 1]
    assert asked.without_own().evidence(72).doubts == ()


@pytest.mark.parametrize("own", [False, True])
def test_a_horizon_is_given_again_only_where_a_channel_asks_for_it(own: bool) -> None:
    asked = settings("calibration.channels=[[1,0.3],[18,0.1,own],[6,0.3]]", "calibration.signatures=false")
    some = asked if own else asked.without_own()
    assert some.views == ([1, 6, 18, 18] if own else [1, 6, 18])
    assert [channel.horizon for channel in some.evidence(72).channels] == ([0, 3, 1] if own else [0, 1])
