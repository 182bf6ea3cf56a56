"""What incidents look like in the evidence."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from qad_dl.calibration import Errors, scaled_evidence
from qad_dl.calibration_fit import fit_calibration
from qad_dl.detection import known_detection
from qad_dl.doubts import doubts_apart
from qad_dl.healthy import EPISODE_RATES
from qad_dl.layers import Convolution
from qad_dl.scoring import Channel, Evidence, accumulate
from qad_dl.signatures import DOUBT, OWN, WAY, Signatures, any_kind, shipped_signatures
from qad_dl.stretch import known_survival

HORIZONS = (1, 6, 18)


@pytest.fixture(scope="module")
def shipped() -> Signatures:
    return shipped_signatures()


def evidence(shipped: Signatures, **states: float) -> np.ndarray:
    """One tick with the same evidence in all channels of errors, and no doubt: [1, 1, P, S]."""
    out = np.zeros((1, 1, len(shipped.channels), len(shipped.states)), np.float32)
    for name, value in states.items():
        out[:, :, [DOUBT not in channel for channel in shipped.channels], shipped.states.index(name)] = value
    return out


@pytest.mark.parametrize(
    ("kinds", "states"),
    [
        (("pilots_starve", "harvester_down"), {"activated": 1.5, "starting": -5, "running": -1}),
        (("input_stuck",), {"assigned": 4, "activated": -4, "starting": -1}),
        (("bad_task", "frontier", "rollout"), {"failed": 6, "running": -2, "starting": 0.5}),
        (("black_hole",), {"failed": 5, "activated": -4, "starting": 3, "running": -2}),
        (("storage_writes",), {"holding": 4, "transferring": -3, "finished": -4}),
        (("transfer_backlog", "storage_writes"), {"transferring": 3, "finished": -4}),
    ],
)
def test_textbook_incidents_are_told_from_normal_life(
    shipped: Signatures, kinds: tuple[str, ...], states: dict[str, float]
) -> None:
    ratios = shipped.log_ratios(evidence(shipped, **states), shipped.states)[0, 0]
    assert shipped.kinds[int(ratios.argmax())] in kinds
    assert any_kind(ratios) > shipped.healthy.thresholds[EPISODE_RATES.index(0.3)]


def test_normal_life_and_good_news_are_no_incident(shipped: Signatures) -> None:
    normal = any_kind(shipped.log_ratios(evidence(shipped), shipped.states))
    good = any_kind(shipped.log_ratios(evidence(shipped, running=4, finished=3, starting=2), shipped.states))
    assert normal < shipped.healthy.thresholds[EPISODE_RATES.index(0.3)]  # no error in any state is not usual either
    assert good < shipped.healthy.thresholds[EPISODE_RATES.index(0.1)]


def test_pull_is_the_input_times_the_mean_gradient_on_the_way_to_it(shipped: Signatures) -> None:
    rng = np.random.default_rng(1)
    several = rng.normal(0, 2, (9, 80, len(shipped.channels), len(shipped.states))).astype(np.float32)
    pull = shipped.read(several, shipped.states)[1][:, -1]
    odd = int(pull.any(axis=1).argmax())
    f, got = several[odd, None], pull[odd]
    assert got.any()

    def statistic(tick: np.ndarray) -> float:
        course = f.copy()
        course[0, -1] = tick
        return float(any_kind(shipped.log_ratios(course, shipped.states))[0, -1])

    step, tick = 1e-2, f[0, -1]
    for s in range(len(shipped.states)):
        only = np.zeros_like(tick)
        only[:, s] = tick[:, s]
        along = [statistic(part * tick + step * only) - statistic(part * tick - step * only) for part in WAY]
        assert got[s] == pytest.approx(np.mean(along) / (2 * step), abs=0.02)


def test_states_share_what_the_tick_adds_to_the_statistic(shipped: Signatures) -> None:
    f = np.random.default_rng(5).normal(0, 2, (20, 80, len(shipped.channels), len(shipped.states))).astype(np.float32)
    without = f.copy()
    without[:, -1] = 0
    ratios, pull = shipped.read(f, shipped.states, 79)
    added = (any_kind(ratios) - any_kind(shipped.log_ratios(without, shipped.states)[:, -1:]))[:, 0]
    told = pull[:, 0].any(axis=1)
    assert told.sum() > 5
    assert np.abs(added[told]).max() > 2
    assert np.allclose(pull[told, 0].sum(axis=1), added[told], atol=0.3)


def test_states_are_read_by_name_in_any_order_and_unknown_ones_are_not_read(shipped: Signatures) -> None:
    f = evidence(shipped, failed=4, running=-2)
    order = [*reversed(range(len(shipped.states)))]
    other = np.concatenate([f[..., order], np.full((*f.shape[:3], 1), 7, np.float32)], axis=-1)
    names = [*(shipped.states[i] for i in order), "merging"]
    assert np.allclose(shipped.log_ratios(other, names), shipped.log_ratios(f, shipped.states), atol=1e-5)
    assert np.allclose(
        shipped.read(other, names)[1][0, 0, :-1][order], shipped.read(f, shipped.states)[1][0, 0], atol=1e-5
    )
    assert shipped.read(other, names)[1][0, 0, -1] == 0


def test_they_fit_only_where_their_states_and_channels_are(shipped: Signatures) -> None:
    assert shipped.fits((*shipped.states, "merging"), shipped.channels, 72)
    assert not shipped.fits(("activated", "running", "finished", "cancelled"), shipped.channels, 72)
    assert not shipped.fits(shipped.states, shipped.channels[:2], 72)
    longer = replace(shipped, course=(*shipped.course, convolution(shipped, 40)))
    assert not longer.fits(shipped.states, shipped.channels, 72)


def convolution(shipped: Signatures, dilation: int) -> Convolution:
    width = len(shipped.enter_bias)
    rng = np.random.default_rng(dilation)
    taps = rng.normal(0, 0.1, (3, width, width)).astype(np.float32)
    return Convolution(taps, np.zeros(width, np.float32), dilation)


def test_the_course_of_the_evidence_is_read_as_far_as_it_reaches(shipped: Signatures) -> None:
    reading = replace(shipped, course=tuple(convolution(shipped, d) for d in (1, 4)))
    assert reading.reach == 10
    f = np.random.default_rng(1).normal(0, 2, (3, 40, len(shipped.channels), len(shipped.states))).astype(np.float32)
    whole = reading.log_ratios(f, shipped.states)
    assert np.allclose(reading.log_ratios(f[:, 20:], shipped.states)[:, 10:], whole[:, 30:], atol=1e-4)
    assert np.allclose(reading.log_ratios(f[:, :30], shipped.states), whole[:, :30], atol=1e-5)  # nothing looks ahead


def test_what_states_add_takes_the_course_into_account(shipped: Signatures) -> None:
    f = np.random.default_rng(2).normal(0, 2, (3, 100, len(shipped.channels), len(shipped.states))).astype(np.float32)
    ratios, pull = shipped.read(f, shipped.states)
    assert np.allclose(ratios, shipped.log_ratios(f, shipped.states), atol=1e-5)
    later = shipped.read(f[:, 100 - 2 - shipped.reach :], shipped.states, shipped.reach)
    assert np.allclose(later[0], ratios[:, 98:], atol=1e-4)
    assert np.allclose(later[1], pull[:, 98:], atol=1e-3)
    assert not np.allclose(shipped.read(f[:, 98:], shipped.states)[1], pull[:, 98:], atol=1e-2)


def test_known_normal_life_gives_the_score_its_meaning(shipped: Signatures) -> None:
    curve, detection = known_survival(shipped.healthy), known_detection(shipped.healthy)
    assert (np.diff(shipped.healthy.values) > 0).all()
    assert (np.diff(shipped.healthy.thresholds) > 0).all()
    assert curve.score(shipped.healthy.values[8:9])[0] == pytest.approx(2.0)
    for rate, threshold in zip(EPISODE_RATES, shipped.healthy.thresholds, strict=True):
        assert detection.threshold(rate) == pytest.approx(float(curve.score(threshold[None])[0]))
    assert detection.threshold(1e-4) > detection.threshold(1e-3)


def doubtful(shipped: Signatures, rng: np.random.Generator, ticks: int = 2000) -> tuple[Errors, np.ndarray, Evidence]:
    """Errors of forty series in normal life, ticks in use, how they are accumulated; doubts are around -0.4."""
    z = rng.standard_normal((40, ticks, 3 * len(HORIZONS), len(shipped.states))).astype(np.float32)
    z[:, :, 2 * len(HORIZONS) :] = rng.normal(-0.4, 0.02, (40, 1, len(HORIZONS), len(shipped.states)))
    use, none = np.ones((40, ticks), bool), np.zeros((40, ticks), bool)
    views = [(h, *way) for way in ([], [OWN], [DOUBT]) for h in HORIZONS]
    ways = [(views.index((h, *way)), w, DOUBT in way) for h, w, *way in shipped.channels]
    calm = np.zeros(use.shape, np.float32)
    return (
        Errors(z, calm, calm, none, none, np.arange(1, 41)),
        use,
        Evidence(tuple(Channel(*w) for w in ways), ticks=72),
    )


def test_doubts_are_read_against_those_of_all_series(shipped: Signatures) -> None:
    data, use, how = doubtful(shipped, np.random.default_rng(4))
    data.z[5, :, 2 * len(HORIZONS) :] += 0.1  # the network is always less sure of this one
    spread, centre = doubts_apart(how, data, use, np.full((41, len(how.channels), len(shipped.states)), 7, np.float32))
    doubts = np.array([channel.doubt for channel in how.channels])
    assert centre is not None
    assert (spread[:, ~doubts] == 7).all()
    assert not centre[~doubts].any()
    own = data.z[:, 0][:, [how.channels[p].horizon for p in np.flatnonzero(doubts)]]  # [N, D, S]
    assert np.allclose(centre[doubts] * spread[3, doubts], own.mean(axis=0), atol=1e-5)
    assert np.allclose(spread[:, doubts], own.std(axis=0), atol=1e-5)
    scaled = scaled_evidence(accumulate(data.z, how), spread[data.ids], data.expected, shipped.states, centre)
    assert np.allclose(scaled[:, 50][:, doubts].mean(axis=0), 0, atol=1e-5)
    assert scaled[5, :, doubts].mean() > 2
    without = how._replace(channels=how.channels[:5])
    assert doubts_apart(without, data, use, spread)[1] is None


def test_a_network_that_learned_nothing_has_no_say_by_its_doubts(shipped: Signatures) -> None:
    data, use, how = doubtful(shipped, np.random.default_rng(4))
    data.z[:, :, 2 * len(HORIZONS) :] = 0
    fit = fit_calibration(data, use, how, shipped.states, 41, 144, shipped)
    doubts = [channel.doubt for channel in how.channels]
    assert not fit.judge(data).scaled[:, :, doubts].any()


def test_a_doubt_is_neither_high_nor_low(shipped: Signatures) -> None:
    data, use, how = doubtful(shipped, np.random.default_rng(4))
    fit = fit_calibration(data, use, how, shipped.states, 41, 144, shipped)
    failed = shipped.states.index("failed")
    data.z[3, 1000:1040, : 2 * len(HORIZONS), failed] = 4
    data.z[3, 1000:1040, 2 * len(HORIZONS) :, failed] = -3
    judged = fit.judge(data)
    assert judged.scaled[3, 1020, -1, failed] < -judged.scaled[3, 1020, 0, failed] < 0
    assert fit.leading(judged)[1][3, 1020, failed] == 1


def test_a_bundle_with_signatures_says_what_was_wrong(shipped: Signatures) -> None:
    data, use, how = doubtful(shipped, np.random.default_rng(2))
    data.z[:, :, 2 * len(HORIZONS) :] = -0.4
    fit = fit_calibration(data, use, how, shipped.states, 41, 144, shipped)
    assert list(fit.survival) == ["signature"]
    data.z[3, 1000:1040, : 2 * len(HORIZONS), shipped.states.index("failed")] = 6
    judged = fit.judge(data)
    assert fit.score(judged.statistics)[3, 1006] > 3  # of a burst that began an hour ago
    assert fit.score(judged.statistics)[3, 900] < 1
    weight, sign = fit.leading(judged)
    failed = shipped.states.index("failed")
    assert (weight[3, 1002:1040].argmax(axis=1) == failed).all()  # while more of it would change nothing, too
    assert (sign[3, 1002:1040, failed] == 1).all()
    back = data._replace(recovering=use)  # the same of queues that were away until just now
    assert np.allclose(
        judged.statistics["signature"] - fit.judge(back).statistics["signature"], shipped.healthy.recovering, atol=1e-4
    )
    assert shipped.healthy.recovering > 2
    assert fit.score(fit.judge(back).statistics)[3, 1006] < fit.score(judged.statistics)[3, 1006]
    again = type(fit).from_json(json.loads(json.dumps(fit.to_json(), allow_nan=False)))
    assert np.array_equal(again.score(again.judge(data).statistics), fit.score(judged.statistics))


@pytest.mark.parametrize("ticks", [63, 64, 200])
def test_what_is_read_of_a_series_is_the_same_bits_whoever_is_read_beside_it(shipped: Signatures, ticks: int) -> None:
    shape = (45, ticks, len(shipped.channels), len(shipped.states))
    f = np.random.default_rng(2).normal(0, 2, shape).astype(np.float32)
    whole, since = shipped.read(f, shipped.states, ticks - 1), ticks - 1
    for rows in ([0], [44], [7, 3], list(range(33)), list(range(44, -1, -1))):
        for one, all_ in zip(shipped.read(f[rows], shipped.states, since), whole, strict=True):
            assert np.array_equal(one, all_[rows])


def test_what_adds_to_the_statistic_is_told_where_it_is_odd(shipped: Signatures) -> None:
    f = np.random.default_rng(3).normal(0, 1, (40, 70, len(shipped.channels), len(shipped.states))).astype(np.float32)
    f[::2] *= 3
    f[:, :, [DOUBT in channel for channel in shipped.channels]] = 0
    ratios, pull = shipped.read(f, shipped.states, 60)
    odd = any_kind(ratios) >= shipped.healthy.values[4]
    assert 0.1 < odd.mean() < 0.9
    assert np.array_equal(pull.any(axis=2), odd)


def lagged(signatures: Signatures, course):
    """What the next tick reads of the course."""
    return [c[:, [-lag for lag in one.lags()[:-1]]] for c, one in zip(course, signatures.course, strict=True)]


@pytest.mark.parametrize("states", [slice(None), slice(1, 10)])
def test_a_tick_that_follows_is_what_a_course_read_at_once_ends_with(shipped: Signatures, states: slice) -> None:
    names, reach, ticks = shipped.states[states], shipped.reach, 100
    shape = (6, ticks, len(shipped.channels), len(names))
    f = np.random.default_rng(4).normal(0, 2, shape).astype(np.float32)
    course = shipped.course_of(f[:, ticks - 9 - reach : ticks - 8], names)
    assert [c.shape[1] for c in course] == [t + 1 for t in shipped.course_ticks]
    for now in range(ticks - 8, ticks):
        ratios, pull, read = shipped.follow(f[:, now, None], names, lagged(shipped, course))
        course = [np.concatenate([c[:, 1:], one], axis=1) for c, one in zip(course, read, strict=True)]
        wanted = shipped.read(f[:, now - reach : now + 1], names, reach)
        np.testing.assert_allclose(ratios, wanted[0], atol=2e-5)
        np.testing.assert_allclose(pull, wanted[1], atol=2e-4)
    before = lagged(shipped, [c[:, :-1] for c in course])
    alone = [one[2:3] for one in (f[:, now, None], *before)]
    assert np.array_equal(shipped.follow(alone[0], names, alone[1:])[0], ratios[2:3])
