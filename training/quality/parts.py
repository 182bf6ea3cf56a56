"""Parts of the evaluation: each is made once, kept by the hash of what it is made from, and can be made alone."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import statistics
import sys
import time
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from qad_dl.atomic import replace_directory
from qad_dl.errors import ConfigError, QadError
from training.quality.crew import Queue, crew

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

RESULT: Final = "result.json"
LIMIT_S: Final = 25 * 60
"""A part that takes longer is too long to lose."""


@dataclass(frozen=True)
class Made:
    """A part that is there.

    Attributes:
        place: its folder.
        result: what its maker returned.
        seconds: what making it took.
    """

    place: Path
    result: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True)
class Part:
    """Something to be made.

    Attributes:
        name: KIND/WORLD/..., unique.
        make: fills a folder, given the inputs and the needed parts by their name; returns what is worth telling.
        inputs: plain values that it depends on.
        needs: names of the parts that it is made from.
        code: hash of the sources that make it.
        guess_s: seconds that it is thought to take, until it has been made once.
    """

    name: str
    make: Callable[[Path, Mapping[str, Any], Mapping[str, Made]], dict[str, Any]]
    inputs: Mapping[str, Any]
    code: str
    needs: tuple[str, ...] = ()
    guess_s: float = 60.0


@dataclass
class Workshop:
    """Makes parts and keeps them under `work`."""

    parts: Mapping[str, Part]
    work: Path
    _keys: dict[str, str] = field(default_factory=dict)

    def key(self, name: str) -> str:
        """Hash of all that a part is made from."""
        if name not in self._keys:
            part = self.parts[name]
            of = [part.name, dict(part.inputs), part.code, [self.key(need) for need in part.needs]]
            self._keys[name] = hashlib.sha256(json.dumps(of, sort_keys=True, default=str).encode()).hexdigest()[:12]
        return self._keys[name]

    def place(self, name: str) -> Path:
        """Where a part is, or will be."""
        return self.work / name / self.key(name)

    def find(self, name: str) -> Made | None:
        """The part, if there is such a one and it has been made from what is there now."""
        path = self.place(name) / RESULT if name in self.parts else None
        if path is None or not path.exists():
            return None
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Made(self.place(name), kept["result"], float(kept["seconds"]))

    def chosen(self, patterns: Iterable[str | None]) -> list[str]:
        """Names of the parts that match any, with all that they need, in an order in which they can be made.

        Raises:
            ConfigError: none matches a pattern; None matches all.
        """
        ordered: dict[str, None] = {}
        for pattern in patterns:
            wanted = [n for n in self.parts if pattern is None or fnmatch.fnmatchcase(n, pattern)]
            if not wanted:
                names = ", ".join(sorted({n.split("/")[0] for n in self.parts}))
                msg = f"part={pattern}: no such part; they begin with {names}, and `part=list` shows them all"
                raise ConfigError(msg)
            for name in wanted:
                self._with_needs(name, ordered)
        return list(ordered)

    def run(self, names: Sequence[str], jobs: int = 1) -> list[str]:
        """Make what is missing of these parts, each after what it needs, saying what is left and how long it may take.

        Args:
            names: of the parts, in an order in which they can be made.
            jobs: how many are made at a time, each in a process of its own if there are several.

        Returns:
            Names of the parts that could not be made; what needs them is left out, all else is made.
        """
        missing = [name for name in names if self.find(name) is None]
        _say(f"{len(names)} parts, {len(names) - len(missing)} are there")
        expected = {name: self.expected_s(name) for name in missing}
        needs = {name: set(self.parts[name].needs) & set(missing) for name in missing}
        queue = Queue(needs, expected, in_order=jobs == 1)
        with crew(jobs) as makers:
            beside: dict[Future[float], str] = {}
            while queue.left:
                for name in queue.take(jobs - len(beside)):
                    _say(f"{queue.place(name)} {name}; left: {spoken(queue.left_s() / jobs)}")
                    beside[makers.submit(self.make, name)] = name
                done, _ = wait(beside, return_when=FIRST_COMPLETED)
                for future in done:
                    self._note(queue, beside.pop(future), future)
        return queue.failed

    def _note(self, queue: Queue, name: str, future: Future[float]) -> None:
        """Say how a part went, and what can now be made or never will."""
        try:
            seconds = future.result()
        except (QadError, RuntimeError) as error:
            _say(f"{queue.place(name)} {name}: {error}")
            for other in queue.fail(name):
                _say(f"{queue.place(other)} {other}: left out, it needs what could not be made")
            return
        queue.done(name)
        late = f", longer than the {spoken(LIMIT_S)} that a part may take" if seconds > LIMIT_S else ""
        _say(f"{queue.place(name)} {name}: {spoken(seconds)}{late}")

    def expected_s(self, name: str) -> float:
        """Seconds that a part takes: as lately, with whatever code; else as its kind; else as thought."""
        kind = name.split("/")[0]
        for pattern in (f"{name}/*/{RESULT}", f"{kind}/**/{RESULT}"):
            kept = [json.loads(p.read_text(encoding="utf-8"))["seconds"] for p in _newest(self.work.glob(pattern))]
            if kept:
                return float(statistics.median(kept))
        return self.parts[name].guess_s

    def make(self, name: str) -> float:
        """Make a part whose needs are there; returns the seconds that it took.

        Raises:
            RuntimeError: a part that it needs is not there.
        """
        part = self.parts[name]
        needed = {need: self.find(need) for need in part.needs}
        made = {need: one for need, one in needed.items() if one is not None}
        if len(made) < len(needed):
            msg = f"{name} is made before {sorted(set(needed) - set(made))}"
            raise RuntimeError(msg)
        began = time.monotonic()
        with replace_directory(self.place(name)) as place:
            result = part.make(place, part.inputs, made)
            seconds = time.monotonic() - began
            kept = {"part": name, "inputs": dict(part.inputs), "seconds": seconds, "result": result}
            (place / RESULT).write_text(json.dumps(kept, indent=1, default=str) + "\n", encoding="utf-8")
        return seconds

    def _with_needs(self, name: str, ordered: dict[str, None]) -> None:
        for need in self.parts[name].needs:
            self._with_needs(need, ordered)
        ordered[name] = None


def _newest(paths: Iterable[Path], most: int = 5) -> list[Path]:
    return sorted(paths, key=lambda p: p.stat().st_mtime)[-most:]


def table_of(parts: Iterable[Part]) -> dict[str, Part]:
    """Parts by name; all that one needs must be among them."""
    table: dict[str, Part] = {}
    for part in parts:
        if part.name in table or not set(part.needs) <= set(table):
            msg = f"part {part.name} is there twice, or before what it needs: {part.needs}"
            raise ValueError(msg)
        table[part.name] = part
    return table


def spoken(seconds: float) -> str:
    """A length of time for people."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
