"""How unsure a network is of a tick, against how unsure it usually is.

Of all series together: one that the network is unsure of is what they tell. A network that has learned for a minute is
surer or less sure of everything than one that has learned for ten; their deviations mean the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qad_dl.calibration import Errors
    from qad_dl.scoring import Evidence

DOUBT_LEAST: Final = 0.01
"""What doubts, ln of a ratio of spreads, differ by at the least: those of a network that learned nothing are alike."""

DOUBT_LEARNED: Final = 0.1
"""What they differ by in the mean where a network has learned of which ticks it cannot be sure: 0.25 to 0.6 after six
epochs of 300 queues, 0.01 to 0.02 after three of 30."""


def doubts_apart(
    how: Evidence, data: Errors, use: NDArray[np.bool_], spread: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Put what doubts differ by beside the spreads of errors, and say where doubts usually are.

    Args:
        how: which channels of the evidence are doubts.
        data: errors of the exported model, with its doubts behind them.
        use: [N, T] the ticks that count.
        spread: [ids, P, S] of the evidence; that of doubts is not looked at.

    Returns:
        The spreads of all channels, [ids, P, S], and `Calibration.centre`, [P, S]; what was given and None where there
        are no doubts.
    """
    doubts = [p for p, channel in enumerate(how.channels) if channel.doubt]
    if not doubts:
        return spread, None
    mean, apart = _of_all(how, data, use)
    wide = np.maximum(apart, DOUBT_LEAST)
    spread, centre = spread.copy(), np.zeros(spread.shape[1:], np.float32)
    spread[:, doubts], centre[doubts] = wide, mean / wide
    return spread, centre


def doubts_differ(how: Evidence, data: Errors, use: NDArray[np.bool_]) -> float:
    """What doubts differ by, the mean over their channels and the states; see `DOUBT_LEARNED`."""
    return float(_of_all(how, data, use)[1].mean())


def _of_all(how: Evidence, data: Errors, use: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean and standard deviation of doubts over all ticks in use, [2, D, S], channel by channel."""
    views = [channel.horizon for channel in how.channels if channel.doubt]
    total = np.zeros((2, len(views), data.z.shape[3]))
    for z, mine in zip(data.z, use, strict=True):  # a series at a time: all of them may not fit into memory
        values = z[:, views][mine].astype(np.float64)
        total += values.sum(axis=0), (values**2).sum(axis=0)
    mean, square = total / max(int(use.sum()), 1)
    return np.stack([mean, np.sqrt(np.maximum(square - mean**2, 0))])
