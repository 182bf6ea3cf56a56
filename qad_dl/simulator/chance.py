"""Random numbers that do not depend on what happens: the same world with and without incidents draws the same.

numpy's `binomial` consumes as many random bits as its arguments ask for, so one incident would shift every later draw
of every queue. Here each tick consumes a fixed block of uniforms and normals; counts are read off them by inversion.
"""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SMALL = 6.0
"""Expected counts below this are drawn by exact inversion, above by a rounded normal."""

MANY = 1.0e7
"""A Poisson count is drawn as a binomial one of so many trials."""


def stream(seed: int, concern: str) -> np.random.Generator:
    """An independent generator for one concern, for instance 'incidents': none shifts another."""
    return np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(concern.encode())]))


def thin(n: Floats, p: Floats, uniform: Floats, normal: Floats) -> Floats:
    """Binomial counts by inversion; all arrays have one shape, and so has the result (whole numbers as float64).

    Args:
        n: trials, whole numbers >= 0.
        p: probability, clipped to [0, 1].
        uniform: draws from [0, 1), used where the expected count (of the rarer outcome) is below `SMALL`.
        normal: standard normal draws, used elsewhere: n p + z sqrt(n p (1 - p)), rounded and clipped to [0, n].
    """
    p = np.clip(p, 0.0, 1.0)
    rare = np.minimum(p, 1.0 - p)
    mean = n * rare
    count = np.rint(mean + normal * np.sqrt(mean * (1.0 - rare)))
    small = np.flatnonzero((mean.ravel() < SMALL) & (mean.ravel() > 0))
    flat = count.ravel()
    flat[small] = _invert(n.ravel()[small], rare.ravel()[small], uniform.ravel()[small])
    flat[mean.ravel() <= 0] = 0.0
    rares = np.clip(flat.reshape(n.shape), 0.0, n)
    return np.where(p > 0.5, n - rares, rares)


def _invert(n: Floats, q: Floats, u: Floats) -> Floats:
    """Binomial inversion: count the k whose cumulative probability is below u. `q` <= 1/2, n q < `SMALL`."""
    odds = q / (1.0 - q)
    pmf = np.exp(n * np.log1p(-q))
    cumulative = pmf.copy()
    count = np.zeros_like(n)
    for k in range(int(SMALL) + 40):
        above = u > cumulative
        if not above.any():
            break
        count += above
        pmf = pmf * np.maximum(n - k, 0.0) / (k + 1.0) * odds
        cumulative += pmf
    return count


def poisson(mean: Floats, uniform: Floats, normal: Floats) -> Floats:
    """Poisson counts from fixed draws; shapes as in `thin`."""
    return thin(np.full_like(mean, MANY), mean / MANY, uniform, normal)


def wander(rng: np.random.Generator, shape: tuple[int, int], sigma: float, hours: float) -> NDArray[np.float32]:
    """Stationary Ornstein-Uhlenbeck walks, one per column: `[T, N]` float32, mean 0, spread sigma, memory `hours`."""
    keep = math.exp(-1.0 / (6.0 * hours))
    step = sigma * math.sqrt(1.0 - keep * keep)
    draws = rng.standard_normal(shape, dtype=np.float32)
    out = np.empty(shape, dtype=np.float32)
    level = draws[0] * np.float32(sigma)
    for t in range(shape[0]):
        out[t] = level
        level = level * np.float32(keep) + draws[t] * np.float32(step)
    return out
