"""A real S3 server for tests: moto's, as a process of its own on a free loopback port."""

from __future__ import annotations

import itertools
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import requests

from tests.services.programs import Program

if TYPE_CHECKING:
    from collections.abc import Callable

_LINE = re.compile(r'"(?:\x1b\[\d+m)*(GET|PUT|HEAD|DELETE|POST) /(\S*) HTTP')
_NUMBERS = itertools.count(1)


@dataclass
class S3(Program):
    """An S3 of our own; it knows conditional puts."""

    def start(self) -> S3:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.launch([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)], "/moto-api/", 200)
        return self

    @property
    def environment(self) -> dict[str, str]:
        """What tells every client of S3 to use it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "something",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def bucket(self) -> str:
        """The address of a bucket that no other test uses."""
        name = f"bucket-{next(_NUMBERS)}"
        requests.put(f"{self.url}/{name}", timeout=30).raise_for_status()
        return f"s3://{name}"

    def asked(self) -> list[str]:
        """All requests so far, such as `GET bucket/key` and, of a listing, `LIST prefix`."""
        found = _LINE.findall((self.folder / "log").read_text())
        return [_shown(method, path) for method, path in found if "moto-api" not in path]

    def kinds(self, work: Callable[[], object]) -> list[str]:
        """What kinds of requests some work makes, in their order."""
        before = len(self.asked())
        work()
        return [line.partition(" ")[0] for line in self.asked()[before:]]


def _shown(method: str, path: str) -> str:
    key, _, query = path.partition("?")
    prefix = re.search(r"prefix=([^&]*)", query)
    return f"LIST {prefix[1]}" if prefix else f"{method} {key}"
