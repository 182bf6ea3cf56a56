"""The downtimes of the store: a log of files, the newest of which holds all that are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qad_dl.downtimes import Downtime, format_downtimes, parse_downtimes
from qad_dl.store.log import TRIES, Log, contended

if TYPE_CHECKING:
    from collections.abc import Callable

    from qad_dl.objects import Place


class _DowntimesFile(NamedTuple):
    """An entry of the downtimes' log."""

    rows: tuple[Downtime, ...]
    whole: bool = True


def read_downtimes(folder: Place) -> list[Downtime]:
    """The declared downtimes, each once, sorted."""
    return [down for entry in _log(folder).snapshot(_read).entries for down in entry.rows]


def change_downtimes(folder: Place, change: Callable[[set[Downtime]], set[Downtime]]) -> bool:
    """Let `change` of the downtimes that are known be all; whether that changed anything."""
    log = _log(folder)
    for _ in range(TRIES):
        snapshot = log.snapshot(_read)
        known = {down for entry in snapshot.entries for down in entry.rows}
        after = change(known)
        if after == known:
            return False
        content = format_downtimes(after).encode()
        if log.publish_whole(snapshot.last + 1, content, _read):
            return True
    raise contended(log.folder)


def _log(folder: Place) -> Log:
    """The log of the downtimes."""
    return Log(folder, ".csv")


def _read(path: Place) -> _DowntimesFile:
    """An entry of the downtimes' log."""
    return _DowntimesFile(tuple(parse_downtimes(path.read_bytes().decode(), str(path))))
