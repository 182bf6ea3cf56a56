"""What incidents look like in the evidence: how much more likely it is under each kind than in normal life.

A residual says that something is odd; which states are odd together, and in which order, says whether it is an
incident. Jobs that wait and do not start are pilots; a user's large submission raises the same waiting jobs while
starting goes on. The kinds are those of docs/interfaces.md, section 3; the numbers are learned from simulated
incidents, which act on the mechanism of a queue (`training.signatures`), and are the same for every bundle.

    f_t   evidence of the known states in all channels, in units of its own healthy spread, clipped
    h     silu(f W + b)                                      one layer per tick
    h_t   h_t + silu(sum over k < 3 of h at t - k d, times W_k, + b)       causal convolutions, one per dilation d
    r     h V + c                                            ln of p(f | kind) / p(f | normal life), one per kind
    L     ln sum over kinds of exp r                         the statistic that is calibrated, less a constant in the
                                                             day after a queue was away (`Healthy.recovering`)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl import floats
from qad_dl.healthy import NOT_KNOWN, Healthy
from qad_dl.layers import Convolution, silu, silu_slope, softmax, some_ticks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

SHIPPED: Final = "signatures.json"
"""The file that comes with the package; `make signatures` learns it again."""

SHIPPED_LINEAR: Final = "signatures_linear.json"
"""Likewise: for errors of which it is not said how sure the network is."""

OWN: Final = "own"
"""After the horizon and the weight of a channel: of errors in units of the network's own spread."""

DOUBT: Final = "doubt"
"""Likewise: of how unsure the network is of the tick (`scoring.doubts_of`)."""

ChannelName = tuple[int, float] | tuple[int, float, str]
"""(horizon in ticks, weight), or with `OWN` or `DOUBT` after them."""

MIN_STATES: Final = 8
"""With fewer of the states that were learned from, what is missing would be taken for quiet: no signatures then."""


ROWS: Final = 4096
"""Ticks that go through the network together, of some series: they should stay in the processor's cache."""

ODD: Final = 4
"""Of `healthy.SURVIVAL_SCORES`: a tenth of normal ticks."""

WAY: Final = (0.125, 0.375, 0.625, 0.875)
"""Places on the way from a tick that shows nothing to what it shows, at which is asked what adds to the statistic."""


@dataclass(frozen=True)
class Signatures:
    """A small causal network from the course of the evidence to log-likelihood ratios.

    Attributes:
        states: names of the S states that it reads.
        channels: (ticks hidden, weight of the newest error) of the P channels that it reads, some with more after them.
        kinds: names of the K kinds of incident.
        clip: evidence beyond this is clipped.
        enter: W [P S, D] and enter_bias: b [D]; inputs are channel by channel.
        enter_bias: see enter.
        course: the convolutions, in order.
        leave: V [D, K] and leave_bias: c [K].
        leave_bias: see leave.
        healthy: what the statistic does in normal life.
    """

    states: tuple[str, ...]
    channels: tuple[ChannelName, ...]
    kinds: tuple[str, ...]
    clip: float
    enter: NDArray[np.float32]
    enter_bias: NDArray[np.float32]
    course: tuple[Convolution, ...]
    leave: NDArray[np.float32]
    leave_bias: NDArray[np.float32]
    healthy: Healthy = NOT_KNOWN

    @property
    def reach(self) -> int:
        """Ticks before a tick whose evidence it reads."""
        return sum((len(c.taps) - 1) * c.dilation for c in self.course)

    @property
    def course_ticks(self) -> tuple[int, ...]:
        """How many ticks before a tick each convolution reads."""
        return tuple(max(c.lags()) for c in self.course)

    def fits(self, states: Sequence[str], channels: Sequence[ChannelName], longest: int) -> bool:
        """Whether this evidence can be read: all channels, `MIN_STATES` of the states, and at most `longest` ticks."""
        enough = len(set(states) & set(self.states)) >= MIN_STATES
        return tuple(channels) == self.channels and enough and self.reach <= longest

    def log_ratios(self, evidence: NDArray[np.float32], states: Sequence[str]) -> NDArray[np.float32]:
        """Ln p(evidence | kind) / p(evidence | normal life): [N, T, K] of scaled evidence [N, T, P, S'].

        Right from tick `reach` on; before it, what lies before the first tick is taken for quiet.

        Args:
            evidence: finite, in units of its own healthy spread.
            states: names of its S' states; those that were not learned are not read.
        """
        out = np.empty((*evidence.shape[:2], len(self.kinds)), np.float32)
        for some in _blocks(*evidence.shape[:2]):
            last, _ = self._through(self._inputs(evidence[some], states), 0)
            out[some] = last @ self.leave + self.leave_bias
        return out

    def read(
        self, evidence: NDArray[np.float32], states: Sequence[str], since: int = 0
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The log-likelihood ratios of the ticks from `since` on, and what each state adds to the statistic L there.

        The second is the input times the mean gradient on the way to it from a tick that shows nothing (integrated
        gradients; Sundararajan, Taly and Yan 2017), summed over channels: states share what the tick adds to L. The
        gradient where the way ends would be none in the middle of a burst, where more of it would change nothing. 0
        where L is so low that normal life is as odd in a tenth of its ticks, since there is nothing to explain. The
        evidence of a tick holds its history already; what earlier ticks give to the convolutions stays as it is.

        Args:
            evidence: as in `log_ratios`, [N, T, P, S'].
            states: names of its states.
            since: the first tick to give; those before it are read.

        Returns:
            [N, T - since, K] and [N, T - since, S'] float32.
        """
        n, t = evidence.shape[0], evidence.shape[1] - since
        ratios, pull = np.empty((n, t, len(self.kinds)), np.float32), np.empty((n, t, len(states)), np.float32)
        for some in _blocks(n, t + self.reach // 4):
            f = self._inputs(evidence[some], states)
            last, entered = self._through(f, since)
            ratios[some] = last @ self.leave + self.leave_bias
            pull[some] = self._pull(f[:, since:], entered, ratios[some], states)
        return ratios, pull

    def follow(
        self, evidence: NDArray[np.float32], states: Sequence[str], course: Sequence[NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], list[NDArray[np.float32]]]:
        """`read` of one tick more, where what the convolutions read of the ticks before it is known.

        Args:
            evidence: of the tick, [N, 1, P, S'].
            states: names of its states.
            course: for each convolution what `follow` or `course_of` gave at its lags before the tick, [N, lags, D].

        Returns:
            As `read`, [N, 1, K] and [N, 1, S']; and for each convolution what it reads of this tick, [N, 1, D].
        """
        f = self._inputs(evidence, states)
        entered, read = [f @ self.enter + self.enter_bias], []
        h = silu(entered[0])
        for convolution, before in zip(self.course, course, strict=True):
            read.append(h)
            x = h @ convolution.taps[-1]
            x += convolution.bias
            for i, tap in reversed(list(enumerate(convolution.taps[:-1]))):
                x += before[:, i, None] @ tap
            entered.append(x)
            h = h + silu(x)
        ratios = h @ self.leave + self.leave_bias
        return ratios, self._pull(f, entered, ratios, states), read

    def course_of(self, evidence: NDArray[np.float32], states: Sequence[str]) -> list[NDArray[np.float32]]:
        """What each convolution reads of the last tick and of `course_ticks` before it, [N, ticks + 1, D].

        Args:
            evidence: as in `log_ratios`, [N, T, P, S'], of `reach` + 1 ticks or more.
            states: names of its states.
        """
        ticks = np.arange(evidence.shape[1])
        h = silu(self._inputs(evidence, states) @ self.enter + self.enter_bias)
        read = []
        for convolution, reaches in zip(self.course, self.course_ticks, strict=True):
            read.append(h[:, -reaches - 1 :])
            h = h + silu(convolution.before(h, ticks, ticks))
        return read

    def _pull(
        self,
        f: NDArray[np.float32],
        entered: Sequence[NDArray[np.float32]],
        ratios: NDArray[np.float32],
        states: Sequence[str],
    ) -> NDArray[np.float32]:
        """What each state adds to L, see `read`, [n, t, S']; of inputs [n, t, P S] and what entered the layers."""
        pull = np.zeros((*f.shape[:2], len(states)), np.float32)
        at = np.nonzero(any_kind(ratios) >= self.healthy.values[ODD])
        if len(at[0]):
            slope = self._slope([x[at] for x in entered])
            added = (slope * f[at]).reshape(-1, len(self.channels), len(self.states)).sum(axis=1)
            known = [k for k, state in enumerate(self.states) if state in states]
            pull[at[0][:, None], at[1][:, None], [states.index(self.states[k]) for k in known]] = added[:, known]
        # The last bits depend on how many ticks went through together; without them, ties fall alike everywhere.
        return np.round(pull, 4, out=pull)

    def _slope(self, entered: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
        """Mean gradient of L by the inputs of ticks on the way to them, [m, P S], of what entered each layer [m, D].

        In double precision: how many ticks are odd is a matter of all series together, and a product rounds by it.
        """
        first, *others = (x.astype(np.float64) for x in entered)
        h, earlier = silu(first), []
        for convolution, x in zip(self.course, others, strict=True):
            earlier.append(x - h @ convolution.taps[-1])
            h = h + silu(x)
        out = np.zeros_like(first)
        for part in WAY:
            x = self.enter_bias + part * (first - self.enter_bias)
            h, slopes = silu(x), [silu_slope(x)]
            for convolution, rest in zip(self.course, earlier, strict=True):
                x = rest + h @ convolution.taps[-1]
                h = h + silu(x)
                slopes.append(silu_slope(x))
            slope = softmax(h @ self.leave + self.leave_bias) @ self.leave.T
            for convolution, one in zip(reversed(self.course), reversed(slopes[1:]), strict=True):
                slope = slope + (slope * one) @ convolution.taps[-1].T
            out += slope * slopes[0]
        mean: NDArray[np.float64] = (out / len(WAY)) @ self.enter.T
        return mean

    def _inputs(self, evidence: NDArray[np.float32], states: Sequence[str]) -> NDArray[np.float32]:
        """[n, T, P S] clipped, of [n, T, P, S']; 0 where a state is not there."""
        if tuple(states) == self.states:
            return np.clip(evidence, -self.clip, self.clip, order="C").reshape(*evidence.shape[:2], -1)
        f = np.zeros((*evidence.shape[:3], len(self.states)), np.float32)
        for k, state in enumerate(self.states):
            if state in states:
                f[..., k] = evidence[..., states.index(state)]
        return np.clip(f, -self.clip, self.clip, out=f).reshape(*f.shape[:2], -1)

    def _through(self, f: NDArray[np.float32], since: int) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """What the last layer gives, and what entered each layer's nonlinearity, at the ticks from `since` on.

        Of each layer only those ticks are computed that the newest read: of a single tick a seventh of them all.
        """
        places, newest = self._places(f.shape[1], since), f.shape[1] - since
        x = some_ticks(f, places[0]) @ self.enter
        x += self.enter_bias
        h, entered = silu(x), [x[:, -newest:]]
        for convolution, here, there in zip(self.course, places[:-1], places[1:], strict=True):
            x = convolution.before(h, here, there)
            h = some_ticks(h, np.searchsorted(here, there)) + silu(x)
            entered.append(x[:, -newest:])
        return h, entered

    def _places(self, n_ticks: int, since: int) -> list[NDArray[np.int64]]:
        """The ticks at which each layer is wanted, ascending, from the first layer to the last."""
        places = [np.arange(since, n_ticks)]
        for convolution in reversed(self.course):
            wanted = np.zeros(n_ticks, np.bool_)
            for lag in convolution.lags():
                wanted[places[0][places[0] >= lag] - lag] = True
            places.insert(0, np.flatnonzero(wanted))
        return places

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; `from_json` is the inverse."""
        return {
            "states": list(self.states),
            "channels": [list(c) for c in self.channels],
            "kinds": list(self.kinds),
            "clip": self.clip,
            **{name: floats.to_json(getattr(self, name)) for name in ("enter", "enter_bias", "leave", "leave_bias")},
            "course": [c.to_json() for c in self.course],
            "healthy": self.healthy.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Signatures:
        """Read what `to_json` wrote."""
        enter, enter_bias, leave, leave_bias = (
            floats.from_json(data[n]) for n in ("enter", "enter_bias", "leave", "leave_bias")
        )
        return cls(
            states=tuple(data["states"]),
            channels=tuple((int(h), float(w), *own) for h, w, *own in data["channels"]),
            kinds=tuple(data["kinds"]),
            clip=float(data["clip"]),
            enter=enter,
            enter_bias=enter_bias,
            course=tuple(Convolution.from_json(c) for c in data["course"]),
            leave=leave,
            leave_bias=leave_bias,
            healthy=Healthy.from_json(data["healthy"]),
        )


def shipped_signatures(name: str = SHIPPED) -> Signatures:
    """Those that come with the package: `SHIPPED` or `SHIPPED_LINEAR`."""
    return Signatures.from_json(json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8")))


def all_shipped() -> tuple[Signatures, ...]:
    """All that come with the package, the default ones first."""
    return shipped_signatures(), shipped_signatures(SHIPPED_LINEAR)


def any_kind(log_ratios: NDArray[np.float32]) -> NDArray[np.float32]:
    """L = ln of the sum over kinds, [...] of [..., K]."""
    by_kind = np.ascontiguousarray(np.moveaxis(log_ratios, -1, 0))  # over a short last axis numpy is slow
    top = by_kind.max(axis=0)
    total: NDArray[np.float32] = top + np.log(np.exp(by_kind - top).sum(axis=0))
    return total


def _blocks(series: int, ticks: int) -> list[slice]:
    """Series that go through the network together.

    A product has the rows of one series, however many go together: in its last bit, what it says of a row depends on
    the rows beside it.
    """
    step = max(1, ROWS // max(1, ticks))
    return [slice(i, i + step) for i in range(0, series, step)]
