"""Score the ticks that are new, with every bundle of the config."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from qad_dl.backtest import read_grid
from qad_dl.bundles import label_of
from qad_dl.errors import BundleError, ConfigError
from qad_dl.one_tick import score_kept
from qad_dl.scorer import Scorer
from qad_dl.tuning.file import tune_of, tuned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from qad_dl.metadata import Metadata, Record
    from qad_dl.novel import Novel
    from qad_dl.results import Results
    from qad_dl.store import Store
    from qad_dl.tuning.file import Tune
    from serving.state import State

THREADS = 1
"""Threads that score: a tick is short enough, and the host is not ours alone."""


class Scored(NamedTuple):
    """What one bundle says of the new ticks.

    Attributes:
        path: folder of the bundle.
        name: hash of the bundle, as in score files.
        results: scores of the new ticks, with details; flagged as tuned.
        metadata: what holds in the range of its grid.
        known: the (panda_queue, prod_source, resource) that have had rows.
        unknown: what the bundle was not trained on, at the newest tick.
        tune: what is tuned for the bundle; None where nothing is, or where that is refused.
    """

    path: Path
    name: str
    results: Results
    metadata: Metadata
    known: frozenset[tuple[str, str, str]]
    unknown: Novel
    tune: Tune | None = None

    @property
    def records(self) -> Mapping[str, Record]:
        """Metadata of the queues at the newest tick."""
        return self.metadata.at(self.results.times[-1])

    @property
    def label(self) -> str:
        """What people call the bundle: the name of its folder, or of the folder of bundles of which it is in use."""
        return label_of(self.path)


class Evaluation(NamedTuple):
    """What all bundles say.

    Attributes:
        scored: one for each bundle that could be used.
        invalid: the others, with what is wrong with them, in one line.
        refused: bundles whose tuning does not fit, with what is wrong with that; they are scored without.
    """

    scored: tuple[Scored, ...]
    invalid: tuple[tuple[Path, str], ...]
    refused: tuple[tuple[Path, str], ...] = ()


def evaluate(
    store: Store, state: State, bundles: Sequence[Path], first: np.datetime64, last: np.datetime64, budget: float
) -> Evaluation:
    """Score the ticks [first, last] with each bundle; one that is invalid does not keep the others from it.

    Args:
        store: with all rows up to `last`.
        state: where the grids are kept.
        bundles: folders.
        first: oldest tick to score; before `last` where ticks were missed.
        last: newest.
        budget: false alarm episodes per series and day.
    """
    scored, invalid, refused = [], [], []
    state.grids.mkdir(parents=True, exist_ok=True)
    for path in bundles:
        try:
            part = _score(store, state, path, first, last, budget)
        except (BundleError, ConfigError) as error:  # a selection by a field that the metadata do not have
            invalid.append((path, str(error)))
            continue
        try:
            scored.append(_tuned(part))
        except ConfigError as error:  # whoever tuned it is told; alarms by the bundle's own threshold are still alarms
            refused.append((path, str(error)))
            scored.append(part)
    if not invalid:
        state.forget_grids({bundle.name for bundle in scored})
    return Evaluation(tuple(scored), tuple(invalid), tuple(refused))


def _tuned(part: Scored) -> Scored:
    """The same scores as the bundle is tuned now.

    Raises:
        ConfigError: the file beside the bundle is refused.
    """
    tune = tune_of(part.path, part.name)
    return part._replace(results=tuned(part.results, tune, part.metadata), tune=tune)


def _score(store: Store, state: State, path: Path, first: np.datetime64, last: np.datetime64, budget: float) -> Scored:
    scorer = Scorer.load(path.resolve(), THREADS)  # all files of one bundle, also while another is promoted
    bundle = scorer.bundle
    tick = score_kept(state.grid(bundle.name), store, scorer, last, budget)
    # What is kept is of the last tick only: where ticks were missed, all that are due are scored from the store.
    results = tick.results if first == last else _score_range(store, scorer, first, last, budget)
    return Scored(path, bundle.name, results, tick.metadata, tick.known, tick.unknown)


def _score_range(store: Store, scorer: Scorer, first: np.datetime64, last: np.datetime64, budget: float) -> Results:
    """Score [first, last] from the store; that it may hold none of these ticks is what is to be told of them."""
    metadata = store.metadata()
    grid = read_grid(store, scorer.bundle.preprocess, first, last + store.tick.delta, metadata)
    start = int(np.searchsorted(grid.times, first))
    return scorer.score_grid(grid, metadata, start, budget, details=True)
