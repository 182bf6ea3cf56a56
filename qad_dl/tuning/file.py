"""What was tuned, as a file beside its bundle: `BUNDLE.tune.json` beside the folder `BUNDLE`.

```
{"format": "qad-tune", "version": 1, "bundle": HASH, "made": T, "start": T, "end": T, "budget": B,
 "thresholds": {"field": F, "offsets": {VALUE: D...}} | null, "order": ORDER | null, "report": {...}}
```
A threshold of its own is D above what the bundle's budget gives, for queues whose metadata have F = VALUE. The file
holds for the very bundle that it names by its hash. Another bundle, as after a promotion, has a file of its own or
none; without the file all is as the bundle alone has it. `report` is what was shown when it was made; nothing reads it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.atomic import replace_file
from qad_dl.errors import ConfigError
from qad_dl.evidence import with_offset
from qad_dl.incidents_file import QUEUE_FIELD

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.metadata import Metadata, Record
    from qad_dl.results import Results
    from qad_dl.tuning.order import Order

FORMAT: Final = "qad-tune"
VERSION: Final = 1
SUFFIX: Final = ".tune.json"

HIGHEST: Final = 3.0
"""A threshold is raised by this at most: to scores that healthy life has a thousand times less often."""

LOWEST: Final = -1.0
"""... and lowered by this at most: to such as it has ten times more often."""

_KEYS: Final = {"format", "version", "bundle", "made", "start", "end", "budget", "thresholds", "order", "report"}


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of groups.

    Attributes:
        field: what groups go by; `panda_queue`, another part of the series' key, or a field of the metadata.
        offsets: value -> by how much higher its threshold is than the others', in units of score.
    """

    field: str
    offsets: Mapping[str, float]

    def of(self, results: Results, metadata: Metadata) -> NDArray[np.float64]:
        """[N, T] by how much the threshold of each series is higher, by the metadata that held at each tick."""
        offset = np.zeros(results.score.shape)
        for start, end, records in metadata.segments(results.times[0], results.times[-1] + np.timedelta64(1, "s")):
            ticks = slice(*(int(i) for i in np.searchsorted(results.times, [start, end])))
            values = values_of_field(results, records, self.field)
            offset[:, ticks] = np.array([self.offsets.get(value, 0.0) for value in values])[:, None]
        return offset


def values_of_field(results: Results, records: Mapping[str, Record], name: str) -> list[str]:
    """The value of a field for each series, '' where it has none: of its key, else of its queue's metadata."""
    if name in results.entity:
        at = results.entity.index(name)
        return [key[at] for key in results.series]
    if QUEUE_FIELD not in results.entity:
        return [""] * len(results.series)
    at = results.entity.index(QUEUE_FIELD)
    return [records.get(key[at], {}).get(name, "") for key in results.series]


@dataclass(frozen=True)
class Tune:
    """What labels change for one bundle.

    Attributes:
        bundle: its name, a hash of what it holds.
        made, start, end: when it was made and the range that it was made from, ISO 8601.
        budget: at which it was made; offsets hold for every budget.
        thresholds: of groups; None where all have the same.
        order: the order of incidents; None where the score orders them.
        report: what was shown when it was made.
    """

    bundle: str
    made: str = ""
    start: str = ""
    end: str = ""
    budget: float = 0.01
    thresholds: Thresholds | None = None
    order: Order | None = None
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """A hash of what it changes."""
        changes = {key: self.to_json()[key] for key in ("bundle", "thresholds", "order")}
        return hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()[:12]

    def words(self) -> str:
        """What it changes, in a line."""
        own = self.thresholds
        parts = [] if own is None else [f"thresholds of {len(own.offsets)} values of {own.field}"]
        parts += [] if self.order is None else ["an order of incidents"]
        return f"{' and '.join(parts) or 'nothing'} from labels of {self.start} to {self.end}"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        own = self.thresholds
        return {
            "format": FORMAT,
            "version": VERSION,
            "bundle": self.bundle,
            "made": self.made,
            "start": self.start,
            "end": self.end,
            "budget": self.budget,
            "thresholds": None if own is None else {"field": own.field, "offsets": dict(sorted(own.offsets.items()))},
            "order": None if self.order is None else self.order.to_json(),
            "report": dict(self.report),
        }


def tuned(results: Results, tune: Tune | None, metadata: Metadata) -> Results:
    """The same scores, flagged from the thresholds of the groups; as they are where none are tuned.

    Args:
        results: any, not tuned.
        tune: for the bundle that scored them.
        metadata: what held in their range.
    """
    if tune is None or tune.thresholds is None:
        return results
    return with_offset(results, tune.thresholds.of(results, metadata))


def tune_path(bundle: Path) -> Path:
    """Where the file for a bundle is; of a link, for what it leads to."""
    whole = bundle.resolve()
    return whole.with_name(whole.name + SUFFIX)


def tune_of(path: Path, bundle: str) -> Tune | None:
    """What is tuned for the bundle in a folder; None where nothing is.

    Args:
        path: folder of the bundle.
        bundle: its name, by which the file must name it.

    Raises:
        ConfigError: see `read_tune`.
    """
    file = tune_path(path)
    return read_tune(file, bundle) if file.exists() else None


def read_tune(path: Path, bundle: str) -> Tune:
    """Read a file of `qad tune` for a bundle.

    Raises:
        ConfigError: it cannot be read, is none, is damaged, or is for another bundle.
    """
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        what = " ".join(str(error).split())[:120]
        msg = f"{path}: cannot be read ({what}); make it again with `qad tune`, or remove it"
        raise ConfigError(msg) from error
    if not isinstance(data, dict) or data.get("format") != FORMAT or data.get("version") != VERSION:
        msg = f"{path}: is no file of `qad tune`, or one of another version; make it again, or remove it"
        raise ConfigError(msg)
    if data.get("bundle") != bundle:
        msg = (
            f"{path}: was made for bundle {data.get('bundle')}, this one is {bundle}: make it again with `qad tune`, "
            "or remove it"
        )
        raise ConfigError(msg)
    try:
        return _tune(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        msg = f"{path}: is damaged ({' '.join(str(error).split())[:120]}); make it again with `qad tune`, or remove it"
        raise ConfigError(msg) from error


def write_tune(path: Path, tune: Tune) -> None:
    """Write the file, whole or not at all.

    Raises:
        ConfigError: it cannot be written there.
    """
    try:
        replace_file(path, (json.dumps(tune.to_json(), indent=1, allow_nan=False) + "\n").encode())
    except OSError as error:
        msg = f"{path}: cannot be written ({error.strerror or error}); give a file in a folder of yours"
        raise ConfigError(msg) from error


def _tune(data: Mapping[str, Any]) -> Tune:
    if set(data) != _KEYS:
        msg = f"its keys must be {', '.join(sorted(_KEYS))}"
        raise ValueError(msg)
    from qad_dl.tuning.order import Order  # few ticks have a file to read

    own, order = data["thresholds"], data["order"]
    return Tune(
        bundle=str(data["bundle"]),
        made=str(data["made"]),
        start=str(data["start"]),
        end=str(data["end"]),
        budget=float(data["budget"]),
        thresholds=None if own is None else Thresholds(str(own["field"]), dict(map(_offset, own["offsets"].items()))),
        order=None if order is None else Order.from_json(order),
        report=dict(data["report"]),
    )


def _offset(item: tuple[str, Any]) -> tuple[str, float]:
    value, by = item[0], float(item[1])
    if not (isfinite(by) and LOWEST <= by <= HIGHEST):
        msg = f"the threshold of {value!r} is {by} higher; it can be {LOWEST} to {HIGHEST}"
        raise ValueError(msg)
    return value, by
