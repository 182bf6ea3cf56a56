"""Ticks that find what the tick before them kept, at sizes of which no history is at hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from qad_dl.backtest import run_backtest
from qad_dl.gathering import ROW_FIELDS
from qad_dl.one_tick import score_kept
from qad_dl.ring import GROUP, Ring
from qad_dl.rolling import load
from qad_dl.rows import concat_rows
from qad_dl.scorer import Scorer
from qad_dl.store import Store
from training.bench.clock import PartClock
from training.bench.grown import copies_of, grown_rows, named, write_later
from training.bench.hooks import KEPT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.rolling import Rolling


def grow_kept(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What a collector of `number` series would have kept after the tick `at`, and a store that ends with it.

    It is what was kept of `source`, a store that ends with `at`, as often as it takes; the repetitions have other
    names. Of the days before `at`, which such a tick does not open, the store has none.

    Args:
        inputs: `source`, `kept` (path of what is kept of it), `number`, `at`, `field`; `path` of the new store, and
            `to` of what is kept of it; `world`, a store of which the `later` ticks after `at` become files of rows
            beside the new one.
    """
    at, number, field = np.datetime64(inputs["at"], "s"), int(inputs["number"]), inputs["field"]
    source, kept = Store.open(Path(inputs["source"])), load(Path(inputs["kept"]))
    if kept is None:
        msg = f"{inputs['kept']}: nothing that can be read is kept there"
        raise RuntimeError(msg)
    copies = copies_of(source, number, at, field)
    rows = [
        (copy, i)
        for copy, wanted in copies
        for i, key in enumerate(kept.series)
        if "".join(f"\x1f{name}" for name in key) in wanted
    ]
    store = Store.create(Path(inputs["path"]), source.tick)
    store.append(concat_rows(list(grown_rows(source, at, at + source.tick.delta, copies, field))))
    queues = {(copy, kept.series[i][kept.entity.index("panda_queue")]) for copy, i in rows}
    records = source.metadata().at(at)
    start = np.datetime64(str(at.astype("datetime64[D]") - np.timedelta64(8, "D")), "s")
    store.add_metadata({named(queue, copy): records[queue] for copy, queue in sorted(queues)}, start)
    grown = _repeated(kept, Path(inputs["to"]), rows)
    made = grown.source._replace(
        versions=store.versions(at, at + store.tick.delta), metadata=store.metadata_versions(start, at)
    )
    replace(grown, source=made).save()
    write_later(Store.open(Path(inputs["world"])), store.folder, at, int(inputs["later"]), copies, field)
    return {"series": len(grown.series)}


def _repeated(kept: Rolling, path: Path, rows: Sequence[tuple[int, int]]) -> Rolling:
    """The same for copies of its series: (copy, position)."""
    at, position = kept.entity.index("panda_queue"), np.array([i for _, i in rows], np.int64)
    series = tuple(_renamed(kept.series[i], at, copy) for copy, i in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    ring = Ring.create(path.with_name(f"{path.name}.grown.ring"), list(kept.ring.fields.values()))
    arrays = {name: _all_of(kept, name) for name in ring.fields}
    for first in range(0, len(rows), GROUP):
        ring.add_group(first // GROUP)
        mine = position[first : first + GROUP]
        for name, field in ring.fields.items():
            values = np.full((GROUP, field.slots, field.width), field.blank, field.dtype)
            values[: len(mine)] = arrays[name][mine]
            ring.write(name, first // GROUP, int(kept.tick.index(np.array([kept.end]))[0]), values)
    copies, there = sorted({copy for copy, _ in rows}), set(series)
    known = ((named(queue, c), source, resource) for c in copies for queue, source, resource in kept.known)
    return replace(
        kept,
        path=path,
        series=series,
        ring=ring,
        known=frozenset(r for r in known if _key(r, kept.entity) in there),
        said={named(queue, c): said for c in copies for queue, said in kept.said.items()},
    )


def _all_of(kept: Rolling, name: str) -> NDArray[Any]:
    """All that is kept of all series, [N, slots, width]."""
    last, slots = int(kept.tick.index(np.array([kept.end]))[0]), kept.ring.fields[name].slots
    return np.concatenate([kept.ring.read(name, group, last, slots) for group in kept.groups])[: len(kept.series)]


def _key(row: tuple[str, str, str], entity: Sequence[str]) -> tuple[str, ...]:
    own = dict(zip(ROW_FIELDS, row, strict=True))
    return tuple(own[field] for field in entity)


def _renamed(key: Sequence[str], at: int, copy: int) -> tuple[str, ...]:
    return (*key[:at], named(key[at], copy), *key[at + 1 :])


def compare_ticks(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Ticks one after the other, each from what the one before it kept, against a backtest of the same ticks.

    Args:
        inputs: `store`, up to the tick `at`, `bundle`, `kept` (a folder), and how many `later` ticks are files of rows
            beside the store.

    Returns:
        The largest difference of two scores, flags and reasons that differ, and how many scores were compared.
    """
    scorer, store, at = (
        Scorer.load(inputs["bundle"]),
        Store.open(Path(inputs["store"])),
        np.datetime64(inputs["at"], "s"),
    )
    path, found = Path(inputs["kept"]) / scorer.bundle.name, []
    score_kept(path, store, scorer, at)
    for i in range(int(inputs["later"])):
        store.append(pq.read_table(store.folder.with_name(f"{i}.parquet")))
        found.append(score_kept(path, store, scorer, at + (i + 1) * store.tick.delta).results)
    end = at + (len(found) + 1) * store.tick.delta
    made = run_backtest(store, scorer, at + store.tick.delta, end)
    place = {key: i for i, key in enumerate(made.series)}
    worst, flags, reasons, scores = 0.0, 0, 0, 0
    for i, one in enumerate(found):
        rows = [place[key] for key in one.series]
        both = np.isfinite(one.score[:, 0]) & np.isfinite(made.score[rows, i])
        worst = max(worst, float(np.abs(one.score[both, 0] - made.score[rows, i][both]).max(initial=0)))
        flags += int((one.flagged[:, 0] != made.flagged[rows, i]).sum())
        reasons += int((one.reason[:, 0] != made.reason[rows, i]).sum())
        scores += int(both.sum())
    return {"ticks": len(found), "scores": scores, "worst": worst, "flags": flags, "reasons": reasons}


def score_in_parts(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Score the tick `at` of a store from what is kept, on one thread, the clock of each part running.

    Args:
        inputs: `store`, `bundle`, `kept`, `at`, `out`.
    """
    clock = PartClock()
    with clock.part("import"):
        import onnxruntime  # noqa: F401  # it is loaded late: here it counts as what it is

        from qad_dl import one_tick, scorer, scores_file
    clock.watch(KEPT)
    with clock.part("other"):
        made = scorer.Scorer.load(Path(inputs["bundle"]), 1)
        path, store = Path(inputs["kept"]) / made.bundle.name, Store.open(Path(inputs["store"]))
        results = one_tick.score_kept(path, store, made, np.datetime64(inputs["at"], "s")).results
        scores_file.write_table(Path(inputs["out"]), scores_file.scores_table(results, made.bundle.name))
    return {"parts": clock.figures(), "rows": int(results.known.sum()), "scored": int((results.reason == 0).sum())}
