"""Metadata by field: which fields the list can be filtered by, and what is left to be shown with each series."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FIRST: Final = (
    "cloud",
    "tier",
    "atlas_site",
    "harvester",
    "resource_type",
    "type",
    "status",
    "country",
    "rc",
    "region",
)
"""Fields that shifters ask for, in the order of the filters; the others follow by name."""

MOST_VALUES: Final = 500
"""A box with more values than this cannot be chosen from."""

SMALL: Final = 12
"""So many values are few, however few series there are."""


@dataclass(frozen=True)
class Fields:
    """The metadata of the listed series.

    Attributes:
        records: per series, field -> value; unset fields are absent.
        filters: the fields to filter by, in the order in which they are shown: field -> value -> its code, the most
            frequent value first.
        common: the fields that have one and the same value in every series.
    """

    records: tuple[Mapping[str, str], ...]
    filters: Mapping[str, Mapping[str, int]]
    common: Mapping[str, str]

    @classmethod
    def of(cls, records: Sequence[Mapping[str, str]]) -> Fields:
        """Sort out the fields of `records`, one record a series."""
        counts: dict[str, Counter[str]] = {}
        for record in records:
            for name, value in record.items():
                counts.setdefault(name, Counter())[value] += 1
        chosen = sorted((name for name in counts if is_filter(name, counts[name], len(records))), key=field_rank)
        shared = {
            n: next(iter(c)) for n, c in sorted(counts.items()) if len(records) > 1 and everywhere(c, len(records))
        }
        return cls(tuple(records), {name: value_codes(counts[name]) for name in chosen}, shared)

    def listing(self) -> list[dict[str, Any]]:
        """The fields to filter by with their values, as JSON."""
        return [{"name": name, "values": list(values)} for name, values in self.filters.items()]

    def sizes(self) -> dict[tuple[str, str], int]:
        """(field, value) -> how many series have it."""
        return Counter(pair for record in self.records for pair in record.items())

    def codes(self, row: int) -> list[int]:
        """Per filter, the code of the value of series `row`; -1 where it is unset."""
        record = self.records[row]
        return [values[record[name]] if name in record else -1 for name, values in self.filters.items()]

    def rest(self, row: int) -> dict[str, str]:
        """What series `row` has beyond the filters and the common fields."""
        record = self.records[row]
        return {n: record[n] for n in sorted(record) if n not in self.filters and n not in self.common}


def everywhere(values: Counter[str], series: int) -> bool:
    """Whether all of so many series have one value."""
    return len(values) == 1 and values.total() == series


def is_filter(name: str, values: Counter[str], series: int) -> bool:
    """Whether a field tells series apart in groups: few values (more in those of `FIRST`), not one everywhere."""
    most = series - 1 if name in FIRST else max(SMALL, series // 3)
    return len(values) <= min(most, MOST_VALUES) and not everywhere(values, series) and series > 1


def field_rank(name: str) -> tuple[int, str]:
    """Sort key: the fields of `FIRST` as listed there, then the others by name."""
    return (FIRST.index(name) if name in FIRST else len(FIRST), name)


def value_codes(values: Counter[str]) -> dict[str, int]:
    """Value -> code, the most frequent value first."""
    ordered = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    return {value: code for code, (value, _) in enumerate(ordered)}
