"""One tree of errors. Every one of them is the user's to mend, so each carries one line: what, where, what to do.

```
QadError                 exit code 2 unless said otherwise
├── InputError           a file or history that the doors of the product refuse
├── StoreError           a store that cannot be read or written as asked
├── ShardError           a prepared history on the disk that is of something else, damaged, or cannot be written
├── ConfigError          a bad argument or setting
├── StoppedError         a training that was interrupted, or lost a process; exit code 1
├── ClusterError         a Dask scheduler or worker that does not answer, or not with the same code and files
├── BundleError          a bundle that is incomplete, changed, or of another format version
├── SourceError          a source that does not answer, or not with what can be used; exit code 3
├── InfluxError          an InfluxDB that refuses what it is asked or sent
│   └── InfluxDownError  ... or does not answer in time: try again later
└── SinkError            a channel to people that refuses a message
    └── SinkDownError    ... or does not answer: try again later
        └── SinkAccessError  ... or cannot be trusted, or does not let us in
```
A fault of the program is any other exception, and exit code 1.
"""

from __future__ import annotations


class QadError(Exception):
    """Base of all errors that a user can mend; `str(error)` is the one line to show."""

    exit_code = 2


class InputError(QadError):
    """A history, metadata, incident or score file that is refused; nothing of it was stored."""


class StoreError(QadError):
    """A store that does not exist, is of another format or tick length, or holds no data for what was asked."""


class ShardError(QadError):
    """A prepared history on the disk that is of something else, was changed, or cannot be written."""


class StoppedError(QadError):
    """A training that came to no end: interrupted, or one of its processes was lost."""

    exit_code = 1


class ConfigError(QadError):
    """A bad argument, option or configuration value."""


class ClusterError(QadError):
    """A Dask scheduler that does not answer, or a worker that died too often or has other code or files than we."""


class BundleError(QadError):
    """A bundle that is incomplete, was changed after it was written, or has another format version."""


class SourceError(QadError):
    """A source of job counts or metadata that does not answer, or not with what can be used."""

    exit_code = 3


class InfluxError(QadError):
    """An InfluxDB that refuses a query, points or a user."""


class InfluxDownError(InfluxError):
    """An InfluxDB that does not answer in time, or not to the end; the same may work later.

    Attributes:
        slow: it took the question and did not answer in time: a smaller question may work now.
    """

    def __init__(self, message: str, *, slow: bool = False) -> None:
        super().__init__(message)
        self.slow = slow


class SinkError(QadError):
    """A channel to people that refuses a message, or a user."""


class SinkDownError(SinkError):
    """A channel to people that does not answer; nothing else can be told there now."""


class SinkAccessError(SinkDownError):
    """A channel to people whose certificate is not trusted, or that refuses user or password: time will not mend it."""
