"""Thresholds of groups from labels: raised where what is flagged is mostly expected, lowered where problems are missed.

A proposal is learned from the earlier labels (`offsets`) and counts only if it holds on the later ones: more expected
things are silenced than problems, by more than chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.proposal.chance import CHANCE, at_least, at_most
from qad_dl.proposal.offsets import STEP, Groups, even_of_all, evidence_for, learn_offsets
from qad_dl.tuning.file import LOWEST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qad_dl.proposal.offsets import Aim, Labelling

LEAST: Final = 10
"""So many problems, and as many expected things, must be labelled among what is flagged."""

LEAST_LATER: Final = 3
"""... and so many of each in the time that is held out."""

HELD_OUT: Final = 1 / 3
"""The last third of the labelled things, by the time at which they begin, is held out."""


@dataclass(frozen=True)
class Checked:
    """What thresholds that were learned from earlier labels do to the later ones.

    Attributes:
        silenced, expected: expected things that are not flagged any more, of those that were.
        lost, problems: problems that are not flagged any more, of those that were.
        caught: problems that are flagged now, and were not.
        new: unlabelled runs that are flagged now.
        raised, lowered: chance that thresholds without any knowledge do as well; 1 where none is raised or lowered.
    """

    silenced: int
    expected: int
    lost: int
    problems: int
    caught: int
    new: int
    raised: float
    lowered: float


@dataclass(frozen=True)
class Proposed:
    """Thresholds, or why there are none.

    Attributes:
        field: what groups go by; '' where nothing is proposed.
        offsets: value -> by how much its threshold is higher; empty where nothing is proposed.
        why: in words.
        split: where the held-out time begins; None where it did not come to that.
        checked: what happened there.
    """

    field: str
    offsets: Mapping[str, float]
    why: str
    split: np.datetime64 | None = None
    checked: Checked | None = None


def propose_thresholds(labelling: Labelling, fields: Sequence[Groups], aim: Aim) -> Proposed:
    """Thresholds of the groups of one of some fields.

    Args:
        labelling: of the whole range.
        fields: that may be taken; the one whose groups differ most, by the earlier labels, is.
        aim: what is wanted.
    """
    problems, expected = labelling.counts()
    split = held_out_from([m.start for m in labelling.marked if m.flagged()])
    later = (0, 0) if split is None else labelling.between(split, None).counts()
    if min(problems, expected) < LEAST or min(later) < LEAST_LATER:
        return Proposed("", {}, _too_few(problems, expected, later))
    early = labelling.between(None, split)
    chosen = _most_different(early, fields, aim)
    if chosen is None:
        return Proposed("", {}, f"no field has groups that differ in what is a problem{_advice(labelling, aim)}", split)
    checked = check(chosen, learn_offsets(early, chosen, aim), labelling.between(split, None))
    raised, lowered = _wins(checked, aim)
    why = _in_words(checked, raised=raised, lowered=lowered)
    every = learn_offsets(labelling, chosen, aim)
    offsets = {value: by for value, by in every.items() if (raised if by > 0 else lowered)}
    if not offsets:
        return Proposed(
            "", {}, why if not (raised or lowered) else f"{why}; with all labels none differs", split, checked
        )
    return Proposed(chosen.field, offsets, why, split, checked)


def held_out_from(starts: Sequence[np.datetime64]) -> np.datetime64 | None:
    """When the held-out time begins; None where all things begin at once, or there is none."""
    ordered = np.sort(np.array(starts, "datetime64[s]"))
    if not ordered.size or ordered[0] == ordered[-1]:
        return None
    at: np.datetime64 = ordered[int(len(ordered) * (1 - HELD_OUT))]
    return at if at > ordered[0] else ordered[ordered > at][0]


def check(groups: Groups, offsets: Mapping[str, float], later: Labelling) -> Checked:
    """What some thresholds do to labels that they were not learned from."""
    offset = groups.offsets(offsets)
    flagged = [m for m in later.marked if m.flagged()]
    gone = [m for m in flagged if not m.flagged(offset)]
    lost, problems = sum(m.problem for m in gone), sum(m.problem for m in flagged)
    missed = [m for m in later.marked if m.problem and not m.flagged() and m.height() >= LOWEST]
    caught = sum(m.flagged(offset) for m in missed)
    new = int((later.weak.heights >= offset[later.weak.rows]).sum())
    near = len(later.weak.rows) + len(missed)
    return Checked(
        silenced=len(gone) - lost,
        expected=len(flagged) - problems,
        lost=lost,
        problems=problems,
        caught=caught,
        new=new,
        raised=at_most(lost, len(gone), problems, len(flagged)) if gone else 1.0,
        lowered=at_least(caught, caught + new, len(missed), near) if caught else 1.0,
    )


def _wins(checked: Checked, aim: Aim) -> tuple[bool, bool]:
    """Whether raised, and whether lowered, thresholds are worth it on held-out time."""
    raised = checked.raised <= CHANCE and checked.lost <= aim.may_lose and checked.silenced >= aim.worth * checked.lost
    lowered = checked.lowered <= CHANCE and checked.new <= aim.worth * checked.caught
    return raised and checked.silenced > 0, lowered


def _in_words(checked: Checked, *, raised: bool, lowered: bool) -> str:
    c, said = checked, []
    if c.silenced or c.lost:
        verdict = "wins" if raised else "does not win"
        said.append(
            f"raising {verdict}: on the later labels {c.silenced} of {c.expected} expected silenced, {c.lost} of "
            f"{c.problems} problems lost; by accident in {100 * c.raised:.1f} % of cases"
        )
    if c.caught or c.new:
        verdict = "wins" if lowered else "does not win"
        said.append(
            f"lowering {verdict}: on the later labels {c.caught} more problems flagged, and {c.new} of which nobody "
            f"said anything; by accident in {100 * c.lowered:.1f} % of cases"
        )
    return "; ".join(said) or "does not win: nothing would change on the later labels"


def _too_few(problems: int, expected: int, later: tuple[int, int]) -> str:
    said = f"not enough labels: {problems} problem, {expected} expected among what is flagged, wanted {LEAST} of each"
    return (
        said
        if min(problems, expected) < LEAST
        else f"{said}, {LEAST_LATER} in the later third ({later[0]}, {later[1]})"
    )


def _advice(labelling: Labelling, aim: Aim) -> str:
    """Where all groups alike would be better off with another threshold, that there is a knob for it."""
    if even_of_all(labelling, aim) < STEP:
        return ""
    return "; what is just above the threshold is mostly expected in all: try a smaller budget (`qad preview --budget`)"


def _most_different(early: Labelling, fields: Sequence[Groups], aim: Aim) -> Groups | None:
    """The field whose groups differ most by the evidence; None where that of none speaks for any difference."""
    gains = [evidence_for(early, groups) for groups in fields]
    best = int(np.argmax(gains)) if gains else 0
    return fields[best] if gains and gains[best] > np.log(len(fields)) else None
