"""Layers of a small causal network, in numpy: what signatures are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from qad_dl import floats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Number = TypeVar("Number", np.float32, np.float64)


class Convolution(NamedTuple):
    """One causal convolution over the course of the evidence, added to what it reads.

    Attributes:
        taps: [3, D, D], the newest tick last.
        bias: [D].
        dilation: ticks between taps.
    """

    taps: NDArray[np.float32]
    bias: NDArray[np.float32]
    dilation: int

    def lags(self) -> list[int]:
        """How many ticks before a tick each tap reads, in the order of `taps`."""
        return [back * self.dilation for back in range(len(self.taps) - 1, -1, -1)]

    def before(self, h: NDArray[np.float32], here: NDArray[np.int64], there: NDArray[np.int64]) -> NDArray[np.float32]:
        """Before the nonlinearity, [n, |there|, D]; what lies before the first tick is zero.

        Args:
            h: [n, |here|, D] what is read, at the ticks `here`, ascending.
            here: holds every tick that is read for `there`.
            there: the ticks that are wanted, ascending.
        """
        out: NDArray[np.float32] = some_ticks(h, np.searchsorted(here, there)) @ self.taps[-1]
        out += self.bias
        for lag, tap in zip(self.lags()[-2::-1], self.taps[-2::-1], strict=True):
            first = int(np.searchsorted(there, lag))
            if first < len(there):
                out[:, first:] += some_ticks(h, np.searchsorted(here, there[first:] - lag)) @ tap
        return out

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; `from_json` is the inverse."""
        return {"taps": floats.to_json(self.taps), "bias": floats.to_json(self.bias), "dilation": self.dilation}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Convolution:
        """Read what `to_json` wrote."""
        return cls(floats.from_json(data["taps"]), floats.from_json(data["bias"]), int(data["dilation"]))


def some_ticks(h: NDArray[np.float32], at: NDArray[np.int64]) -> NDArray[np.float32]:
    """Some ticks of [n, T, D]; nothing is copied where they follow each other."""
    if len(at) and at[-1] - at[0] == len(at) - 1:
        return h[:, at[0] : at[-1] + 1]
    return h[:, at]


def silu(x: NDArray[Number]) -> NDArray[Number]:
    """The nonlinearity, x / (1 + exp -x)."""
    out = _sigmoid(x)
    out *= x
    return out


def silu_slope(x: NDArray[Number]) -> NDArray[Number]:
    """Derivative of `silu`."""
    gate = _sigmoid(x)
    return gate * (1 + x * (1 - gate))


def _sigmoid(x: NDArray[Number]) -> NDArray[Number]:
    out = np.negative(x)
    with np.errstate(over="ignore"):  # 1 / (1 + inf) is the 0 that is meant
        np.exp(out, out=out)
    out += 1
    np.reciprocal(out, out=out)
    return out


def softmax(x: NDArray[Number]) -> NDArray[Number]:
    """Over the last axis."""
    out = np.exp(x - x.max(axis=-1, keepdims=True))
    out /= out.sum(axis=-1, keepdims=True)
    return np.asarray(out)
