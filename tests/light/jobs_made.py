"""Rows of a job history as tests compare them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qad_dl.history import JOBS_SCHEMA
from qad_dl.rows import seconds_of

if TYPE_CHECKING:
    import pyarrow as pa


def rows(table: pa.Table) -> list[tuple[Any, ...]]:
    """Rows as tuples, times as text."""
    table.validate(full=True)
    assert table.schema == JOBS_SCHEMA
    times = [str(time) for time in seconds_of(table).view("datetime64[s]")]
    return list(zip(times, *(table.column(name).to_pylist() for name in table.column_names[1:]), strict=True))
