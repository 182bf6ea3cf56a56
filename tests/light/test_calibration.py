"""Errors of a healthy time to probabilities."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from qad_dl.calibration import Calibration, Errors
from qad_dl.calibration_fit import (
    SHRINKAGE,
    find_usual,
    fit_calibration,
    fit_whitening,
    unseen_statistics,
)
from qad_dl.scoring import Channel, Evidence, statistic, whitened

STATES = ("activated", "running", "failed")
EVIDENCE = Evidence((Channel(0, 0.3), Channel(1, 0.1)), ticks=72)
DAY = 144


def healthy(n: int = 8, days: int = 14, seed: int = 0, width: float = 1.0) -> Errors:
    rng = np.random.default_rng(seed)
    shape = (n, days * DAY, 2, len(STATES))
    own = rng.uniform(0.5, 2, (n, 1, 1, 1)) * width
    z = (rng.standard_t(5, shape) * own).clip(-8, 8).astype(np.float32)
    many = np.full(shape[:2], 1e6, np.float32)
    return Errors(z, 0 * many, many, *np.zeros((2, *shape[:2]), bool), np.arange(1, n + 1))


def everything(data: Errors) -> np.ndarray:
    """All ticks are in use."""
    return np.ones(data.expected.shape, bool)


def fitted(data: Errors, use: np.ndarray | None = None) -> Calibration:
    return fit_calibration(data, everything(data) if use is None else use, EVIDENCE, STATES, 9, DAY)


@pytest.fixture(scope="module")
def learned() -> Errors:
    return healthy()


@pytest.fixture(scope="module")
def calibration(learned: Errors) -> Calibration:
    return fitted(learned)


def scores(calibration: Calibration, data: Errors) -> np.ndarray:
    return calibration.score(calibration.judge(data).statistics)


def test_a_score_is_minus_log10_of_the_share_of_unseen_healthy_ticks_above(
    calibration: Calibration, learned: Errors
) -> None:
    unseen = calibration.score(unseen_statistics(calibration, learned, everything(learned), DAY))
    for level in (0.5, 1.0, 1.5, 2.0):
        assert -np.log10((unseen >= level).mean()) == pytest.approx(level, abs=0.06)
    assert (scores(calibration, learned) >= 2).mean() < (unseen >= 2).mean(), "what tables have seen is tamer"


def test_it_holds_on_healthy_time_that_it_has_not_seen(calibration: Calibration, learned: Errors) -> None:
    rng = np.random.default_rng(9)
    own = np.sqrt((learned.z**2).mean(axis=(1, 2, 3), keepdims=True))
    z = rng.standard_t(5, learned.z.shape)
    z = (z / np.sqrt((z**2).mean()) * own).clip(-8, 8).astype(np.float32)
    score = scores(calibration, learned._replace(z=z))
    for level in (1.0, 2.0):
        assert -np.log10((score >= level).mean()) == pytest.approx(level, abs=0.2)


def test_it_means_the_same_for_each_series(calibration: Calibration, learned: Errors) -> None:
    score = scores(calibration, learned)
    assert np.allclose(-np.log10((score >= 1.5).mean(axis=1)), 1.5, atol=0.4)


def test_scores_are_not_negative_and_rise_with_the_statistic(calibration: Calibration) -> None:
    curve = calibration.survival["deviation"]
    values = np.linspace(0, 50, 2000).astype(np.float32)
    score = curve.score(values)
    assert (score >= 0).all()
    assert (np.diff(score) >= 0).all()
    assert score[-1] > score[values < 10][-1] > 2
    assert np.isnan(curve.score(np.array([np.nan], np.float32)))


def test_an_anomaly_scores_high(calibration: Calibration) -> None:
    data = healthy(days=2)
    data.z[3, 200:] = 8
    score = scores(calibration, data)
    assert score[3, 230] > 3
    assert score[3, 150] < 3


def test_a_series_without_healthy_time_uses_the_pooled_row(learned: Errors) -> None:
    use = everything(learned)
    use[5] = False
    fit = fitted(learned, use)
    for table in (fit.spread, fit.level, fit.band):
        assert np.allclose(table[6], table[0])
    for table in (fit.spread, fit.band):  # over their own spreads, series of one law have one level
        assert not np.allclose(table[1], table[0])


def test_an_unknown_series_in_the_calibration_has_no_row_of_its_own(learned: Errors) -> None:
    ids = np.where(np.arange(8) == 2, 0, learned.ids)
    fit = fitted(learned._replace(ids=ids))
    assert np.allclose(fit.spread[3], fit.spread[0])


def test_new_series_are_measured_by_what_known_ones_would_be(learned: Errors) -> None:
    """Some series are far from what their group is, and a new one may be one of them."""
    far = np.where(np.arange(8) < 4, 1, 6)[:, None, None, None].astype(np.float32)
    as_new = learned._replace(z=np.clip(learned.z * far, -8, 8), ids=np.zeros(8, np.int64))
    usual = fitted(learned)
    fit = fit_calibration(learned, everything(learned), EVIDENCE, STATES, 9, DAY, as_new=(as_new, everything(as_new)))
    assert np.array_equal(fit.spread[1:], usual.spread[1:])
    assert np.array_equal(fit.level[1:], usual.level[1:])
    assert np.array_equal(fit.band[1:], usual.band[1:])
    assert (fit.spread[0] > 2 * usual.spread[0]).all()
    assert (fit.band[0] > 2 * usual.band[0]).all()
    limit = 2.0
    false = [(scores(c, as_new)[4:] >= limit).mean() for c in (fit, usual)]
    assert false[0] < 0.3 * false[1]


def test_a_new_series_is_no_surer_than_a_known_one(learned: Errors) -> None:
    calm = learned._replace(z=learned.z / 10, ids=np.zeros(8, np.int64))
    fit = fit_calibration(learned, everything(learned), EVIDENCE, STATES, 9, DAY, as_new=(calm, everything(calm)))
    assert np.array_equal(fit.spread[0], fitted(learned).spread[0])


def test_ticks_out_of_use_teach_nothing(learned: Errors) -> None:
    z, use = learned.z.copy(), everything(learned)
    z[:, -200:] = 8
    use[:, -200:] = False
    fit = fitted(learned._replace(z=z), use)
    parts = {name: getattr(learned, name)[:, :-200] for name in ("z", "stop", "volume", "expected", "recovering")}
    clean = fitted(Errors(**parts, ids=learned.ids))
    assert np.allclose(fit.spread, clean.spread, rtol=1e-5)
    assert np.allclose(fit.total.values, clean.total.values, rtol=1e-4)


def test_json(calibration: Calibration, learned: Errors) -> None:
    again = Calibration.from_json(json.loads(json.dumps(calibration.to_json(), allow_nan=False)))
    assert np.array_equal(scores(again, learned), scores(calibration, learned))
    assert np.array_equal(again.band, calibration.band)
    assert again.evidence == calibration.evidence


def test_a_stop_scores_high_and_points_at_running(learned: Errors) -> None:
    rng = np.random.default_rng(3)
    shape = learned.stop.shape
    stop = np.where(rng.random(shape) < 0.01, rng.exponential(0.3, shape), 0).astype(np.float32)
    fit = fitted(learned._replace(stop=stop))
    data = healthy(days=2, seed=5)
    data.stop[2, 100] = 4.0
    judged = fit.judge(data)
    assert fit.score(judged.statistics)[2, 100] > 4
    weight, sign = fit.leading(judged)
    assert STATES[int(weight[2, 100].argmax())] == "running"
    assert sign[2, 100, STATES.index("running")] == -1
    drained = data._replace(z=np.zeros_like(data.z), expected=np.ones_like(data.expected))
    assert fit.score(fit.judge(drained).statistics)[2, 100] < 1


def test_a_deviation_of_few_jobs_is_not_worth_an_alarm(calibration: Calibration) -> None:
    data = healthy(days=2)
    data.z[3, 200:] = 8
    few = data._replace(volume=np.full_like(data.volume, 1.0))
    assert scores(calibration, data)[3, 230] > 3 > scores(calibration, few)[3, 230]


def test_without_stops_the_deviation_is_judged_alone(calibration: Calibration) -> None:
    assert list(calibration.survival) == ["deviation"]


class TestWhitening:
    """States that go together: it is news when one of them does not."""

    def together(self, seed: int = 0) -> Errors:
        """Errors of three states that are nearly the same, and of another machine where they are not."""
        data = healthy(n=2, days=24, seed=seed)
        rng = np.random.default_rng(seed + 100)
        shared = rng.normal(size=(1, data.z.shape[1], 2, 1))
        z = data.z.copy()
        z[0] = shared[0] + 0.1 * rng.normal(size=z[0].shape)
        z[1] = rng.normal(size=z[1].shape)
        return data._replace(z=z.astype(np.float32), volume=np.full_like(data.volume, np.inf))

    def fit(self, data: Errors, whiten: bool) -> Calibration:
        return fit_calibration(data, everything(data), EVIDENCE, STATES, 3, DAY, None, whiten)

    def broken(self, data: Errors) -> tuple[Errors, int]:
        """For two hours one state goes up by as much as another goes down: nothing that would be odd in one of them."""
        z, at = data.z.copy(), 5 * DAY
        z[:, at : at + 12, :, 0] += 0.7
        z[:, at : at + 12, :, 1] -= 0.7
        return data._replace(z=z), at

    def test_what_breaks_the_togetherness_stands_out(self) -> None:
        data = self.together()
        odd, at = self.broken(data)
        plain, white = (scores(self.fit(data, whiten), odd) for whiten in (False, True))
        during = slice(at + 3, at + 12)
        assert np.median(white[0, during]) > 3 > 2 > np.median(plain[0, during])
        assert np.median(white[1, during]) < 2, "states that never went together"

    def test_a_score_is_still_a_probability(self) -> None:
        data = self.together()
        score = scores(self.fit(data, whiten=True), self.together(seed=7)._replace(ids=data.ids))
        for level in (1.0, 1.5, 2.0):
            assert -np.log10((score >= level).mean()) == pytest.approx(level, abs=0.25)

    def test_its_size_is_the_mahalanobis_distance(self) -> None:
        rng = np.random.default_rng(3)
        scaled = rng.normal(size=(1, 4000, 1, 3)) @ np.array([[1, 0.9, 0.2], [0, 0.4, 0], [0, 0, 1.0]])
        use = np.ones((1, 4000), bool)
        factors = fit_whitening(scaled.astype(np.float32), use, np.array([1]), 2, prior=1e-9)[1]
        correlation = np.corrcoef(scaled[0, :, 0].T)
        shrunk = (1 - SHRINKAGE) * correlation + SHRINKAGE * np.eye(3)
        e = scaled[:, :5].astype(np.float32)
        wanted = np.sqrt(np.einsum("ts,sr,tr->t", e[0, :, 0], np.linalg.inv(shrunk), e[0, :, 0]) / 3)
        # Correlations are taken about 0, where the evidence of healthy time is centred by construction.
        np.testing.assert_allclose(statistic(whitened(e, factors[None]))[0, :, 0], wanted, rtol=0.02)

    def test_a_series_without_healthy_time_goes_by_all_and_a_state_that_never_moves_harms_nothing(self) -> None:
        data = self.together()
        z = data.z.copy()
        z[..., 2] = 0
        data = data._replace(z=z)
        use = everything(data)
        use[1] = False
        calibration = fit_calibration(data, use, EVIDENCE, STATES, 3, DAY, None, whiten=True)
        assert np.allclose(calibration.whitening[2], calibration.whitening[0])
        assert np.isfinite(scores(calibration, self.broken(data)[0])).all()

    def test_the_states_that_broke_it_lead(self) -> None:
        data = self.together()
        odd, at = self.broken(data)
        calibration = self.fit(data, whiten=True)
        weight, sign = calibration.leading(calibration.judge(odd))
        share = weight[0, at + 6] / weight[0, at + 6].sum()
        assert share[:2].min() > share[2]
        assert sign[0, at + 6, :2].tolist() == [1, -1]

    def test_json(self) -> None:
        data = self.together()
        calibration = self.fit(data, whiten=True)
        again = Calibration.from_json(json.loads(json.dumps(calibration.to_json(), allow_nan=False)))
        np.testing.assert_array_equal(scores(again, data), scores(calibration, data))

    def test_channels_are_combined_by_the_largest_or_by_their_mean(self) -> None:
        data = self.together()
        for combine in ("max", "mean"):
            calibration = fit_calibration(data, everything(data), EVIDENCE, STATES, 3, DAY, None, True, combine)
            judged = calibration.judge(data)
            wanted = getattr(np, combine)(judged.ratios, axis=2)
            np.testing.assert_allclose(judged.statistics["deviation"], wanted, rtol=1e-6)
            assert Calibration.from_json(calibration.to_json()).combine == combine


HOURS = slice(7 * DAY, 7 * DAY + DAY // 4)
"""In which one series does something odd, and reviewers call it expected."""


@pytest.fixture(scope="module")
def odd() -> Errors:
    data = healthy(seed=3)
    data.z[2, HOURS] -= 5
    return data


@pytest.fixture(scope="module")
def expected(odd: Errors) -> np.ndarray:
    said = np.zeros(odd.expected.shape, bool)
    said[2, HOURS] = True
    return said


@pytest.fixture(scope="module")
def taught(odd: Errors, expected: np.ndarray) -> Calibration:
    plain = fitted(odd)
    return replace(plain, usual=find_usual(plain, odd, everything(odd), expected, DAY))


class TestWhatReviewersCallExpected:
    def test_a_score_is_no_higher_than_it_is_rare(self, odd: Errors, taught: Calibration) -> None:
        statistics = taught.judge(odd).statistics
        plain, score = taught.score(statistics), taught.score(statistics, odd.ids)
        rare = np.log10(13 * DAY / (DAY // 4))
        assert plain[2, HOURS].max() > 2
        assert score[2, HOURS].max() == pytest.approx(rare, abs=0.15)
        others = np.arange(len(odd.ids)) != 2
        assert np.array_equal(score[others], plain[others])
        below = plain[2] <= rare - 0.15
        assert np.array_equal(score[2, below], plain[2, below])

    def test_what_is_far_odder_still_alarms(self, odd: Errors, taught: Calibration) -> None:
        usual = taught.usual[3]
        beyond = np.array([usual.odd, 1.5 * usual.odd, 4 * usual.odd])
        assert usual.limit(beyond) == pytest.approx(usual.rare * np.array([1, 1.5, 4]))
        assert usual.limit(np.array([0.3 * usual.rare])) == pytest.approx([0.3 * usual.rare])

    def test_nothing_is_usual_that_is_not_odd_or_not_known(self, odd: Errors, expected: np.ndarray) -> None:
        plain = fitted(odd)
        quiet = np.roll(expected, 3, axis=0)
        assert find_usual(plain, odd, everything(odd), quiet, DAY) == {}
        assert find_usual(plain, odd, ~expected, expected, DAY) == {}
        unknown = odd._replace(ids=np.zeros_like(odd.ids))
        assert find_usual(plain, unknown, everything(odd), expected, DAY) == {}

    def test_json(self, taught: Calibration) -> None:
        assert Calibration.from_json(json.loads(json.dumps(taught.to_json()))).usual == taught.usual
        assert "usual" not in replace(taught, usual={}).to_json()
