"""The unit: a product of two matrices in single precision on one thread, by the BLAS of numpy."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

SIZE: Final = 1024
REPEATS: Final = 9


def product_s(repeats: int = REPEATS) -> tuple[float, float]:
    """Least and median processor seconds of one product of two [1024, 1024] matrices on this thread."""
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((SIZE, SIZE), dtype=np.float32) for _ in range(2))
    out = a @ b  # the first one allocates
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        np.matmul(a, b, out=out)
        seconds.append(time.process_time() - began)
    return min(seconds), statistics.median(seconds)


def gflops(seconds: float) -> float:
    """Floating point operations of the product in 10^9 per second."""
    return 2 * SIZE**3 / seconds / 1e9


def measure_product(_inputs: Mapping[str, Any]) -> dict[str, float]:
    """The unit, measured."""
    least, median = product_s()
    return {"least_s": least, "median_s": median, "gflops": gflops(least)}
