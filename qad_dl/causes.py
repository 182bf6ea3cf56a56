"""What queues can have in common that breaks, and which kinds of incident it can be the cause of (panda.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qad_dl.incidents_file import QUEUE_FIELD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OTHER: Final = "other"

WIDEST: Final = 0.75
"""What a larger share of all queues has in common names no cause by itself: campaigns begin and end for all at once."""

SHARED_FIELDS: Final = (
    "atlas_site",
    "write_storage",
    "frontier",
    "harvester",
    "nucleus",
    "prod_source",
    "pilot_version",
    "container_type",
    "cloud",
    "vo_name",
)
"""Fields that may name a cause, in the order in which ties are told: what breaks by itself comes first."""

FIELDS_OF_KIND: Final[Mapping[str, tuple[str, ...]]] = {
    "storage_writes": ("write_storage", "atlas_site"),
    "transfer_backlog": ("nucleus", "write_storage"),
    "bad_task": ("prod_source",),
    "frontier": ("frontier", "atlas_site"),
    "rollout": ("pilot_version", "container_type"),
    "harvester_down": ("harvester",),
}
"""Fields that a kind goes by: they win ties."""

ALIKE: Final = (
    ("black_hole", "bad_task", "frontier", "rollout"),  # jobs fail
    ("pilots_starve", "harvester_down"),  # jobs wait for pilots
    ("storage_writes", "transfer_backlog"),  # jobs wait for their output to leave
    ("input_stuck", "brokerage_stop"),  # no new jobs
)
"""Kinds that look alike in the counts of one queue; which of them it is shows in what the queues share."""

KINDS_OF_FIELD: Final[Mapping[str, tuple[str, ...]]] = {
    QUEUE_FIELD: (
        *("black_hole", "rollout", "pilots_starve", "storage_writes", "transfer_backlog"),
        *("input_stuck", "site_down", "slots_lost"),
    ),
    "atlas_site": (
        *("frontier", "pilots_starve", "storage_writes", "transfer_backlog", "input_stuck"),
        *("site_down", "slots_lost"),
    ),
    "write_storage": ("storage_writes", "transfer_backlog"),
    "frontier": ("frontier",),
    "harvester": ("harvester_down",),
    "nucleus": ("transfer_backlog",),
    "prod_source": ("bad_task", "brokerage_stop"),
    "pilot_version": ("rollout",),
    "container_type": ("rollout",),
}
"""Kinds that queues with a value of the field in common can have (panda.md, what the hit queues share); the first of
those that look alike is told. A field that is not here has them all."""


def looks_like(kind: str) -> tuple[str, ...]:
    """The kinds that look like this one in the counts of one queue, itself included."""
    return next((family for family in ALIKE if kind in family), (kind,))


def can_have(field: str, kind: str) -> bool:
    """Whether queues that share a value of the field can have the kind, or one that looks like it in their counts."""
    alike = looks_like(kind)
    return kind == OTHER or not set(alike).isdisjoint(KINDS_OF_FIELD.get(field, alike))


def kinds_of(field: str, kinds: Sequence[str]) -> list[int]:
    """Positions of the kinds that `can_have` says yes to."""
    return [k for k, kind in enumerate(kinds) if can_have(field, kind)]
