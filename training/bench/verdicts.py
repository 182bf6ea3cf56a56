"""What is needed, and whether it is reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SLOPE_SLACK: Final = 1.2
"""Growth counts as linear where a further series costs at most so many times what one cost between smaller sizes."""


@dataclass(frozen=True)
class Need:
    """A figure that is needed.

    Attributes:
        row: of the table.
        what: in words.
        unit: of the value.
        part: where it is measured; `LAST` stands for the largest size of the row.
        value: takes it out of what was measured; None where that is not there.
        most: the value must not be above it, or
        least: must not be below.
    """

    row: int
    what: str
    unit: str
    part: str
    value: Callable[[Mapping[str, Any]], float | None]
    most: float | None = None
    least: float | None = None

    def holds(self, value: float) -> bool:
        """Whether a value is what is needed."""
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)

    @property
    def wanted(self) -> str:
        """In words."""
        return (
            f"at most {self.most:g} {self.unit}".rstrip()
            if self.most is not None
            else f"at least {self.least:,.10g} {self.unit}"
        )


@dataclass(frozen=True)
class Verdict:
    """A figure that is needed, and what it is.

    Attributes:
        need: what is needed.
        value: measured; None where it has not been.
        products: the same in matrix products of the same run; None for what is no time.
        holds: whether it is reached; None where nothing is known.
    """

    need: Need
    value: float | None
    products: float | None
    holds: bool | None


def whole(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    """A figure of a whole process."""
    return _path("whole", name)


def _path(*names: str) -> Callable[[Mapping[str, Any]], float | None]:
    def value(result: Mapping[str, Any]) -> float | None:
        of: Any = result
        for name in names:
            of = of[name]
        return float(of)

    return value


def _trained(result: Mapping[str, Any]) -> float | None:
    """Seconds of a training that was not cut short."""
    return float(result["process"]["wall_s"]) if result["whole"] else None


def _loaded(result: Mapping[str, Any]) -> float | None:
    return 100 * float(result["loading_share"])


def _differing(result: Mapping[str, Any]) -> float | None:
    return float(result["flags"]) + float(result["reasons"])


def _against_pyod(result: Mapping[str, Any]) -> float | None:
    """Learning and scoring, PyOD's time over ours, on windows of what ours reads; ours is that of a whole training."""
    trained, theirs = result["trained"], result["windows"][-1]
    if trained is None or not trained["whole"]:
        return None
    ours = float(trained["process"]["cpu_s"]) / int(result["all_series"]) + float(result["ours_score_s"])
    return (float(theirs["learn_s"]) + float(theirs["score_s"])) / ours


def _range_against_pyod(result: Mapping[str, Any]) -> float | None:
    return float(result["windows"][-1]["score_s"]) / float(result["ours_score_s"])


def _tick_against_pyod(result: Mapping[str, Any]) -> float | None:
    """A tick of a queue, PyOD's time over ours, with the windows that it is faster with."""
    return min(float(one["tick_s"]) for one in result["windows"]) / float(result["ours_tick_s"])


def _largest(result: Mapping[str, Any]) -> float | None:
    return float(result["sizes"][-1]["times"])


NEEDS: Final = (
    Need(1, "a tick of the collector, 600 queues, whole process", "s", "row/1/collector", whole("wall_s"), most=1.0),
    Need(1, "its memory", "MB", "row/1/collector", whole("peak_mb"), most=200),
    Need(2, "a tick of 11,200 series, whole process", "s", "row/2/11200", whole("wall_s"), most=2.5),
    Need(2, "its memory", "MB", "row/2/11200", whole("peak_mb"), most=350),
    Need(3, "a tick of 100,000 series, whole process", "s", "row/3/100000", whole("wall_s"), most=20),
    Need(3, "its memory", "MB", "row/3/100000", whole("peak_mb"), most=1500),
    Need(
        4, "temporal convolution: ticks of a range", "/s and core", "row/4/tcn", _path("scoring", "range", "per_s"),
        least=15000,
    ),
    Need(4, "LSTM: ticks of a range", "/s and core", "row/4/lstm", _path("scoring", "range", "per_s"), least=5000),
    Need(5, "backtest of 300 queues and 11 days", "s", "row/5/backtest", whole("wall_s"), most=25),
    Need(6, "training on 300 queues and 24 days", "s", "row/6/training", _trained, most=600),
    Need(6, "its time in cutting batches", "%", "row/6/training", _loaded, most=5),
    Need(7, "importing 40 million rows", "s", "row/7/import", whole("wall_s"), most=40),
    Need(7, "reading 24 days of 300 queues as a grid", "s", "row/7/read", _path("wall_s"), most=2),
    Need(7, "its memory over that of the grid", "times", "row/7/read", _path("over_grid"), most=4),
    Need(8, "QMonit's own way of deriving its averages, over ours", "times", "row/8/averages", _largest, least=50),
    Need(8, "PyOD's autoencoders over ours: a tick", "times", "row/8/pyod", _tick_against_pyod, least=5),
    Need(8, "and a range, on windows of what ours reads", "times", "row/8/pyod", _range_against_pyod, least=5),
    Need(8, "and with learning", "times", "row/8/pyod", _against_pyod, least=5),
    Need(8, "PyTorch over onnxruntime, the same network", "times", "row/8/eager", _path("times"), least=1.2),
    Need(9, "most that a score from what was kept is off a backtest's", "", "row/9/same", _path("worst"), most=1e-5),
    Need(9, "flags and reasons that differ", "", "row/9/same", _differing, most=0),
)  # fmt: skip


def verdicts(results: Mapping[str, Mapping[str, Any] | None]) -> list[Verdict]:
    """Every figure that is needed, and the growth of row 3."""
    return [*(_verdict(need, results.get(need.part)) for need in NEEDS), _linear(results)]


def _verdict(need: Need, result: Mapping[str, Any] | None) -> Verdict:
    value = None if result is None else need.value(result)
    if result is None or value is None:
        return Verdict(need, None, None, holds=None)
    unit = result["product"]["least_s"] if need.unit == "s" and "product" in result else None
    return Verdict(need, value, value / unit if unit else None, holds=need.holds(value))


def _linear(results: Mapping[str, Mapping[str, Any] | None]) -> Verdict:
    """What a further series costs between the two largest sizes over what it costs below them."""
    need = Need(
        3,
        "a further series among the largest sizes over one among the smallest",
        "times",
        "row/3/*",
        _none,
        most=SLOPE_SLACK,
    )
    sizes = reached(results)
    if len(sizes) < 3:
        return Verdict(need, None, None, holds=None)
    costs = [(float(r["number"]), float(r["whole"]["least_cpu_s"])) for r in sizes]
    (n0, small), (n1, large), (n2, largest) = costs[0], costs[-2], costs[-1]
    value = (largest - large) / (n2 - n1) / ((large - small) / (n1 - n0))
    return Verdict(need, value, None, holds=need.holds(value))


def reached(results: Mapping[str, Mapping[str, Any] | None]) -> list[Mapping[str, Any]]:
    """What was measured of row 3, the smallest first."""
    found = [r for name, r in results.items() if name.startswith("row/3/") and r and "number" in r]
    return sorted(found, key=lambda r: float(r["number"]))


def _none(_result: Mapping[str, Any]) -> float | None:
    return None
