"""A bundle made by hand, where torch is not: a network that expects each tick to be like the one h ticks before.

The ONNX file is written field by field (onnx.proto3), since the package that writes such files is not here either.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from qad_dl.bundle import BEFORE, Stream, write_bundle
from qad_dl.calibration import Errors
from qad_dl.calibration_fit import fit_calibration, unseen_statistics
from qad_dl.detection import fit_detection
from qad_dl.grid import build_grid
from qad_dl.lanes import Lane
from qad_dl.metadata import Metadata
from qad_dl.preprocess_fit import fit_preprocess
from qad_dl.scoring import Channel, Evidence
from qad_dl.store import Store
from tests.light.made import START, TICK, history

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

    from qad_dl.preprocess import Preprocess

HORIZONS = (1, 6)
FLOAT, INT64 = 1, 7
STATES = ("activated", "running", "finished", "failed")
QUEUES = tuple(f"Q{i}" for i in range(6))
METADATA = Metadata.single({q: {"cloud": "DE" if i % 2 else "FR", "status": "online"} for i, q in enumerate(QUEUES)})


def made_history(days: float, seed: int = 1, first: int = 0) -> pa.Table:
    """Six queues of four states, Poisson about a level of their own, from a grid position on."""
    rng = np.random.default_rng(seed)
    rows = [
        (first + t, queue, state, float(rng.poisson(20 * (i + 1) * (s + 1))))
        for i, queue in enumerate(QUEUES)
        for s, state in enumerate(STATES)
        for t in range(int(days * TICK.per_day))
    ]
    return history(rows)


def made_store(path: Path, rows: pa.Table) -> Store:
    """A store of some rows, with the metadata of the made queues."""
    store = Store.create(path)
    store.put(rows)
    store.add_metadata(METADATA.dumps[0], START)
    return store


def fitted(days: float = 2) -> Preprocess:
    """A `Preprocess` fitted on the made history."""
    times = TICK.range(START, START + int(days * TICK.per_day) * TICK.delta)
    grid = build_grid(made_history(days), times, TICK, METADATA)
    return fit_preprocess(grid, METADATA, np.ones((len(QUEUES), len(times)), bool), ("cloud",))


def write_made_bundle(path: Path, seed: int = 1, network: tuple[bytes, Stream] | None = None, **about: Any) -> str:
    """Write a bundle around the persistence network, or another one; calibrated on noise."""
    preprocess = fitted()
    rng = np.random.default_rng(seed)
    ids = np.arange(1, len(QUEUES) + 1)
    z = rng.standard_normal((len(ids), 1000, len(HORIZONS), len(preprocess.states))).astype(np.float32)
    use, none = np.ones((len(ids), 1000), bool), np.zeros((len(ids), 1000), bool)
    evidence = Evidence((Channel(0, 0.3), Channel(1, 0.1)), preprocess.plan.evidence)
    calm = np.zeros(use.shape, np.float32)
    n_ids = len(preprocess.vocabularies[0])
    made = Errors(z, calm, calm + 1e6, none, none, ids)
    calibration = fit_calibration(made, use, evidence, preprocess.states, n_ids, TICK.per_day)
    unseen = unseen_statistics(calibration, made, use, TICK.per_day)
    detection = fit_detection(calibration.score(unseen), use, TICK.per_day)
    about = {"horizons": list(HORIZONS), **about}
    whole = persistence(preprocess, preprocess.plan.stride)
    model, stream = network or (whole, stream_of(preprocess))
    return write_bundle(path, model, preprocess, calibration, detection, about, stream)


def persistence(preprocess: Preprocess, outputs: int) -> bytes:
    """reconstruction[:, t, i] = values[:, context + t - HORIZONS[i]], spread = 1, for so many ticks t, as ONNX."""
    context = preprocess.plan.context
    cuts = [_cut(f"cut{h}", context - h, context + outputs - h) for h in HORIZONS]
    return _network(preprocess, outputs, cuts, [f"cut{h}" for h in HORIZONS])


def stream_of(preprocess: Preprocess) -> Stream:
    """The same tick by tick: what the longer horizon shows is what was kept of the shorter one."""
    context, width = preprocess.plan.context, len(preprocess.states)
    short, long = HORIZONS
    cuts = [_cut(f"cut{h}", context - h, context + 1 - h) for h in HORIZONS]
    made = [_cut("latent", context - long, context)]
    prime = _network(preprocess, 1, [*cuts, *made], [f"cut{h}" for h in HORIZONS], {"latent": long - short + 1})
    newest = [_cut("latent", context - short, context + 1 - short)]
    lane = Lane(width, (long - short,))
    step = _network(preprocess, 1, newest, ["latent", f"{BEFORE}latent"], {"latent": 1}, {"latent": lane})
    return Stream(prime, step, {"latent": lane})


def _cut(name: str, begin: int, end: int) -> tuple[bytes, list[bytes]]:
    """A node that cuts ticks out of the values, and its constants."""
    node = _node("Slice", ["values", f"{name}_from", f"{name}_to", "one"], name)
    return node, [_constant(f"{name}_from", [begin]), _constant(f"{name}_to", [end])]


def _network(
    preprocess: Preprocess,
    outputs: int,
    cuts: list[tuple[bytes, list[bytes]]],
    said: list[str],
    made: Mapping[str, int] = MappingProxyType({}),
    before: Mapping[str, Lane] = MappingProxyType({}),
) -> bytes:
    """An ONNX file that says [B, ticks, S] each of horizon by horizon, and gives `made` of so many ticks too."""
    plan, s = preprocess.plan, len(preprocess.states)
    length = plan.context + outputs
    window = ["batch", length, s]
    inputs = [
        _value("values", FLOAT, window),
        _value("observed", FLOAT, window),
        _value("calendar", FLOAT, ["batch", length, 6]),
        _value("static_cat", INT64, ["batch", len(preprocess.vocabularies)]),
        _value("static_num", FLOAT, ["batch", 2 * s]),
        *(_value(f"{BEFORE}{n}", FLOAT, ["batch", len(lane.lags), lane.width]) for n, lane in before.items()),
    ]
    given = [_value(n, FLOAT, ["batch", outputs, len(HORIZONS), s]) for n in ("reconstruction", "spread")]
    given += [_value(name, FLOAT, ["batch", ticks, s]) for name, ticks in made.items()]
    constants = [_constant("one", [1]), _constant("two", [2]), _constant("f0", 0.0), _constant("f1", 1.0)]
    constants += [constant for _, of in cuts for constant in of]
    nodes = [node for node, _ in cuts]
    nodes += [_node("Unsqueeze", [name, "two"], f"deep{i}") for i, name in enumerate(said)]
    axis = _text(1, "axis") + _number(3, 2) + _number(20, 2)
    nodes.append(_node("Concat", [f"deep{i}" for i in range(len(said))], "reconstruction", _part(5, axis)))
    nodes += [_node("Mul", ["reconstruction", "f0"], "nothing"), _node("Add", ["nothing", "f1"], "spread")]
    graph = _all(1, nodes) + _text(2, "persistence") + _all(5, constants) + _all(11, inputs) + _all(12, given)
    return _number(1, 8) + _part(7, graph) + _part(8, _text(1, "") + _number(2, 13))


def _node(kind: str, inputs: list[str], output: str, more: bytes = b"") -> bytes:
    return b"".join(_text(1, name) for name in inputs) + _text(2, output) + _text(4, kind) + more


def _constant(name: str, value: float | list[int]) -> bytes:
    array = np.array(value, np.int64 if isinstance(value, list) else np.float32)
    dims = b"".join(_number(1, n) for n in array.shape)
    return dims + _number(2, INT64 if array.dtype == np.int64 else FLOAT) + _text(8, name) + _part(9, array.tobytes())


def _value(name: str, kind: int, shape: list[str | int]) -> bytes:
    dims = [_part(1, _text(2, d) if isinstance(d, str) else _number(1, d)) for d in shape]
    return _text(1, name) + _part(2, _part(1, _number(1, kind) + _part(2, b"".join(dims))))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _part(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _part(field, text.encode())


def _all(field: int, parts: list[bytes]) -> bytes:
    return b"".join(_part(field, part) for part in parts)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
