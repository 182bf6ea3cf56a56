"""Pack a queue's arrays into a few kilobytes that a browser can unfold: quantise, take differences, deflate.

A page of 2,000 queues x 1,008 ticks x 8 states has 80 million numbers; as JSON that is half a gigabyte. The error made
here is far below the noise of a count: see `Quantum`. `codec.js` is the inverse and must be changed with this file.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLAGGED, EXPECTED, UNKNOWN = 8, 16, 32
"""Bits above the three of the reason in a tick's status code."""

UNSCORED = 7 | UNKNOWN
"""The bits that say why a tick has no score."""

PLAIN, DELTA = 0, 1
"""How a column is written: its codes, or the differences between neighbours."""


@dataclass(frozen=True)
class Quantum:
    """Codes for numbers >= 0: even steps at the bottom, constant relative steps above, nothing lost in between.

    Attributes:
        unit: the size of an even step; the error there is at most half of it.
        linear: number of even steps; above `unit * linear` the error is at most 1 / (2 linear) of the value.
    """

    unit: float
    linear: int

    def encode(self, values: NDArray[np.floating]) -> NDArray[np.int64]:
        """Codes of `values`, same shape: 0 where not finite, else 1 + the step; negative values count as 0."""
        steps = np.maximum(values.astype(np.float64), 0.0) / self.unit
        with np.errstate(invalid="ignore", divide="ignore"):
            curved = self.linear * (1.0 + np.log(steps / self.linear))
            codes = np.rint(np.where(steps < self.linear, steps, curved)) + 1
        return np.where(np.isfinite(values), codes, 0).astype(np.int64)

    def decode(self, codes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Inverse of `encode` up to the error stated above; NaN where the code is 0."""
        steps = codes.astype(np.float64) - 1
        curved = self.linear * np.exp(np.minimum(steps / self.linear, 700.0) - 1.0)
        return np.where(codes > 0, self.unit * np.where(steps < self.linear, steps, curved), np.nan)


Quanta: TypeAlias = Mapping[str, Quantum]

FINE: Final[Quanta] = {
    "score": Quantum(0.02, 500),
    "observed": Quantum(1.0, 64),
    "expected": Quantum(0.25, 32),
    "band": Quantum(0.04, 16),
    "weight": Quantum(0.15, 20),
    "past": Quantum(0.5, 16),
}
"""Counts are exact up to 64 jobs and within 0.8 % above; what was expected within 0.125 jobs or 1.6 %."""

COARSE: Final[Quanta] = {
    "score": Quantum(0.04, 250),
    "observed": Quantum(1.0, 32),
    "expected": Quantum(0.5, 16),
    "band": Quantum(0.08, 8),
    "weight": Quantum(0.3, 10),
    "past": Quantum(0.5, 8),
}
"""Half as fine, for pages that would else be too large: counts are exact up to 32 jobs and within 1.6 % above."""


def pack_columns(columns: NDArray[np.int64]) -> bytes:
    """Write codes [C, T], each >= 0, as C mode bytes and then varints, each column the cheaper of plain and delta."""
    delta = zigzag(np.diff(columns, axis=1, prepend=0))
    cost = [np.log2(1.0 + form).sum(axis=1) for form in (columns, delta)]
    modes = np.where(cost[1] < cost[0], DELTA, PLAIN)
    chosen = np.where(modes[:, None] == DELTA, delta, columns)
    return bytes(modes.astype(np.uint8)) + varints(chosen.ravel())


def zigzag(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of either sign as numbers >= 0, small ones staying small: 0, -1, 1, -2 become 0, 1, 2, 3."""
    codes: NDArray[np.int64] = np.where(numbers < 0, -2 * numbers - 1, 2 * numbers)
    return codes


def varints(codes: NDArray[np.int64]) -> bytes:
    """Write numbers >= 0 in little-endian base 128, the high bit set on every byte but the last of a number."""
    if codes.size == 0:
        return b""
    width = max(1, -(-int(codes.max()).bit_length() // 7))
    shifts = 7 * np.arange(width)
    digits = (codes[:, None] >> shifts) & 0x7F
    later = (codes[:, None] >> shifts) >> 7
    keep = np.ones_like(digits, dtype=bool)
    keep[:, 1:] = (codes[:, None] >> shifts[1:]) > 0
    octets = (digits | np.where(later > 0, 0x80, 0)).astype(np.uint8)
    return bytes(octets[keep])


def deflate(*parts: bytes) -> str:
    """Join `parts`, each behind its length (4 bytes, little-endian), deflate them, and write them in base64."""
    framed = b"".join(len(part).to_bytes(4, "little") + part for part in parts)
    # For small noisy numbers the strategy "filtered" packs 4 % tighter, and level 9 takes five times as long for 2 %.
    packer = zlib.compressobj(level=7, strategy=zlib.Z_FILTERED)
    return base64.b64encode(packer.compress(framed) + packer.flush()).decode("ascii")
