"""The queues of a world: records, made up or of a real CRIC dump, and what follows from them for the mechanism."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qad_dl.errors import ConfigError, InputError
from qad_dl.schema import STATUSES
from qad_dl.simulator.chance import stream
from qad_dl.simulator.madeup import made_up_records
from qad_dl.simulator.mechanism import Layout

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.simulator.madeup import Record
    from qad_dl.simulator.params import WorldParams

    Floats = NDArray[np.float64]

UNSET = (None, "", "None", "No value")
TIER_SIZE = {0: 6.0, 1: 3.0, 2: 1.0, 3: 0.35}
"""Size of a queue relative to the median, by CRIC's tier_level."""

ACTIVITIES = (("managed", "MCORE"), ("managed", "SCORE"), ("managed", "MCORE_HIMEM"), ("user", "SCORE"))
"""(prod_source, resource) whose tasks are offered to all queues that take them."""


@dataclass(frozen=True)
class World:
    """Queues `[Q]` and their groups `[G]`.

    Attributes:
        records: what goes to cric.json, as it is.
        names: queue names, `panda_resource` where set.
        facts: per queue, scalar metadata as text, unset ones absent, and `write_storage`.
        slots: cores of each queue in an ordinary week, `[Q]`.
        hpc, opportunistic, push: `[Q]` bool.
        status: index into `schema.STATUSES` at the start, `[Q]`.
        source, resource: of each group.
        activity: index into `ACTIVITIES`, `[G]`.
        share: share of the queue's slots that the group usually holds, `[G]`.
        length: mean length of a job in hours, `[G]`.
        layout: constants of the mechanism.
    """

    records: dict[str, Record]
    names: tuple[str, ...]
    facts: tuple[dict[str, str], ...]
    slots: Floats
    hpc: NDArray[np.bool_]
    opportunistic: NDArray[np.bool_]
    push: NDArray[np.bool_]
    status: NDArray[np.int8]
    source: tuple[str, ...]
    resource: tuple[str, ...]
    activity: NDArray[np.int64]
    share: Floats
    length: Floats
    layout: Layout


def make_world(params: WorldParams) -> World:
    """The world's queues; drawn from the streams 'records' and 'world', so that incidents change nothing here.

    Raises:
        ConfigError: more queues are wanted than the dump has ATLAS records.
        InputError: the dump is not a JSON object of objects.
    """
    rng = stream(params.seed, "records")
    records = read_dump(params.cric, params.queues, rng) if params.cric else made_up_records(params.queues, rng)
    facts = tuple(facts_of(key, record) for key, record in records.items())
    return _world(records, facts, params, stream(params.seed, "world"))


def read_dump(path: Path, queues: int, rng: np.random.Generator) -> dict[str, Record]:
    """The ATLAS records of a CRIC dump (plain or gzip): the first `queues` of a seeded shuffle, in the dump's order.

    Raises:
        ConfigError: the dump has fewer ATLAS records.
        InputError: the file cannot be read or is not a JSON object of objects.
    """
    dump = _load(path)
    atlas = [key for key, record in dump.items() if record.get("vo_name") == "atlas"]
    if queues > len(atlas):
        msg = f"simulate: {queues} queues wanted, but {path} has {len(atlas)} records of vo_name atlas; ask for fewer"
        raise ConfigError(msg)
    chosen = {atlas[i] for i in rng.permutation(len(atlas))[:queues]}
    return {key: record for key, record in dump.items() if key in chosen}


def _load(path: Path) -> dict[str, Record]:
    """Parse the dump."""
    try:
        raw = path.read_bytes()
        dump = json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
    except (OSError, EOFError, ValueError) as error:
        msg = f"{path}: not a readable CRIC dump ({error}); give the pandaqueue JSON, plain or .gz"
        raise InputError(msg) from error
    if not isinstance(dump, dict) or not all(isinstance(record, dict) for record in dump.values()):
        msg = f"{path}: a CRIC dump is a JSON object of objects keyed by queue; this is {type(dump).__name__}"
        raise InputError(msg)
    return dump


def facts_of(key: str, record: Record) -> dict[str, str]:
    """Scalar fields of a record as text, unset ones left out, with `panda_queue` and `write_storage` added."""
    facts = {k: str(v) for k, v in record.items() if v not in UNSET and not isinstance(v, dict | list)}
    storages: Any = record.get("astorages") or {}
    write = (storages.get("write_lan") or storages.get("pw") or []) if isinstance(storages, dict) else []
    if write:
        facts["write_storage"] = str(write[0])
    facts["panda_queue"] = facts.get("panda_resource", key)
    return facts


def _world(
    records: dict[str, Record], facts: tuple[dict[str, str], ...], params: WorldParams, rng: np.random.Generator
) -> World:
    """Sizes, groups and constants of the mechanism."""
    hpc = np.array([f.get("resource_type", "").startswith("hpc") for f in facts])
    cloud = np.array([f.get("resource_type", "").startswith("cloud") for f in facts])
    jobs = _sizes(facts, params, rng) * np.where(hpc, 4.0, 1.0)
    groups = [(q, *group) for q, fact in enumerate(facts) for group in _groups(fact)]
    queue = np.array([g[0] for g in groups], dtype=np.int64)
    activity = np.array([g[1] for g in groups], dtype=np.int64)
    cores = np.array([8.0 if ACTIVITIES[a][1].startswith("MCORE") else 1.0 for a in activity])
    share = np.array([g[2] for g in groups]) * np.exp(rng.normal(0.0, 0.2, len(groups)))
    share /= np.bincount(queue, weights=share, minlength=len(facts))[queue]
    per_core = np.bincount(queue, weights=share / cores, minlength=len(facts))
    depth = np.exp(rng.normal(np.log(1.1), 0.35, len(groups)))
    hours = np.array([1.6 if ACTIVITIES[a][0] == "user" else 5.0 for a in activity])
    limit = np.array([float(f.get("transferringlimit", "0")) for f in facts])
    return World(
        records=records,
        names=tuple(f["panda_queue"] for f in facts),
        facts=facts,
        slots=jobs / per_core,
        hpc=hpc,
        opportunistic=(cloud & (rng.random(len(facts)) < 0.6)) | (rng.random(len(facts)) < 0.08),
        push=np.array([f.get("workflow") == "push" or f.get("pilot_manager") == "aCT" for f in facts]),
        status=np.array([_status(f) for f in facts], dtype=np.int8),
        source=tuple(ACTIVITIES[a][0] for a in activity),
        resource=tuple(ACTIVITIES[a][1] for a in activity),
        activity=activity,
        share=share,
        length=hours * np.exp(rng.normal(0.0, 0.3, len(groups))) * np.where(hpc, 0.4, 1.0)[queue],
        layout=Layout(
            queue=queue,
            queues=len(facts),
            cores=cores,
            depth=depth,
            floor=4.0 + 0.05 * (jobs[queue] * share),
            transfer_limit=np.maximum(np.where(limit > 0, limit, 0.0), 20.0 + 2.0 * jobs)[queue],
        ),
    )


def _sizes(facts: tuple[dict[str, str], ...], params: WorldParams, rng: np.random.Generator) -> Floats:
    """Jobs that each queue can run: log-normal, larger for lower tiers, tiny where the name says test."""
    tier = np.array([TIER_SIZE.get(int(f.get("tier_level", "2")), 1.0) for f in facts])
    test = np.array(["TEST" in f["panda_queue"].upper() for f in facts])
    many = np.array([0.6 if f.get("capability", "").startswith("mcore") else 1.0 for f in facts])
    size = params.median_jobs * np.exp(rng.normal(0.0, params.size_sigma, len(facts))) * tier * many
    return np.asarray(np.clip(np.where(test, size * 0.05, size), 2.0, 12000.0))


def _groups(fact: dict[str, str]) -> list[tuple[int, float]]:
    """(activity, share) of a queue, from CRIC's `type` and `capability`."""
    managed = {"mcore": [(0, 1.0)], "mcorehimem": [(0, 0.4), (2, 0.6)], "ucore": [(0, 0.7), (1, 0.3)]}.get(
        fact.get("capability", ""), [(1, 1.0)]
    )
    if fact.get("type") == "analysis":
        return [(3, 1.0)]
    if fact.get("type") == "unified":
        return [*managed, (3, 0.4)]
    return managed


def _status(fact: dict[str, str]) -> int:
    """Index of CRIC's status; unknown ones count as test (not online, but with pilots), unset ones as online."""
    status = fact.get("status", "online")
    return STATUSES.index(status) if status in STATUSES else STATUSES.index("test")
