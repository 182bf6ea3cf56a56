"""What code makes a thing: its modules and all that they import, as one hash. Comments and docstrings are no code."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT: Final = Path(__file__).resolve().parents[2]

PACKAGES: Final = ("qad_dl", "training")
"""Packages whose sources are followed; what comes from elsewhere is pinned in constraints.txt."""


def source_digest(modules: Iterable[str], files: Iterable[str] = (), root: Path = ROOT) -> str:
    """Hash of some modules, of all that they import out of `PACKAGES`, and of some further files.

    Args:
        modules: dotted names.
        files: glob patterns relative to `root`: data that the code reads.
        root: folder of the packages.

    Raises:
        ValueError: a module is not there, or a pattern matches nothing.
    """
    digest = hashlib.sha256()
    for name in sorted(_closure(modules, root)):
        digest.update(f"{name}\n{_read(name, root)[0]}\n".encode())
    for pattern in sorted(files):
        found = sorted(p for p in root.glob(pattern) if p.is_file())
        if not found:
            msg = f"no file {pattern!r} in {root}"
            raise ValueError(msg)
        for path in found:
            digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _closure(modules: Iterable[str], root: Path) -> set[str]:
    """The modules and all that they import, packages above them included."""
    found: set[str] = set()
    left = list(modules)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += [*_read(name, root)[1], *_above(name)]
    return found


def _above(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


@cache
def _read(name: str, root: Path) -> tuple[str, tuple[str, ...]]:
    """The code of a module without what does not run, and the names of the modules that it imports."""
    path = _path(name, root)
    if path is None:
        msg = f"no module {name!r} in {root}"
        raise ValueError(msg)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {n for n in _imported(tree) if n.split(".")[0] in PACKAGES and _path(n, root) is not None}
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [b for b in node.body if not _is_text(b)]
    return ast.dump(tree), tuple(sorted(imported))


def _path(name: str, root: Path) -> Path | None:
    base = root.joinpath(*name.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def _imported(node: ast.AST) -> Iterator[str]:
    """Names that are imported when it runs; `from a import b` may mean the module a.b."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from _imported(child)


def _is_text(node: ast.stmt) -> bool:
    """A docstring, of a module, a function or the constant above it."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
