"""Verdicts of hours and days: the worst score, whether anything was flagged, and states as counts are downsampled.

The point of an hour is made of the verdicts of (hour - 1 h, hour], as the point of its counts is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.downsampling import HOURS, Level
from qad_dl.influx.client import identifier
from qad_dl.influx.line import cut_tags, write_number, write_tags
from qad_dl.influx.qmonit import ANOMALY, DETAILS, NS, TICK_POLICY
from qad_dl.schema import is_flow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qad_dl.influx.client import Influx, Series, Written

WORST: Final = ("score", "flagged", "expected")
"""Fields of which the highest value is kept."""

SHARE: Final = "contribution"
"""A share of a score is averaged in every state."""


def condense(influx: Influx, level: Level, stamp: np.datetime64) -> Written:
    """Write the verdicts of the hour or day that ends with `stamp`; doing it again changes nothing.

    Raises:
        InfluxError: the server refuses, or does not answer.
    """
    finer = TICK_POLICY if level == HOURS else HOURS.name
    high = int(stamp.astype("datetime64[s]").astype(np.int64)) * NS
    low = high - level.tick.seconds * NS
    means = ", ".join(f"mean({name}) AS {name}, sum({name}) AS sum_{name}" for name in DETAILS)
    worst = ", ".join(f"max({name}) AS {name}" for name in WORST)
    source = f"{identifier(finer)}.{identifier(ANOMALY)}"
    asked = f"SELECT {worst}, {means} FROM {source} WHERE time > {low} AND time <= {high} GROUP BY *"  # noqa: S608  numbers, our names
    return influx.write(_lines(influx.query(asked), high), level.name)


def _lines(found: list[Series], time: int) -> Iterator[str]:
    """A point per series."""
    for series in found:
        values = dict(zip(series.columns, series.values[0], strict=True))
        summed = is_flow(series.tags.get("job_status", ""))
        chosen = {name: values[name] for name in WORST}
        for name in DETAILS:
            chosen[name] = values[f"sum_{name}" if summed and name != SHARE else name]
        fields = [f"{name}={write_number(value)}" for name, value in chosen.items() if value is not None]
        if fields:
            yield f"{ANOMALY}{write_tags(cut_tags(series.tags))} {','.join(fields)} {time}"
