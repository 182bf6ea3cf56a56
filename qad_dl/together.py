"""What queues with something in common show together: weak evidence in many of them is strong evidence.

A queue may be hit alone, or with all that share a site, a storage, a harvester with it. Nobody knows which, so that all
of these are summed up (Bayes), each kind of incident by itself:

    r_i   ln p(evidence | kind) / p(evidence | normal life) of series i, no more than `MOST`
    s_i   (1 - SHOWS) + SHOWS exp r_i             if a value is hit, a series with it shows something, or does not
    G     sum of ln s_i over the m queues with the value, / (1 + (m - 1) IN_COMMON); a queue of several series says what
          those that count say in the mean
    b_i   SHOWS exp r_i / s_i                     that this series is one of those that show it
    R_i   ln (exp r_i + sum over its values of (exp min(G, LARGEST) - 1) b_i, where G is above 0)

Series go up and down together in normal life too; m of them say as much as m / (1 + (m - 1) IN_COMMON) that do not (the
effective size of a sample of clusters; Kish, "Survey sampling", 1965). What G says against an incident is left out: it
is no news to a queue that is hit alone. A value counts for the kinds that it can be the cause of, and those that look
like them in the counts of one queue (`causes`).

This is the context of a tick: it is made from all series of the history, whichever are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from qad_dl.causes import SHARED_FIELDS, WIDEST, kinds_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qad_dl.metadata import Record

JOINED_FIELDS: Final = tuple(field for field in SHARED_FIELDS if field != "prod_source")
"""Fields of the metadata that may be a cause; of whom a queue's jobs are is not among them, and of many at a time."""

SHOWS: Final = 0.6
"""Share of the series with a value that show it when the value is hit: some have no job that could."""

MOST: Final = 4.0
"""What one series says for a value at the most: one queue that is surely hit is no proof that its site is."""

IN_COMMON: Final = 0.02
"""How closely what series with a common value say goes together in normal life: no less than those of a harvester, of
which there are most, do in simulated worlds (decision 0024)."""

LARGEST: Final = 6.0
"""G is this at the most, what a queue shows by itself once in a hundred days of normal life. A group that is told by
mistake is told of all its queues: of budgets that are as strict as that, a queue itself has to be the proof."""

LEAST: Final = 2
"""Queues that a value must have."""

TICKS_BLOCK: Final = 144
"""Ticks that are looked at together: bounds the memory."""


class Group(NamedTuple):
    """Series that have a value of their metadata in common.

    Attributes:
        rows: their positions, ascending, of `LEAST` queues or more.
        kinds: positions of the kinds of incident that it can be the cause of, ascending.
    """

    rows: NDArray[np.int64]
    kinds: NDArray[np.int64]


def groups_of(
    records: Sequence[Record], queues: NDArray[np.int64], fields: Sequence[str], kinds: Sequence[str]
) -> list[Group]:
    """What series have in common; what the very same series share under several names is one group.

    Args:
        records: metadata of each series, [N].
        queues: which queue each is of, [N]: the series of one are no witnesses for each other.
        fields: those that may be the cause of an incident.
        kinds: names of the kinds of incident.
    """
    causes: dict[tuple[int, ...], set[int]] = {}
    for field in fields:
        members: dict[str, list[int]] = {}
        for i, record in enumerate(records):
            if field in record:
                members.setdefault(record[field], []).append(i)
        can_be = kinds_of(field, kinds)
        for rows in members.values():
            if len(np.unique(queues[rows])) >= LEAST:
                causes.setdefault(tuple(rows), set()).update(can_be)
    return [Group(np.array(rows, np.int64), np.array(sorted(of), np.int64)) for rows, of in causes.items() if of]


def together(
    log_ratios: NDArray[np.float32],
    counts: NDArray[np.bool_],
    groups: Sequence[Group],
    queues: NDArray[np.int64],
) -> NDArray[np.float32]:
    """R of the formula above: what is known of each series by itself and by what it has in common with others.

    Args:
        log_ratios: [N, T, K] of each kind of incident, finite where it counts.
        counts: [N, T] scored, and a fall is not expected: the others say nothing, and are told nothing.
        groups: of these series; all series of a queue or none.
        queues: [N] of `records.queue_of_each`.

    Returns:
        [N, T, K], and `log_ratios` itself where no group is.
    """
    if not groups:
        return log_ratios
    out, member = log_ratios.copy(), np.zeros((len(groups), queues.max() + 1))
    for row, group in zip(member, groups, strict=True):
        row[queues[group.rows]] = 1
    for low in range(0, out.shape[1], TICKS_BLOCK):
        ticks = slice(low, low + TICKS_BLOCK)
        _add(out[:, ticks], counts[:, ticks], groups, member, queues)
    return out


def _add(
    ratios: NDArray[np.float32],
    counts: NDArray[np.bool_],
    groups: Sequence[Group],
    member: NDArray[np.float64],
    queues: NDArray[np.int64],
) -> None:
    """`together` of some ticks, in place; `member` [G, Q] is 1 where a queue is of a group."""
    shows = np.exp(np.minimum(ratios, np.float32(MOST)))
    shows *= np.float32(SHOWS)
    either = shows + np.float32(1 - SHOWS)
    said = np.where(counts[:, :, None], np.log(either), np.float32(0)).astype(np.float64)
    means, speaks = _by_queue(said, counts, queues)
    m = member @ speaks.astype(np.float64)
    total = (member @ means.reshape(len(means), -1)).reshape(len(groups), *said.shape[1:])
    total /= (1 + (np.maximum(m, 1) - 1) * IN_COMMON)[:, :, None]
    total[(m < LEAST) | (m > WIDEST * speaks.sum(axis=0))] = 0
    added = np.zeros_like(said)
    for (rows, kinds), of in zip(groups, total, strict=True):
        t, k = np.nonzero(of[:, kinds] > 0)
        if t.size:
            place = (rows[:, None], t, kinds[k])
            added[place] += np.expm1(np.minimum(of[t, kinds[k]], LARGEST)) * (shows[place] / either[place])
    told = (added > 0) & counts[:, :, None]
    ratios[told] = np.logaddexp(ratios[told], np.log(added[told]))


def _by_queue(
    said: NDArray[np.float64], counts: NDArray[np.bool_], queues: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """What the series of each queue that count say in the mean, [Q, T, K], and whether any does, [Q, T]."""
    if queues.max() + 1 == len(queues):
        return said, counts
    order = np.argsort(queues, kind="stable")
    first = np.searchsorted(queues[order], np.arange(queues.max() + 1))
    series = np.add.reduceat(counts[order], first, axis=0, dtype=np.int64)
    means: NDArray[np.float64] = np.add.reduceat(said[order], first, axis=0)
    means /= np.maximum(series, 1)[:, :, None]
    return means, series > 0
