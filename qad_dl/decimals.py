"""Single-precision numbers in JSON, in as few decimals as read back the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def decimals(values: NDArray[np.float32]) -> Any:
    """Nested lists of any shape, as `tolist` gives them, of the shortest decimals that are the same float32.

    As doubles 0.1 is 0.10000000149011612: a longer file, and a slower reader, since
    what has more than 15 digits needs arithmetic of any length (Clinger 1990).
    """
    shortest = np.array([float(str(value)) for value in values.ravel()], np.float64)
    return shortest.reshape(values.shape).tolist()
