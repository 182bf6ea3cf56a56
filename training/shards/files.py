"""Arrays as npy files that are whole or not there, and what is said where one is not as it was written."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.errors import ShardError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

PIECE: Final = 1 << 22
"""Bytes that are written and hashed at a time."""


def write_array(path: Path, array: NDArray[Any]) -> dict[str, Any]:
    """Write an array as an npy file; returns its size and its hash."""
    kind = np.lib.format.header_data_from_array_1_0(np.empty(0, array.dtype))
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, kind | {"shape": array.shape})
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    digest, size = hashlib.sha256(head.getvalue()), len(head.getvalue()) + len(content)
    with path.open("xb") as file:
        file.write(head.getvalue())
        for low in range(0, len(content), PIECE):
            piece = content[low : low + PIECE].data
            file.write(piece)  # not by numpy, whose error would not say that the disk is full
            digest.update(piece)
    return {"bytes": size, "sha256": digest.hexdigest()}


def seal_of(path: Path) -> dict[str, Any]:
    """Size and hash of a file."""
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def check_file(path: Path, seal: Mapping[str, Any]) -> None:
    """Compare a file with what was noted when it was written.

    Raises:
        ShardError: it is gone, cannot be read, is shorter or longer, or has another content.
    """
    with reading(path):
        size = path.stat().st_size
        if size != seal["bytes"]:
            raise damaged(path, f"has {size} bytes, not the {seal['bytes']} that were written")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != seal["sha256"]:
                raise damaged(path, "its content is not what was written")


def map_array(path: Path) -> NDArray[Any]:
    """An array of a file, of which only what is asked for is read."""
    with reading(path):
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def read_json(path: Path) -> dict[str, Any]:
    """An object of a JSON file.

    Raises:
        ShardError: it is no such file, or cannot be read.
    """
    with reading(path):
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise TypeError("is no object")
        return found


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what is said of a file that cannot be read into one line."""
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, EOFError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())[:120]
        raise damaged(path, why) from error


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system says against writing into one line."""
    try:
        yield
    except OSError as error:
        msg = (
            f"{path}: cannot be written ({error.strerror or error}); see to its space and rights, and start again: "
            "what is finished is kept"
        )
        raise ShardError(msg) from error


def damaged(path: Path, why: str) -> ShardError:
    """The error for a file that is not as it was written."""
    return ShardError(f"{path}: cannot be used ({why}); remove the folder of the shards, and they are made again")
