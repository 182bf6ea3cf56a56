"""Arrays of single-precision numbers in JSON, bit for bit."""

from __future__ import annotations

import base64
from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEW: Final = 256
"""So many numbers are written one by one, for people to read."""

_KIND: Final = np.dtype("<f4")


def to_json(values: NDArray[np.float32]) -> Any:
    """An array of any shape: few numbers as nested lists of decimals, more as `{"shape": [...], "float32": TEXT}`.

    TEXT is base64 (RFC 4648, section 4) of the numbers as IEEE 754 single precision, the lowest byte first, the last
    index running fastest. A reader of JSON takes a hundred times as long for the same numbers as decimals.

    Raises:
        ValueError: one is not finite; JSON has no such numbers.
    """
    if not np.isfinite(values).all():
        msg = "numbers that are not finite cannot be written"
        raise ValueError(msg)
    if values.size <= FEW:
        return _decimals(values)
    text = base64.b64encode(np.ascontiguousarray(values, _KIND).tobytes()).decode()
    return {"shape": list(values.shape), "float32": text}


def from_json(data: Any) -> NDArray[np.float32]:
    """What `to_json` wrote, or nested lists of numbers; float32 in memory of its own.

    Raises:
        KeyError, TypeError, ValueError: it is neither, or its text does not have the numbers of its shape.
    """
    if not isinstance(data, dict):
        return np.array(data, np.float32)
    shape = tuple(int(length) for length in data["shape"])
    content = base64.b64decode(data["float32"], validate=True)
    if len(content) != prod(shape) * _KIND.itemsize:
        msg = f"{len(content)} bytes are not {prod(shape)} numbers"
        raise ValueError(msg)
    return np.frombuffer(content, _KIND).reshape(shape).astype(np.float32)


def _decimals(values: NDArray[np.float32]) -> Any:
    """Nested lists of the shortest decimals that are the same float32: as a double 0.1 is 0.10000000149011612."""
    shortest = np.array([float(str(value)) for value in values.ravel()], np.float64)
    return shortest.reshape(values.shape).tolist()
