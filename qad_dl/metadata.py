"""What is known of the queues, and what was known when: CRIC's pandaqueue dumps and their history.

A dump holds from its time until the next dump's; the first one also holds for all time before it.
"""

from __future__ import annotations

import gzip
import itertools
import json
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from qad_dl.columns import UNSET
from qad_dl.errors import InputError

if TYPE_CHECKING:
    from qad_dl.schema import Times

Record: TypeAlias = Mapping[str, str]
"""Field -> value as text; a field that is unset is absent."""

WRITE_STORAGE: Final = "write_storage"
"""The one field that we add: where the jobs of a queue write first, from `astorages`."""

_WRITE_ACTIVITIES: Final = ("write_lan", "pw")
_WHOLE_NUMBER: Final = re.compile(r"(-?\d+)\.0+")


@dataclass(frozen=True)
class Metadata:
    """The history of the queues' metadata.

    Attributes:
        times: [D] `datetime64[s]`, ascending; dump i holds in [times[i], times[i+1]), the first also before.
        dumps: D objects, each queue -> record.
    """

    times: Times
    dumps: tuple[Mapping[str, Record], ...]

    def __post_init__(self) -> None:
        """Check that there is one ascending time per dump (`ValueError`)."""
        if len(self.times) != len(self.dumps) or np.any(self.times[1:] <= self.times[:-1]):
            msg = f"{len(self.times)} times for {len(self.dumps)} dumps, or times that do not ascend"
            raise ValueError(msg)

    @classmethod
    def empty(cls) -> Metadata:
        """No metadata at all."""
        return cls(np.empty(0, "datetime64[s]"), ())

    @classmethod
    def single(cls, queues: Mapping[str, Record]) -> Metadata:
        """One dump that holds always."""
        return cls(np.array([0], "datetime64[s]"), (queues,))

    def at(self, time: np.datetime64) -> Mapping[str, Record]:
        """What held at `time`: queue -> record, empty if there is no dump."""
        return self.dumps[self._index(time)] if self.dumps else {}

    def segments(
        self, start: np.datetime64, end: np.datetime64
    ) -> list[tuple[np.datetime64, np.datetime64, Mapping[str, Record]]]:
        """Cut [start, end) where another dump begins: start, end and queues of each piece; none if it is empty."""
        if start >= end:
            return []
        inner = [time for time in self.times if start < time < end and self._index(time) > 0]
        edges = [start, *inner, end]
        return [(low, high, self.at(low)) for low, high in itertools.pairwise(edges)]

    def _index(self, time: np.datetime64) -> int:
        """Index of the dump that holds at `time`."""
        return max(int(np.searchsorted(self.times, time, side="right")) - 1, 0)


def read_cric(path: Path) -> dict[str, dict[str, str]]:
    """Read a CRIC pandaqueue dump (interfaces, section 2), plain or gzipped.

    A queue goes by its `panda_resource`, else by its key; if several records name one resource, the one that has it as
    its key counts, else the last. Single values become text with one spelling per number; nested values are dropped,
    but for the first storage that `astorages` writes to, which becomes `write_storage`.

    Returns:
        Queue -> field -> value.

    Raises:
        InputError: the file cannot be read, is not JSON, or not an object of objects, or has no queue.
    """
    return parse_cric(_load(Path(path)), str(path))


def parse_cric(dump: Any, where: str) -> dict[str, dict[str, str]]:
    """As `read_cric`, from the decoded JSON; `where` names it in an error."""
    if not isinstance(dump, dict):
        msg = f"{where}: is a JSON {_kind(dump)}; CRIC's pandaqueue dump is an object keyed by queue name"
        raise InputError(msg)
    queues: dict[str, dict[str, str]] = {}
    exact: set[str] = set()
    for key, fields in dump.items():
        if not isinstance(fields, dict):
            msg = f"{where}: entry {key[:40]!r} is a JSON {_kind(fields)}; CRIC's dump has an object per queue"
            raise InputError(msg)
        record = _record(fields)
        name = record.get("panda_resource", str(key))
        if name not in exact:
            queues[name] = record
        if name == key:
            exact.add(name)
    if not queues:
        msg = f"{where}: holds no queue; a dump without queues would make all metadata unset"
        raise InputError(msg)
    return queues


def spelling(value: Any) -> str | None:
    """The one spelling of a metadata value: 10, 10.0 and '10.0' are '10'; None where it is unset or nested."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if not isinstance(value, (str, int, float)):
        return None
    text = str(value).strip()
    if text in UNSET:
        return None
    whole = _WHOLE_NUMBER.fullmatch(text)
    return whole.group(1) if whole else text


def _record(fields: Mapping[str, Any]) -> dict[str, str]:
    """The set, single-valued fields of a queue, and its write storage."""
    spelt = ((name, spelling(value)) for name, value in fields.items())
    record = {name: value for name, value in spelt if value is not None}
    storage = _write_storage(fields.get("astorages"))
    if storage is not None:
        record[WRITE_STORAGE] = storage
    return record


def _write_storage(astorages: Any) -> str | None:
    """The first storage that a queue's jobs write to."""
    if not isinstance(astorages, dict):
        return None
    for activity in _WRITE_ACTIVITIES:
        endpoints = astorages.get(activity)
        if isinstance(endpoints, list) and endpoints:
            return spelling(endpoints[0])
    return None


def _load(path: Path) -> Any:
    """Decode a JSON file, gzipped or not (told by its first bytes)."""
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        return json.loads(content)
    except FileNotFoundError as error:
        msg = f"{path}: is no file; give the path of a CRIC pandaqueue dump"
        raise InputError(msg) from error
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        msg = f"{path}: cannot be read as JSON ({' '.join(str(error).split())[:120]}); download the dump again"
        raise InputError(msg) from error


def _kind(value: Any) -> str:
    """What JSON calls a value."""
    kinds = {dict: "object", list: "list", str: "text", bool: "truth value", type(None): "null"}
    return kinds.get(type(value), "number")
