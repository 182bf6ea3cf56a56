"""The pictures of the page, as SVG that is the same for the same figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from training.quality.tables import kind_matrix
from training.quality.verdicts import rate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from training.quality.reader import Reader

HIGHLIGHT: Final = {"default": "#b2182b", "hindsight": "#000000", "peer ridge": "#2166ac", "peer rule": "#1a9850"}
OTHERS: Final = "#bbbbbb"
LONGEST_MIN: Final = 360
"""Delays beyond this are off the picture."""


def seen_curves(reader: Reader, path: Path) -> bool:
    """Share seen over the budget, one panel a world: hindsight, the model, the peers."""
    worlds = [w for w in reader.worlds if reader.facts(w) and reader.model(w)]
    if not worlds:
        return False
    figure, axes = _panels(len(worlds))
    for axis, world in zip(axes, worlds, strict=True):
        curves = {f"peer {p}": (reader.peer(world, p) or {}).get("curve") for p in reader.peers}
        facts, model = reader.facts(world), reader.model(world)
        curves |= {"hindsight": facts and facts["hindsight"], "default": model and model["curve"]}
        for name, curve in curves.items():
            _curve(axis, name, curve)
        axis.set(title=world, xscale="log", xlabel="false episodes per queue and day", ylim=(0, 1))
    axes[0].set_ylabel("incidents seen")
    named = dict(zip(*reversed(axes[-1].get_legend_handles_labels()), strict=True))  # the grey ones once
    figure.legend(named.values(), named.keys(), loc="outside right upper", fontsize=7)
    return _save(figure, path)


def _curve(axis: Any, name: str, curve: dict[str, float | None] | None) -> None:
    points = sorted((float(b), seen) for b, seen in (curve or {}).items() if seen is not None)
    if points:
        label = name if name in HIGHLIGHT else "other peers"
        axis.plot(*zip(*points, strict=True), "-o", ms=3, color=HIGHLIGHT.get(name, OTHERS), label=label)


def delay_distribution(reader: Reader, path: Path) -> bool:
    """Share of all incidents that are seen within a time, at 0.01."""
    models = {w: reader.model(w) for w in reader.worlds}
    if not any(models.values()):
        return False
    figure, (axis,) = _panels(1)
    for world, model in models.items():
        delays = list(model["delays_min"].values()) if model else []
        waits = sorted(d for d in delays if d is not None)
        if waits:
            shares = [i / len(delays) for i in range(len(waits) + 1)]
            axis.step([0, *waits, LONGEST_MIN], [*shares, shares[-1]], where="post", label=world)
    axis.axvline(30, color=OTHERS, lw=1)
    axis.set(xlabel="minutes after the start", ylabel="share of all incidents seen", xlim=(0, LONGEST_MIN), ylim=(0, 1))
    axis.legend(fontsize=7)
    return _save(figure, path)


def reliability(reader: Reader, path: Path) -> bool:
    """Realised rate over the budget that was asked for."""
    named = {**{w: reader.model(w) for w in reader.worlds}, "no incidents": reader.model("quiet")}
    named["RICC"] = reader.result("measure/ricc/default/1")
    if not any(named.values()):
        return False
    figure, (axis,) = _panels(1)
    ends: tuple[list[float], list[float]] = ([1e-3, 1], [1e-3, 1])
    axis.fill_between(ends[0], [0.5e-3, 0.5], [2e-3, 2], color="#eeeeee")
    axis.plot(*ends, color=OTHERS, lw=1)
    for name, model in named.items():
        if model:
            points = sorted((float(b), rate([model], b) or 0.0) for b in model["realised"])
            axis.plot(*zip(*points, strict=True), "-o", ms=3, label=name)
    axis.set(xscale="log", xlabel="budget", ylabel="false episodes per healthy queue-day")
    axis.set_yscale("log", nonpositive="clip")
    axis.legend(fontsize=7)
    return _save(figure, path)


def kind_confusion(reader: Reader, path: Path) -> bool:
    """What incidents are, and what they are told as."""
    matrix = kind_matrix(reader)
    if not matrix:
        return False
    told = sorted({*matrix, *(k for row in matrix.values() for k in row)})  # the same order, so that right is diagonal
    kinds = list(matrix)
    figure, (axis,) = _panels(1)
    shares = [[matrix[k].get(t, 0) / sum(matrix[k].values()) for t in told] for k in kinds]
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, kind in enumerate(kinds):
        for j, name in enumerate(told):
            if matrix[kind].get(name):
                color = "white" if shares[i][j] > 0.5 else "black"
                axis.text(j, i, matrix[kind][name], ha="center", va="center", fontsize=7, color=color)
    axis.set_xticks(range(len(told)), told, rotation=60, ha="right", fontsize=7)
    axis.set_yticks(range(len(kinds)), kinds, fontsize=7)
    axis.set(xlabel="told as", ylabel="is")
    return _save(figure, path)


def _panels(number: int) -> tuple[Any, Any]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.0 + 4.2 * number, 4.0), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, list(figure.subplots(1, number, squeeze=False)[0])


def _save(figure: Any, path: Path) -> bool:
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "qad"}):  # names inside the file would else differ from run to run
        figure.savefig(path, metadata={"Date": None})
    return True


PICTURES: Final[dict[str, Callable[[Reader, Path], bool]]] = {
    "seen-by-budget": seen_curves,
    "delays": delay_distribution,
    "realised-rate": reliability,
    "kinds": kind_confusion,
}
"""name -> draws it to a path; False where there is nothing to draw."""
