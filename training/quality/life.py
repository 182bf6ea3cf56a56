"""What happens to queues and collectors in their lives, made to happen in the scored days of a world.

`day_old`, `week_old`: new queues, unknown to the bundle, with one day or one week of history, beside the old ones.
`back`: queues that were away since the world began, and come back on different days.
`missing`: three in ten ticks did not arrive. `new_state`: half of what was activated is in a state that nobody knew.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qad_dl.arrow import from_numpy
from qad_dl.rows import concat_rows, seconds_of
from qad_dl.scorer import Scorer
from qad_dl.store import Store
from qad_dl.timeparse import parse_time
from training.quality import scored
from training.quality.scored import Scored, backtest, joined, pieces_of, save

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from training.quality.parts import Made

DAY: Final = np.timedelta64(24 * 3600, "s")
NEW: Final = "NEW "
"""In front of the name of a queue that nobody knew; keeps the order of the names."""

MISSING_SHARE: Final = 0.3
NEW_STATE: Final = "queued_elsewhere"
SEED: Final = 1


def make_life(place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """Scores of [start, end) in one `case`; `made` has the world and the bundle."""
    world, bundle = made.values()
    scorer, store = Scorer.load(bundle.place / "bundle"), Store.open(world.place / "store")
    start, end = (parse_time(str(inputs[k]), k) for k in ("start", "end"))
    kept = CASES[inputs["case"]](store, scorer, place / "store", start, end)
    shutil.rmtree(place / "store", ignore_errors=True)
    save(place / scored.FILE, kept)
    return {"scored": int((kept.results.reason == 0).sum())}


def _day_old(store: Store, scorer: Scorer, place: Path, start: np.datetime64, end: np.datetime64) -> Scored:
    """Each day of the range is the second day of all queues."""
    pieces = []
    for day, after in pieces_of(start, end, 1):
        shutil.rmtree(place, ignore_errors=True)
        pieces.append(_of_new(scorer, store, place, day - DAY, day, after))
    return joined(pieces)


def _week_old(store: Store, scorer: Scorer, place: Path, start: np.datetime64, end: np.datetime64) -> Scored:
    """All queues begin a week before the range; a score looks back no further."""
    return _of_new(scorer, store, place, start - 7 * DAY, start, end)


def _of_new(
    scorer: Scorer, store: Store, place: Path, begun: np.datetime64, start: np.datetime64, end: np.datetime64
) -> Scored:
    """Scores of [start, end) of a copy of every queue under a new name that begins at `begun`."""
    shutil.copytree(store.folder, place)
    both = Store.open(place)
    both.put(renamed(store.read(begun, end)))
    metadata = store.metadata()
    for time, dump in zip(metadata.times, metadata.dumps, strict=True):
        both.add_metadata({**dump, **{NEW + name: record for name, record in dump.items()}}, time)
    both.add_downtimes([replace(d, panda_queue=NEW + d.panda_queue) for d in store.downtimes()])
    return joined([old_names(backtest(both, scorer, a, b, _new(both, b))) for a, b in pieces_of(start, end)])


def _new(store: Store, before: np.datetime64) -> list[str]:
    return sorted({key[0] for key in store.known_series(before) if key[0].startswith(NEW)})


def renamed(rows: pa.Table) -> pa.Table:
    """The rows under their queues' new names."""
    column = rows.column_names.index("panda_queue")
    names = pc.replace_substring_regex(rows.column(column).cast(pa.string()), "^", NEW)
    field = rows.schema.field(column)
    return rows.set_column(column, field, names.cast(field.type))


def old_names(kept: Scored) -> Scored:
    """The same scores under the names that the queues really have."""
    series = tuple((key[0].removeprefix(NEW),) for key in kept.results.series)
    return Scored(replace(kept.results, series=series), kept.flags)


def _back(store: Store, scorer: Scorer, place: Path, start: np.datetime64, end: np.datetime64) -> Scored:
    """Queues have rows on the first day, then none until they come back; before that nothing of them is looked at."""
    names = sorted({key[0] for key in store.known_series(end)})
    returns = return_days(names, start, end)
    span = store.span()
    known_until = (span[0] if span else start).astype("datetime64[D]").astype("datetime64[s]") + DAY

    def there(rows: pa.Table) -> NDArray[np.bool_]:
        time = _times(rows)
        back = np.array([returns[str(name)] for name in rows.column("panda_queue").to_pylist()], "datetime64[s]")
        return np.asarray((time < known_until) | (time >= back), np.bool_)

    changed = rebuilt(store, place, lambda rows: rows.filter(from_numpy(there(rows), pa.bool_())))
    kept = _scored(changed, scorer, start, end)
    results = kept.results
    away = np.array([returns.get(key[0], start) for key in results.series])[:, None] > results.times[None, :]
    return Scored(replace(results, known=results.known & ~away), kept.flags)


def return_days(names: list[str], start: np.datetime64, end: np.datetime64) -> dict[str, np.datetime64]:
    """When each queue comes back: at the beginning of one of the days of [start, end), as many on each."""
    days = max(1, int((end - start) // DAY))
    place = np.random.default_rng(SEED).permutation(len(names))
    return {name: start + int(p % days) * DAY for name, p in zip(names, place, strict=True)}


def _missing(store: Store, scorer: Scorer, place: Path, start: np.datetime64, end: np.datetime64) -> Scored:
    """Ticks are missing in the scored days and the week before them."""
    times = store.tick.range(start - 7 * DAY, end)
    gone = times[np.random.default_rng(SEED).random(len(times)) < MISSING_SHARE]
    changed = rebuilt(store, place, lambda rows: rows.filter(from_numpy(~np.isin(_times(rows), gone), pa.bool_())))
    return _scored(changed, scorer, start, end)


def _new_state(store: Store, scorer: Scorer, place: Path, start: np.datetime64, end: np.datetime64) -> Scored:
    """From `start` on half of the activated jobs are counted elsewhere."""
    return _scored(rebuilt(store, place, lambda rows: _split_state(rows, start)), scorer, start, end)


def _split_state(rows: pa.Table, start: np.datetime64) -> pa.Table:
    state, jobs = (rows.column_names.index(name) for name in ("job_status", "jobs"))
    activated = pc.equal(rows.column(state).cast(pa.string()), pa.scalar("activated"))
    moved = pc.and_(activated, from_numpy(_times(rows) >= start, pa.bool_()))
    half = pc.floor(pc.divide(rows.column(jobs), 2.0))
    left = rows.set_column(jobs, rows.schema.field(jobs), pc.subtract(rows.column(jobs), pc.if_else(moved, half, 0.0)))
    there = rows.set_column(jobs, rows.schema.field(jobs), half).filter(moved)
    names = pa.array([NEW_STATE] * there.num_rows, pa.string()).cast(rows.schema.field(state).type)
    return concat_rows([left, there.set_column(state, rows.schema.field(state), names)])


def rebuilt(store: Store, place: Path, change: Callable[[pa.Table], pa.Table]) -> Store:
    """A store with the changed rows of another, its metadata and its downtimes."""
    other, metadata, span = Store.create(place, store.tick), store.metadata(), store.span()
    for time, dump in zip(metadata.times, metadata.dumps, strict=True):
        other.add_metadata(dump, time)
    other.add_downtimes(store.downtimes())
    if span is not None:
        first = span[0].astype("datetime64[D]").astype("datetime64[s]")
        for day, after in pieces_of(first, span[1] + store.tick.delta, 1):
            rows = change(store.read(day, after))
            if rows.num_rows:
                other.put(rows)
    return other


def _scored(store: Store, scorer: Scorer, start: np.datetime64, end: np.datetime64) -> Scored:
    return joined([backtest(store, scorer, a, b) for a, b in pieces_of(start, end)])


def _times(rows: pa.Table) -> NDArray[np.datetime64]:
    return seconds_of(rows).astype("datetime64[s]")


CASES: Final[dict[str, Callable[[Store, Scorer, Path, np.datetime64, np.datetime64], Scored]]] = {
    "day_old": _day_old,
    "week_old": _week_old,
    "back": _back,
    "missing": _missing,
    "new_state": _new_state,
}
"""What may happen: (store, scorer, place for another store, start, end) -> scores of [start, end)."""
