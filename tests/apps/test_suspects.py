"""What looks like an incident is not learned from: by itself, with labels, and where there is nothing to tell it by."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import hydra
import numpy as np
import pytest

from qad_dl.healthy import EPISODE_RATES
from qad_dl.nn.highway import highway_errors, solve_highway
from qad_dl.nn.modules import SPREAD_FLOOR
from qad_dl.scoring import ERROR_CLIP
from qad_dl.signatures import SHIPPED_LINEAR, shipped_signatures
from tests.apps.polluted_grid import Course, make_grid
from training.fit import network_shape
from training.period import load_period
from training.quality.known import load_known
from training.reviewed import Marks
from training.settings import read_settings
from training.start import CONFIGS
from training.suspects import _alone, _around, _Look, _together, leave_out_suspects

if TYPE_CHECKING:
    from pathlib import Path

    from training.period import Period
    from training.settings import Settings

POLLUTED = Course(seed=2, pollution=4.0, queues=24, days=19, first=0, split=14)
HEALTHY = shipped_signatures(SHIPPED_LINEAR).healthy


def load(place: Path, course: Course, *more: str) -> tuple[Settings, Period]:
    start, end = course.trained
    given = [f"store={place / 'store'}", f"bundle={place / 'none'}", f"data.start={start}", f"data.end={end}", *more]
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        settings = read_settings(hydra.compose("train", given))
    return settings, load_period(settings)


@pytest.fixture(scope="module")
def polluted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("grids") / "polluted"
    make_grid(place, POLLUTED)
    return place


@pytest.fixture(scope="module")
def left(polluted: Path) -> tuple[Settings, Period, Period]:
    settings, period = load(polluted, POLLUTED)
    return settings, period, leave_out_suspects(settings, period)


def spread(settings: Settings, period: Period) -> np.ndarray:
    """How far off the linear part usually is."""
    shape = network_shape(settings, period)
    return solve_highway(period.preprocess, period.prepared, period.weight, period.fit, shape)[1]


def test_it_is_half_of_the_incidents_and_little_else(polluted: Path, left: tuple[Settings, Period, Period]) -> None:
    _, before, after = left
    first, end = before.fit[0], before.validation[1]
    out = before.weight[:, first:end] & ~after.weight[:, first:end]
    present = np.ones((len(out), end - first), np.bool_)
    known = load_known(polluted, before.prepared.series, before.prepared.times[first:end], present)
    incident, counted = known.truth.incident, before.weight[:, first:end]
    assert (incident & counted).sum() > 500
    assert out[incident & counted].mean() > 0.4
    assert out[~incident & counted].mean() < 0.12
    assert after.suspects == pytest.approx(out.sum() / counted.sum())


def test_nothing_else_of_the_period_changes(left: tuple[Settings, Period, Period]) -> None:
    _, before, after = left
    assert not (after.weight & ~before.weight).any()
    for outside in (slice(0, before.fit[0]), slice(before.validation[1], None)):
        assert np.array_equal(after.weight[:, outside], before.weight[:, outside]), "what calibrates is as it was"
    assert replace(after, weight=before.weight, suspects=None) == before


def test_it_gives_back_what_pollution_did_to_the_linear_part(
    tmp_path: Path, left: tuple[Settings, Period, Period]
) -> None:
    settings, before, after = left
    make_grid(tmp_path / "clean", replace(POLLUTED, pollution=0.0))
    clean = spread(*load(tmp_path / "clean", POLLUTED))
    wider, mended = (float(np.log(spread(settings, period) / clean).mean()) for period in (before, after))
    assert wider > 0.1
    assert abs(mended) < wider / 2


def test_what_reviewers_call_expected_is_learned_from(left: tuple[Settings, Period, Period]) -> None:
    settings, before, after = left
    row = int(np.argmax((before.weight & ~after.weight).sum(axis=1)))
    expected = np.ones((1, before.weight.shape[1]), np.bool_)
    reviewed: Any = SimpleNamespace(rows=np.array([row]), marks=Marks(~expected, expected))
    told = leave_out_suspects(settings, replace(before, reviewed=reviewed))
    assert np.array_equal(told.weight[row], before.weight[row])
    others = np.arange(len(after.weight)) != row
    assert np.array_equal(told.weight[others], after.weight[others])


@pytest.mark.parametrize("more", [("data.learn_suspects=true",), ("model.horizons=[1,6]",)])
def test_a_period_is_given_back_as_it_is(polluted: Path, more: tuple[str, ...]) -> None:
    given = (*more, "calibration.channels=[[6,0.3]]", "calibration.signatures=false")
    settings, period = load(polluted, POLLUTED, *given)
    assert leave_out_suspects(settings, period) is period


def test_errors_of_the_linear_part_are_those_of_its_tables(left: tuple[Settings, Period, Period]) -> None:
    settings, period, _ = left
    shape, prepared = network_shape(settings, period), period.prepared
    solved = solve_highway(period.preprocess, prepared, period.weight, period.fit, shape)
    span, rows = (period.fit[0], period.fit[0] + 50), np.array([3, 1])
    z = highway_errors(period.preprocess, prepared, rows, span, shape, solved)
    assert z.shape == (2, 50, 3, shape.states)
    whole = period.preprocess.cut(prepared, rows, np.full(2, span[0]), 50)
    for n, row in enumerate(rows):
        own = whole.static_cat[n, 0]
        for i, h in enumerate(shape.horizons):
            for t in (0, 17, 49):
                lags = [shape.context + t - lag for lag in (*range(h, h + shape.lags), shape.day)]
                features = np.append(whole.values[n, lags].reshape(-1), 1.0)
                wanted = prepared.values[row, span[0] + t] - features @ solved[0][own, i].astype(np.float64)
                wanted /= solved[1][own, i] + SPREAD_FLOOR
                assert np.allclose(z[n, t, i], np.nan_to_num(np.clip(wanted, -ERROR_CLIP, ERROR_CLIP)), atol=1e-3)


def look(statistic: np.ndarray, use: np.ndarray | None = None) -> _Look:
    return _Look(statistic.astype(np.float32), np.ones(statistic.shape, np.bool_) if use is None else use, 0)


def grouped(ids: np.ndarray, segment: np.ndarray) -> Any:
    """A period of which only the metadata are there: ids [D, N, F], the series first."""
    return SimpleNamespace(
        prepared=SimpleNamespace(segment=segment, ids=lambda of, series: ids[of, series]),
    )


class TestManyTogether:
    LITTLE = float(HEALTHY.thresholds[EPISODE_RATES.index(1.0)]) + 0.01
    QUIET = float(HEALTHY.thresholds[0]) - 10

    def statistic(self) -> np.ndarray:
        """Forty series, quiet; the first ten, of one value, a little odd in ticks 20 to 29."""
        out = np.full((40, 200), self.QUIET)
        out[:10, 20:30] = self.LITTLE
        return out

    def ids(self) -> np.ndarray:
        return np.stack([np.arange(40) + 1, np.repeat([1, 2, 3, 0], 10)], axis=1)[None]

    def test_all_of_a_value_are_marked_where_many_are_a_little_odd(self) -> None:
        statistic = self.statistic()
        statistic[4:6, 20:30] = self.QUIET
        found = _together(look(statistic), grouped(self.ids(), np.zeros(200, np.int64)), HEALTHY)
        wanted = np.zeros((40, 200), np.bool_)
        wanted[:10, 20:30] = True
        assert np.array_equal(found, wanted)
        assert not _alone(look(statistic), HEALTHY).any()

    def test_what_does_not_count_is_not_marked(self) -> None:
        use = np.ones((40, 200), np.bool_)
        use[2, 25] = False
        found = _together(look(self.statistic(), use), grouped(self.ids(), np.zeros(200, np.int64)), HEALTHY)
        assert not found[2, 25]
        assert found[3, 25]

    def test_three_are_not_many_and_the_unknown_have_nothing_in_common(self) -> None:
        statistic = self.statistic()
        statistic[3:10] = self.QUIET
        statistic[30:, 50:60] = self.LITTLE
        assert not _together(look(statistic), grouped(self.ids(), np.zeros(200, np.int64)), HEALTHY).any()

    def test_a_value_has_those_that_had_it_then(self) -> None:
        moved = np.concatenate([self.ids(), self.ids()])
        moved[1, :10, 1] = np.repeat([2, 3], 5)  # from tick 25 on
        segment = (np.arange(200) >= 25).astype(np.int64)
        found = _together(look(self.statistic()), grouped(moved, segment), HEALTHY)
        assert found[:10, 20:25].all()
        assert found[10:20, 25:30].all(), "five of fifteen are a third"


def test_what_lies_around_is_left_out_too() -> None:
    marked = np.zeros((2, 30), np.bool_)
    marked[0, [0, 12]] = True
    marked[1, 29] = True
    wanted = np.zeros_like(marked)
    wanted[0, 0:6] = wanted[0, 10:18] = True
    wanted[1, 27:] = True
    assert np.array_equal(_around(marked, 2, 5), wanted)
