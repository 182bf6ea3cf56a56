"""What the metadata say of each series, which queue it is of, and by which names series and their groups are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.gathering import ROW_FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.metadata import Record

GROUP_FIELDS: Final = ("type", "resource_type", "capability")
"""Fields whose common values make the group that a series without history borrows its scale from."""


def records_of(entity: Sequence[str], series: Sequence[tuple[str, ...]], held: Mapping[str, Record]) -> list[Record]:
    """What the metadata say of each series; for sums over queues, the values that all of its queues share."""
    if "panda_queue" in entity:
        at = entity.index("panda_queue")
        return [held.get(key[at], {}) for key in series]
    fields = [(i, f) for i, f in enumerate(entity) if f not in ROW_FIELDS]
    members: dict[tuple[str, ...], list[Record]] = {}
    for record in held.values():
        members.setdefault(tuple(record.get(f, "") for _, f in fields), []).append(record)
    return [_common(members.get(tuple(key[i] for i, _ in fields), [])) for key in series]


def queue_of_each(entity: Sequence[str], series: Sequence[tuple[str, ...]]) -> NDArray[np.int64]:
    """Which queue each series is of, [N], numbered as they come first.

    Where the entity has no queue, it is the rest of what names a series but for what differs from row to row: the
    resources of one site go up and down together.
    """
    rest = [i for i, field in enumerate(entity) if field not in ROW_FIELDS]
    at, numbers = [entity.index("panda_queue")] if "panda_queue" in entity else rest, dict[tuple[str, ...], int]()
    return np.array([numbers.setdefault(tuple(key[i] for i in at), len(numbers)) for key in series], np.int64)


def group_of(record: Record) -> str:
    """The group of a series with this record, by name: the values of `GROUP_FIELDS`."""
    return joined_key(tuple(record.get(f, "") for f in GROUP_FIELDS))


def joined_key(key: Sequence[str]) -> str:
    """One string for a key; the separator is a control character that no name has."""
    return "\x1f".join(key)


def _common(records: Sequence[Record]) -> Record:
    first, *rest = records or [{}]
    return {f: v for f, v in first.items() if all(r.get(f) == v for r in rest)}
