"""The one door into every model: a grid in, windows out. Training fits it, the bundle keeps it, serving calls it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl import floats
from qad_dl.errors import BundleError
from qad_dl.grid import NEVER
from qad_dl.prepared import NO_ROW, Prepared
from qad_dl.records import group_of, joined_key, records_of
from qad_dl.scaling import CLIP, Quantity, Scale, to_x
from qad_dl.schema import Tick, Times
from qad_dl.vocab import UNKNOWN, Vocabulary
from qad_dl.windows import WindowPlan, Windows, carry_forward

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.grid import Grid
    from qad_dl.metadata import Metadata, Record
    from qad_dl.prepared import Windowed

CALENDAR_CHANNELS: Final = 6


@dataclass(frozen=True)
class Preprocess:
    """Everything that was learned from the training period before the model, and how ticks become windows.

    Attributes:
        tick: length of a tick.
        entity: fields of a series' key.
        select: queues the model is for, by metadata.
        states: the model's channels.
        vocabularies: `series` first, then the metadata fields.
        series_scale: loc and scale of the known series, [len(series), S].
        groups: keys of the groups (values of `qad_dl.records.GROUP_FIELDS`), and
        group_scale: their loc and scale, [len(groups), S].
        global_scale: of all series, [S].
        quantity: what the values of the history are.
        plan: the lengths.
    """

    tick: Tick
    entity: tuple[str, ...]
    select: Mapping[str, str]
    states: tuple[str, ...]
    vocabularies: tuple[Vocabulary, ...]
    series_scale: Scale
    groups: tuple[str, ...]
    group_scale: Scale
    global_scale: Scale
    quantity: Quantity = Quantity.COUNTS

    @cached_property
    def plan(self) -> WindowPlan:
        """Lengths of windows at this tick."""
        return WindowPlan.for_tick(self.tick)

    def as_if_new(self) -> Preprocess:
        """The same, knowing no series: each is what any new one is, of its group's usual size and without an id."""
        own, *fields = self.vocabularies
        none = Scale(self.series_scale.loc[:0], self.series_scale.scale[:0])
        return replace(self, vocabularies=(Vocabulary(own.field, ()), *fields), series_scale=none)

    def prepare(self, grid: Grid, metadata: Metadata, in_training: bool = False) -> Prepared:
        """Standardise a grid and look up what is known of its series; nothing is learned from it.

        Args:
            grid: any range.
            metadata: what held in it.
            in_training: the grid is the training period: a series begins at its first row in it. Otherwise a series
                of the vocabulary has begun already, and has 0 jobs in a tick that arrived without a row of it.

        Raises:
            BundleError: the grid has another tick length or entity.
        """
        if grid.tick != self.tick or grid.entity != self.entity:
            msg = (
                f"the bundle is for {self.tick.minutes}-minute ticks of {'+'.join(self.entity)}, the history has "
                f"{grid.tick.minutes}-minute ticks of {'+'.join(grid.entity)}: train a bundle on this history"
            )
            raise BundleError(msg)
        segments = metadata.segments(grid.times[0], grid.times[-1] + grid.tick.delta)
        starts = np.array([s for s, _, _ in segments])
        segment = np.searchsorted(starts[1:], grid.times, side="right")
        records = [records_of(grid.entity, grid.series, held) for _, _, held in segments]
        static_cat = self._static_cat(grid, records)
        ticks = np.arange(len(grid.times))
        last_row = np.where(grid.quiet != NEVER, ticks - grid.quiet, NO_ROW)
        if not in_training:
            last_row[(static_cat[:, :, 0] != UNKNOWN).any(axis=0)] = ticks
        x = self._channels(grid, last_row != NO_ROW)
        scale = self._scales(static_cat[:, :, 0], records)
        return Prepared(
            grid=grid,
            x=x,
            values=_standardised(x, scale, segment),
            usable=(grid.arrived & (~grid.frozen | grid.at_rest())) & _whole(x, self.quantity),
            last_row=last_row,
            expected=lasting(~grid.online, self.plan.grace),
            recovering=_recovering(grid, self.plan.day),
            segment=segment,
            static_cat=static_cat,
            scale=scale,
            quantity=self.quantity,
        )

    def restate(self, prepared: Prepared, metadata: Metadata) -> Prepared:
        """A training period that another preprocessing of the same states made ready, as this one would."""
        grid = prepared.grid
        held = metadata.segments(grid.times[0], grid.times[-1] + grid.tick.delta)
        records = [records_of(grid.entity, grid.series, dump) for _, _, dump in held]
        static_cat = self._static_cat(grid, records)
        scale = self._scales(static_cat[:, :, 0], records)
        values = _standardised(prepared.x, scale, prepared.segment)
        return replace(prepared, values=values, scale=scale, static_cat=static_cat)

    def cut(
        self,
        prepared: Windowed,
        series: NDArray[np.int64],
        first_output: NDArray[np.int64],
        outputs: int,
        hidden: NDArray[np.bool_] | None = None,
        skip: int = 0,
    ) -> Windows:
        """Windows of `context + outputs` ticks, less those that are skipped.

        Args:
            prepared: the grid.
            series: [B] which series.
            first_output: [B] grid position of the first tick to reconstruct; ticks off the grid are not observed.
            outputs: ticks to reconstruct: the plan's stride in serving, any multiple in training.
            hidden: [B, L, S] observations to hide from the model (training only).
            skip: first ticks of each that nobody reads, and of which nothing has to be carried on.
        """
        plan = self.plan
        offsets = np.arange(skip - plan.context, outputs)
        key, inside = _places(prepared, series, first_output, offsets)
        begun = prepared.last_row[key] >= first_output[:, None] - plan.memory
        seen = inside & prepared.usable[key] & begun
        observed = seen[:, :, None] if hidden is None else seen[:, :, None] & ~hidden
        values, mask = carry_forward(prepared.values[key], observed)
        held = prepared.segment[np.clip(first_output, 0, len(prepared.segment) - 1)]
        level = prepared.level(held, series)
        return Windows(
            values=values,
            observed=mask,
            calendar=self._calendar(prepared, first_output, offsets),
            static_cat=prepared.ids(held, series),
            static_num=self._level(level.loc, level.scale),
        )

    def series_id(self, key: Sequence[str]) -> int:
        """Id of a series by its key, 0 where training did not know it."""
        return self.vocabularies[0].encode(joined_key(key))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; `from_json` is the inverse."""
        return {
            "tick_minutes": self.tick.minutes,
            "entity": list(self.entity),
            "select": dict(self.select),
            "states": list(self.states),
            "vocabularies": [{"field": v.field, "values": list(v.values)} for v in self.vocabularies],
            "series_scale": _scale_json(self.series_scale),
            "groups": list(self.groups),
            "group_scale": _scale_json(self.group_scale),
            "global_scale": _scale_json(self.global_scale),
            "quantity": self.quantity.value,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preprocess:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: not what `to_json` wrote; the bundle turns it into its own error.
        """
        return cls(
            tick=Tick(int(data["tick_minutes"])),
            entity=tuple(data["entity"]),
            select=dict(data["select"]),
            states=tuple(data["states"]),
            vocabularies=tuple(Vocabulary(v["field"], tuple(v["values"])) for v in data["vocabularies"]),
            series_scale=_scale_from(data["series_scale"]),
            groups=tuple(data["groups"]),
            group_scale=_scale_from(data["group_scale"]),
            global_scale=_scale_from(data["global_scale"]),
            quantity=Quantity(data.get("quantity", Quantity.COUNTS)),  # bundles of before it was written are of counts
        )

    def _level(self, loc: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float32]:
        """What standardising took away, [B, 2 S]: of measurements in units of all series together, having none else."""
        if self.quantity is Quantity.MEASUREMENTS:
            usual = self.global_scale
            loc, scale = np.clip((loc - usual.loc) / usual.scale, -CLIP, CLIP), scale / usual.scale
        return np.concatenate([loc, np.log(scale)], axis=1).astype(np.float32)

    def _calendar(
        self, prepared: Windowed, first_output: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        start = self.tick.index(prepared.times[:1])[0]
        if (first_output == first_output[:1]).all():  # as in serving: once for all
            made = calendar(self.tick.time(start + first_output[:1, None] + offsets[None, :]))
            return np.repeat(made, len(first_output), axis=0)
        low, high = int(first_output.min() + offsets[0]), int(first_output.max() + offsets[-1]) + 1
        if high - low < len(first_output) * len(offsets):  # windows of one time: each tick once
            return calendar(self.tick.time(start + np.arange(low, high))).take(first_output[:, None] + offsets - low, 0)
        return calendar(self.tick.time(start + first_output[:, None] + offsets[None, :]))

    def _channels(self, grid: Grid, begun: NDArray[np.bool_]) -> NDArray[np.float32]:
        """`Prepared.x`: a state without a row in a tick that arrived has 0 jobs; a measurement is never made up."""
        counts, never = grid.counts, grid.quiet == NEVER
        if grid.states != self.states:
            counts = np.zeros((*never.shape, len(self.states)), np.float32)
            here = [channel for channel, state in enumerate(self.states) if state in grid.states]
            counts[:, :, here] = grid.counts[:, :, [grid.states.index(self.states[channel]) for channel in here]]
        if self.quantity is Quantity.COUNTS and never.any():
            counts = np.where(never[:, :, None], np.float32(0), counts)
        x = to_x(counts, self.quantity)
        unknown = ~begun | ~grid.arrived
        if unknown.any():
            x = np.where(unknown[:, :, None], np.float32(np.nan), x)
        return x

    def _scales(self, own: NDArray[np.int64], records: Sequence[Sequence[Record]]) -> Scale:
        """Of each series, [D, N, S]: its own by id, else that of its group, else that of all."""
        place = {name: i for i, name in enumerate(self.groups)}
        known, among, every = self.series_scale, self.group_scale, self.global_scale
        loc = np.empty((*own.shape, len(self.states)), np.float32)
        scale = np.empty_like(loc)
        for d, held in enumerate(records):
            mine, others = np.flatnonzero(own[d] != UNKNOWN), np.flatnonzero(own[d] == UNKNOWN)
            loc[d, mine], scale[d, mine] = (a[own[d, mine] - 1] for a in (known.loc, known.scale))
            group = np.array([place.get(group_of(held[n]), -1) for n in others.tolist()], np.int64)
            loc[d, others], scale[d, others] = every.loc, every.scale
            grouped = others[group >= 0]
            loc[d, grouped], scale[d, grouped] = (a[group[group >= 0]] for a in (among.loc, among.scale))
        return Scale(loc, scale)

    def _static_cat(self, grid: Grid, records: Sequence[Sequence[Record]]) -> NDArray[np.int64]:
        """Ids of each series and of its metadata, [D, N, F]."""
        own, *fields = self.vocabularies
        series = [own.encode(joined_key(key)) for key in grid.series]
        known = [(v.field, v.ids) for v in fields]
        codes = np.empty((len(records), len(series), 1 + len(fields)), np.int64)
        for d, held in enumerate(records):
            coded: dict[int, list[int]] = {}  # series of one queue share its record
            for record in held:
                if id(record) not in coded:
                    coded[id(record)] = [ids.get(record.get(field, ""), UNKNOWN) for field, ids in known]
            codes[d, :, 0] = series
            codes[d, :, 1:] = np.array([coded[id(record)] for record in held], np.int64).reshape(len(held), len(fields))
        return codes


def calendar(times: Times) -> NDArray[np.float32]:
    """Time of day in two harmonics and day of the week in one, [..., 6] float32; weeks begin on Thursday 1970-01-01."""
    seconds = times.astype("datetime64[s]").astype(np.int64)
    day = (seconds % 86400) / 86400 * 2 * np.pi
    week = (seconds % 604800) / 604800 * 2 * np.pi
    waves = [np.sin(day), np.cos(day), np.sin(2 * day), np.cos(2 * day), np.sin(week), np.cos(week)]
    return np.stack(waves, axis=-1).astype(np.float32)


def _places(
    prepared: Windowed, series: NDArray[np.int64], first_output: NDArray[np.int64], offsets: NDArray[np.int64]
) -> tuple[Any, NDArray[np.bool_] | np.bool_]:
    """What of [N, T, ...] the ticks of windows are, and which of them are on the grid."""
    if len(series) and np.array_equal(series, np.arange(len(prepared.series))):
        low, high = int(first_output.min() + offsets[0]), int(first_output.max() + offsets[-1]) + 1
        if low >= 0 and high <= len(prepared.times) and high - low == len(offsets):
            return (slice(None), slice(low, high)), np.True_  # as in serving: nothing is copied
    at = first_output[:, None] + offsets[None, :]
    inside = (at >= 0) & (at < len(prepared.times))
    return (series[:, None], np.clip(at, 0, len(prepared.times) - 1)), inside


def _whole(x: NDArray[np.float32], quantity: Quantity) -> NDArray[np.bool_]:
    """Whether every state of [N, T, S] is known; of logarithms of counts, which are small, their sum says so."""
    if quantity is Quantity.COUNTS:
        return np.asarray(np.isfinite(x @ np.ones(x.shape[2], x.dtype)))
    return np.asarray(np.isfinite(x).all(axis=2))


def _standardised(x: NDArray[np.float32], scale: Scale, segment: NDArray[np.int64]) -> NDArray[np.float32]:
    values, ends = np.empty_like(x), np.searchsorted(segment, np.arange(len(scale.loc) + 1))
    for d, (low, high) in enumerate(pairwise(ends.tolist())):
        Scale(scale.loc[d], scale.scale[d]).apply(x[:, low:high], out=values[:, low:high])
    return values


def _recovering(grid: Grid, day: int) -> NDArray[np.bool_]:
    """Offline, or back for less than a day after a time offline or without a row for a day, [N, T].

    Without a row for a day and still without one a series is not back: it may be why one is told.
    """
    away = grid.quiet >= day
    return lasting(~grid.online, day) | (lasting(away, day) & ~away)


def lasting(flags: NDArray[np.bool_], ticks: int) -> NDArray[np.bool_]:
    """Each True of [N, T] carried on for `ticks` more ticks."""
    out, some = np.zeros(flags.shape, np.bool_), np.flatnonzero(flags.any(axis=1))
    at = np.where(flags[some], np.arange(flags.shape[1]), -ticks - 1)
    out[some] = (np.arange(flags.shape[1]) - np.maximum.accumulate(at, axis=1)) <= ticks
    return out


def _scale_json(scale: Scale) -> dict[str, Any]:
    return {"loc": floats.to_json(scale.loc), "scale": floats.to_json(scale.scale)}


def _scale_from(data: Mapping[str, Any]) -> Scale:
    return Scale(floats.from_json(data["loc"]), floats.from_json(data["scale"]))
