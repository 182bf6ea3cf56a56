"""Scores of a bundle on the days after its training, kept with what the figures need of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.backtest import run_backtest
from qad_dl.metrics.figures import BUDGETS
from qad_dl.results import Results
from qad_dl.scorer import Scorer
from qad_dl.store import Store
from qad_dl.timeparse import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from training.quality.parts import Made

PIECE_DAYS: Final = 12
"""Days scored at once: bounds the memory, has no influence on any score."""

RATES: Final = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""Budgets at which the realised rate is looked at; those of the measures are among them."""

FILE: Final = "scores.npz"

ABSENT: Final = {
    "score": np.nan,
    "alone": np.nan,
    "flagged": False,
    "reason": 1,
    "known": False,
    "expected": False,
    "state": -1,
    "direction": 0,
    "kind": -1,
}
"""What the arrays of results say where a series is not known yet; `reason` 1 is too_short."""


@dataclass(frozen=True)
class Scored:
    """Scores with the decision at several budgets.

    Attributes:
        results: `flagged` is set at the middle budget, 0.01.
        flags: [N, T] bool by budget, for all of `RATES`.
    """

    results: Results
    flags: Mapping[float, NDArray[np.bool_]]


def make_scores(place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """Backtest [start, end) of a world with a bundle: `inputs` has the times, `made` the world and then the bundle."""
    world, bundle = made.values()
    scorer, store = Scorer.load(bundle.place / "bundle"), Store.open(world.place / "store")
    start, end = (parse_time(str(inputs[k]), k) for k in ("start", "end"))
    pieces = [backtest(store, scorer, a, b) for a, b in pieces_of(start, end)]
    scored = joined(pieces)
    save(place / FILE, scored)
    return {"scored": int((scored.results.reason == 0).sum()), "threshold": scored.results.threshold}


def pieces_of(start: np.datetime64, end: np.datetime64, days: int = PIECE_DAYS) -> Iterator[tuple[Any, Any]]:
    """[start, end) cut into stretches of at most so many days."""
    while start < end:
        stop = min(start + np.timedelta64(days, "D"), end)
        yield start, stop
        start = stop


def backtest(
    store: Store, scorer: Scorer, start: np.datetime64, end: np.datetime64, queues: Sequence[str] = ()
) -> Scored:
    """Score a range, of some queues or of all, and decide at every budget of `RATES`.

    The decision at another budget costs no second backtest as long as it is one threshold; this is checked, and where
    it is more than that the range is scored once for each budget.
    """
    middle = BUDGETS[1]
    results = run_backtest(store, scorer, start, end, middle, queues=queues)
    plain = {b: results.score >= scorer.bundle.detection.threshold(b) for b in RATES}
    if np.array_equal(plain[middle], results.flagged):
        return Scored(results, plain)
    others = {b: run_backtest(store, scorer, start, end, b, queues=queues).flagged for b in RATES if b != middle}
    return Scored(results, {**others, middle: results.flagged})


def arrays_of(results: Results) -> dict[str, NDArray[Any]]:
    """The arrays of results by name, [T] or [N, T]."""
    values = {f.name: getattr(results, f.name) for f in fields(results)}
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def joined(pieces: Sequence[Scored]) -> Scored:
    """Pieces one after the other; a series that a piece does not know yet is not known there."""
    series = tuple(sorted({key for piece in pieces for key in piece.results.series}))
    parts = [_spread(piece, series) for piece in pieces]
    arrays = [arrays_of(part.results) for part in parts]
    whole: dict[str, Any] = {name: np.concatenate([a[name] for a in arrays], axis=-1) for name in arrays[0]}
    flags = {b: np.concatenate([p.flags[b] for p in parts], axis=1) for b in RATES}
    return Scored(replace(parts[0].results, **whole), flags)


def _spread(piece: Scored, series: tuple[tuple[str, ...], ...]) -> Scored:
    results = piece.results
    if results.series == series:
        return piece
    place = {key: i for i, key in enumerate(results.series)}
    rows = np.array([place.get(key, -1) for key in series])

    def of(values: NDArray[Any], fill: Any) -> Any:
        return np.where((rows >= 0)[:, None], values[rows], np.array(fill, values.dtype))

    arrays: dict[str, Any] = {name: of(a, ABSENT[name]) for name, a in arrays_of(results).items() if a.ndim == 2}
    flags = {b: of(hot, False) for b, hot in piece.flags.items()}
    return Scored(replace(results, series=series, **arrays), flags)


def save(path: Path, scored: Scored) -> None:
    """Keep scores in one file, whatever fields results have; details are not kept."""
    arrays: dict[str, Any] = {**arrays_of(scored.results)}
    others = {f.name: getattr(scored.results, f.name) for f in fields(Results) if f.name not in arrays}
    text = json.dumps({name: value for name, value in others.items() if name != "details"})
    flags: dict[str, Any] = {f"flags {b:g}": hot for b, hot in scored.flags.items()}
    np.savez_compressed(path, text=np.array(text), **arrays, **flags)


def load(path: Path) -> Scored:
    """Read what `save` wrote."""
    with np.load(path) as file:
        others = {name: _tuples(value) for name, value in json.loads(str(file["text"])).items()}
        flags = {b: file[f"flags {b:g}"] for b in RATES}
        arrays = {name: file[name] for name in file.files if name != "text" and not name.startswith("flags ")}
    return Scored(Results(**others, **arrays), flags)


def _tuples(value: Any) -> Any:
    """Lists of any depth as tuples."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
