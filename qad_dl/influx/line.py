r"""Points as line protocol, the text that InfluxDB 1.x takes, and names as they come back from it.

    measurement,tag=value,... field=value,... time

The protocol cannot say every name. A newline ends a point unless a backslash stands before it, and then the backslash
is stored too; a backslash at the end of a value would hide what follows. So two spellings are ours, both undone by
`read_name`:

- k backslashes and a newline are stored as 2k + 1 backslashes and the newline;
- a value that ends in a backslash, or in one and spaces, is stored with one space more (influxdb-python does that too).

A series' key is 64 kB at most: `cut_tags` shortens what is longer.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_BYTES: Final = 60_000
"""Longest series key that we write; InfluxDB takes 65,535 bytes, the names of the fields included."""

_NEWLINE: Final = re.compile(r"(\\*)\n")
_ENDING: Final = re.compile(r"\\ *\Z")
_ENDED: Final = re.compile(r"(\\ *) \Z")
_SPECIAL: Final = re.compile(r"([,= ])")
_DIGEST: Final = 8


@functools.lru_cache(maxsize=1 << 14)
def write_name(value: str) -> str:
    """A tag's value as it stands in a line; `read_name` gets it back from what a query returns."""
    value = _NEWLINE.sub(lambda match: match[1] * 2 + "\\\n", value)
    if _ENDING.search(value):
        value += " "
    return _SPECIAL.sub(r"\\\1", value)


def stored_name(value: str) -> str:
    """How InfluxDB keeps a tag's value that was written with `write_name`: what a query has to ask for."""
    value = _NEWLINE.sub(lambda match: match[1] * 2 + "\\\n", value)
    return value + " " if _ENDING.search(value) else value


def read_name(stored: str) -> str:
    """A tag's value as it was before it was written."""
    stored = _ENDED.sub(r"\1", stored)
    return _NEWLINE.sub(lambda match: match[1][: len(match[1]) // 2] + "\n", stored)


def ends_in_quotes(line: str) -> bool:
    r"""Whether the server, when it cuts a body into lines, takes the end of this one for the inside of a text.

    It does so for a tag's value with a backslash before a blank, then `=` and an odd number of quotes: `\\ ` is read
    as an escaped backslash and a blank, at which the fields begin. The point by itself is understood.
    """
    if '"' not in line or "\\" not in line:
        return False
    quoted = fields = False
    equals = commas = i = 0
    while i < len(line):
        c = line[i]
        if c == "\\" and i + 2 < len(line):
            i += 2
            continue
        fields = fields or c == " "
        if fields and c == '"' and equals > commas:
            quoted = not quoted
        elif fields and not quoted:
            equals, commas = equals + (c == "="), commas + (c == ",")
        i += 1
    return quoted


def write_text(value: str) -> str:
    """A field of text, with its quotes."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def write_number(value: float) -> str:
    """A field of a number, always as a float: a field has one type for ever, and counts become averages.

    Raises:
        ValueError: the number is not finite; InfluxDB has no such numbers, leave the field out.
    """
    if not math.isfinite(value):
        msg = f"{value} cannot be written to InfluxDB; leave the field out"
        raise ValueError(msg)
    return repr(float(value))


def write_tags(tags: Mapping[str, str]) -> str:
    """Tags as they follow a measurement's name, sorted (InfluxDB sorts them otherwise); empty ones are left out."""
    return "".join(f",{name}={write_name(value)}" for name, value in sorted(tags.items()) if value)


def cut_tags(tags: Mapping[str, str], limit: int = KEY_BYTES) -> dict[str, str]:
    """The same tags, or where they are longer than `limit` bytes the longest ones cut, ended by … and a hash."""
    cut = dict(tags)
    while _bytes(cut) > limit:
        longest = max(cut, key=lambda name: (len(cut[name].encode()), name))
        size = len(cut[longest].encode())
        cut[longest] = _shortened(tags[longest], size // 2)
    return cut


def _bytes(tags: Mapping[str, str]) -> int:
    """Length of the key that tags make, at most."""
    return sum(len(name) + len(write_name(value).encode()) + 2 for name, value in tags.items())


def _shortened(value: str, size: int) -> str:
    """At most `size` bytes of a value and a hash of all of it, so that two long values stay two."""
    digest = hashlib.sha256(value.encode()).hexdigest()[:_DIGEST]
    return f"{value.encode()[:size].decode(errors='ignore')}…{digest}"
