"""Labels as figures need them: what was a problem, and what counts for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qad_dl.downtimes import Downtime
from qad_dl.errors import InputError
from qad_dl.labels import PROBLEM, LabelLog, spans_of
from qad_dl.labels.cover import incident_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from qad_dl.incidents_file import Incident
    from qad_dl.labels import Label
    from qad_dl.metadata import Metadata


@dataclass(frozen=True)
class Labelled:
    """What labels say.

    Attributes:
        incidents: what was a problem, under the ids of the labels.
        aside: time of queues that was expected, or of which nobody is sure.
    """

    incidents: tuple[Incident, ...] = ()
    aside: tuple[Downtime, ...] = ()


def labels_in_force(path: Path) -> tuple[Label, ...]:
    """The labels of a file that must be there.

    Raises:
        InputError: there is no such file.
        StoreError: it is damaged or cannot be read.
    """
    if not path.is_file():
        msg = f"{path}: is no file of labels; give what `[review] labels` of the collector's config names"
        raise InputError(msg)
    return LabelLog(path).read().in_force


def labelled(labels: Iterable[Label], metadata: Metadata) -> Labelled:
    """Sort labels by what they are for.

    Args:
        labels: those in force.
        metadata: what groups are looked up in.

    Raises:
        InputError: a group by a field that no metadata record has.
    """
    incidents: list[Incident] = []
    aside: list[Downtime] = []
    for label in labels:
        incident = incident_of(label)
        if label.word != PROBLEM:
            aside += [Downtime(s.panda_queue, s.start, s.end, label.word) for s in spans_of(label, metadata)]
        elif incident is not None:
            incidents.append(incident)
    return Labelled(tuple(incidents), tuple(aside))
