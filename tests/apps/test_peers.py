"""Every peer of the list: it sees what is odd, it never looks ahead, and a gap, a flat line or a short life break none.

A new peer is tested by being listed.
"""

from __future__ import annotations

import numpy as np
import pytest

from qad_dl.errors import ConfigError
from qad_dl.grid import Grid
from qad_dl.schema import Tick
from training.peers import peer_names, peer_scores
from training.peers.protocol import Setting, complete, score_series, windows

TICK = Tick(60)
DAY = TICK.per_day
DAYS, LEARN = 34, 30

NAMES = peer_names(counts=False)

CLEARLY = {"isolation_forest": 1.0}
"""How far above all before an incident must be: 1.5 times, but that score is bounded."""


def make_grid(counts: np.ndarray) -> Grid:
    n, t, s = counts.shape
    start = np.datetime64("2026-01-01", "s")
    return Grid(
        tick=TICK,
        times=TICK.range(start, start + t * TICK.delta),
        entity=("panda_queue",),
        series=tuple((f"Q{i}",) for i in range(n)),
        states=("activated", "running", "failed")[:s],
        counts=counts.astype(np.float32),
        arrived=np.isfinite(counts).any(axis=(0, 2)),
        frozen=np.zeros(t, np.bool_),
        quiet=np.zeros((n, t), np.int32),
        online=np.ones((n, t), np.bool_),
        known=np.ones((n, t), np.bool_),
    )


def healthy(seed: int, n: int = 1) -> np.ndarray:
    """Counts with a daily wave that all states share, and noise of their own, [n, T, 3]."""
    rng = np.random.default_rng(seed)
    wave = np.sin(2 * np.pi * np.arange(DAYS * DAY) / DAY)[:, None]
    return np.expm1(5 + 0.4 * wave + 0.05 * rng.normal(size=(n, DAYS * DAY, 3)))


def train_of(counts: np.ndarray) -> np.ndarray:
    return np.arange(counts.shape[1]) < LEARN * DAY


@pytest.mark.parametrize("name", peer_names())
def test_it_sees_a_queue_that_collapses(name: str) -> None:
    counts, at = healthy(0), 32 * DAY + 6
    counts[0, at : at + 6, 1] = 0
    scores = peer_scores(name, make_grid(counts), train_of(counts))[0]
    assert scores[at : at + 6].max() > CLEARLY.get(name, 1.5) * np.nanmax(scores[LEARN * DAY : at])


@pytest.mark.parametrize("name", NAMES)
def test_few_healthy_ticks_are_above_one(name: str) -> None:
    counts = healthy(1, n=4)
    scores = peer_scores(name, make_grid(counts), train_of(counts))
    assert np.mean(scores[:, LEARN * DAY :] > 1) < 0.1  # windows overlap: one odd tick makes a dozen odd windows
    assert 0.1 < np.nanmedian(scores) < 1


@pytest.mark.parametrize("name", peer_names())
def test_the_future_changes_nothing(name: str) -> None:
    counts = healthy(2, n=2)
    other, at = counts.copy(), 32 * DAY
    other[:, at:] *= 7
    one, two = (peer_scores(name, make_grid(c), train_of(c)) for c in (counts, other))
    np.testing.assert_array_equal(one[:, :at], two[:, :at])
    assert not np.array_equal(one[:, at:], two[:, at:])


@pytest.mark.parametrize("name", peer_names())
def test_another_queue_changes_nothing(name: str) -> None:
    counts = healthy(3, n=2)
    together = peer_scores(name, make_grid(counts), train_of(counts))
    np.testing.assert_array_equal(together[:1], peer_scores(name, make_grid(counts[:1]), train_of(counts)))


@pytest.mark.parametrize("name", peer_names())
def test_the_seed_fixes_everything(name: str) -> None:
    counts = healthy(4)
    one, two = (peer_scores(name, make_grid(counts), train_of(counts), seed=5) for _ in range(2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", peer_names())
def test_missing_ticks_have_no_score_and_harm_no_other(name: str) -> None:
    counts = healthy(5)
    gone = np.random.default_rng(0).random(counts.shape[1]) < 0.3
    gone[31 * DAY : 31 * DAY + 20] = True
    counts[:, gone] = np.nan
    scores = peer_scores(name, make_grid(counts), train_of(counts))[0]
    assert np.isnan(scores[gone]).all()
    assert np.isfinite(scores[2 * DAY :][~gone[2 * DAY :]]).all()


@pytest.mark.parametrize("name", peer_names())
def test_flat_lines_are_no_news_and_a_jump_off_one_is(name: str) -> None:
    counts = np.full((1, DAYS * DAY, 3), 20.0)
    at = 32 * DAY
    counts[0, at:, 2] = 60.0
    scores = peer_scores(name, make_grid(counts), train_of(counts))[0]
    known = np.isfinite(scores)
    assert known[2 * DAY :].all()
    if name == "isolation_forest":  # no cut isolates what never varied in training
        return
    assert scores[at : at + 3].max() > scores[:at][known[:at]].max()


@pytest.mark.parametrize("name", NAMES)
def test_a_series_without_a_day_of_training_has_no_score(name: str) -> None:
    counts = healthy(6)
    counts[:, : LEARN * DAY - 10] = np.nan
    assert np.isnan(peer_scores(name, make_grid(counts), train_of(counts))).all()


@pytest.mark.parametrize("name", NAMES)
def test_values_may_have_any_sign_and_unit(name: str) -> None:
    x = 1e4 * (np.log1p(healthy(7)) - 5)
    at = 32 * DAY
    x[0, at : at + 6, 1] -= 2e4
    scores = peer_scores(name, make_grid(x), train_of(x), counts=False)[0]
    assert scores[at : at + 6].max() > CLEARLY.get(name, 1.5) * np.nanmax(scores[LEARN * DAY : at])


def test_an_unknown_name_is_refused() -> None:
    counts = healthy(8)
    with pytest.raises(ConfigError, match="peer 'prophet': give one of rule, ridge, "):
        peer_scores("prophet", make_grid(counts), train_of(counts))
    with pytest.raises(ConfigError, match="peer 'rule'"):
        peer_scores("rule", make_grid(counts), train_of(counts), counts=False)


def test_what_calibrates_is_not_learned_from() -> None:
    seen = {}

    class Spy:
        def score(self, values: np.ndarray) -> np.ndarray:
            return np.arange(len(values), dtype=float)

    def fit(train: np.ndarray, observed: np.ndarray, setting: Setting) -> Spy:
        seen.update(ticks=len(train), observed=int(observed.sum()), day=setting.day)
        return Spy()

    x = np.random.default_rng(0).normal(size=(400, 2))
    x[:10] = np.nan
    x[20] = np.nan
    score = score_series(fit, x, np.arange(400) < 211, Setting(24))
    assert seen == {"ticks": 141, "observed": 140, "day": 24}  # 70 % of the 200 that arrived, from the first of them on
    assert score[10 + 200] == pytest.approx(200 / np.percentile(np.arange(141, 201), 99))
    assert np.isnan(score[20]), "a tick that did not arrive"
    assert np.isnan(score[:10]).all(), "nor those before the series began"


def test_a_window_ends_with_its_tick() -> None:
    cut = windows(np.arange(10.0).reshape(5, 2), 3)
    assert cut.shape == (3, 6)
    assert sorted(cut[0]) == [0, 1, 2, 3, 4, 5]
    assert complete(np.array([1, 1, 0, 1, 1, 1], bool), 3).tolist() == [False, False, False, True]
