"""Tables of a TOML file as named tuples: the fields of a tuple are the keys that its table knows.

A key that nobody knows is an error that names the nearest one that somebody does. Paths are relative to the file that
names them. A secret is never written into the file: `KEY_file` names a file that only its owner may read, `KEY_env` a
variable of the environment.
"""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from qad_dl.errors import ConfigError

OTHERS_MAY: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Secret:
    """A password, token or address that nobody should see; `reveal` is the one way to it."""

    value: str = field(repr=False)

    def reveal(self) -> str:
        """The secret."""
        return self.value

    def __str__(self) -> str:
        return "(secret)"


def read_document(path: Path) -> dict[str, Any]:
    """The tables of a file as they stand.

    Raises:
        ConfigError: it is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{path}: cannot be read as TOML ({' '.join(str(error).split())[:160]})"
        raise ConfigError(msg) from error


def bad(path: Path, key: str, what: str) -> ConfigError:
    """The error for one key."""
    return ConfigError(f"{path}: {key} {what}")


def one_of(path: Path, key: str, value: str, allowed: tuple[str, ...], none: str = "nothing") -> None:
    """Check that a key has one of the values that it can have; `none` says why there are none.

    Raises:
        ConfigError: it has not.
    """
    if value not in allowed:
        raise bad(path, key, f"is {value!r}; it can be {', '.join(allowed) or none}")


def others_may(path: Path, key: str, secret: Path) -> ConfigError:
    """The error for a secret that is none."""
    return bad(path, key, f"names {secret}, which others may read: chmod 600 {secret}")


@dataclass(frozen=True)
class Reader:
    """Turns the tables of one file into named tuples.

    Attributes:
        path: the file.
        environment: where `KEY_env` looks.
    """

    path: Path
    environment: Mapping[str, str]

    def section(self, kind: Any, table: Any, where: str) -> Any:
        """One table as the named tuple `kind`; at the top, where `where` is empty, its field `path` is the file.

        Raises:
            ConfigError: one line with the file, the key, and what is wrong with it.
        """
        if not isinstance(table, dict):
            raise bad(self.path, where, f"is a {_toml(table)}; it must be a section [{where}]")
        hints = get_type_hints(kind)
        known, defaults = [name for name in kind._fields if where or name != "path"], kind._field_defaults
        secret = {name for name in known if _plain(hints[name]) is Secret}
        accepted = (set(known) - secret) | {f"{name}_{how}" for name in secret for how in ("file", "env")}
        for key in table:
            if key not in accepted:
                raise self._unknown(where, key, accepted, secret)
        values: dict[str, Any] = {} if where or "path" not in kind._fields else {"path": self.path}
        for name in known:
            key = f"{where}.{name}" if where else name
            if name in secret:
                values[name] = self._secret(table, name, key, needed=hints[name] is Secret)
            elif name in table:
                values[name] = self._value(hints[name], table[name], key)
            elif name not in defaults:
                raise bad(self.path, key, "is missing")
            elif _is_section(type(defaults[name])):
                values[name] = self.section(_plain(hints[name]), {}, key)  # its paths are relative, too
            elif isinstance(defaults[name], Path):
                values[name] = self._path(str(defaults[name]))
        return kind(**values)

    def _unknown(self, where: str, key: str, accepted: set[str], secret: set[str]) -> ConfigError:
        name = f"{where}.{key}" if where else key
        if key in secret:
            return bad(self.path, name, f"is a secret: put it into a file and write {key}_file, or {key}_env")
        import difflib  # a tick whose config is right does without

        near = difflib.get_close_matches(key, accepted, 1, 0.5)
        return bad(self.path, name, f"is not known{f'; did you mean {near[0]}?' if near else ''}")

    def _value(self, hint: Any, value: Any, key: str) -> Any:
        """One value, checked against the type of its field."""
        kind = _plain(hint)
        if _is_section(kind):
            return self.section(kind, value, key)
        if get_origin(kind) is tuple:
            item = get_args(kind)[0]
            if not isinstance(value, list):
                raise bad(self.path, key, f"is a {_toml(value)}; it must be a list")
            return tuple(self._value(item, v, f"{key} {i}") for i, v in enumerate(value, 1))
        if get_origin(kind) is Mapping:
            if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
                raise bad(self.path, key, 'must be a table of texts, like {cloud = "DE"}')
            return dict(value)
        wanted = str if kind is Path else kind
        right = (float, int) if wanted is float else (wanted,)
        if not isinstance(value, right) or (isinstance(value, bool) and wanted is not bool):
            raise bad(self.path, key, f"is a {_toml(value)}; it must be a {_NAMES[wanted]}")
        return self._path(str(value)) if kind is Path else wanted(value)

    def _path(self, text: str) -> Path:
        return self.path.parent / Path(text).expanduser()

    def _secret(self, table: Mapping[str, Any], name: str, key: str, *, needed: bool) -> Secret | None:
        file, variable = table.get(f"{name}_file"), table.get(f"{name}_env")
        if file is not None and variable is not None:
            raise bad(self.path, key, f"is given twice; keep {name}_file or {name}_env")
        if file is not None:
            return Secret(self._secret_file(self._value(Path, file, f"{key}_file"), f"{key}_file"))
        if variable is not None:
            found = self.environment.get(self._value(str, variable, f"{key}_env"))
            if not found:
                raise bad(self.path, f"{key}_env", f"names {variable}, which is not set in the environment")
            return Secret(found)
        if needed:
            raise bad(self.path, key, f"is missing; it is a secret: give {name}_file or {name}_env")
        return None

    def _secret_file(self, path: Path, key: str) -> str:
        try:
            mode = path.stat().st_mode
            content = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            msg = f"names {path}, which cannot be read ({getattr(error, 'strerror', None) or error})"
            raise bad(self.path, key, msg) from error
        if mode & OTHERS_MAY:
            raise others_may(self.path, key, path)
        if not content:
            raise bad(self.path, key, f"names {path}, which is empty")
        return content


_NAMES: Final = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


def _plain(hint: Any) -> Any:
    """The type without `| None`."""
    if get_origin(hint) in (Union, UnionType):
        return next(part for part in get_args(hint) if part is not type(None))
    return hint


def _toml(value: Any) -> str:
    names = {str: "text", bool: "truth value", int: "whole number", float: "number", list: "list", dict: "section"}
    return names.get(type(value), type(value).__name__)
