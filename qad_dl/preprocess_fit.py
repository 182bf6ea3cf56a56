"""How a `Preprocess` is learned: states, scales and vocabularies of the training period, some series at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.errors import InputError
from qad_dl.preprocess import Preprocess
from qad_dl.records import group_of, joined_key, records_of
from qad_dl.scaling import Quantity, Scale
from qad_dl.tally import frequent_states, joined_scale, median_scale, same_ticks, scale_of, tally_of
from qad_dl.vocab import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.grid import Grid
    from qad_dl.metadata import Metadata

METADATA_DEFAULT: Final = (
    "cloud",
    "tier",
    "type",
    "resource_type",
    "capability",
    "harvester",
    "workflow",
    "pilot_manager",
    "pilot_version",
    "container_type",
)
"""CRIC fields that are embedded unless config names others."""


def fit_preprocess(
    grid: Grid,
    metadata: Metadata,
    use: NDArray[np.bool_],
    fields: Sequence[str] = METADATA_DEFAULT,
    select: Mapping[str, str] | None = None,
    quantity: Quantity = Quantity.COUNTS,
) -> Preprocess:
    """Learn states, scales and vocabularies.

    Args:
        grid: the training period.
        metadata: what held in it.
        use: [N, T] ticks to learn from: those before the held-out time, online, in no downtime.
        fields: metadata fields to embed; one that no record has stays all unknown.
        select: the selection that the grid was built with; kept for serving.
        quantity: what the values of the grid are.

    Raises:
        InputError: no series has a day of usable ticks.
    """
    return fit_preprocess_parts(lambda: [(grid, use)], metadata, fields, select, quantity)


def fit_preprocess_parts(
    parts: Callable[[], Iterable[tuple[Grid, NDArray[np.bool_]]]],
    metadata: Metadata,
    fields: Sequence[str] = METADATA_DEFAULT,
    select: Mapping[str, str] | None = None,
    quantity: Quantity = Quantity.COUNTS,
) -> Preprocess:
    """Learn the same from a grid that is given some series at a time.

    Args:
        parts: gives, twice, the grids of some series each, in their order, with the ticks to use of them.
            Measurements must come in one part: how fine they are judged depends on all of them.
        metadata: as in `fit_preprocess`, and so are the others and what is raised.
        fields: metadata fields to embed.
        select: the selection.
        quantity: what the values are.
    """
    tallies = [tally_of(grid, use) for grid, use in parts()]
    grid, enough = same_ticks(tallies), np.concatenate([t.enough for t in tallies]).nonzero()[0]
    if not enough.size:
        msg = (
            f"no series has a day of usable ticks between {grid.times[0]} and {grid.times[-1]}: "
            "import more history, or widen data.start and data.end"
        )
        raise InputError(msg)
    states = frequent_states(tallies) if quantity is Quantity.COUNTS else grid.states
    if not states:
        msg = f"all counts between {grid.times[0]} and {grid.times[-1]} are 0: there is nothing to learn from"
        raise InputError(msg)
    scale = joined_scale([scale_of(part, use, states, quantity) for part, use in parts()])
    series = [key for tally in tallies for key in tally.series]
    records = records_of(grid.entity, series, metadata.at(grid.times[-1]))
    groups = [group_of(records[i]) for i in enough]
    names = tuple(sorted(set(groups)))
    by_group = [median_scale(scale, enough[[g == name for g in groups]]) for name in names]
    vocabularies = (
        Vocabulary("series", tuple(joined_key(series[i]) for i in enough)),
        *(Vocabulary.fit(f, [r.get(f, "") for r in records]) for f in fields),
    )
    return Preprocess(
        tick=grid.tick,
        entity=grid.entity,
        select=dict(select or {}),
        states=states,
        vocabularies=vocabularies,
        series_scale=Scale(scale.loc[enough], scale.scale[enough]),
        groups=names,
        group_scale=Scale(np.stack([s.loc for s in by_group]), np.stack([s.scale for s in by_group])),
        global_scale=median_scale(scale, enough),
        quantity=quantity,
    )
