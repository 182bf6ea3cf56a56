"""What a bundle was not trained on and meets all the same: series are scored as their group is, states are ignored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qad_dl.arrow import one_chunk, to_numpy
from qad_dl.incidents_file import QUEUE_FIELD
from qad_dl.schema import state_order
from qad_dl.vocab import UNKNOWN

if TYPE_CHECKING:
    from qad_dl.bundle import Bundle
    from qad_dl.results import Results
    from qad_dl.store import Store

RECENT: Final = np.timedelta64(1, "D")


@dataclass(frozen=True)
class Novel:
    """What is new to a bundle.

    Attributes:
        series: names of those that have a score and are not known, sorted.
        states: that had jobs in the day before and are not known, in the order of a table.
    """

    series: tuple[str, ...]
    states: tuple[str, ...]


def novel(bundle: Bundle, results: Results, store: Store) -> Novel:
    """What is new to a bundle at the last tick of its results.

    Args:
        bundle: the bundle.
        results: its results.
        store: the history that they are of.
    """
    known, preprocess = bundle.preprocess.vocabularies[0], bundle.preprocess
    scored = (results.reason == 0).any(axis=1)
    met = [key for key, there in zip(results.series, scored, strict=True) if there]
    strange = sorted("/".join(key) for key in met if known.encode("\x1f".join(key)) == UNKNOWN)
    last = results.times[-1]
    rows = store.read(last - RECENT, last + store.tick.delta)
    having = rows.filter(pa.array(to_numpy(one_chunk(rows.column("jobs"))) > 0))
    if results.entity == (QUEUE_FIELD,):
        queues = pa.array([key[0] for key in results.series], pa.string())
        having = having.filter(pc.is_in(having[QUEUE_FIELD].cast(pa.string()), queues))
    states = {str(name) for name in pc.unique(having["job_status"].cast(pa.string())).to_pylist()}
    return Novel(tuple(strange), state_order(states - set(preprocess.states)))
