"""A folder of bundles, of which one is in use: listed, promoted, rolled back.

```
BUNDLES/NAME/              a bundle, as training wrote it
        current -> NAME    the one in use: the collector's config names this link
        promotions.json    what was in use before, and why not any more
        reports/NAME.json  how it compared with the one that was in use then
                NAME.md    its card
```
A promotion is written down first and the link is replaced in one step then: whoever is killed in between has promoted
nothing, and `current` names a whole bundle at every moment. Nothing here ever removes a bundle.
"""

from __future__ import annotations

import fcntl
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qad_dl.atomic import replace_file, temporary_name
from qad_dl.bundle import read_bundle
from qad_dl.errors import BundleError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from qad_dl.bundle import Bundle

CURRENT: Final = "current"
"""The link to the bundle in use."""

PROMOTIONS: Final = "promotions.json"
REPORTS: Final = "reports"
MANIFEST: Final = "manifest.json"

ROLLBACK: Final = "rollback"
PROMOTE: Final = "promote"


def label_of(path: Path) -> str:
    """What people call a bundle: the name of its folder; of the one in use, that of the folder of bundles."""
    return path.absolute().parent.name if path.name == CURRENT else path.name


class Promotion(NamedTuple):
    """One change of the bundle in use.

    Attributes:
        time: when, ISO 8601 UTC.
        action: `promote` or `rollback`.
        name: the bundle that came into use.
        before: the one that was; '' for the first.
        reason: why.
    """

    time: str
    action: str
    name: str
    before: str
    reason: str


@dataclass(frozen=True)
class Listed:
    """One bundle of a folder.

    Attributes:
        name: of its folder.
        bundle: what it holds; None where it cannot be used.
        trouble: why, one line; ''.
        current: whether it is in use.
        report: how it compared when it was made; None where it was not.
    """

    name: str
    bundle: Bundle | None
    trouble: str
    current: bool
    report: Mapping[str, Any] | None


@dataclass(frozen=True)
class Bundles:
    """The folder."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> Bundles:
        """A folder that is there.

        Raises:
            ConfigError: it is not, or is a bundle itself.
        """
        if not path.is_dir():
            msg = f"{path}: there is no such folder; give the one that bundles are trained into"
            raise ConfigError(msg)
        if (path / MANIFEST).exists():
            msg = f"{path}: is a bundle; give the folder that it lies in"
            raise ConfigError(msg)
        return cls(path)

    def names(self) -> tuple[str, ...]:
        """Names of the bundles, sorted."""
        found = (manifest.parent.name for manifest in self.path.glob(f"*/{MANIFEST}"))
        return tuple(sorted(name for name in found if name != CURRENT and not name.startswith(".")))

    def current(self) -> str | None:
        """The name of the one in use; None before the first.

        Raises:
            ConfigError: `current` is no link to a bundle of this folder.
        """
        link = self.path / CURRENT
        if not link.is_symlink() and not link.exists():
            return None
        name = link.readlink().name if link.is_symlink() else ""
        if name not in self.names():
            msg = f"{link}: is no link to a bundle beside it; remove it, then promote one"
            raise ConfigError(msg)
        return name

    def listed(self) -> tuple[Listed, ...]:
        """All of them, verified."""
        current = self.current()
        return tuple(self.one(name, current) for name in self.names())

    def one(self, name: str, current: str | None) -> Listed:
        """One of them, verified; what is wrong with it is told and no error."""
        try:
            return Listed(name, read_bundle(self.path / name), "", name == current, self.report(name))
        except BundleError as error:
            return Listed(name, None, str(error), name == current, self.report(name))

    def report(self, name: str) -> dict[str, Any] | None:
        """How it compared with the one that was in use when it was made; None where that is not known.

        Raises:
            ConfigError: the file is damaged.
        """
        path = self.path / REPORTS / f"{name}.json"
        try:
            found: dict[str, Any] = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            msg = f"{path}: cannot be read ({' '.join(str(error).split())[:120]}); compare the bundle again"
            raise ConfigError(msg) from error
        return found

    def keep(self, name: str, report: Mapping[str, Any]) -> Path:
        """Keep how it compared."""
        path = self.path / REPORTS / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        replace_file(path, (json.dumps(report, indent=1, allow_nan=False) + "\n").encode())
        return path

    def promotions(self) -> tuple[Promotion, ...]:
        """What was done, oldest first.

        Raises:
            ConfigError: the file is damaged.
        """
        path = self.path / PROMOTIONS
        try:
            return tuple(Promotion(**entry) for entry in json.loads(path.read_bytes()))
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, TypeError) as error:
            msg = f"{path}: cannot be read ({' '.join(str(error).split())[:120]}); move it away: roll back by promoting"
            raise ConfigError(msg) from error

    def promote(self, name: str, time: str, reason: str, *, force: bool = False) -> Promotion:
        """Take a bundle into use; it must have won against the one in use, unless there is none.

        Args:
            name: of the bundle.
            time: now, ISO 8601 UTC.
            reason: why; with `force` somebody has to say it.
            force: although it has not won.

        Raises:
            ConfigError: it is not there, is in use already, or has not won.
            BundleError: it cannot be used.
        """
        with self._changing():
            bundle, current = self._bundle(name), self.current()
            if name == current:
                msg = f"{self.path}: {name} is in use already"
                raise ConfigError(msg)
            if force and not reason.strip():
                raise ConfigError("--force needs a reason: whoever finds it later asks for it")
            if current is not None and not force:
                reason = reason or self._victory(name, bundle.name, current)
            return self._switch(Promotion(time, PROMOTE, name, current or "", reason or "the first one"))

    def rollback(self, time: str, reason: str) -> Promotion:
        """Take that bundle into use again that was in use before the one of now.

        Raises:
            ConfigError: there was none.
            BundleError: it cannot be used any more.
        """
        with self._changing():
            current = self.current()
            before = next((p.before for p in reversed(self.promotions()) if p.name == current and p.before), "")
            if current is None or not before:
                msg = f"{self.path}: nothing was in use before {current or 'now'}; promote one of {self._known()}"
                raise ConfigError(msg)
            self._bundle(before)
            return self._switch(Promotion(time, ROLLBACK, before, self._earlier(before), reason or f"not {current}"))

    def _earlier(self, name: str) -> str:
        """What was in use before a bundle when it was promoted: rolling back twice goes back twice."""
        return next((p.before for p in reversed(self.promotions()) if p.name == name and p.action == PROMOTE), "")

    def _victory(self, name: str, digest: str, current: str) -> str:
        """That it has won against the one in use, in words.

        Raises:
            ConfigError: it has not, or nobody knows.
        """
        report = self.report(name)
        command = f"qad bundles compare {self.path / current} {self.path / name} STORE --start T --end T --keep"
        if report is None:
            msg = f"{self.path / name}: was not compared with {current}, which is in use: {command}"
            raise ConfigError(msg)
        rivals = report["champion"]["bundle"], report["challenger"]["bundle"]
        if rivals != (self._bundle(current).name, digest):
            msg = f"{self.path / name}: was compared with another bundle than {current}, which is in use: {command}"
            raise ConfigError(msg)
        if report["verdict"]["winner"] != "challenger":
            why = report["verdict"]["why"]
            msg = f"{self.path / name}: has not won against {current} ({why}); --force takes it all the same"
            raise ConfigError(msg)
        return f"won against {current}: {report['verdict']['why']}"

    def _bundle(self, name: str) -> Bundle:
        if name not in self.names():
            msg = f"{self.path}: has no bundle {name!r}; it has {self._known()}"
            raise ConfigError(msg)
        return read_bundle(self.path / name)

    def _known(self) -> str:
        return ", ".join(self.names()) or "none"

    def _switch(self, promotion: Promotion) -> Promotion:
        """Write it down, then replace the link."""
        entries = [entry._asdict() for entry in (*self.promotions(), promotion)]
        replace_file(self.path / PROMOTIONS, (json.dumps(entries, indent=1, ensure_ascii=False) + "\n").encode())
        temporary = temporary_name(self.path / CURRENT)
        temporary.symlink_to(promotion.name, target_is_directory=True)
        try:
            temporary.replace(self.path / CURRENT)
        finally:
            temporary.unlink(missing_ok=True)
        return promotion

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """While nobody else changes it."""
        with (self.path / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
