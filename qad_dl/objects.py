"""Paths on object storage, or on whatever else fsspec opens: the few operations that a store asks of a folder.

An object is put in one step, so that readers see all of it or none, and `create` puts only what is not there yet: on S3
a put with If-None-Match. Nothing is listed from memory: what a listing says was so when it was asked for.

The only place that knows fsspec, which is loaded when the first such path is used.
"""

from __future__ import annotations

import contextlib
import errno
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from qad_dl.errors import ConfigError, QadError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL: Final = "file://"

_ADDRESS: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.:-]*://")
_SECRET: Final = re.compile(r"//[^/@]*@")
_TAKEN: Final = frozenset({"PreconditionFailed", "412"})
_AGAIN: Final = frozenset({"ConditionalRequestConflict", "OperationAborted", "409"})
_TRIES: Final = 10
_KEPT: Final = 256
_SHOWN: Final = 160

_REASONS: Final = {
    "NoCredentialsError": "has no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "PartialCredentialsError": "has half of its credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "ProfileNotFound": "names a profile that is not there: see to AWS_PROFILE",
    "PermissionError": "is refused: see to the credentials, and to what they may",
    "EndpointConnectionError": "cannot be reached: see whether the server runs, and to AWS_ENDPOINT_URL",
    "ConnectTimeoutError": "cannot be reached: see to the network, and to AWS_ENDPOINT_URL",
}
"""What is said of errors that people meet, by the name of their class."""


@dataclass(frozen=True)
class ObjectPath:
    """An object, or all objects below a name.

    Attributes:
        url: such as `s3://bucket/prefix`.
        version: what a listing said of this very object; it changes with its content. Empty where none was asked.
    """

    url: str
    version: str = field(default="", compare=False)

    def __truediv__(self, name: str) -> ObjectPath:
        return ObjectPath(f"{self.url.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return _SECRET.sub("//", self.url)

    @property
    def name(self) -> str:
        """Its last part."""
        return self.url.rpartition("/")[2]

    def absolute(self) -> ObjectPath:
        """Itself."""
        return self

    def listed(self) -> dict[str, ObjectPath]:
        """All objects below it by what follows its name, in the order of these; one request for a thousand.

        Raises:
            StoreError: it cannot be listed.
        """
        with _asking(self):
            system, key = _open(self.url)
            with contextlib.suppress(FileNotFoundError):
                head = key.rstrip("/") + "/"
                found = _find(system, head)
                names = sorted(name for name in found if name.startswith(head))
                return {
                    name[len(head) :]: ObjectPath(f"{self.url.rstrip('/')}/{name[len(head) :]}", str(found[name]))
                    for name in names
                }
        return {}

    def exists(self) -> bool:
        """Whether there is anything below it."""
        return bool(self.listed())

    def read_bytes(self) -> bytes:
        """All of an object.

        Raises:
            FileNotFoundError: there is none.
            StoreError: it cannot be read.
        """
        return self._read(0)  # without a start s3fs would ask for the size first

    def read_tail(self, size: int) -> bytes:
        """The last `size` bytes of an object, all if it has no more; raises as `read_bytes`."""
        return self._read(-size)

    def read_kept(self) -> bytes:
        """As `read_bytes`, of an object that a listing named; remembered until it changes."""
        return _kept(self, self.version) if self.version else self.read_bytes()

    def create(self, content: bytes) -> bool:
        """Put an object unless there is one; of several writers one succeeds.

        Returns:
            Whether the object is there as this call wanted it.

        Raises:
            StoreError: it cannot be written.
        """
        with _asking(self, "written"):
            for _ in range(_TRIES):
                try:
                    return self._put_new(content)
                except OSError as error:
                    if _code(error) not in _AGAIN:
                        raise
            msg = f"another writer was at it {_TRIES} times"
            raise TimeoutError(msg)

    def create_is_exclusive(self, content: bytes) -> bool:
        """Whether an object that is there with this `content` cannot be created a second time."""
        with _asking(self, "written"):
            system, key = _open(self.url)
            try:
                system.pipe_file(key, content, mode="create")
            except OSError as error:
                if not _is_taken(error):
                    raise
                return True
        return False

    def replace(self, content: bytes) -> None:
        """Put an object in place of what may be there; raises as `create`."""
        with _asking(self, "written"):
            system, key = _open(self.url)
            system.pipe_file(key, content)

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove an object; raises as `create`."""
        with _asking(self, "removed"):
            system, key = _open(self.url)
            try:
                system.rm_file(key)
            except FileNotFoundError:
                if not missing_ok:
                    raise

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: there are no folders."""

    def _put_new(self, content: bytes) -> bool:
        """One try of `create`."""
        system, key = _open(self.url)
        try:
            system.pipe_file(key, content, mode="create")
        except OSError as error:
            if not _is_taken(error):
                raise
            # The answer to a put that was done can get lost, and its repetition then says that there is one.
            with contextlib.suppress(FileNotFoundError):
                return self.read_bytes() == content
            return False
        return True

    def _read(self, start: int) -> bytes:
        with _asking(self):
            system, key = _open(self.url)
            content: bytes = system.cat_file(key, start=start)
            return content


Place: TypeAlias = Path | ObjectPath
"""Where something is kept."""


def place_of(address: str | Path | ObjectPath) -> Place:
    """A folder on a disk, or a path on object storage, by its address.

    Raises:
        ConfigError: an address without a place.
    """
    if isinstance(address, Path | ObjectPath):
        return address
    if address.startswith(LOCAL):
        return Path(address.removeprefix(LOCAL))
    if not is_address(address):
        return Path(address)
    scheme, _, where = address.partition("://")
    if not where.strip("/"):
        msg = f"{address}: names no place; write it like s3://BUCKET/PREFIX"
        raise ConfigError(msg)
    return ObjectPath(f"{scheme}://{where.rstrip('/')}")


def is_address(text: str) -> bool:
    """Whether a text is an address like `s3://bucket/prefix`, and no path."""
    return _ADDRESS.match(text) is not None


def absolute(address: str | Path) -> str:
    """An address that means the same in every folder."""
    return str(address) if is_address(str(address)) else str(Path(address).absolute())


@lru_cache(maxsize=_KEPT)
def _kept(path: ObjectPath, _version: str) -> bytes:
    return path.read_bytes()


def _open(url: str) -> tuple[Any, str]:
    """The file system of an address, and what it calls the object there.

    Raises:
        ConfigError: it is not installed, or nobody knows it.
    """
    try:
        import fsspec.core

        system, key = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        shown = f"{_SECRET.sub('//', url)}: needs a package that is not installed ({error})"
        msg = f"{shown}; for S3: pip install -c constraints.txt -e '.[remote]'"
        raise ConfigError(msg) from error
    except ValueError as error:
        msg = f"{_SECRET.sub('//', url)}: cannot be opened ({_short(error)}); write it like s3://BUCKET/PREFIX"
        raise ConfigError(msg) from error
    return system, key


def _find(system: Any, head: str) -> dict[str, Any]:
    """All objects whose names begin with `head`: name -> what is known of it."""
    if "s3" in system.protocol:
        # Of a prefix below which there is nothing s3fs would ask twice more, but not of a whole bucket.
        bucket, _, prefix = head.partition("/")
        return dict(system.find(bucket, prefix=prefix, detail=True))
    return dict(system.find(head.rstrip("/"), detail=True))


@contextlib.contextmanager
def _asking(path: ObjectPath, what: str = "read") -> Iterator[None]:
    """Turn whatever a file system of anybody's says into one line; that an object is not there is no error of its."""
    try:
        yield
    except QadError:
        raise
    except FileNotFoundError as error:
        if _code(error) == "NoSuchBucket":
            msg = f"{path}: there is no such bucket; make it first, or see to the name"
            raise StoreError(msg) from error
        raise FileNotFoundError(errno.ENOENT, "is not there", str(path)) from error
    except Exception as error:
        reason = _REASONS.get(type(error).__name__, f"cannot be {what}: see to the address and the network")
        msg = f"{path}: {reason} ({_short(error)})"
        raise StoreError(msg) from error


def _is_taken(error: OSError) -> bool:
    """Whether an error says that an object is there already."""
    return isinstance(error, FileExistsError) or _code(error) in _TAKEN


def _code(error: BaseException) -> str:
    """What S3 calls an error, which s3fs hides behind one of the operating system's."""
    answer = getattr(error.__cause__, "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""


def _short(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:_SHOWN]
