"""Parts of a long work on the workers of a Dask scheduler.

Only paths go out and only results come back: a worker reads what it needs from the very folders that the command was
given, so these must be visible to it under the same names. Who asks decides what a part is; its numbers do not depend
on where it is done, nor on how many do the others.

The part of a worker that dies is done again by another one; a part at which several die is told instead. Nothing here
is imported by the collector, and Dask only when there is a scheduler to speak to.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import logging
import platform
import re
import socket
import stat
import threading
import uuid
import warnings
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from qad_dl import __version__
from qad_dl.errors import ClusterError, ConfigError, QadError
from qad_dl.objects import is_address
from qad_dl.progress import counting

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    from distributed import Client, Future

T = TypeVar("T")

CONNECT_S: Final = 10.0
"""How long a scheduler may take to answer."""

PARTS_PER_THREAD: Final = 4
"""Parts of about the same work for each thread of the workers: what the last ones wait for each other is then short."""

MATTER: Final = ("numpy", "onnxruntime", "pyarrow")
"""Packages of which another release may give other last bits."""

_ADDRESS: Final = re.compile(r"[a-z]+://\S+|[\w.-]+:\d+|\[[0-9a-f:.%]+\]:\d+", re.IGNORECASE)
_NO_SCHEDULER: Final = (OSError, ValueError, TypeError, RuntimeError, ImportError)
"""What Dask raises where nobody answers, or something that is no scheduler, or one of another release."""

_GONE: Final = (
    "the scheduler went away while there was work; see its log, and start both again: nothing is half written"
)

_RUNS_KEPT: Final = 2
"""Runs of commands for which a worker keeps something, should they end without saying so."""


@dataclass(frozen=True)
class Ticket:
    """What a worker is told beside its part.

    Attributes:
        run: name of the run of a command; what is kept on a worker is kept for it alone.
        versions: of the client, see `versions`.
        see: files and folders that the worker must see, and what the client sees there.
    """

    run: str
    versions: Mapping[str, str]
    see: tuple[tuple[Path, str], ...]


class Workers:
    """The workers of a scheduler; `connect` gives them.

    Attributes:
        threads: of all workers that were there at the start, at least one.
        waiting: there was none yet.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._run, self._begun = uuid.uuid4().hex, itertools.count()
        found = sum(client.nthreads().values())
        self.threads, self.waiting = max(found, 1), found == 0

    def run(
        self,
        function: Callable[..., T],
        parts: Sequence[tuple[Any, ...]],
        see: Sequence[str | Path],
        what: str,
        unit: str = "part",
    ) -> Iterator[tuple[int, T]]:
        """Begin all parts; gives each result as soon as it is there, with the number of its part.

        Args:
            function: of a module, so that a worker finds it; is called with the arguments of a part.
            parts: their arguments: small, or what `submit` gave.
            see: files and folders that a worker must see; what is not there here either, the part has to tell, and
                so with an address, which the worker opens itself.
            what: a word or two in front of the progress bar, also the name of the parts on Dask's dashboard.
            unit: the name of one part.

        Raises:
            QadError: of the first part, in their order, that raised one.
            ClusterError: a worker is not as it has to be or died too often; the scheduler went away.
        """
        futures = [self.submit(function, part, see, what, number) for number, part in enumerate(parts)]
        return self.collect(futures, what, unit)

    def collect(self, futures: Sequence[Future[T]], what: str, unit: str = "part") -> Iterator[tuple[int, T]]:
        """The results of parts that were begun, as `run` gives them."""
        from distributed import as_completed

        number_of = {future.key: number for number, future in enumerate(futures)}
        failed: tuple[int, BaseException] | None = None
        try:
            with counting(len(futures), what, unit) as done:
                for future, result in as_completed(futures, self._client.loop, with_results=True, raise_errors=False):
                    number = number_of[future.key]
                    done(1)
                    if future.status == "finished":
                        yield number, result
                        future.release()  # or the worker would hold it for as long as there are others
                    elif failed is not None and number > failed[0]:
                        continue  # nobody waits for it any more
                    elif future.status != "error":
                        raise ClusterError(_GONE)
                    else:
                        failed = number, result[1]
                        _release(futures[number + 1 :])
                    if failed is not None and all(f.status != "pending" for f in futures[: failed[0]]):
                        break
        finally:
            _release(futures)
        if failed is not None:
            _raise(failed[1])

    def submit(
        self, function: Callable[..., T], part: tuple[Any, ...], see: Sequence[str | Path], what: str, number: int = 0
    ) -> Future[T]:
        """Begin one part; its result stays on the workers, for parts that are given what comes back here.

        What was begun before is done before, as far as there are workers for it.
        """
        paths = [Path(path).absolute() for path in see if not is_address(str(path))]
        seen = tuple((path, there) for path in paths if (there := _seen(path)))
        ticket = Ticket(self._run, versions(), seen)
        key, begun = f"{what}-{number}-{uuid.uuid4().hex}", next(self._begun)
        # What is begun within a tenth of a second has no order for Dask, and the longest part could come last.
        return self._client.submit(_do, ticket, function, *part, key=key, priority=-begun)

    def forget(self) -> None:
        """Let the workers forget what they keep for this run."""
        if self._client.status == "running":
            with contextlib.suppress(OSError):  # it went away meanwhile
                self._client.run(_forget, self._run, wait=False, on_error="ignore")


@contextlib.contextmanager
def connect(scheduler: str) -> Iterator[Workers]:
    """Speak to a scheduler for the time of a block.

    Args:
        scheduler: tcp://HOST:PORT, another address that Dask knows, or the path of a scheduler file.

    Raises:
        ConfigError: Dask is not installed, or this is neither an address nor a file.
        ClusterError: nobody answers there, or no scheduler that can be understood, or a worker does not know our code.
    """
    try:
        import distributed
    except ModuleNotFoundError as error:
        msg = f"--scheduler needs Dask ({error.name} is not installed): pip install -c constraints.txt -e '.[dask]'"
        raise ConfigError(msg) from error
    address = _address(scheduler)
    with _quiet():
        client = _client(distributed.Client, scheduler, address)
        try:
            _greet(client)
            workers = Workers(client)
            try:
                yield workers
            finally:
                workers.forget()
        except OSError as error:
            if not _of_dask(error):
                raise
            raise ClusterError(_GONE) from error
        finally:
            client.close(timeout=CONNECT_S)


def kept(slot: str, key: Hashable, make: Callable[[], T]) -> T:
    """What `make` gives, kept on this worker until the run of the command ends or another key takes the slot.

    Two threads of a worker do not make the same thing twice.
    """
    with _Kept.lock:
        slots = _Kept.runs.setdefault(_Kept.now.run, {})
        while len(_Kept.runs) > _RUNS_KEPT:
            del _Kept.runs[next(iter(_Kept.runs))]
        if slot not in slots or slots[slot][0] != key:
            slots.pop(slot, None)  # or two of them would be held while the new one is made
            slots[slot] = key, make()
        value: T = slots[slot][1]
        return value


@cache
def versions() -> dict[str, str]:
    """What has to be the same for the same numbers: releases, and the code of this package."""
    package = Path(__file__).parent
    code = hashlib.sha256()
    for path in sorted((*package.rglob("*.py"), *package.glob("*.json"))):
        code.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes() + b"\0")
    releases = {name: _installed(name) for name in MATTER}
    own = f"{__version__} (code {code.hexdigest()[:8]})"
    return {"qad-dl": own, "Python": ".".join(platform.python_version_tuple()[:2]), **releases}


class _Run(threading.local):
    """The run whose part this thread does."""

    run: str = ""


@dataclass
class _Keeper:
    """What this process keeps: run -> slot -> (key, value)."""

    lock: Any = field(default_factory=threading.RLock)
    runs: dict[str, dict[str, tuple[Hashable, Any]]] = field(default_factory=dict)
    now: _Run = field(default_factory=_Run)


_Kept: Final = _Keeper()


def _do(ticket: Ticket, function: Callable[..., T], *part: Any) -> T:
    """Do one part on a worker, if it is one that may."""
    _check(ticket)
    _Kept.now.run = ticket.run
    return function(*part)


async def _forget(run: str) -> None:
    """Let go of what was kept for a run, as soon as nobody makes something for it any more."""

    def forget() -> None:
        with _Kept.lock:
            _Kept.runs.pop(run, None)

    await asyncio.to_thread(forget)


def _greet(client: Client) -> None:
    """Refuse workers without our code: what is sent to such a one makes it end, and nobody would say why."""
    for address, answer in client.run(versions, on_error="return").items():
        if isinstance(answer, Exception):
            msg = f"worker {address} cannot do the work ({_short(answer)}): install the same checkout there as here"
            raise ClusterError(msg) from answer


def _check(ticket: Ticket) -> None:
    """Refuse to work with other code, or without the files."""
    own = versions()
    other = [
        f"{name} {own.get(name, 'none')}, the client {v}" for name, v in ticket.versions.items() if own.get(name) != v
    ]
    if other:
        msg = f"{_here()} has {'; '.join(other)}: install the same checkout with the same constraints.txt on both"
        raise ClusterError(msg)
    for path, there in ticket.see:
        here = _seen(path)
        if here != there:
            what = f"sees {here} and the client {there} at" if here else "does not see"
            msg = f"{_here()} {what} {path}: put it on a file system that all workers share, under the same name"
            raise ClusterError(msg)


def _seen(path: Path) -> str:
    """What is at a path: a folder, a file of so many bytes, or nothing, also where one may not look."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return "a folder" if stat.S_ISDIR(found.st_mode) else f"a file of {found.st_size} bytes"


def _here() -> str:
    """This worker, in words."""
    from distributed import get_worker

    return f"worker {get_worker().address} on {socket.gethostname()}"


def _client(make: type[Client], scheduler: str, address: str) -> Client:
    """Connect within a bounded time: Dask bounds how long it waits for a connection, but not for the first word."""
    made: list[Client | BaseException] = []

    def connect_() -> None:
        try:
            made.append(make(address, timeout=CONNECT_S, set_as_default=False, name="qad"))
        except _NO_SCHEDULER as error:
            made.append(error)

    thread = threading.Thread(target=connect_, daemon=True)
    thread.start()
    thread.join(1.5 * CONNECT_S)
    answer = made[0] if made else TimeoutError(f"it says nothing for {1.5 * CONNECT_S:g} s")
    if isinstance(answer, BaseException):
        where = scheduler if scheduler == address else f"{scheduler} ({address})"
        msg = f"--scheduler {where}: no scheduler answers ({_short(answer)}); is it up, with the same Dask as here?"
        raise ClusterError(msg) from answer
    return answer


def _address(scheduler: str) -> str:
    """The address of a scheduler, out of its file if that is what is given."""
    path = Path(scheduler)
    if path.is_file():
        try:
            return str(json.loads(path.read_bytes())["address"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = f"--scheduler {path}: is no file that `dask scheduler --scheduler-file` wrote ({_short(error)})"
            raise ConfigError(msg) from error
    if not _ADDRESS.fullmatch(scheduler):
        msg = f"--scheduler {scheduler!r} is neither an address like tcp://HOST:8786 nor a scheduler file that is there"
        raise ConfigError(msg)
    return scheduler


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let Dask not say beside us what we say in one line."""
    # Dask gives the loggers of its modules levels of their own.
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in ("distributed", "tornado")]
    loggers = [logging.getLogger(name) for name in (*names, "asyncio")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="(?s).*Mismatched versions found"
            )  # `_check` tells of those that matter
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _release(futures: Sequence[Future[Any]]) -> None:
    """Tell the scheduler that nobody waits for these any more: what has not begun is not done."""
    for future in futures:
        future.release()


def _raise(error: BaseException) -> None:
    """Raise what a part raised; of what Dask says of workers, one line."""
    from distributed import KilledWorker

    if isinstance(error, KilledWorker):
        msg = (
            f"{error.task!r} was given up: {error.allowed_failures + 1} workers died at it, the last was "
            f"{error.last_worker.address}; mostly it is memory: see its log, and give workers more"
        )
        raise ClusterError(msg) from error
    if not isinstance(error, QadError) and (_of_dask(error) or isinstance(error, ImportError | AttributeError)):
        msg = f"scheduler or workers cannot do the work ({_short(error)}): install the same checkout there as here"
        raise ClusterError(msg) from error
    raise error


def _of_dask(error: BaseException) -> bool:
    """Whether an exception is one of Dask's own, or says that it could not read what was sent."""
    return type(error).__module__.partition(".")[0] == "distributed" or "deserializ" in str(error).lower()


def _short(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
