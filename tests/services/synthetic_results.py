"""Made-up results of the shape that a backtest gives, to draw pages from: no store, no model, no scorer."""

from __future__ import annotations

import numpy as np

from qad_dl.results import Details, Results
from qad_dl.schema import INCIDENT_KINDS, REASONS

STATES = ("assigned", "activated", "starting", "running", "transferring", "holding", "finished", "failed")
LEVELS = np.array([120.0, 300.0, 25.0, 900.0, 60.0, 20.0, 140.0, 6.0])
STOCK = np.array([1, 1, 1, 1, 1, 1, 0, 0], dtype=bool)
DETAILS = ("observed", "reconstruction", "lower", "upper", "contribution")
"""What results and their details have an array of, [N, T, ...]."""

THRESHOLD = 3.4
MISSING = slice(300, 312)
KIND = INCIDENT_KINDS.index("black_hole")


def make_results(queues: int, ticks: int, seed: int = 1, names: tuple[str, ...] = ()) -> Results:
    """Queues with days and nights, slow drifts and noise; every third has an incident, every seventh a downtime."""
    rng = np.random.default_rng(seed)
    times = np.datetime64("2026-01-05T00:00:00", "s") + np.arange(ticks) * np.timedelta64(600, "s")
    expected = healthy(rng, queues, ticks)
    shift, calm = incidents(rng, queues, ticks)
    observed = rng.poisson(expected * drift(rng, queues, ticks) * shift).astype(np.float32)
    spread = np.sqrt(1 / (expected + 1) + 0.02)
    contribution, score, direction, state = judge(rng, observed, expected, spread)
    unscored = np.zeros((queues, ticks), dtype=bool)
    unscored[:, MISSING] = True
    score[unscored] = np.nan
    details = [observed, expected, expected * np.exp(-2 * spread), expected * np.exp(2 * spread), contribution]
    for array in details:
        array[unscored] = np.nan
    return Results(
        entity=("panda_queue",),
        series=tuple((name,) for name in (names + tuple(f"SITE-{i:04d}_MCORE" for i in range(queues)))[:queues]),
        times=times,
        score=score,
        alone=score,
        flagged=score >= THRESHOLD,
        reason=np.where(unscored, REASONS.index("missing_tick"), 0).astype(np.int8),
        known=np.ones((queues, ticks), dtype=bool),
        expected=calm,
        state=np.where(unscored, -1, state).astype(np.int16),
        direction=np.where(unscored, 0, direction).astype(np.int8),
        kind=np.where(score >= THRESHOLD, KIND, -1).astype(np.int8),
        kinds=INCIDENT_KINDS,
        states=STATES,
        budget=0.01,
        threshold=THRESHOLD,
        details=Details(*(array.astype(np.float32) for array in details)),
    )


def healthy(rng: np.random.Generator, queues: int, ticks: int) -> np.ndarray:
    """What a model would expect, [N, T, S]: queues of very different size with a day and a night."""
    size = np.exp(rng.normal(-0.5, 1.4, (queues, 1, 1)))
    phase = rng.uniform(0, 2 * np.pi, (queues, 1, 1))
    day = 1 + 0.25 * np.sin(2 * np.pi * np.arange(ticks)[None, :, None] / 144 + phase)
    wobble = 1 + 0.05 * np.cumsum(rng.normal(0, 0.1, (queues, ticks, 1)), axis=1)
    return LEVELS * size * day * np.clip(wobble, 0.5, 2)


def drift(rng: np.random.Generator, queues: int, ticks: int) -> np.ndarray:
    """Slow changes that no model foresees, [N, T, S], around 1; stocks move slowly, flows do not."""
    walk = np.cumsum(rng.normal(0, 0.01, (queues, ticks, len(STATES))), axis=1)
    return np.exp(np.where(STOCK, walk - walk.mean(axis=1, keepdims=True), 0))


def incidents(rng: np.random.Generator, queues: int, ticks: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors on the counts, [N, T, S], and where a fall is expected, [N, T]."""
    shift, calm = np.ones((queues, ticks, len(STATES))), np.zeros((queues, ticks), dtype=bool)
    for i in range(queues):
        start = int(rng.integers(ticks // 3, ticks - 20))
        length = int(rng.integers(6, ticks // 5))
        if i % 3 == 0:
            shift[i, start : start + length, STATES.index("failed")] = 25
            shift[i, start : start + length, STATES.index("finished")] = 0.3
            shift[i, start : start + length, STATES.index("activated")] = 0.2
        if i % 7 == 1:
            shift[i, start : start + length] = 0.05
            calm[i, start : start + length] = True
    return shift, calm


def judge(
    rng: np.random.Generator, observed: np.ndarray, expected: np.ndarray, spread: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Shares [N, T, S], score, direction and state [N, T] from the distance of the two counts."""
    z = (np.log1p(observed) - np.log1p(expected)) / spread
    share = z**2 / np.maximum((z**2).sum(axis=2, keepdims=True), 1e-9)
    score = np.clip(np.sqrt((z**2).mean(axis=2)) - 0.6 + rng.exponential(0.15, z.shape[:2]), 0, 9)
    state = share.argmax(axis=2)
    sign = np.sign(np.take_along_axis(z, state[:, :, None], axis=2)[:, :, 0])
    return share, score, np.where(sign == 0, 1, sign), state
