"""Scores in pieces, put together and kept."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from qad_dl.results import Results
from training.quality.scored import RATES, Scored, arrays_of, joined, load, pieces_of, save

if TYPE_CHECKING:
    from pathlib import Path

START = np.datetime64("2026-01-05T00:00:00", "s")
DAY = np.timedelta64(1, "D")


def piece(names: str, first: int, ticks: int = 4) -> Scored:
    n, rng = len(names), np.random.default_rng(first)
    score = rng.random((n, ticks)) * 4
    score[0, 0] = np.nan
    results = Results(
        entity=("panda_queue",),
        series=tuple((name,) for name in names),
        times=START + (first + np.arange(ticks)) * np.timedelta64(600, "s"),
        score=score,
        alone=score,
        flagged=score >= 2,
        reason=np.isnan(score).astype(np.int8),
        known=np.ones((n, ticks), np.bool_),
        expected=np.zeros((n, ticks), np.bool_),
        state=np.zeros((n, ticks), np.int16),
        direction=np.ones((n, ticks), np.int8),
        kind=np.zeros((n, ticks), np.int8),
        states=("running",),
        kinds=("site_down",),
        budget=0.01,
        threshold=2.0,
    )
    return Scored(results, {b: score >= 2 - np.log10(b / 0.01) for b in RATES})


def test_a_range_is_cut_into_pieces() -> None:
    cut = list(pieces_of(START, START + 25 * DAY, 12))
    assert cut == [
        (START, START + 12 * DAY),
        (START + 12 * DAY, START + 24 * DAY),
        (START + 24 * DAY, START + 25 * DAY),
    ]
    assert list(pieces_of(START, START)) == []


def test_pieces_with_the_same_series_are_put_one_after_the_other() -> None:
    one, two = piece("AB", 0), piece("AB", 4)
    both = joined([one, two])
    assert np.array_equal(both.results.times, np.concatenate([one.results.times, two.results.times]))
    assert np.array_equal(both.results.score, np.hstack([one.results.score, two.results.score]), equal_nan=True)
    assert np.array_equal(both.flags[0.1], np.hstack([one.flags[0.1], two.flags[0.1]]))


def test_a_series_that_comes_later_is_not_known_before() -> None:
    one, two = piece("AC", 0), piece("ABC", 4)
    both = joined([one, two]).results
    assert both.series == (("A",), ("B",), ("C",))
    assert not both.known[1, :4].any()
    assert both.known[:, 4:].all()
    assert np.isnan(both.score[1, :4]).all()
    assert not both.flagged[1, :4].any()
    assert np.array_equal(both.score[2, :4], one.results.score[1], equal_nan=True)


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    kept = piece("AB", 0)
    save(tmp_path / "scores.npz", kept)
    back = load(tmp_path / "scores.npz")
    for name, array in arrays_of(kept.results).items():
        assert np.array_equal(getattr(back.results, name), array, equal_nan=name in ("score", "alone")), name
    others = {f.name for f in fields(Results)} - set(arrays_of(kept.results))
    assert all(getattr(back.results, name) == getattr(kept.results, name) for name in others)
    assert all(np.array_equal(back.flags[b], kept.flags[b]) for b in RATES)
    assert others >= {"series", "kinds", "threshold"}
