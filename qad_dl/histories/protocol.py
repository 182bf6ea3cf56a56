"""What scoring, training and evaluation ask of a history, wherever it is kept.

Two histories with the same rows, metadata and downtimes give the same scores to the last bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import pyarrow as pa

    from qad_dl.downtimes import Downtime
    from qad_dl.metadata import Metadata
    from qad_dl.schema import Tick


class History(Protocol):
    """A history that is read. Every method raises a `QadError` where it cannot be, or is damaged."""

    @property
    def tick(self) -> Tick:
        """Length of its ticks."""

    @property
    def name(self) -> str:
        """What to call it in a message: as it was given."""

    @property
    def address(self) -> str:
        """What opens it again, in any folder and on any machine that sees the same."""

    def span(self) -> tuple[np.datetime64, np.datetime64] | None:
        """The first and the newest tick with a row, `datetime64[s]`; None where there are no rows."""

    def known_series(self, before: np.datetime64) -> set[tuple[str, str, str]]:
        """The (panda_queue, prod_source, resource) with a row on a UTC day before the day of `before`."""

    def pieces(self, start: np.datetime64, end: np.datetime64) -> Iterator[pa.Table]:
        """The rows of [start, end) as tables of `JOBS_SCHEMA`, each the canonical rows of one day, oldest first."""

    def versions(self, start: np.datetime64, end: np.datetime64) -> dict[str, int]:
        """Of each UTC day that [start, end) touches and that has rows a number that grows when rows are added."""

    def digests(self, start: np.datetime64, end: np.datetime64) -> dict[str, str]:
        """A hash of the rows of each UTC day that [start, end) touches and that has any."""

    def metadata(self, start: np.datetime64 | None = None) -> Metadata:
        """The metadata with their history; with `start` only what holds from then on."""

    def metadata_versions(self, start: np.datetime64, end: np.datetime64) -> tuple[str, ...]:
        """Which dump holds from when in [start, end): equal answers, equal metadata."""

    def downtimes(self) -> Sequence[Downtime]:
        """The declared downtimes, each once, sorted."""
