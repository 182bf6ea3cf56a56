"""Names to small integers for embeddings; 0 is every name that training did not see."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

UNKNOWN = 0


@dataclass(frozen=True)
class Vocabulary:
    """The values of one field, in the order of their ids.

    Attributes:
        field: what the values are of: a metadata field, or `series`.
        values: value of id 1, 2, ...; id 0 is the unknown value, the unset one included.
    """

    field: str
    values: tuple[str, ...]

    @classmethod
    def fit(cls, field: str, values: Iterable[str], min_count: int = 1) -> Vocabulary:
        """Collect the set values that occur at least `min_count` times, sorted."""
        counts: dict[str, int] = {}
        for value in values:
            counts[value] = counts.get(value, 0) + 1
        return cls(field, tuple(sorted(v for v, n in counts.items() if v and n >= min_count)))

    @cached_property
    def ids(self) -> dict[str, int]:
        """Ids by value, for who encodes many; what is not there has `UNKNOWN`."""
        return {value: i for i, value in enumerate(self.values, start=1)}

    def __len__(self) -> int:
        """Number of ids, the unknown one included: the rows of the embedding."""
        return len(self.values) + 1

    def encode(self, value: str) -> int:
        """Id of `value`, 0 when unknown; never negative, since onnxruntime wraps a negative id around silently."""
        return self.ids.get(value, UNKNOWN)
