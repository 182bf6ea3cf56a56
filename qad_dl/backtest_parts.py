"""A backtest in parts: ranges of whole days, and within each some series at a time where several workers share it.

A range is read from the store with one lookback before it, so that each worker reads its own days. Where the ranges
are cut depends on the range that was asked for alone, and which series are scored together has no influence on any
score: so the numbers of one core and of any number of workers are the same to the last bit.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.apart import Apart
from qad_dl.backtest import check_range, chosen_series, read_grid, series_field
from qad_dl.cluster import PARTS_PER_THREAD, kept
from qad_dl.errors import ClusterError, ConfigError
from qad_dl.gathering import ROW_FIELDS
from qad_dl.histories import open_history
from qad_dl.scorer import SERIES_BLOCK, Scorer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.cluster import Workers
    from qad_dl.grid import Grid
    from qad_dl.histories import History
    from qad_dl.results import Results

PIECE_DAYS: Final = 28
"""Longest range that is scored at once. A quarter more is read than in one go (a lookback of 7 days), a thirtieth
more is run through the model (the evidence before the first tick), and memory does not grow with the range."""


@dataclass(frozen=True)
class Asked:
    """What is to be scored.

    Attributes:
        start: first tick.
        end: one past the last.
        budget: false alarm episodes per series and day; 0.01 if None.
        details: also give the per-state arrays.
        queues: give only these, all if there are none.
    """

    start: np.datetime64
    end: np.datetime64
    budget: float | None = None
    details: bool = False
    queues: tuple[str, ...] = ()


@dataclass(frozen=True)
class Share:
    """Results of some series of a range, each judged by itself.

    Attributes:
        places: [n] their positions among the series of the range that are scored.
        apart: of them.
    """

    places: NDArray[np.int64]
    apart: Apart


def backtest_pieces(
    store: History, scorer: Scorer, bundle: Path, asked: Asked, workers: Workers | None = None
) -> Iterator[Results]:
    """Score every tick of a range as `backtest.run_backtest` does, piece by piece in the order of time.

    Args:
        store: history and metadata.
        scorer: the bundle.
        bundle: its folder.
        asked: what is to be scored.
        workers: who does it; this process if not given.

    Raises:
        InputError: the store has no tick in the range.
        ConfigError: the range is empty, or a queue is not known.
        ClusterError: see `cluster.Workers.run`.
    """
    check_range(store, asked.start, asked.end)
    field = series_field(scorer.bundle.preprocess.entity)
    _check_queues(asked.queues, field, _names(store, field, asked.end))
    pieces = time_pieces(asked.start, asked.end)
    if workers is None:
        done = _here(store, scorer, pieces, asked)
    else:
        done = _there(store, scorer, bundle, pieces, asked, workers)
    found: set[str] = set()
    for results in done:
        found.update(key[results.entity.index(field)] for key in results.series)
        yield results
    _check_queues(asked.queues, field, found)


def time_pieces(start: np.datetime64, end: np.datetime64) -> list[tuple[np.datetime64, np.datetime64]]:
    """[start, end) in ranges of at most `PIECE_DAYS` days, about equally long, cut at midnight UTC."""
    return cut_days(start, end, ceil(_days(start, end) / PIECE_DAYS))


def cut_days(start: np.datetime64, end: np.datetime64, number: int) -> list[tuple[np.datetime64, np.datetime64]]:
    """[start, end) in so many ranges of about as many days, cut at midnight UTC; no more than it has days."""
    first, days = start.astype("datetime64[D]"), _days(start, end)
    number = min(number, days)
    cuts = [(first + days * i // number).astype("datetime64[s]") for i in range(1, number)]
    edges = [start.astype("datetime64[s]"), *cuts, end.astype("datetime64[s]")]
    return list(itertools.pairwise(edges))


def _days(start: np.datetime64, end: np.datetime64) -> int:
    """UTC days that [start, end) touches."""
    first, last = start.astype("datetime64[D]"), (end - np.timedelta64(1, "s")).astype("datetime64[D]")
    return int((last - first).astype(np.int64)) + 1


def score_share(
    store: str, bundle: tuple[Path, str], asked: Asked, share: tuple[int, int], seen: dict[str, int]
) -> Share:
    """On a worker: score a share of the series of one range.

    Args:
        store: address of the history.
        bundle: folder and name of the bundle.
        asked: one range.
        share: its number and how many there are.
        seen: what `History.versions` said of the range where it was asked for.
    """
    scorer = kept("scorer", bundle, lambda: _same_bundle(*bundle))
    opened = open_history(store)
    _same_store(opened, asked, seen)
    grid = kept("grid", (store, bundle, asked.start, asked.end), lambda: _grid(opened, scorer, asked))
    return _score(opened, scorer, grid, asked, share)


def _here(store: History, scorer: Scorer, pieces: Sequence[Any], asked: Asked) -> Iterator[Results]:
    """Do it in this process."""
    for piece in (_of(asked, *piece) for piece in pieces):
        yield scorer.together(_score(store, scorer, _grid(store, scorer, piece), piece).apart, store.metadata())


def _there(
    store: History, scorer: Scorer, bundle: Path, pieces: Sequence[Any], asked: Asked, workers: Workers
) -> Iterator[Results]:
    """Let workers do it; a piece is given as soon as all of it and of those before it is there."""
    field = series_field(scorer.bundle.preprocess.entity)
    names = _names(store, field, asked.end)
    blocks = ceil(len(names if scorer.bundle.calibration.shared else asked.queues or names) / SERIES_BLOCK)
    shares = min(max(blocks, 1), ceil(PARTS_PER_THREAD * workers.threads / len(pieces)))
    address, known = store.address, (bundle.absolute(), scorer.bundle.name)
    parts = [
        (address, known, piece, (share, shares), store.versions(_before(store, scorer, piece.start), piece.end))
        for piece in (_of(asked, *piece) for piece in pieces)
        for share in range(shares)
    ]
    waiting: dict[int, list[Share]] = {number: [] for number in range(len(pieces))}
    for number, made in workers.run(score_share, parts, (address, known[0]), "scoring"):
        waiting[number // shares].append(made)
        while waiting and len(next(iter(waiting.values()))) == shares:
            shared = waiting.pop(next(iter(waiting)))
            whole = Apart.joined([(share.apart, share.places) for share in shared])
            del shared  # nor is the whole kept while the next piece is made: a piece may be gigabytes
            yield scorer.together(whole, store.metadata())


def _of(asked: Asked, start: np.datetime64, end: np.datetime64) -> Asked:
    """The same for another range."""
    return Asked(start, end, asked.budget, asked.details, asked.queues)


def _before(store: History, scorer: Scorer, start: np.datetime64) -> np.datetime64:
    """From when on the history is read to score what begins at `start`."""
    return start - scorer.bundle.preprocess.plan.lookback * store.tick.delta


def _grid(store: History, scorer: Scorer, asked: Asked) -> Grid:
    """The grid of one range, the lookback before it included."""
    start = store.tick.range(asked.start, asked.end)[0]
    return read_grid(store, scorer.bundle.preprocess, start, asked.end, store.metadata())


def _score(store: History, scorer: Scorer, grid: Grid, asked: Asked, share: tuple[int, int] = (0, 1)) -> Share:
    """Score a share of the series of a grid: every so manyth block of those with rows, then of the others."""
    wanted = _wanted(grid, asked)
    chosen = np.arange(len(grid.series)) if scorer.bundle.calibration.shared else wanted
    first = len(grid.times) - len(store.tick.range(asked.start, asked.end))
    retired = (grid.quiet[chosen, first:] >= scorer.bundle.preprocess.plan.lookback).all(axis=1)
    order = np.argsort(retired, kind="stable")
    mine = np.sort(order[np.arange(len(order)) // SERIES_BLOCK % share[1] == share[0]])
    given = (asked.budget, asked.details, wanted, chosen[mine])
    return Share(mine, scorer.score_apart(grid, store.metadata(), first, *given))


def _wanted(grid: Grid, asked: Asked) -> NDArray[np.int64]:
    """Positions of the series that are asked for; a range may not have all of them."""
    field = grid.entity.index(series_field(grid.entity))
    there = {key[field] for key in grid.series}
    queues = [queue for queue in asked.queues if queue in there]
    return chosen_series(grid, queues) if queues or not asked.queues else np.empty(0, np.int64)


def _names(store: History, field: str, end: np.datetime64) -> set[str]:
    """What `--queue` may name: the values of a field that the store knows up to the day of `end`."""
    dumps = store.metadata().dumps
    rows = store.known_series(end + np.timedelta64(1, "D"))
    if field == "panda_queue":
        return {key[0] for key in rows} | {queue for dump in dumps for queue in dump}
    if field in ROW_FIELDS:
        return {key[ROW_FIELDS.index(field)] for key in rows}
    return {record.get(field, "") for dump in dumps for record in dump.values()} | {""}


def _check_queues(queues: Sequence[str], field: str, names: set[str]) -> None:
    """Refuse a name that is no series."""
    for queue in queues:
        if queue not in names:
            msg = f"--queue {queue!r}: no such {field} in the history up to this time; its names are case-sensitive"
            raise ConfigError(msg)


def _same_bundle(path: Path, name: str) -> Scorer:
    """The bundle at a path, if it is the one that is meant. One thread: a core is what a part has."""
    scorer = Scorer.load(path, threads=1)
    if scorer.bundle.name != name:
        msg = f"{path}: is bundle {scorer.bundle.name} where a worker sees it, {name} for the client: give one for all"
        raise ClusterError(msg)
    return scorer


def _same_store(store: History, asked: Asked, seen: dict[str, int]) -> None:
    """Refuse a store that lacks what the client's has; one that has grown meanwhile may be read."""
    days = [np.datetime64(day, "D") for day in seen]
    if not days:
        return
    here = store.versions(min(days), max(days) + np.timedelta64(1, "D"))
    lacking = next((day for day, number in seen.items() if here.get(day, 0) < number), None)
    if lacking is not None:
        msg = (
            f"{store.name}: is another store where a worker sees it (day {lacking} is not the client's): "
            "give one on a file system that all share"
        )
        raise ClusterError(msg)
